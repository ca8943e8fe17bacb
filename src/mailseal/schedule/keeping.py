"""Has the schedule stand as it should: the files, journalled and undone like every other; the timer, under way.

The schedule is a step of its own at the end of a run, when it is known which
certificates are held: a transaction of its files, after which systemd reads
its units again and the timer begins anew. No daemon is concerned by it and no
endpoint asked. It is kept only once a certificate is live; a setup that came
to nothing leaves no timer.

A unit that the admin masked is left alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import timedelta

from mailseal.apply import Transactions
from mailseal.config.schema import Config
from mailseal.daemons import Say, Service
from mailseal.diary import Diary
from mailseal.effects import parents_first
from mailseal.errors import ApplyFailed, MailsealError
from mailseal.journal import Journal
from mailseal.model import (
    AbsentWish,
    Command,
    DirectoryWish,
    Endpoint,
    FileWish,
    Finding,
    LinkWish,
    Severity,
    Wish,
)
from mailseal.observe import Lineage
from mailseal.report import Report
from mailseal.schedule import cron, units
from mailseal.schedule.interval import interval, words
from mailseal.schedule.place import Place, look, timer_runs
from mailseal.schedule.way import Schedule
from mailseal.services.base import (
    ConfiguredCertificate,
    Rehearsal,
    Rendering,
    ServiceSettings,
    ServiceWish,
)
from mailseal.services.base import Facts as FactsProtocol
from mailseal.services.control import systemd_is_init
from mailseal.steps import Deploy, differences
from mailseal.system import System

KIND = "timer"
PATHS = (units.SERVICE_PATH, units.TIMER_PATH, units.LINK_PATH, cron.PATH)


@dataclass(frozen=True, slots=True)
class Facts:
    """The schedule as a transaction meets it: nothing that clients reach, always there to take up its files."""

    systemd: bool
    kind: str = KIND
    version: tuple[int, ...] = ()
    config_dir: str = units.UNITS
    running: bool = True
    endpoints: tuple[Endpoint, ...] = ()
    configured: tuple[ConfiguredCertificate, ...] = ()
    names: tuple[str, ...] = ()


class Adapter:
    """Has systemd take up what stands on disk, also where that is nothing any more; cron looks by itself."""

    kind = KIND
    title = "the timer"

    def observe(self, system: System, settings: ServiceSettings) -> FactsProtocol | None:
        return Facts(systemd_is_init(system))

    def render(self, wish: ServiceWish, facts: FactsProtocol) -> Rendering:
        return Rendering()

    def checks(self, facts: FactsProtocol) -> Sequence[Command]:
        return ()

    def reload(self, facts: FactsProtocol) -> tuple[Command, ...]:
        """Stopping a timer stops no run of its service; the target starts what it wants and does not run yet.

        It ends before its unit is read again: one whose unit is gone would be told as failed.
        """
        if not facts.systemd:
            return ()
        return (Command(("systemctl", "stop", units.TIMER), why="the timer ends"), _READ, _START)

    def restart(self, facts: FactsProtocol) -> tuple[Command, ...]:
        return (_READ, _START) if facts.systemd else ()

    def rehearsal(self, facts: FactsProtocol) -> Rehearsal | None:
        return None

    def audit(self, facts: FactsProtocol) -> tuple[Finding, ...]:
        return ()


_READ = Command(("systemctl", "daemon-reload"), timeout=90.0, why="systemd reads its units again")
_START = Command(("systemctl", "start", "timers.target"), why="systemd starts the timers that are wanted")


class Timekeeping:
    """The schedule of one machine; `deploy` comes from the reconciler that has the journal and the lock."""

    def __init__(self, system: System, config: Config, way: Schedule, diary: Diary, say: Say) -> None:
        self._system = system
        self._config = config
        self._diary = diary
        self._say = say
        self.way = way

    def service(self) -> Service:
        """As transactions, their undo, recovery and detach take it."""
        return Service(Adapter(), Facts(systemd_is_init(self._system)))

    def steps(self, lineages: Sequence[Lineage]) -> tuple[Deploy, ...]:
        """What a plan shows: what `keep` would do."""
        step = self._step(lineages)
        alive = any(lineage.current is not None for lineage in lineages)
        return (replace(step, provisional=not alive),) if step else ()

    @contextmanager
    def handed_back(self, journal: Journal) -> Iterator[tuple[Service, ...]]:
        """Within, the machine is handed back; gives the schedule as a service where it is this instance's doing."""
        ours = any(entry.path in PATHS for entry in journal.baseline())
        yield (self.service(),) if ours else ()
        if ours:
            self._forget()

    def _step(self, lineages: Iterable[Lineage]) -> Deploy | None:
        """What separates the schedule from what it should be; None where nothing does."""
        if self.way is Schedule.LEAVE:
            return None
        place = look(self._system)
        every = interval(lifetimes(lineages))
        wishes = self._removed() if self.way is Schedule.REMOVE else self._kept(place, every)
        puts = differences(wishes, {wish.path: self._system.files.state(wish.path) for wish in wishes})
        if not puts and (not wishes or self.way is Schedule.REMOVE or self._runs(place)):
            return None
        purpose = "take the timer of mailseal away"
        if self.way is Schedule.KEEP:
            purpose = f"have {'systemd' if place.systemd else 'cron'} look every {words(every)}"
        return Deploy(purpose, parents_first(puts), (KIND,))

    def keep(self, report: Report, transactions: Callable[[Deploy], Transactions]) -> Report:
        """Does it, with the lock held; the report, with what was done and what failed in it."""
        if self.way is Schedule.KEEP and all(lineage.current is None for lineage in report.lineages):
            return report
        findings = (*report.findings, *self.findings())
        try:
            step = self._step(report.lineages)
            if step is None:
                return replace(report, findings=findings)
            self._carry_out(step, transactions)
        except MailsealError as error:
            return replace(report, errors=(*report.errors, error), findings=findings)
        return replace(report, done=(*report.done, step.describe()), findings=findings)

    def findings(self) -> tuple[Finding, ...]:
        """That nobody looks, where nobody does although the configuration does not say so."""
        if self.way is not Schedule.KEEP:
            return ()
        lacking = "it is masked" if self._masked() else look(self._system).lacking
        return (_not_scheduled(lacking),) if lacking else ()

    def _forget(self) -> None:
        """Takes away what systemd keeps of a timer that is gone: when it last ran, and that a run failed."""
        if not systemd_is_init(self._system) or self._system.files.stat(units.TIMER_PATH) is not None:
            return
        self._system.files.remove(units.STAMP_PATH)
        # It fails where systemd keeps nothing, which is as well.
        self._system.processes.run(("systemctl", "reset-failed", units.TIMER, units.SERVICE), timeout=30.0)

    def _carry_out(self, step: Deploy, transactions: Callable[[Deploy], Transactions]) -> None:
        self._say(step.describe())
        try:
            transactions(step).deploy(step, (self.service(),))
        except MailsealError as error:
            self._diary.failed(step, error)
            raise
        self._diary.deployed(step)
        if self.way is Schedule.REMOVE:
            self._forget()
        elif systemd_is_init(self._system) and not timer_runs(self._system):
            raise ApplyFailed(
                f"{units.TIMER} does not run",
                reason="systemd did not start it with timers.target",
                state="Its files are in place; everything else was done.",
                next_command=f"systemctl status {units.TIMER}, and when that is mended mailseal apply",
            )

    def _kept(self, place: Place, every: timedelta) -> tuple[Wish, ...]:
        if not place.able or self._masked():
            return ()
        wishes: list[Wish] = []
        if place.systemd:
            service = units.service(place.program, directories(self._config))
            wishes += [
                FileWish(units.SERVICE_PATH, service.encode(), why="what the timer starts"),
                FileWish(
                    units.TIMER_PATH, units.timer(every, place.seed).encode(), why="when mailseal looks"
                ),
                DirectoryWish(units.WANTS),
                LinkWish(units.LINK_PATH, units.TIMER_PATH, why="the timer starts with the machine"),
            ]
        if place.cron:
            content = cron.crontab(place.program, every, place.seed)
            wishes.append(FileWish(cron.PATH, content.encode(), why="for a start without systemd"))
        return tuple(wishes)

    def _removed(self) -> tuple[Wish, ...]:
        """Only what is ours: it bears our mark, or is the link to what does."""
        found = {path: self._system.files.state(path) for path in PATHS}
        return tuple(
            AbsentWish(path)
            for path, state in found.items()
            if units.MARK.encode() in state.content or (state.kind == "link" and state.target in PATHS)
        )

    def _masked(self) -> bool:
        states = (self._system.files.state(path) for path in (units.SERVICE_PATH, units.TIMER_PATH))
        return any(state.kind == "link" and state.target == "/dev/null" for state in states)

    def _runs(self, place: Place) -> bool:
        return not place.systemd or timer_runs(self._system)


def lifetimes(lineages: Iterable[Lineage]) -> list[timedelta]:
    """How long the certificates live that are held now."""
    held = (lineage.target for lineage in lineages)
    return [facts.not_after - facts.not_before for one in held if one for _, facts in one.leaves]


def directories(config: Config) -> tuple[str, ...]:
    """The directories that a configuration names for mailseal to write to, besides the usual ones."""
    http01, services = config.http01, config.services
    web = (http01.webroot, *http01.webroots.values(), services.apache.web_root)
    dirs = (one.config_dir for one in (services.postfix, services.dovecot, services.apache))
    named = (path for path in (*web, *dirs, config.state.directory) if path)
    return tuple(dict.fromkeys(path for path in named if not path.startswith(("/etc/", "/var/", "/srv/"))))


def _not_scheduled(why: str) -> Finding:
    return Finding(
        "not-scheduled",
        Severity.INFO,
        KIND,
        seen=f"nobody looks for certificates to renew: {why}",
        expected="systemd or cron, which start `mailseal renew` by themselves",
        why="Certificates expire where nobody renews them.",
        mend="script/install (makes the link /usr/bin/mailseal), then mailseal apply; "
        "or install = false in [timer] where something else starts mailseal renew",
    )

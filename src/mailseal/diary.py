"""The diary of one run: the hooks before its first change, and what it did, written down when it did it.

Whoever changes something tells the diary at once, so that the history
(`mailseal.history`) knows of it even when the run is killed later. What cannot
be written (a full disk) stops nothing: it becomes a finding of the run.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime

from mailseal import hooks
from mailseal.config.schema import Config
from mailseal.errors import UNCHANGED, HookFailed, MailsealError, TakenBack
from mailseal.history import Deed, Event, History, of
from mailseal.hooks import Told
from mailseal.issuing import Issued
from mailseal.model import Finding, Generation, Severity
from mailseal.observe import Lineage
from mailseal.renewal import nearly_expired
from mailseal.steps import Deploy, Issue, Plan, Step
from mailseal.stores.filesystem import LineageStore
from mailseal.system import System


class Diary:
    """What one run of `command` did. `run` names it among all runs, `began` is when it began (UTC)."""

    def __init__(self, system: System, config: Config, command: str) -> None:
        self._system = system
        self._store = LineageStore(system, config.state.directory)
        self._history = History(system, config.state.directory)
        self._issuer = config.acme.directory_url
        self._config = config
        self._prepared = False
        self._found: list[Finding] = []
        self._new: dict[tuple[str, int], Generation] = {}
        self.events: tuple[Event, ...] = ()
        self.command = command
        self.began = system.clock.now()
        self.run = f"{self.began:%Y%m%dT%H%M%SZ}-{system.random.token(4)}"

    @property
    def now(self) -> datetime:
        return self._system.clock.now()

    @property
    def findings(self) -> tuple[Finding, ...]:
        """What the hooks before the change came to, and what kept the history from being written."""
        return tuple(dict.fromkeys(self._found))

    def prepare(self, planned: Plan, lineages: Sequence[Lineage], errors: list[MailsealError]) -> bool:
        """Runs the hooks before the first order or change of this run, and says whether it may be made.

        Where a hook failed and the configuration has that stop the run, a `HookFailed` joins the errors; but
        not where a certificate is nearly expired, since mail then counts more.
        """
        steps = [s for s in planned.steps if isinstance(s, Issue) or not s.provisional]
        if self._prepared or not steps:
            return True
        self._prepared = True
        ran = hooks.run_all(
            self._system, self._config.hooks, lambda: self._announced(planned, lineages), "before"
        )
        self._found += ran.findings
        if not ran.failed:
            return True
        first, now = next(f for f in ran.findings if f.severity >= Severity.WARNING), self.now
        self.note(Event(Deed.HOOK_FAILED, now, detail=f"{first.subject}: {first.seen}"))
        lives = (lineage.generation(lineage.current) for lineage in lineages)
        if not self._config.hooks.before_must_succeed or any(
            live and nearly_expired(live, now) for live in lives
        ):
            return True
        errors.append(
            HookFailed(
                f"The hook before the change failed: {first.subject}",
                reason=first.seen,
                state=UNCHANGED,
                next_command=f"{first.mend}; then mailseal {self.command}. "
                "With [hooks] before_must_succeed = false a run goes on without it",
            )
        )
        return False

    def note(self, *events: Event) -> None:
        """Remembers what was done, and appends it to the history."""
        self.events += events
        try:
            self._history.add(self.run, self.command, events)
        except MailsealError as fault:
            self._found.append(unwritten(self._history.path, fault))

    def ordered(self, issued: Sequence[Issued]) -> None:
        """Orders that were carried out, or failed."""
        now, events = self.now, []
        for one in issued:
            if one.generation is not None:
                events.append(of(Deed.ORDERED, now, one.generation, one.step.why))
                self._new[one.generation.lineage, one.generation.number] = one.generation
            elif one.error is not None:
                name, issuer = one.step.spec.name, one.step.issuer or self._issuer
                events.append(Event(Deed.FAILED, now, name, issuer=issuer, detail=str(one.error)))
        self.note(*events)

    def deployed(self, step: Deploy) -> None:
        """A change that stands."""
        self._step(Deed.DEPLOYED, step, step.describe())

    def failed(self, step: Deploy, error: MailsealError) -> None:
        """A change that was taken back, or never begun."""
        self._step(Deed.TAKEN_BACK if isinstance(error, TakenBack) else Deed.FAILED, step, str(error))

    def proven(self, generation: Generation) -> None:
        """Every endpoint was seen to serve it, for the first time."""
        self.note(of(Deed.PROVEN, self.now, generation))

    def detached(self, paths: int) -> None:
        """The machine was handed back."""
        self.note(Event(Deed.DETACHED, self.now, detail=f"{paths} paths are as they were found"))

    def recovered(self, finding: Finding) -> None:
        """What an interrupted run had left open was ended."""
        self.note(Event(Deed.RECOVERED, self.now, detail=f"{finding.subject}: {finding.seen}"))

    def _generation(self, name: str, number: int) -> Generation | None:
        return self._new.get((name, number)) or self._store.find(name, f"{number:04d}")

    def _announced(self, planned: Plan, lineages: Sequence[Lineage]) -> Told:
        names = dict.fromkeys(name for step in planned.steps for name in _names(step))
        told = described(self._config, names, lineages)
        steps = tuple(step.describe() for step in planned.steps)
        return Told("before", self.command, self.run, self.began, told, steps)

    def _step(self, deed: Deed, step: Deploy, detail: str) -> None:
        now = self.now
        found = [(name, self._generation(name, number), number) for name, number in step.generations]
        events = [
            of(deed, now, one, detail) if one else Event(deed, now, name, number, detail=detail)
            for name, one, number in found
        ]
        self.note(*(events or [Event(deed, now, detail=detail)]))


def described(config: Config, names: Iterable[str], lineages: Sequence[Lineage]) -> tuple[hooks.Lineage, ...]:
    """Lineages as hooks are told of them: the names that each is wished for, and what is live."""
    wishes = {spec.name: spec.sorted_identifiers for spec in config.specs()}
    seen = {lineage.name: lineage for lineage in lineages}
    found = []
    for name in names:
        lineage = seen.get(name)
        live = lineage.generation(lineage.current) if lineage else None
        found.append(
            hooks.Lineage(
                name,
                live.number if live else 0,
                f"{config.state.directory}/lineages/{name}/current" if live else "",
                tuple(identifier.value for identifier in wishes.get(name, ())),
                live.not_after if live else None,
            )
        )
    return tuple(found)


def _names(step: Step) -> tuple[str, ...]:
    return (step.spec.name,) if isinstance(step, Issue) else tuple(name for name, _ in step.generations)


def unwritten(path: str, fault: MailsealError) -> Finding:
    """What kept the history from being written."""
    return Finding(
        "history-not-written",
        Severity.WARNING,
        path,
        seen=str(fault),
        expected="a line for each thing that was done",
        why="The work itself was done all the same; nobody can read later that it was.",
        mend="make room on the disk, and see that root may write there",
    )

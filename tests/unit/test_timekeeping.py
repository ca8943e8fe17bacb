"""The timer as a change like every other: written, taken up by systemd, undone, handed back."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta

import pytest

from mailseal.apply import Transactions
from mailseal.config.schema import Config
from mailseal.detach import HandingBack
from mailseal.diary import Diary
from mailseal.journal import Journal
from mailseal.model import CertificateFacts, Generation, KeyType
from mailseal.observe import Lineage
from mailseal.recover import Recovery
from mailseal.report import Report
from mailseal.schedule import cron, units
from mailseal.schedule.keeping import Timekeeping
from mailseal.schedule.way import Schedule
from mailseal.stores.state import LineageState
from mailseal.system import Completed
from tests.support.daemon import Daemon, DaemonProver, NoRehearsal
from tests.support.memory import START, Killed, Machine, MemorySystem

ROOT = "/var/lib/mailseal"
UNITS = (units.SERVICE_PATH, units.TIMER_PATH, units.LINK_PATH)


class Systemd:
    """systemd, as far as a timer is concerned: what it read, what it runs."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        self.known = self.wanted = self.running = self.refuses = False
        self.calendar = ""
        machine.put_directory("/run/systemd/system")
        machine.put_directory(units.WANTS)
        machine.programs.on("systemctl")(self._asked)

    def runs(self) -> bool:
        return self.running

    def knows(self) -> bool:
        return self.known

    def _asked(self, system: MemorySystem, argv: tuple[str, ...], stdin: bytes) -> Completed | int:
        match argv[1:]:
            case ("daemon-reload",):
                tree = self.machine.tree("/etc/systemd")
                self.known, self.wanted = units.TIMER_PATH in tree, units.LINK_PATH in tree
                if self.known:
                    self.calendar = tree[units.TIMER_PATH].content.decode()
                assert self.known or not self.running, "a timer that runs loses its unit"
            case ("stop", units.TIMER):
                if not self.running and units.TIMER_PATH not in self.machine.tree("/etc/systemd"):
                    return 5
                self.running = False
            case ("start", "timers.target"):
                self.running = self.running or (self.known and self.wanted and not self.refuses)
                if self.running:
                    self.machine.put(units.STAMP_PATH, "")
            case ("is-active", "--quiet", units.TIMER):
                return 0 if self.running else 3
            case ("reset-failed", *_):
                return 0
            case _:
                raise AssertionError(argv)
        return 0


class Stand:
    """A machine with a program to start, and a certificate that is live."""

    def __init__(self) -> None:
        self.machine = Machine()
        self.machine.put_directory(ROOT, mode=0o711)
        self.machine.put_directory("/etc/systemd/system")
        self.machine.put("/usr/bin/mailseal", "#!", mode=0o755)
        self.machine.put("/etc/machine-id", "89abcdef\n")
        self.daemon = Daemon(self.machine)
        self.said: list[str] = []

    def transactions(self, system: MemorySystem) -> Transactions:
        return Transactions(
            system,
            Journal(system, ROOT),
            DaemonProver(self.daemon),
            NoRehearsal(),
            look_again=lambda: (),
            vet=lambda step: None,
            no_way_back=lambda step: "",
            say=self.said.append,
        )

    def keeping(self, system: MemorySystem, way: Schedule = Schedule.KEEP) -> Timekeeping:
        return Timekeeping(system, Config(), way, Diary(system, Config(), "apply"), self.said.append)

    def keep(
        self,
        way: Schedule = Schedule.KEEP,
        *,
        lifetime: timedelta = timedelta(days=90),
        current: int | None = 1,
    ) -> Report:
        system = MemorySystem(self.machine)
        report = Report(lineages=(lineage(lifetime, current),))
        return self.keeping(system, way).keep(report, lambda step: self.transactions(system))

    def detach(self) -> None:
        system = MemorySystem(self.machine)
        journal = Journal(system, ROOT)
        back = HandingBack(
            system, journal, self.transactions(system), DaemonProver(self.daemon), self.said.append
        )
        with self.keeping(system, Schedule.LEAVE).handed_back(journal) as services:
            back.carry_out(services)

    def recover(self) -> None:
        system = MemorySystem(self.machine)
        journal, prover = Journal(system, ROOT), DaemonProver(self.daemon)
        for record in journal.open_records():
            recovery = Recovery(system, journal, self.transactions(system), prover, self.said.append)
            recovery.recover(record, (self.keeping(system).service(),))

    @property
    def tree(self) -> dict[str, object]:
        return {path: state for path, state in self.machine.tree("/etc").items() if path != "/etc"}


def lineage(lifetime: timedelta, current: int | None) -> Lineage:
    facts = CertificateFacts("ab" * 32, "cd" * 32, (), "CN=CA", 7, START, START + lifetime, "ecdsa")
    generation = Generation("mail", 1, ((KeyType.ECDSA_P256, facts),), START, "https://ca.test")
    return Lineage("mail", (generation,), current, LineageState(), generation)


@pytest.fixture
def stand() -> Stand:
    return Stand()


@pytest.fixture
def systemd(stand: Stand) -> Systemd:
    return Systemd(stand.machine)


def test_it_is_written_and_runs(stand: Stand, systemd: Systemd) -> None:
    before = stand.tree
    report = stand.keep()
    assert report.done == ("have systemd look every 4 hours",) and not report.errors
    assert systemd.runs() and set(stand.tree) - set(before) == set(UNITS)
    assert stand.tree[units.LINK_PATH].target == units.TIMER_PATH  # type: ignore[attr-defined]

    assert stand.keep().done == ()  # and then there is nothing to do

    stand.detach()
    assert stand.tree == before and not systemd.runs() and not systemd.knows()
    assert units.STAMP_PATH not in stand.machine.tree("/var")


def test_it_follows_the_shortest_lifetime(stand: Stand, systemd: Systemd) -> None:
    stand.keep()
    before = systemd.calendar
    assert stand.keep(lifetime=timedelta(hours=160)).done == ("have systemd look every hour",)
    assert systemd.runs() and systemd.calendar != before and "0/1:" in systemd.calendar
    assert stand.keep().done == ("have systemd look every 4 hours",)
    assert systemd.calendar == before


def test_none_is_kept_before_a_certificate_is_live(stand: Stand, systemd: Systemd) -> None:
    before = stand.tree
    assert stand.keep(current=None).done == () and stand.tree == before
    (step,) = stand.keeping(MemorySystem(stand.machine)).steps((lineage(timedelta(days=90), None),))
    assert step.provisional


def test_one_that_was_stopped_runs_again(stand: Stand, systemd: Systemd) -> None:
    stand.keep()
    systemd.running = False
    assert stand.keep().done == ("have systemd look every 4 hours",)
    assert systemd.runs()


def test_one_that_does_not_start_is_an_error(stand: Stand, systemd: Systemd) -> None:
    systemd.refuses = True
    (error,) = stand.keep().errors
    assert "does not run" in error.message
    systemd.refuses = False
    assert stand.keep().done and systemd.runs()


def test_it_is_taken_away_when_the_configuration_says_so(stand: Stand, systemd: Systemd) -> None:
    before = stand.tree
    stand.keep()
    assert stand.keep(Schedule.REMOVE).done == ("take the timer of mailseal away",)
    assert stand.tree == before and not systemd.runs()
    assert stand.keep(Schedule.REMOVE).done == ()


def test_what_somebody_else_wrote_there_is_not_taken_away(stand: Stand, systemd: Systemd) -> None:
    stand.machine.put(cron.PATH, "5 5 * * * root mailseal renew\n")
    before = stand.tree
    assert stand.keep(Schedule.REMOVE).done == () and stand.tree == before


def test_a_private_instance_touches_none(stand: Stand, systemd: Systemd) -> None:
    stand.keep()
    before = stand.tree
    assert stand.keep(Schedule.LEAVE, lifetime=timedelta(hours=1)).done == ()
    assert stand.tree == before and systemd.runs()


def test_a_private_instance_that_is_handed_back_leaves_it_running(stand: Stand, systemd: Systemd) -> None:
    stand.keep()
    system = MemorySystem(stand.machine)
    with stand.keeping(system, Schedule.LEAVE).handed_back(Journal(system, "/srv/second")) as services:
        assert services == ()
    assert systemd.runs()


def test_one_that_is_masked_is_left_alone(stand: Stand, systemd: Systemd) -> None:
    stand.machine.put_link(units.TIMER_PATH, "/dev/null")
    before = stand.tree
    report = stand.keep()
    assert report.done == () and stand.tree == before
    assert [finding.code for finding in report.findings] == ["not-scheduled"]


def test_cron_where_systemd_does_not_run(stand: Stand) -> None:
    stand.machine.put_directory(cron.FOLDER)
    stand.machine.programs.says("/usr/sbin/cron")
    before = stand.tree
    assert stand.keep().done == ("have cron look every 4 hours",)
    assert set(stand.tree) - set(before) == {cron.PATH}
    assert stand.keep().done == ()
    stand.detach()
    assert stand.tree == before


def test_both_where_systemd_and_cron_are(stand: Stand, systemd: Systemd) -> None:
    stand.machine.put_directory(cron.FOLDER)
    stand.machine.programs.says("/usr/sbin/cron")
    before = stand.tree
    stand.keep()
    assert set(stand.tree) - set(before) == {*UNITS, cron.PATH}


def test_nobody_can_look(stand: Stand) -> None:
    before = stand.tree
    report = stand.keep()
    assert stand.tree == before and report.done == ()
    (finding,) = report.findings
    assert "neither systemd nor cron" in finding.seen


@contextmanager
def _killed(machine: Machine, at: int) -> Iterator[None]:
    machine.goes_wrong(Killed(), at=at)
    with machine.death():
        yield
    machine.all_well()


def test_a_kill_at_any_effect_ends_with_a_timer_that_runs_and_detaches_whole() -> None:
    points = 0
    while True:
        stand = Stand()
        systemd = Systemd(stand.machine)
        before = stand.tree
        done = False
        with _killed(stand.machine, points):
            stand.keep()
            done = True
        stand.recover()
        assert not stand.keep().errors
        assert systemd.runs() and set(UNITS) <= set(stand.tree)
        stand.detach()
        assert stand.tree == before and not systemd.runs()
        if done:
            break
        points += 1
    assert points > 10


def test_a_fault_while_it_is_written_takes_it_back(stand: Stand, systemd: Systemd) -> None:
    before = stand.tree
    stand.machine.goes_wrong(28, when=lambda effect: units.TIMER_PATH in str(effect))
    report = stand.keep()
    stand.machine.all_well()
    assert report.errors and stand.tree == before and not systemd.runs()
    assert replace(report, errors=()).done == ()
    assert stand.keep().done and systemd.runs()

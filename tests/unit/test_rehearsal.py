"""The rehearsal from outside: what is held against a change, what is not, and what the stage is told."""

from __future__ import annotations

from dataclasses import replace

import msgspec
import pytest

from mailseal.daemons import Service
from mailseal.errors import ApplyFailed, CommandTimeout
from mailseal.model import Command, FileWish
from mailseal.rehearsal import Rehearsals, StageAnswer, StageOrder, StageReport
from mailseal.services.base import Facts, Rehearsal, ServiceSettings
from mailseal.steps import Deploy, Put
from mailseal.system import Completed
from tests.support.daemon import DaemonAdapter, DaemonFacts
from tests.support.memory import Machine, MemorySystem

WELL = StageAnswer("daemon", "127.0.0.1:25", leaf="ab")
ILL = StageAnswer("daemon", "127.0.0.1:25", trouble="handshake: no")


class Able(DaemonAdapter):
    def rehearsal(self, facts: Facts) -> Rehearsal | None:
        return Rehearsal((), (), Command(("daemon", "-f")))


SERVICE = Service(Able(), DaemonFacts())


class Stand:
    """A machine whose stage answers one report after the other."""

    def __init__(self, *reports: StageReport | Completed | Exception) -> None:
        self.machine = Machine()
        self.machine.put("/etc/daemon.conf", "one\n")
        self.orders: list[StageOrder] = []
        self.reports = list(reports)
        self.machine.programs.on("unshare")(self._stage)

    def _stage(self, system: MemorySystem, argv: tuple[str, ...], stdin: bytes) -> Completed:
        self.orders.append(msgspec.json.decode(stdin, type=StageOrder))
        report = self.reports.pop(0)
        if isinstance(report, Exception):
            raise report
        if isinstance(report, Completed):
            return replace(report, argv=argv)
        return Completed(argv, 0, msgspec.json.encode(report).decode(), "")

    def rehearse(self) -> list[str]:
        system = MemorySystem(self.machine)
        rehearsals = Rehearsals(system, "/var/lib", (ServiceSettings("daemon"),), "mail", lambda line: None)
        wish = FileWish("/etc/daemon.conf", b"two\n")
        step = Deploy("a change", (Put(wish, system.files.state(wish.path)),), ("daemon",))
        return [finding.code for finding in rehearsals.rehearse(step, (SERVICE,))]


def report(*answers: StageAnswer) -> StageReport:
    return StageReport(list(answers))


def test_what_serves_passes() -> None:
    stand = Stand(report(WELL))
    assert stand.rehearse() == []
    (order,) = stand.orders
    assert (order.covers, [put.content for put in order.puts]) == (["/etc"], [b"two\n"])


def test_what_serves_without_the_change_and_twice_not_with_it_is_held_against_it() -> None:
    stand = Stand(report(ILL), report(WELL), report(ILL))
    with pytest.raises(ApplyFailed, match=r"127\.0\.0\.1:25") as caught:
        stand.rehearse()
    assert caught.value.reason == "handshake: no"
    assert [len(order.puts) for order in stand.orders] == [1, 0, 1]


@pytest.mark.parametrize(
    ("reports", "told"),
    [
        ((report(ILL), report(ILL)), []),  # it does not serve without the change either
        ((report(ILL), report()), []),  # a new endpoint: the proof after the switch is for that
        ((report(ILL), report(WELL), report(WELL)), []),  # it was only slow
        ((StageReport(impossible="no namespaces"),), ["not-rehearsed"]),
        ((report(ILL), StageReport(impossible="no namespaces")), ["not-rehearsed"]),
        ((Completed((), 1, "", "unshare: Operation not permitted"),), ["not-rehearsed"]),
        ((Completed((), 0, "nonsense", ""),), ["not-rehearsed"]),
        ((CommandTimeout("it did not end"),), ["not-rehearsed"]),
    ],
)
def test_what_cannot_be_held_against_it(reports: tuple[StageReport, ...], told: list[str]) -> None:
    stand = Stand(*reports)
    assert stand.rehearse() == told
    assert not stand.reports


def test_where_a_daemon_cannot_be_rehearsed_nothing_is_started() -> None:
    system = MemorySystem(Machine())
    rehearsals = Rehearsals(system, "/var/lib", (ServiceSettings("daemon"),), "mail", lambda line: None)
    unable = Service(DaemonAdapter(), DaemonFacts())
    assert rehearsals.rehearse(Deploy("a change", (), ("daemon",)), (unable,)) == ()

"""history.jsonl: what stands in it, when it is written, and what a crash leaves of it."""

from __future__ import annotations

import errno

import pytest

from mailseal.errors import ExitCode
from mailseal.history import MOST, Deed, Event, History, Line
from tests.support.memory import START, Killed, Machine, MemorySystem, PowerLoss
from tests.unit.telling.running import ROOT, codes, run
from tests.unit.test_reconcile import Stand, one_service

__all__ = ["one_service"]
pytestmark = pytest.mark.usefixtures("one_service")

PATH = f"{ROOT}/history.jsonl"


def lines(machine: Machine) -> list[Line]:
    return list(History(MemorySystem(machine), ROOT).lines())


def deeds(stand: Stand) -> list[tuple[Deed, int]]:
    return [(line.event, line.generation) for line in lines(stand.machine) if line.lineage]


def event(detail: str = "") -> Event:
    return Event(Deed.PRUNED, START, "mail", 1, detail=detail)


def test_a_first_run_and_a_renewal() -> None:
    stand = Stand()
    first = run(stand, "apply")
    assert deeds(stand) == [(Deed.ORDERED, 1), (Deed.DEPLOYED, 1), (Deed.PROVEN, 1)]
    stand.later(days=61)
    second = run(stand)
    assert deeds(stand)[3:] == [(Deed.ORDERED, 2), (Deed.DEPLOYED, 2), (Deed.PROVEN, 2)]
    told = lines(stand.machine)
    assert {line.run for line in told} == {first.id, second.id} and first.id < second.id
    assert {line.command for line in told} == {"apply", "renew"}
    ordered = told[0]
    generation = stand.reconciler().store.load("mail", 1)
    assert ordered.issuer == stand.directory and ordered.certificates[0].serial == (
        f"{generation.leaves[0][1].serial:x}"
    )
    assert {one.fingerprint for one in ordered.certificates} == generation.fingerprints()
    assert MemorySystem(stand.machine).files.state(PATH).mode == 0o600


def test_a_run_with_nothing_to_do_writes_nothing() -> None:
    stand = Stand()
    run(stand)
    before = stand.machine.tree(PATH)
    assert run(stand).report.events == ()
    assert stand.machine.tree(PATH) == before


def test_what_was_taken_back_stands_there_with_the_reason() -> None:
    stand = Stand()
    run(stand)
    stand.later(days=61)
    stand.poisons(2)
    run(stand)
    last = lines(stand.machine)[-1]
    assert (last.event, last.lineage, last.generation) == (Deed.TAKEN_BACK, "mail", 2)
    assert "daemon" in last.detail


def test_an_order_that_failed_stands_there_too() -> None:
    stand = Stand()
    run(stand)
    stand.later(days=61)
    stand.machine.world.web = None
    run(stand)
    last = lines(stand.machine)[-1]
    assert (last.event, last.lineage, last.generation) == (Deed.FAILED, "mail", 0)


def test_what_was_done_before_a_kill_stands_there() -> None:
    stand = Stand()
    stand.machine.goes_wrong(Killed(), when=lambda effect: effect.subject.endswith("/current"))
    with stand.machine.death():
        run(stand)
    assert deeds(stand) == [(Deed.ORDERED, 1)]
    stand.machine.all_well()
    assert run(stand).report.exit_code < ExitCode.USAGE
    assert (Deed.RECOVERED, 0) in [(line.event, line.generation) for line in lines(stand.machine)]
    assert deeds(stand)[-2:] == [(Deed.DEPLOYED, 1), (Deed.PROVEN, 1)]


def test_a_disk_without_room_stops_no_work() -> None:
    stand = Stand()
    stand.machine.goes_wrong(
        errno.ENOSPC, when=lambda effect: effect.subject.endswith("/history.jsonl"), lasting=True
    )
    came = run(stand)
    assert stand.serves == 1
    assert came.report.exit_code is ExitCode.FINDINGS and codes(came) == {"history-not-written"}


def test_a_torn_line_is_left_out_and_the_next_begins_anew() -> None:
    machine = Machine()
    machine.put_directory(ROOT)
    history = History(MemorySystem(machine), ROOT)
    history.add("1", "renew", [event("one"), event("two")])
    whole = machine.tree(PATH)[PATH].content
    machine.put(PATH, whole[:-20], mode=0o600)
    History(MemorySystem(machine), ROOT).add("2", "renew", [event("three")])
    assert [line.detail for line in lines(machine)] == ["one", "three"]


def test_whatever_a_power_loss_leaves_can_be_read_and_written_on() -> None:
    machine = Machine()
    machine.put_directory(ROOT)
    History(MemorySystem(machine), ROOT).add("1", "renew", [event("one")])
    machine.goes_wrong(PowerLoss(), when=lambda effect: effect.kind == "write", torn=True)
    with machine.death():
        History(MemorySystem(machine), ROOT).add("2", "renew", [event("two")])
    machine.all_well()
    states = 0
    for after in machine.power_losses():
        states += 1
        History(MemorySystem(after), ROOT).add("3", "renew", [event("three")])
        told = [line.detail for line in lines(after)]
        assert told in (["one", "three"], ["one", "two", "three"])
    assert states


def test_it_is_turned_over_when_it_has_grown() -> None:
    machine = Machine()
    machine.put_directory(ROOT)
    machine.put(PATH, b"{}\n" * (MOST // 3 + 1), mode=0o600)
    History(MemorySystem(machine), ROOT).add("1", "renew", [event("one")])
    assert machine.tree(f"{PATH}.1")[f"{PATH}.1"].content.startswith(b"{}")
    assert [line.detail for line in lines(machine)] == ["one"]

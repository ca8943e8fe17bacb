"""One run, and everybody who is told of it."""

from __future__ import annotations

import errno
import stat

import pytest

from mailseal import runs
from mailseal.cli.main import main
from mailseal.config.schema import Config
from mailseal.errors import ExitCode, Locked, SystemFault
from mailseal.model import Finding, Severity
from mailseal.report import Report
from mailseal.runs import Run, carry_out
from mailseal.system import System
from mailseal.telling.last_run import load
from tests.support.memory import MemorySystem
from tests.unit.telling.running import ROOT, run
from tests.unit.test_reconcile import Stand, one_service

__all__ = ["one_service"]
pytestmark = pytest.mark.usefixtures("one_service")

heard: list[Run] = []


def hears(system: System, config: Config, run: Run) -> tuple[Finding, ...]:
    heard.append(run)
    return ()


def finds(system: System, config: Config, run: Run) -> tuple[Finding, ...]:
    return (Finding("hook-failed", Severity.WARNING, "it", "said no"),)


def faults(system: System, config: Config, run: Run) -> tuple[Finding, ...]:
    raise SystemFault("Cannot tell", reason="no way", errno=errno.EIO, next_command="mend it")


def breaks(system: System, config: Config, run: Run) -> tuple[Finding, ...]:
    raise ZeroDivisionError("a fault of ours")


@pytest.fixture(autouse=True)
def tellers(monkeypatch: pytest.MonkeyPatch) -> None:
    heard.clear()
    names = [f"tests.unit.telling.test_runs:{name}" for name in ("finds", "faults", "breaks", "hears")]
    monkeypatch.setattr(runs, "TELLERS", (*names, "mailseal.telling.last_run:tell"))


def test_tellers_stop_nobody_and_are_findings_of_the_run() -> None:
    came = run(Stand())
    (told,) = heard
    assert [finding.code for finding in told.report.findings] == [
        "hook-failed",
        "telling-failed",
        "telling-failed",
    ]
    assert [f.seen for f in told.report.findings[1:]] == [
        "Cannot tell: no way",
        "ZeroDivisionError: a fault of ours",
    ]
    assert came.report.exit_code is ExitCode.FINDINGS and not came.report.errors


def test_what_the_work_raises_is_told_and_raised() -> None:
    system = MemorySystem()

    def work() -> Report:
        raise SystemFault("It broke", errno=errno.EIO)

    with pytest.raises(SystemFault, match="It broke"):
        carry_out(system, Config(), "renew", work, lambda line: None)
    (told,) = heard
    assert str(told.report.errors[0]) == "It broke" and told.report.exit_code is ExitCode.FAILED
    assert told.command == "renew" and not told.interrupted


def test_an_interrupted_run_is_told_as_that() -> None:
    def work() -> Report:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        carry_out(MemorySystem(), Config(), "apply", work, lambda line: None)
    assert [one.interrupted for one in heard] == [True]


def test_a_run_that_found_another_at_work_tells_nobody() -> None:
    def work() -> Report:
        raise Locked("Another mailseal is at work")

    with pytest.raises(Locked):
        carry_out(MemorySystem(), Config(), "renew", work, lambda line: None)
    assert heard == []


def test_the_last_run_can_be_read_back() -> None:
    stand = Stand()
    first = run(stand, "apply")
    system = MemorySystem(stand.machine)
    record = load(system, stand.config())
    assert record is not None
    assert (record.run, record.command, record.exit_status) == (first.id, "apply", 1)
    assert (record.began, record.ended, record.succeeded) == (first.began, first.ended, first.ended)
    assert record.done == first.report.done and "it: said no [hook-failed]" in record.findings
    live = stand.reconciler().store.load("mail", 1)
    assert record.next is not None and first.ended < record.next < live.not_after
    found = system.files.stat(f"{ROOT}/last-run.json")
    assert found is not None and stat.filemode(found.mode) == "?rw-------"
    stand.later(days=61)
    stand.poisons(2)
    run(stand)
    again = load(system, stand.config())
    assert again is not None and again.exit_status == 3 and again.succeeded == first.ended
    assert again.errors and "Taken back" in again.errors[0]


def test_a_fault_of_ours_is_told_too() -> None:
    def work() -> Report:
        raise ZeroDivisionError("by us")

    with pytest.raises(ZeroDivisionError):
        carry_out(MemorySystem(), Config(), "renew", work, lambda line: None)
    assert "A fault of mailseal itself: ZeroDivisionError" in str(heard[0].report.errors[0])


def interrupts(system: System, config: Config, run: Run) -> tuple[Finding, ...]:
    raise KeyboardInterrupt


def test_an_interrupt_ends_one_teller_and_the_rest_hear_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    names = [f"tests.unit.telling.test_runs:{name}" for name in ("interrupts", "hears")]
    monkeypatch.setattr(runs, "TELLERS", names)
    with pytest.raises(KeyboardInterrupt):
        carry_out(MemorySystem(), Config(), "renew", Report, lambda line: None)
    assert [one.interrupted for one in heard] == [True]
    monkeypatch.setattr(runs, "TELLERS", (names[0], *names))
    with pytest.raises(KeyboardInterrupt):
        carry_out(MemorySystem(), Config(), "renew", Report, lambda line: None)
    assert len(heard) == 1, "a second one ends all"


def test_a_timer_with_a_configuration_that_cannot_be_followed_is_told_of(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    names = [f"tests.unit.telling.test_runs:{name}" for name in ("hears",)]
    monkeypatch.setattr(runs, "TELLERS", (*names, "mailseal.telling.remembered:tell"))
    stand = Stand()
    run(stand)
    heard.clear()
    stand.machine.put("/etc/mailseal/mailseal.toml", "[acme]\ncontakt = []\n")
    before = stand.machine.tree(ROOT)
    assert main(["renew"], system=MemorySystem(stand.machine)) == ExitCode.USAGE
    (told,) = heard
    assert "contakt" in told.report.errors[0].reason and told.command == "renew"
    assert stand.machine.tree(ROOT) == before, "what was kept stays until another can be followed"
    assert main(["apply"], system=MemorySystem(stand.machine)) == ExitCode.USAGE
    assert len(heard) == 1, "a person sees it"


def test_a_damaged_record_is_none() -> None:
    stand = Stand()
    run(stand)
    stand.machine.put(f"{ROOT}/last-run.json", '{"run": 1', mode=0o600)
    assert load(MemorySystem(stand.machine), stand.config()) is None
    run(stand)
    assert load(MemorySystem(stand.machine), stand.config()) is not None

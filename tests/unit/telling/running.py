"""Whole runs in memory, told of as a command would have them told."""

from __future__ import annotations

from mailseal.diary import Diary
from mailseal.report import Report
from mailseal.runs import Run, carry_out
from tests.support.memory import MemorySystem
from tests.unit.test_reconcile import Stand

ROOT = "/var/lib/mailseal"


def run(stand: Stand, command: str = "renew") -> Run:
    """What `mailseal renew` (or apply) does on the machine."""
    system, config = MemorySystem(stand.machine), stand.config()
    diary = Diary(system, config, command)

    def work() -> Report:
        return stand.reconciler(diary).run(insist=command == "apply")

    return carry_out(system, config, command, work, stand.said.append, diary=diary)


def codes(run: Run) -> set[str]:
    """The codes of its findings."""
    return {finding.code for finding in run.report.findings}

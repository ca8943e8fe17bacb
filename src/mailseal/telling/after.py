"""The hooks after a run that changed or failed something (`mailseal.hooks`): they are told what, and run once.

They run when mailseal's lock is free again, so that a hook may call `mailseal
status`, `check`, or any other command. One that fails keeps no other from
running; nothing is taken back for it.
"""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from mailseal.config.schema import Config
from mailseal.diary import described, unwritten
from mailseal.errors import MailsealError
from mailseal.history import Deed, Event, History
from mailseal.hooks import Lineage, Told, run_all
from mailseal.model import Finding, Severity
from mailseal.report import Report
from mailseal.runs import Run
from mailseal.system import System

_QUIET = frozenset({Deed.PROVEN})  # says something of a change, and is none
_FAILURES = frozenset({Deed.FAILED, Deed.TAKEN_BACK, Deed.HOOK_FAILED})


def tell(system: System, config: Config, run: Run) -> tuple[Finding, ...]:
    """Runs them where there is something to tell; findings of those that failed."""
    if not run.report.errors and all(event.deed in _QUIET for event in run.report.events):
        return ()
    ran = run_all(system, config.hooks, lambda: _told(config, run), "after")
    now = system.clock.now()
    events = [
        Event(Deed.HOOK_FAILED, now, detail=f"{f.subject}: {f.seen}") for f in ran.findings if _wrong(f)
    ]
    history = History(system, config.state.directory)
    try:
        history.add(run.id, run.command, events)
    except MailsealError as fault:
        return (*ran.findings, unwritten(history.path, fault))
    return ran.findings


def _wrong(finding: Finding) -> bool:
    return finding.severity >= Severity.WARNING


def _told(config: Config, run: Run) -> Told:
    report = run.report
    return Told(
        "after",
        run.command,
        run.id,
        run.began,
        tuple(_lineages(config, report)),
        report.done,
        run.ended,
        int(report.exit_code),
        report.waits,
        tuple(" ".join(error.lines()) for error in report.errors),
        tuple(
            {"code": f.code, "severity": f.severity.word, "subject": f.subject, "seen": f.seen}
            for f in report.findings
            if _wrong(f)
        ),
    )


def _lineages(config: Config, report: Report) -> Iterator[Lineage]:
    """Every lineage that something happened to, in the order of the first event."""
    events: dict[str, list[Event]] = {}
    for event in report.events:
        if event.lineage:
            events.setdefault(event.lineage, []).append(event)
    for one in described(config, events, report.lineages):
        done = dict.fromkeys(e.deed.value for e in events[one.name] if e.deed not in _FAILURES)
        failures = [event.detail for event in events[one.name] if event.deed in _FAILURES]
        yield msgspec.structs.replace(one, done=tuple(done), failed=failures[-1] if failures else "")

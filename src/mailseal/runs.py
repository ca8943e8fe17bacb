"""One run of mailseal that may change something: the work, and then everybody who tells of it.

A command that changes something hands its work to `carry_out`. When the work
has ended, well or not, each teller is given the whole `Run` in turn: hooks,
notification, heartbeat, metrics, the record of the last run. Tellers stand in a table and are imported
on use; each is a function

    tell(system: System, config: Config, run: Run) -> tuple[Finding, ...]

What a teller returns, and what it raises, becomes a finding of the run, which
the tellers after it and the exit status see. Tellers run without mailseal's
lock, never stop each other, and never change what the work came to. A run that
found another mailseal at work is that other's to tell of.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime
from importlib import import_module

from mailseal.config.schema import Config
from mailseal.daemons import Say
from mailseal.diary import Diary
from mailseal.errors import Locked, MailsealError
from mailseal.model import Finding, Severity
from mailseal.report import Report
from mailseal.system import System

TELLERS = (
    "mailseal.telling.after:tell",
    "mailseal.notify.telling:tell",
    "mailseal.notify.heartbeat:tell",
    "mailseal.telling.metrics:tell",
    "mailseal.telling.last_run:tell",
    "mailseal.telling.remembered:tell",
)

Teller = Callable[[System, Config, "Run"], tuple[Finding, ...]]


@dataclass(frozen=True, slots=True)
class Run:
    """One run of mailseal that may have changed something, ended. Times are UTC.

    `id` names it in the history; `command` is what was typed ("renew", "apply", "setup", "rollback", …).
    `interrupted`: somebody pressed Ctrl-C, or systemd stopped it.
    """

    id: str
    command: str
    began: datetime
    ended: datetime
    report: Report
    interrupted: bool = False


def carry_out(
    system: System,
    config: Config,
    command: str,
    work: Callable[[], Report],
    say: Say,
    *,
    diary: Diary | None = None,
) -> Run:
    """Does the work and has everybody told. Whatever the work raises is told too, and then raised again.

    `diary` is the one that the work writes into, where it does (`mailseal.engine.reconciler` takes one);
    events in the work's report that it does not hold are added to it.
    """
    diary = diary or Diary(system, config, command)
    try:
        report = work()
    except Locked:
        raise
    except MailsealError as error:
        _told(system, config, _ended(diary, Report(errors=(error,))), say)
        raise
    except Exception as error:  # a fault of ours, which a timer would meet unseen again and again
        fault = MailsealError(f"A fault of mailseal itself: {type(error).__name__}: {error}")
        _told(system, config, _ended(diary, Report(errors=(fault,))), say)
        raise
    except KeyboardInterrupt:
        stopped = Report(errors=(MailsealError(f"mailseal {command} was interrupted"),))
        _told(system, config, replace(_ended(diary, stopped), interrupted=True), say)
        raise
    diary.note(*(event for event in report.events if event not in diary.events))
    return _told(system, config, _ended(diary, report), say)


def not_begun(system: System, config: Config, command: str, error: MailsealError, say: Say) -> None:
    """Has everybody told of a run that could not even begin; the caller raises the error."""
    _told(system, config, _ended(Diary(system, config, command), Report(errors=(error,))), say)


def _ended(diary: Diary, report: Report) -> Run:
    whole = replace(report, events=diary.events, findings=(*report.findings, *diary.findings))
    return Run(diary.run, diary.command, diary.began, diary.now, whole)


def _told(system: System, config: Config, run: Run, say: Say) -> Run:
    """The run after every teller, with what they found. Ctrl-C ends the teller that it meets, then the run."""
    stopped: KeyboardInterrupt | None = None
    for target in TELLERS:
        found: tuple[Finding, ...] = ()
        try:
            found = _teller(target)(system, config, run)
        except KeyboardInterrupt as interrupt:
            if stopped is not None:
                raise
            stopped, run = interrupt, replace(run, interrupted=True)
        except Exception as error:  # a teller that fails is told of like everything else; it stops nobody
            found = (_failed(target, error),)
        run = replace(run, report=replace(run.report, findings=(*run.report.findings, *found)))
        for finding in found:
            if finding.severity >= Severity.WARNING:
                say(f"{finding.subject}: {finding.seen}")
    if stopped is not None:
        raise stopped
    return run


def _teller(target: str) -> Teller:
    module, _, name = target.partition(":")
    teller: Teller = getattr(import_module(module), name)
    return teller


def _failed(target: str, error: Exception) -> Finding:
    return Finding(
        "telling-failed",
        Severity.WARNING,
        target.partition(":")[0].rpartition(".")[2],
        seen=str(error) if isinstance(error, MailsealError) else f"{type(error).__name__}: {error}",
        expected="that everybody who is to hear of a run does",
        why="What the run did stands all the same; somebody did not hear of it.",
        mend=error.next_command if isinstance(error, MailsealError) else "mailseal apply --debug",
    )

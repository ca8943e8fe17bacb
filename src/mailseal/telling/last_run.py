"""`last-run.json`: what the last run was, for `mailseal status` and whoever looks later.

    <state>/last-run.json    0600, replaced whole after every run

It also carries from run to run when one last succeeded. A run succeeded when
nothing failed and no endpoint is in error; what must wait is no failure.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import TYPE_CHECKING

import msgspec

from mailseal.config.schema import Config
from mailseal.errors import ExitCode, MailsealError
from mailseal.model import Finding, Severity, worst
from mailseal.observe import Lineage
from mailseal.renewal import renewal_time
from mailseal.system import System
from mailseal.unreadable import UNREADABLE

if TYPE_CHECKING:  # `mailseal status` reads the record, and waits for none of the heavy libraries
    from mailseal.report import Report
    from mailseal.runs import Run

_MOST = 200  # lines of each kind: a memory, not an archive (history.jsonl is that)
_READ = 4_194_304
_INTERRUPTED = 130  # 128 + SIGINT, as a shell reports it


class LastRun(msgspec.Struct, frozen=True, omit_defaults=True):
    """One run, ended. Times are UTC; `done`, `waits`, `errors` and `findings` are sentences.

    `next`: the earliest instant at which something of what is known now comes due; None where nothing does.
    `succeeded`: when a run last succeeded, this one or an earlier; None while none has.
    """

    run: str
    command: str
    began: datetime
    ended: datetime
    exit_status: int
    interrupted: bool = False
    done: tuple[str, ...] = ()
    waits: tuple[str, ...] = ()
    errors: tuple[str, ...] = ()
    findings: tuple[str, ...] = ()
    next: datetime | None = None
    succeeded: datetime | None = None


def tell(system: System, config: Config, run: Run) -> tuple[Finding, ...]:
    """Replaces the record. A machine that has no state directory (yet) gets none."""
    if system.files.stat(config.state.directory) is None:
        return ()
    record = of(run, load(system, config))
    system.files.replace(_path(config), msgspec.json.format(msgspec.json.encode(record)), mode=0o600)
    return ()


def load(system: System, config: Config) -> LastRun | None:
    """The record; None where there is none, or none that can be read."""
    if system.files.stat(_path(config)) is None:
        return None
    try:
        return msgspec.json.decode(system.files.read(_path(config), _READ), type=LastRun)
    except (*UNREADABLE, MailsealError):
        return None


def of(run: Run, earlier: LastRun | None) -> LastRun:
    """The record of a run that followed an earlier one."""
    report = run.report
    told = [f"{f.subject}: {f.seen} [{f.code}]" for f in report.findings if f.severity >= Severity.WARNING]
    return LastRun(
        run.id,
        run.command,
        run.began,
        run.ended,
        _INTERRUPTED if run.interrupted else int(report.exit_code),
        run.interrupted,
        report.done[:_MOST],
        report.waits[:_MOST],
        tuple(str(error) for error in report.errors[:_MOST]),
        tuple(told[:_MOST]),
        next_instant(report.lineages, run.ended),
        run.ended if succeeded(report) else earlier.succeeded if earlier else None,
    )


def succeeded(report: Report) -> bool:
    """Whether nothing failed, and every endpoint that was asked is well."""
    failed = any(error.exit_code is not ExitCode.WAITING for error in report.errors)
    return not failed and worst(report.findings) < Severity.ERROR


def next_instant(lineages: Iterable[Lineage], now: datetime) -> datetime | None:
    """The earliest instant in the future at which a certificate is due or a pause is over."""
    return min((at for lineage in lineages for at in _instants(lineage) if at > now), default=None)


def _instants(lineage: Lineage) -> Iterator[datetime]:
    state = lineage.state
    if lineage.target is not None:
        yield renewal_time(lineage.target, state.renewal_instant(lineage.target.fingerprints())).at
    for pause in (state.failure, state.deployment):
        if pause is not None:
            yield pause.again
    yield from (rejection.again for rejection in state.rejected if not rejection.unusable)


def _path(config: Config) -> str:
    return f"{config.state.directory}/last-run.json"

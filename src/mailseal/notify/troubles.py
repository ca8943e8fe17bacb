"""What is wrong, from a run's report. Pure.

A trouble is named by what it is about (a lineage, a finding's subject, or
nothing: the machine) and its kind, so that a second certificate that fails is
another trouble than the first. It lasts over runs that only waited: an order
that failed is tried again after a pause, and until it succeeds what failed is
read from the lineage's state.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

from mailseal.errors import ExitCode, MailsealError
from mailseal.model import Finding, Generation, Severity
from mailseal.observe import Lineage
from mailseal.renewal import renewal_time
from mailseal.report import Report
from mailseal.stores.state import Rejection

ORDER = "order"
DEPLOYMENT = "deployment"
EXPIRING = "expiring"
EXPECTED = "Expected: "
PASSING = frozenset({"hook-failed", "hook-refused"})  # that a later run does not find them mends nothing
LATE = 6  # a certificate that is due and has less than 1/6 of its life left was not renewed in time

Level = Literal["error", "warning", "none"]
_LEVELS = {"error": Severity.ERROR, "warning": Severity.WARNING}


@dataclass(frozen=True, slots=True)
class Life:
    """How long a certificate that is served lasts: its expiry (UTC) and its whole lifetime."""

    expires: datetime
    length: timedelta

    @classmethod
    def of(cls, generation: Generation | None) -> Life | None:
        if generation is None:
            return None
        return cls(generation.not_after, generation.not_after - generation.not_before)


@dataclass(frozen=True, slots=True)
class Trouble:
    """Something that is wrong: what failed, why, in what state the machine is, what to type.

    `about` is a lineage's name where `of_lineage`, else a finding's subject or
    empty. `life` is the certificate that is at stake, None where none is;
    `again` when mailseal tries again by itself, where it knows.
    """

    about: str
    kind: str
    what: str
    why: str = ""
    state: str = ""
    mend: str = ""
    names: tuple[str, ...] = ()
    life: Life | None = None
    again: datetime | None = None
    of_lineage: bool = False

    @property
    def key(self) -> tuple[str, str]:
        return (self.about, self.kind)


def of_report(report: Report, level: Level, now: datetime, least: Life | None) -> tuple[Trouble, ...]:
    """Everything that is wrong after a run; `least` is the certificate that expires first, where the report has none.

    The gravest kind first: lineages, then the machine, then findings.
    """
    errors = {one.step.spec.name: one.error for one in report.issued if one.error is not None}
    found: list[Trouble] = []
    told = {id(error) for error in errors.values()}
    for lineage in report.lineages:
        found.extend(_of_lineage(lineage, errors.get(lineage.name), report, told, now))
    lives = [life for lineage in report.lineages if (life := Life.of(live(lineage))) is not None]
    first = min(lives, key=lambda life: life.expires, default=least)
    for error in report.errors:
        if id(error) not in told and error.exit_code is not ExitCode.WAITING:
            found.append(_of_error("", type(error).__name__, error, first))
    found.extend(_of_finding(finding) for finding in report.findings if _counts(finding, level))
    unique: dict[tuple[str, str], Trouble] = {}
    for trouble in found:
        unique.setdefault(trouble.key, trouble)
    return tuple(unique.values())


def live(lineage: Lineage) -> Generation | None:
    """What is served of a lineage."""
    return lineage.generation(lineage.current)


def _of_lineage(
    lineage: Lineage, error: MailsealError | None, report: Report, told: set[int], now: datetime
) -> Iterator[Trouble]:
    served = live(lineage)
    rejections = _held_against(lineage)
    if (
        error is None
        and lineage.state.failure is None
        and not rejections
        and lineage.state.deployment is None
    ):
        if served is not None and _late(lineage, served, now):
            yield _expiring(lineage, served, report)
        return
    troubles = [
        trouble
        for trouble in (_order(lineage, error), _deployment(lineage, rejections, report, told))
        if trouble is not None
    ]
    if not troubles and served is not None and _late(lineage, served, now):
        troubles.append(_expiring(lineage, served, report))
    yield from troubles


def _order(lineage: Lineage, error: MailsealError | None) -> Trouble | None:
    """An order that failed in this run, or in an earlier one and was not made good since."""
    served, failure = live(lineage), lineage.state.failure
    if error is not None and error.exit_code is not ExitCode.WAITING:
        again = failure.again if failure else None
        return _of_error(lineage.name, ORDER, error, Life.of(served), lineage=lineage, again=again)
    newest = lineage.generations[-1] if lineage.generations else None
    if failure is None or (newest is not None and newest.issued_at > failure.at):
        return None
    return Trouble(
        lineage.name,
        ORDER,
        "The last order of a new certificate failed.",
        why=failure.reason,
        mend="mailseal apply",
        names=_names(served),
        life=Life.of(served),
        again=failure.again,
        of_lineage=True,
    )


def _deployment(
    lineage: Lineage, rejections: tuple[Rejection, ...], report: Report, told: set[int]
) -> Trouble | None:
    """What was issued and is not served, since it was refused or taken back; a change that was taken back."""
    served, failure = live(lineage), lineage.state.deployment
    reasons = {one.reason: one.again for one in rejections}
    if failure is not None:
        reasons[failure.reason] = failure.again
    for error in report.errors:
        reason = error.reason or error.message
        if id(error) not in told and reason in reasons:
            told.add(id(error))
            life = Life.of(served)
            return _of_error(lineage.name, DEPLOYMENT, error, life, lineage=lineage, again=reasons[reason])
    if rejections:
        number, reason, again = rejections[-1].number, rejections[-1].reason, rejections[-1].again
        what = f"Generation {number:04d} was issued and is not served, since it was refused or taken back."
    elif failure is not None and any(failure.reason in wait for wait in report.waits):
        reason, again = failure.reason, failure.again
        what = "The last change of the services' configuration was taken back."
    else:
        return None
    return Trouble(
        lineage.name,
        DEPLOYMENT,
        what,
        why=reason,
        state="What was served before is served on.",
        mend="mailseal apply",
        names=_names(served),
        life=Life.of(served),
        again=again,
        of_lineage=True,
    )


def _expiring(lineage: Lineage, served: Generation, report: Report) -> Trouble:
    waits = [wait for wait in report.waits if wait.startswith(f"{lineage.name}:")]
    return Trouble(
        lineage.name,
        EXPIRING,
        "The certificate is due and was not renewed.",
        why=" ".join(waits)
        or "No order failed; the last runs may have been missed, or something holds it back.",
        mend="mailseal apply",
        names=_names(served),
        life=Life.of(served),
        of_lineage=True,
    )


def _of_error(
    about: str,
    kind: str,
    error: MailsealError,
    life: Life | None,
    *,
    lineage: Lineage | None = None,
    again: datetime | None = None,
) -> Trouble:
    return Trouble(
        about,
        kind,
        error.message,
        why=error.reason,
        state=error.state,
        mend=error.next_command or "mailseal apply",
        names=_names(live(lineage)) if lineage is not None else (),
        life=life,
        again=again,
        of_lineage=lineage is not None,
    )


def _of_finding(finding: Finding) -> Trouble:
    return Trouble(
        finding.subject,
        finding.code,
        f"{finding.subject}: {finding.seen}",
        why=finding.why,
        state=f"{EXPECTED}{finding.expected}" if finding.expected else "",
        mend=finding.mend,
    )


def _counts(finding: Finding, level: Level) -> bool:
    if finding.code in PASSING:
        return True
    return level in _LEVELS and finding.severity >= _LEVELS[level]


def _held_against(lineage: Lineage) -> tuple[Rejection, ...]:
    """Of newer generations than the live one, and of the live one if its files are damaged; none after a rollback."""
    if lineage.state.pin is not None and lineage.state.pin.number == lineage.current:
        return ()
    current = lineage.current or 0
    return tuple(
        one
        for one in lineage.state.rejected
        if one.number > current or (one.number == current and one.unusable)
    )


def _late(lineage: Lineage, served: Generation, now: datetime) -> bool:
    length = served.not_after - served.not_before
    if now < served.not_after - length / LATE:
        return False
    return now >= renewal_time(served, lineage.state.renewal_instant(served.fingerprints())).at


def _names(generation: Generation | None) -> tuple[str, ...]:
    if generation is None:
        return ()
    found = generation.leaves[0][1].identifiers
    return tuple(identifier.unicode for identifier in found)

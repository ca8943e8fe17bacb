"""Rate limits: which one a refusal is about, and until when (RFC 8555 section 6.6).

A server that has had enough says `rateLimited` with 429, or 503, and should
send Retry-After. Which limit it is stands in the problem's detail only, in
words of its own; Let's Encrypt's end in "retry after 2026-11-24 07:00:00 UTC".
What is read here is bounded: a date that lies years ahead, by a mistake or a
wrong clock, must not keep a certificate from being renewed for years.

Scopes say what else the same limit stops: `everything` at this CA, an account's
`orders`, the names below a `domain`, a single `name`, or only the very `set` of
names that was asked for. A renewal that names its predecessor inside its window
(RFC 9773 section 5) is exempt from all but the first at Let's Encrypt.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Literal

from mailseal.acme.problems import AcmeProblem, Problem

Scope = Literal["everything", "orders", "domain", "name", "set"]

LONGEST_LIMIT = timedelta(days=31)
LONGEST_BUSY = timedelta(days=1)
UNTOLD = timedelta(hours=1)

_NAME = r"\"?(?P<subject>[A-Za-z0-9*_.:-]+[A-Za-z0-9])\"?"
_KNOWN: tuple[tuple[str, Scope, str], ...] = (
    (r"exact set of (?:identifiers|domains)", "set", "certificates for the same set of names"),
    (rf"failed authorizations[^\"]{{0,40}} for {_NAME}", "name", "failed validations of {subject}"),
    (r"failed (?:authorizations|validations)", "set", "failed validations"),
    (rf"certificates[^\"]{{0,40}} issued for:? {_NAME}", "domain", "certificates below {subject}"),
    (r"new orders|pending authorizations", "orders", "orders of this account"),
    (r"registrations|new accounts", "everything", "new accounts"),
    (r"requests|busy|rate limit for '?/|overload", "everything", "requests"),
)
_TIME = re.compile(
    r"(?:retry|try again) after (?P<date>\d{4}-\d\d-\d\d)[ T](?P<time>\d\d:\d\d:\d\d)",
    re.IGNORECASE,
)
_SPAN = r"(?:(?P<h>\d{1,5})h)?(?:(?P<m>\d{1,6})m)?(?:(?P<s>\d{1,7})(?:\.\d+)?s)?"
_WAIT = re.compile(rf"(?:retry|try again) (?:after|in) {_SPAN}(?![\d-])", re.IGNORECASE)
_WINDOW = re.compile(rf"\((?P<most>\d{{1,6}})\).{{0,200}}? in the last {_SPAN}", re.IGNORECASE | re.DOTALL)


@dataclass(frozen=True, slots=True)
class Limit:
    """A limit that was reached: what it counts, what else it stops, and until when (UTC).

    `busy`: no limit of this client's, but a server that has no time, and says when it expects to have some.
    """

    what: str
    scope: Scope
    subject: str
    until: datetime
    busy: bool = False


def limit_of(error: Exception, now: datetime) -> Limit | None:
    """The limit that a refusal tells of; None for one that is about something else."""
    if not isinstance(error, AcmeProblem):
        return None
    problem = next((p for p in (error.problem, *error.subproblems) if p.kind == "rateLimited"), None)
    if problem is None and error.status != 429 and error.retry_after is None:
        return None
    if problem is None and error.status != 429:  # no time just now, and it says for how long
        wait = min(timedelta(seconds=error.retry_after or 0), LONGEST_BUSY)
        return Limit("it has no time", "everything", "", now + wait, busy=True)
    what, scope, subject = _which((problem or error.problem).said)
    return Limit(what, scope, subject, _until(problem or error.problem, error.retry_after, now))


def wait_told(problem: Problem, now: datetime) -> float | None:
    """Seconds until the time that a rate limit's text tells; None where it tells none."""
    until = _told(problem.said, now) if problem.kind == "rateLimited" else None
    return None if until is None else max((until - now).total_seconds(), 0.0)


def _which(detail: str) -> tuple[str, Scope, str]:
    for pattern, scope, what in _KNOWN:
        match = re.search(pattern, detail, re.IGNORECASE)
        if match:
            subject = match.groupdict().get("subject", "").lower().removeprefix("*.")
            return what.format(subject=subject), scope, subject
    return "a limit of the CA", "set", ""


def _until(problem: Problem, retry_after: float | None, now: datetime) -> datetime:
    """By Retry-After, which no wrong clock of ours disturbs; else by the text; else by what is likely."""
    if retry_after is not None:
        return now + min(timedelta(seconds=retry_after), LONGEST_LIMIT)
    told = _told(problem.said, now)
    if told is not None:
        return max(min(told, now + LONGEST_LIMIT), now)
    window = _WINDOW.search(problem.said)
    if window is None:
        return now + UNTOLD
    # Such a limit refills evenly: one more after its span divided by what it allows.
    refill = _span(window) / max(int(window["most"]), 1)
    return now + min(max(refill, UNTOLD), LONGEST_LIMIT)


def _told(text: str, now: datetime) -> datetime | None:
    match = _TIME.search(text)
    if match is not None:
        try:
            return datetime.fromisoformat(f"{match['date']}T{match['time']}").replace(tzinfo=UTC)
        except ValueError:
            return None
    wait = _WAIT.search(text)
    if wait is not None and _span(wait):
        return now + min(_span(wait), LONGEST_LIMIT)
    return None


def _span(match: re.Match[str]) -> timedelta:
    hours, minutes, seconds = (int(match[unit] or 0) for unit in "hms")
    return timedelta(hours=hours, minutes=minutes, seconds=seconds)

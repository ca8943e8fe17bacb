"""Rate limits, as the texts of real CAs tell them and as hostile ones might."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailseal.acme.limits import LONGEST_BUSY, LONGEST_LIMIT, limit_of, wait_told
from mailseal.acme.problems import PREFIX, AcmeProblem, Problem
from mailseal.errors import NetworkFault

NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
HOUR = timedelta(hours=1)
SEE = ": see https://letsencrypt.org/docs/rate-limits/#new-certificates"


def refusal(
    detail: str, *, status: int = 429, kind: str = "rateLimited", retry_after: float | None = None
) -> AcmeProblem:
    problem = Problem(type=f"{PREFIX}{kind}" if kind else "about:blank", detail=detail, status=status)
    return AcmeProblem("the order", problem, status=status, retry_after=retry_after)


@pytest.mark.parametrize(
    ("detail", "what", "scope", "subject", "wait"),
    [
        (
            (
                'too many certificates (50) already issued for "example.org" in the last 168h0m0s, '
                f"retry after 2026-11-24 07:30:15 UTC{SEE}"
            ),
            "certificates below example.org",
            "domain",
            "example.org",
            timedelta(hours=19, minutes=30, seconds=15),
        ),
        (
            (
                "too many certificates (5) already issued for this exact set of identifiers in the last 168h0m0s, "
                f"retry after 2026-11-24 12:00:00 UTC{SEE}"
            ),
            "certificates for the same set of names",
            "set",
            "",
            24 * HOUR,
        ),
        (
            (
                'too many failed authorizations (5) for "mail.example.org" in the last 1h0m0s, '
                f"retry after 2026-11-23T12:11:00Z{SEE}"
            ),
            "failed validations of mail.example.org",
            "name",
            "mail.example.org",
            timedelta(minutes=11),
        ),
        (
            "too many new orders (300) from this account in the last 3h0m0s, retry after 2026-11-23 12:00:36 UTC",
            "orders of this account",
            "orders",
            "",
            timedelta(seconds=36),
        ),
        ("too many currently pending authorizations: 300", "orders of this account", "orders", "", HOUR),
        (
            "Error creating new order :: too many certificates already issued for: example.org: see …",
            "certificates below example.org",
            "domain",
            "example.org",
            HOUR,
        ),
        ("too many failed authorizations recently: see …", "failed validations", "set", "", HOUR),
        ("too many registrations for this IP: see …", "new accounts", "everything", "", HOUR),
        ("Your request rate is too high: too many requests", "requests", "everything", "", HOUR),
        ("Service busy; retry after 90s", "requests", "everything", "", timedelta(seconds=90)),
        ("slow down. Try again in 1h30m0s", "a limit of the CA", "set", "", 1.5 * HOUR),
        ("quota exceeded", "a limit of the CA", "set", "", HOUR),
        # No time told: one more after the span divided by what it allows.
        (
            'too many certificates (50) already issued for "example.org" in the last 168h0m0s',
            "certificates below example.org",
            "domain",
            "example.org",
            168 * HOUR / 50,
        ),
    ],
)
def test_what_is_limited_and_until_when(
    detail: str, what: str, scope: str, subject: str, wait: timedelta
) -> None:
    limit = limit_of(refusal(detail), NOW)
    assert limit is not None
    assert (limit.what, limit.scope, limit.subject) == (what, scope, subject)
    assert limit.until - NOW == wait


def test_retry_after_counts_more_than_a_text_that_our_clock_may_misread() -> None:
    error = refusal("too many new orders, retry after 2031-01-01 00:00:00 UTC", retry_after=60)
    limit = limit_of(error, NOW)
    assert limit is not None and limit.until == NOW + timedelta(minutes=1)


@pytest.mark.parametrize(
    ("error", "wait"),
    [
        (refusal("retry after 9999-12-31 23:59:59 UTC"), LONGEST_LIMIT),
        (refusal("retry after 1970-01-01 00:00:00 UTC"), timedelta()),
        (refusal("retry after 2026-13-45 99:99:99 UTC"), HOUR),
        (refusal("too many", retry_after=366 * 86400.0), LONGEST_LIMIT),
        (
            refusal("in maintenance", status=503, kind="serverInternal", retry_after=366 * 86400.0),
            LONGEST_BUSY,
        ),
        (refusal("too many (0) in the last 99999h0m0s"), LONGEST_LIMIT),
        (refusal("plain", kind="", status=429), HOUR),
    ],
)
def test_no_time_is_believed_without_bounds(error: AcmeProblem, wait: timedelta) -> None:
    limit = limit_of(error, NOW)
    assert limit is not None and limit.until - NOW == wait


@pytest.mark.parametrize(
    "error",
    [
        refusal("no such name", kind="rejectedIdentifier", status=400),
        refusal("fault of ours", kind="serverInternal", status=500),
        NetworkFault("No connection"),
        ValueError("else"),
    ],
)
def test_what_is_no_limit(error: Exception) -> None:
    assert limit_of(error, NOW) is None


def test_a_limit_inside_a_compound_problem() -> None:
    below = refusal('too many failed authorizations (5) for "a.example.org" in the last 1h0m0s').problem
    whole = Problem(type=f"{PREFIX}compound", subproblems=(below, Problem(type=f"{PREFIX}dns")))
    limit = limit_of(AcmeProblem("the order", whole, status=400), NOW)
    assert limit is not None and limit.subject == "a.example.org"


@given(
    st.text(max_size=400), st.sampled_from(["", "retry after ", "too many certificates (", "in the last "])
)
def test_any_text_is_read_within_bounds(text: str, start: str) -> None:
    limit = limit_of(refusal(start + text), NOW)
    assert limit is not None and NOW <= limit.until <= NOW + LONGEST_LIMIT
    wait = wait_told(Problem(type=f"{PREFIX}rateLimited", detail=start + text), NOW)
    assert wait is None or wait >= 0

"""When a certificate is renewed."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from mailseal.model import CertificateFacts, Generation, Identifier, KeyType
from mailseal.renewal import nearly_expired, renewal_time, retry_after

START = datetime(2026, 11, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)


def generation(lifetime: timedelta) -> Generation:
    facts = CertificateFacts(
        "00", "00", (Identifier("dns", "mail.example.org"),), "CA", 1, START, START + lifetime, "ecdsa"
    )
    return Generation("mail", 1, ((KeyType.ECDSA_P256, facts),), START, "https://ca.example/dir")


@pytest.mark.parametrize(
    ("lifetime", "after"),
    [
        (timedelta(days=90), timedelta(days=60)),
        (timedelta(days=45), timedelta(days=30)),
        (timedelta(hours=160), timedelta(hours=80)),
        (timedelta(minutes=10), timedelta(minutes=5)),
    ],
)
def test_without_a_suggestion_it_follows_the_lifetime(lifetime: timedelta, after: timedelta) -> None:
    assert renewal_time(generation(lifetime)).at == START + after


def test_the_cas_suggestion_is_followed() -> None:
    chosen = START + timedelta(days=20)
    found = renewal_time(generation(timedelta(days=90)), chosen)
    assert found.at == chosen
    assert "ARI" in found.why


def test_the_guard_stands_over_a_late_suggestion() -> None:
    late = START + timedelta(days=89)
    found = renewal_time(generation(timedelta(days=90)), late)
    assert found.at == START + timedelta(days=85.5)
    assert "1/20" in found.why


def test_nearly_expired_is_the_last_twentieth() -> None:
    short = generation(timedelta(hours=20))
    assert not nearly_expired(short, START + 18 * HOUR)
    assert nearly_expired(short, START + 19 * HOUR)
    assert nearly_expired(short, START + 30 * HOUR)


def test_pauses_grow_to_a_day_and_jitter_only_adds() -> None:
    assert [retry_after(n, 0.0) for n in (1, 2, 3, 4, 50)] == [
        timedelta(minutes=minutes) for minutes in (1, 10, 100, 1440, 1440)
    ]
    assert retry_after(1, 1.0) == timedelta(seconds=72)

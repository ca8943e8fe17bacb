"""When a certificate is renewed: a pure rule over its dates and what the CA suggested.

RFC 9773 (ARI): the CA suggests a window; one instant in it is drawn at random
once and kept with the certificate's ID, since an instant drawn at every look
never comes due. Without a suggestion the instant is 2/3 of the lifetime, 1/2
where the lifetime is under ten days. Over everything stands the expiry guard:
when 1/20 of the lifetime is left, the certificate is due whatever else says no.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from mailseal.model import Generation

SHORT_LIFETIME = timedelta(days=10)
GUARD = 20


@dataclass(frozen=True, slots=True)
class RenewalTime:
    """The instant (UTC) from which a generation is due, and why then."""

    at: datetime
    why: str


def renewal_time(generation: Generation, ari_instant: datetime | None = None) -> RenewalTime:
    """When this generation is to be renewed."""
    lifetime = generation.not_after - generation.not_before
    guard = generation.not_after - lifetime / GUARD
    if ari_instant is not None:
        if ari_instant < guard:
            return RenewalTime(ari_instant, "the CA suggests it (ARI)")
        return RenewalTime(guard, "1/20 of its lifetime is left, and the CA suggested a later time (ARI)")
    if lifetime < SHORT_LIFETIME:
        return RenewalTime(generation.not_before + lifetime / 2, "half of its lifetime has passed")
    return RenewalTime(generation.not_before + lifetime * 2 / 3, "two thirds of its lifetime have passed")


def nearly_expired(generation: Generation, now: datetime) -> bool:
    """Whether it is expired, or so close to it that nothing should go back to it."""
    lifetime = generation.not_after - generation.not_before
    return now >= generation.not_after - lifetime / GUARD


def lifetime(generation: Generation) -> timedelta:
    return generation.not_after - generation.not_before


def retry_after(attempts: int, jitter: float) -> timedelta:
    """How long to wait after that many failures in a row: 1, 10, 100 minutes, then a day.

    `jitter` in 0…1 adds up to a fifth.
    """
    minutes = (1, 10, 100)[attempts - 1] if attempts <= 3 else 24 * 60
    return timedelta(minutes=minutes * (1 + 0.2 * jitter))

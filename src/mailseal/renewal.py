"""When a certificate is renewed: a pure rule over its dates and what the CA suggested.

RFC 9773 (ARI): the CA suggests a window; one instant in it is drawn at random
once and kept with the certificate's ID, since an instant drawn at every look
never comes due. Without a suggestion the instant is 2/3 of the lifetime, 1/2
where the lifetime is under ten days. Over everything stands the expiry guard:
when 1/20 of the lifetime is left, the certificate is due whatever else says
no: a suggestion that lies later, and a pause of ours. A limit that the CA
itself named is not ours to break.

All pauses scale with the lifetime, so that the same rules serve certificates
of 90 days, of 6 days and of minutes.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from mailseal.model import Generation

SHORT_LIFETIME = timedelta(days=10)
GUARD = 20
LONGEST_PAUSE = 90  # of the lifetime: a day of 90
GUARDED_PAUSE = 1000  # of the lifetime: two hours of 90 days, ten minutes of six


@dataclass(frozen=True, slots=True)
class RenewalTime:
    """The instant (UTC) from which a generation is due, and why then."""

    at: datetime
    why: str


def renewal_time(
    generation: Generation, ari_instant: datetime | None = None, explained: str = ""
) -> RenewalTime:
    """When this generation is to be renewed; `explained` is the page on which the CA says why (`explanationURL`)."""
    life = lifetime(generation)
    guard = generation.not_after - life / GUARD
    see = f", see {explained}" if explained else ""
    if ari_instant is not None:
        if ari_instant < guard:
            return RenewalTime(ari_instant, f"the CA suggests it (ARI{see})")
        late = f"1/{GUARD} of its lifetime is left, and the CA suggested a later time (ARI{see})"
        return RenewalTime(guard, late)
    if life < SHORT_LIFETIME:
        return RenewalTime(generation.not_before + life / 2, "half of its lifetime has passed")
    return RenewalTime(generation.not_before + life * 2 / 3, "two thirds of its lifetime have passed")


def lifetime(generation: Generation) -> timedelta:
    """From its first moment to its last; of several key types, what all of them share."""
    return generation.not_after - generation.not_before


def nearly_expired(generation: Generation, now: datetime) -> bool:
    """Whether it is expired, or so close to it that nothing should go back to it, and no pause of ours holds."""
    return now >= generation.not_after - lifetime(generation) / GUARD


def retry_after(attempts: int, jitter: float, life: timedelta | None = None) -> timedelta:
    """How long to wait after that many failures in a row: 1, 10, 100 minutes, then a day.

    Never longer than 1/90 of `life`, the lifetime of the certificate that is to be replaced. `jitter` in 0…1
    adds up to a fifth.
    """
    minutes = (1, 10, 100)[max(attempts, 1) - 1] if attempts <= 3 else 24 * 60
    pause = timedelta(minutes=minutes)
    if life is not None:
        pause = min(pause, life / LONGEST_PAUSE)
    return pause * (1 + 0.2 * jitter)


def guarded(failed_at: datetime, again: datetime, live: Generation | None, now: datetime) -> datetime:
    """The end of a pause of ours that began at `failed_at`: cut short where the live certificate nearly expires."""
    if live is None or not nearly_expired(live, now):
        return again
    return min(again, failed_at + lifetime(live) / GUARDED_PAUSE)


def ask_again_after(life: timedelta) -> timedelta:
    """When a CA that gave no renewal information is asked again, where it does not say itself.

    Six hours (RFC 9773 section 4.3.3), or a twentieth of a lifetime that is short; never under a minute.
    """
    return max(min(timedelta(hours=6), life / GUARD), timedelta(minutes=1))

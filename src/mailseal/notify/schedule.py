"""When a trouble is told. Pure.

* At its first appearance.
* Again after a day, then after a week each: both scaled to the certificate's
  lifetime (a day and a week of 90 days), within bounds that a person can bear.
* At once when the certificate has 1/6 of its life left, when it has 1/12, and
  when it has expired; in between every day.
* Once when it is mended. What comes back within a day of that is the same
  trouble still, told when it would have been told next: what comes and goes
  with every run is no news at every run.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from enum import IntEnum

from mailseal.notify.troubles import Life

_DAY = timedelta(days=1)
_USUAL = 90  # days of life that the pauses are made for
SHORTEST, LONGEST = timedelta(hours=6), _DAY  # of the pause after the first telling, and of all urgent ones
SHORTEST_WEEK, LONGEST_WEEK = timedelta(hours=12), timedelta(days=7)  # of those that follow
RETURNS = _DAY


class Urgency(IntEnum):
    """How near the expiry is."""

    NORMAL = 0
    URGENT = 1  # 1/6 of the lifetime is left
    LAST = 2  # 1/12
    EXPIRED = 3


def urgency(life: Life | None, now: datetime) -> Urgency:
    """How urgent a trouble is that keeps this certificate from being renewed."""
    if life is None:
        return Urgency.NORMAL
    left = life.expires - now
    if left <= timedelta():
        return Urgency.EXPIRED
    if left <= life.length / 12:
        return Urgency.LAST
    return Urgency.URGENT if left <= life.length / 6 else Urgency.NORMAL


def pause(times: int, urgent: Urgency, life: Life | None) -> timedelta:
    """How long after the `times`th telling the next is due."""
    length = life.length if life is not None else _DAY * _USUAL
    day = min(max(length / _USUAL, SHORTEST), LONGEST)
    if times <= 1 or urgent > Urgency.NORMAL:
        return day
    return min(max(length * 7 / _USUAL, SHORTEST_WEEK), LONGEST_WEEK)


def due(told: datetime, times: int, told_as: Urgency, life: Life | None, now: datetime) -> bool:
    """Whether a trouble that was told `times` times, last at `told` and that urgently, is told again.

    A telling that lies in the future was a clock's error.
    """
    urgent = urgency(life, now)
    return urgent > told_as or not told <= now < told + pause(times, urgent, life)

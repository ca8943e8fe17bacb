"""How often mailseal looks: often enough for the shortest lifetime among the certificates held.

A CA that sends renewal information (RFC 9773) suggests a window whose width is
about a fiftieth of the lifetime: 43 hours of 90 days, 3.2 of 160 hours. A look
every hundredth of it meets each window twice, and 90-, 64- and 45-day
certificates are looked at every four hours all the same: that is how soon a
daemon that was not reloaded, or an edit that hid a certificate, is found.

An interval is one of a few that divide a day, an hour or a minute without
rest, so that calendar expressions of systemd and cron can say it. Pure.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta

PART = 100  # of the lifetime, from one look to the next
INTERVALS = (
    *(timedelta(seconds=n) for n in (10, 20, 30)),
    *(timedelta(minutes=n) for n in (1, 2, 5, 10, 15, 20, 30)),
    *(timedelta(hours=n) for n in (1, 2, 4)),
)
LONGEST = INTERVALS[-1]


def interval(lifetimes: Iterable[timedelta]) -> timedelta:
    """How long from one look to the next; the longest where no certificate is held."""
    most = min(lifetimes, default=LONGEST * PART) / PART
    return max((one for one in INTERVALS if one <= most), default=INTERVALS[0])


def words(every: timedelta) -> str:
    """The interval as a person says it: `4 hours`, `10 minutes`, `30 seconds`."""
    seconds = int(every.total_seconds())
    for unit, length in (("hour", 3600), ("minute", 60), ("second", 1)):
        if seconds % length == 0:
            count = seconds // length
            return f"{count} {unit}s" if count > 1 else unit
    raise ValueError(f"{every} is no whole number of seconds")


def calendar(every: timedelta, seed: int) -> str:
    """The interval as systemd.time(7) writes it; `seed` spreads machines. In UTC: no summer time moves a look."""
    seconds = int(every.total_seconds())
    hour, minute, second = _clock(seed % seconds)
    if seconds >= 3600:
        return f"*-*-* {hour}/{seconds // 3600}:{minute:02}:{second:02} UTC"
    if seconds >= 60:
        return f"*-*-* *:{minute}/{seconds // 60}:{second:02} UTC"
    return f"*-*-* *:*:{second}/{seconds} UTC"


def cron_times(every: timedelta, seed: int) -> str:
    """The five fields of crontab(5), which knows no seconds; `seed` spreads machines over the interval."""
    seconds = int(every.total_seconds())
    hour, minute, _ = _clock(seed % seconds)
    if seconds <= 60:
        return "* * * * *"
    if seconds < 3600:
        return f"{minute}-59/{seconds // 60} * * * *"
    hours = "*" if seconds == 3600 else ",".join(str(at) for at in range(hour, 24, seconds // 3600))
    return f"{minute} {hours} * * *"


def _clock(seconds: int) -> tuple[int, int, int]:
    return seconds // 3600, seconds // 60 % 60, seconds % 60

"""How the schedule stands, for `mailseal status`: who looks, how often, and when next."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from mailseal.schedule.interval import interval, words
from mailseal.schedule.place import look, timing
from mailseal.schedule.way import Schedule
from mailseal.system import System


@dataclass(frozen=True, slots=True)
class Standing:
    """The schedule as it stands. `by` is "systemd", "cron" or empty; times are UTC, None where nobody tells.

    `at_work`: a run that the timer started is under way. `trouble`: nobody looks though somebody should;
    `lacking`: nobody could on this machine.
    """

    by: str
    every: str
    last: datetime | None
    next: datetime | None
    at_work: bool
    trouble: str
    lacking: str


def standing(system: System, way: Schedule, lifetimes: Iterable[timedelta]) -> Standing:
    """Looks at timer and cron; `lifetimes` are those of the certificates held."""
    held = tuple(lifetimes)
    place, now = look(system), timing(system)
    lacking = place.lacking if way is Schedule.KEEP else ""
    trouble = ""
    if way is Schedule.KEEP and held and not now.by and not lacking:
        trouble = "Nobody looks for certificates to renew: the timer does not run."
    every = words(interval(held)) if now.by else ""
    return Standing(now.by, every, now.last, now.next, now.at_work, trouble, lacking)


def sentence(found: Standing) -> str:
    """Who looks, for the end of a setup."""
    if found.by:
        who = "systemd (mailseal.timer)" if found.by == "systemd" else "cron"
        return f"{who} looks every {found.every} whether it is due; mailseal status tells when next."
    why = f", since {found.lacking}" if found.lacking else ""
    return f"Nothing looks by itself{why}: have mailseal renew started every few hours."

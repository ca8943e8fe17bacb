"""How the schedule stands, for `mailseal status`: who looks and how often, when next, and what the last run did."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

import msgspec

from mailseal.errors import MailsealError
from mailseal.schedule.interval import interval, words
from mailseal.schedule.place import look, timing
from mailseal.schedule.way import Schedule
from mailseal.system import System


class LastRun(msgspec.Struct, frozen=True):
    """What `<state>/last-run.json` tells of the run that ended last; written by whoever carries out a run."""

    command: str
    ended: datetime
    exit_status: int = 0
    done: tuple[str, ...] = ()
    waits: tuple[str, ...] = ()
    errors: tuple[str, ...] = ()

    def describe(self) -> str:
        """What it did, in a sentence."""
        if self.errors:
            return f"failed: {self.errors[0]}"
        if self.done:
            return "; ".join(self.done)
        return f"waits: {self.waits[0]}" if self.waits else "nothing was due"


@dataclass(frozen=True, slots=True)
class Standing:
    """The schedule as it stands. `by` is "systemd", "cron" or empty; times are UTC, None where nobody tells.

    `trouble`: nobody looks though somebody should; `lacking`: nobody could on this machine.
    """

    by: str
    every: str
    last: datetime | None
    next: datetime | None
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
    return Standing(now.by, every, now.last, now.next, trouble, lacking)


def last_run(system: System, directory: str) -> LastRun | None:
    """The run that ended last; None where nobody wrote it down, or it cannot be read."""
    path = f"{directory.rstrip('/')}/last-run.json"
    try:
        if system.files.stat(path) is None:
            return None
        return msgspec.json.decode(system.files.read(path), type=LastRun)
    except (MailsealError, msgspec.DecodeError):
        return None

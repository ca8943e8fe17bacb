"""Whose the machine's timer is. Pure.

There is one timer on a machine, and it starts `mailseal renew` with the
configuration at its usual path. A configuration at a path of its own is a
private instance's, which leaves the timer alone: whoever made the instance
starts it.
"""

from __future__ import annotations

from enum import StrEnum

from mailseal.config.reader import DEFAULT_PATH
from mailseal.config.schema import Config


class Schedule(StrEnum):
    """What is to be done about the timer."""

    KEEP = "keep"
    REMOVE = "remove"
    LEAVE = "leave"


def way(config: Config, path: str) -> Schedule:
    """What a configuration that stands at this path wishes for."""
    if path != DEFAULT_PATH:
        return Schedule.LEAVE
    return Schedule.KEEP if config.timer.install else Schedule.REMOVE

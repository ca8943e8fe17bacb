"""The schedule's rules, for every lifetime: nobody is flooded, and nobody is left in the dark as expiry nears."""

from __future__ import annotations

from datetime import timedelta
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailseal.notify.schedule import LONGEST_WEEK, SHORTEST, Urgency, due, pause, urgency
from mailseal.notify.troubles import Life
from tests.support.troubled import DAY, HOUR, START

lives = st.timedeltas(min_value=timedelta(minutes=5), max_value=400 * DAY)


def tellings(length: timedelta, step: timedelta) -> list[tuple[timedelta, Urgency]]:
    """A renewal that fails from a third of the life before the expiry until two days after it: when it is told."""
    life = Life(START + length / 3, length)
    now, found = START, [(timedelta(), urgency(life, START))]
    last, as_, times = START, found[0][1], 1
    while now < life.expires + 2 * DAY:
        now += step
        if due(last, times, as_, life, now):
            last, as_, times = now, urgency(life, now), times + 1
            found.append((now - START, as_))
    return found


@given(lives, st.integers(min_value=1, max_value=5))
def test_for_every_lifetime(length: timedelta, a_step: int) -> None:
    step = max(length / 400, timedelta(minutes=1)) * a_step
    told = tellings(length, step)
    left = length / 3
    # Each level is told by the first run that meets it.
    for level, at in ((Urgency.URGENT, left - length / 6), (Urgency.LAST, left - length / 12)):
        assert any(at <= moment < at + step and as_ >= level for moment, as_ in told)
    assert any(left <= moment < left + step and as_ is Urgency.EXPIRED for moment, as_ in told)
    # Two of the same urgency are hours apart, and never more than a week and a run.
    for (one, urgent), (other, then) in pairwise(told):
        assert then > urgent or other - one >= SHORTEST
        assert other - one <= LONGEST_WEEK + step


@pytest.mark.parametrize(
    ("length", "first", "later"),
    [
        (90 * DAY, DAY, 7 * DAY),
        (45 * DAY, DAY / 2, 3.5 * DAY),
        (160 * HOUR, 6 * HOUR, 7 * 160 * HOUR / 90),
        (398 * DAY, DAY, 7 * DAY),
    ],
)
def test_the_pauses_fit_the_lifetime(length: timedelta, first: timedelta, later: timedelta) -> None:
    life = Life(START + length, length)
    assert pause(1, Urgency.NORMAL, life) == first
    assert abs(pause(2, Urgency.NORMAL, life) - later) < timedelta(seconds=1)
    assert pause(9, Urgency.URGENT, life) == first


def test_without_a_certificate_it_is_a_day_and_weeks() -> None:
    assert (pause(1, Urgency.NORMAL, None), pause(2, Urgency.NORMAL, None)) == (DAY, 7 * DAY)
    assert urgency(None, START) is Urgency.NORMAL

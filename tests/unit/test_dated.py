"""Clocks compared by the Date header of answers."""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta
from email.utils import format_datetime

import pytest

from mailseal.issuers.dated import DatedHttp, Skew
from mailseal.system.http import HttpResponse
from tests.support.memory import MemorySystem

MINUTE = timedelta(minutes=1)


class Server:
    """Answers after a while, by a clock of its own; `age` is what a cache adds."""

    def __init__(self, system: MemorySystem, ahead: timedelta, takes: float = 0.0, age: str = "") -> None:
        self.system, self.ahead, self.takes, self.age = system, ahead, takes, age

    async def request(self, method: str, url: str, **more: object) -> HttpResponse:
        self.system.machine.advance(self.takes / 2)
        date: datetime = self.system.clock.now() + self.ahead
        self.system.machine.advance(self.takes / 2)
        headers = {"date": format_datetime(date, usegmt=True)} | ({"age": self.age} if self.age else {})
        return HttpResponse(200, headers, b"")

    async def close(self) -> None:
        """Nothing is open."""


def told(*servers: Server) -> list[str]:
    skew = Skew()
    for server in servers:
        asyncio.run(DatedHttp(server, server.system.clock, skew).request("GET", "https://ca.test/dir"))
    return [finding.seen for finding in skew.findings()]


@pytest.mark.parametrize(
    ("ahead", "takes", "said"),
    [
        (timedelta(), 0.0, []),
        (timedelta(), 300.0, []),  # slow is not wrong
        (1.9 * MINUTE, 0.0, []),
        (-1.9 * MINUTE, 0.0, []),
        (60 * MINUTE, 1.0, ["behind"]),
        (-60 * MINUTE, 1.0, ["ahead of"]),
        (timedelta(days=4000), 0.0, ["behind"]),
    ],
)
def test_a_difference_is_told_beyond_two_minutes(ahead: timedelta, takes: float, said: list[str]) -> None:
    found = told(Server(MemorySystem(), ahead, takes))
    assert len(found) == len(said) and all(way in one for way, one in zip(said, found, strict=True))


def test_one_answer_that_agrees_is_enough() -> None:
    system = MemorySystem()
    assert told(Server(system, 9 * MINUTE), Server(system, timedelta())) == []


def test_what_a_cache_had_lain_by_tells_nothing() -> None:
    assert told(Server(MemorySystem(), -60 * MINUTE, age="3600")) == []


def test_no_date_and_no_sense_tell_nothing() -> None:
    system = MemorySystem()

    class Mute(Server):
        async def request(self, method: str, url: str, **more: object) -> HttpResponse:
            return HttpResponse(200, {"date": "yesterday"}, b"")

    assert told(Mute(system, timedelta())) == []

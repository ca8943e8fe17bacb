"""Asking until something is settled: early enough, never faster than the server asks.

RFC 8555 sections 7.4 and 7.5.1 let a server say by Retry-After how long to wait
before the next poll; most ask for seconds where the answer is there after
milliseconds, and a client that polls once too early loses them. So the first
wait is learned: it grows when the first poll came too early (and never shrinks
below that again if the server then asked for seconds), and shrinks when
the first poll found the answer. What the server asks for is always obeyed;
where it asks for nothing, waits grow to at most `LONGEST_WAIT` seconds.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from mailseal.acme.client import AcmeClient, Reply

SHORTEST_WAIT = 0.003
LONGEST_WAIT = 5.0
GROWTH = 1.6

T = TypeVar("T")


@dataclass
class Pace:
    """How long to wait before the first poll, learned from the orders before."""

    first: float = 0.02
    floor: float = SHORTEST_WAIT

    def found(self) -> None:
        """The first poll had the answer."""
        self.first = max(self.floor, self.first * 0.8)

    def too_early(self, told: float | None) -> None:
        """The first poll had no answer, and the server then asked to wait `told` seconds."""
        if told is not None and told > self.first:
            self.floor = min(self.first * 2, 2.0)
        self.first = min(max(self.first * 1.3, self.floor), 2.0)


async def poll(
    client: AcmeClient,
    url: str,
    read: Callable[[Reply], T],
    settled: Callable[[T], bool],
    *,
    pace: Pace,
    told: float | None,
    doing: str,
) -> T:
    """Asks `url` until what `read` makes of the answer is settled.

    `told` is the Retry-After of the answer that began the wait. Raises
    `AcmeTimeout` at the client's deadline, and what `AcmeClient.post` raises.
    """
    wait = pace.first
    polls = 0
    while True:
        asked = told is not None and told > wait
        await client.pause(told if asked and told is not None else wait, doing=doing, told=asked)
        reply = await client.post(url, doing=doing)
        value = read(reply)
        polls += 1
        if settled(value):
            if polls == 1 and not asked:
                pace.found()
            return value
        if polls == 1 and not asked:
            pace.too_early(reply.retry_after)
        told = reply.retry_after
        wait = min(wait * GROWTH, LONGEST_WAIT)

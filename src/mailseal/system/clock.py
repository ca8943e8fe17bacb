"""The time and the randomness of this machine.

`now` is the wall clock (CLOCK_REALTIME) and may be set back or forward at any
moment; durations are measured by `monotonic`. Randomness is the kernel's
(getrandom(2)).
"""

from __future__ import annotations

import os
import time
from datetime import UTC, datetime


class LocalClock:
    """The port `Clock` on this machine."""

    def now(self) -> datetime:
        return datetime.now(UTC)

    def monotonic(self) -> float:
        return time.monotonic()

    def sleep(self, seconds: float) -> None:
        time.sleep(max(0.0, seconds))

    async def sleep_async(self, seconds: float) -> None:
        import asyncio

        await asyncio.sleep(max(0.0, seconds))


class LocalRandom:
    """The port `Random` on this machine."""

    def token(self, octets: int) -> str:
        return os.urandom(octets).hex()

    def uniform(self, low: float, high: float) -> float:
        share = int.from_bytes(os.urandom(7)) >> 3  # 53 bits: what a float holds evenly in [0, 1)
        return low + (high - low) * share / (1 << 53)

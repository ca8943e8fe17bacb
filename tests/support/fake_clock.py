"""A clock that only moves when somebody waits: months pass in a second."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

START = datetime(2026, 11, 1, 12, 0, tzinfo=UTC)


class FakeClock:
    """Those who wait at the same time wait together; `slept` tells every wait, in seconds."""

    def __init__(self, start: datetime = START) -> None:
        self._start = start
        self._elapsed = 0.0
        self.slept: list[float] = []

    def now(self) -> datetime:
        """Aware UTC."""
        return self._start + timedelta(seconds=self._elapsed)

    def monotonic(self) -> float:
        """Seconds since the clock was made."""
        return self._elapsed

    def advance(self, by: timedelta) -> None:
        """Time passes while nobody waits."""
        self._elapsed += by.total_seconds()

    def sleep(self, seconds: float) -> None:
        """Time passes at once."""
        self.slept.append(seconds)
        self._elapsed += seconds

    async def sleep_async(self, seconds: float) -> None:
        """Time passes once whoever else can go on has gone on."""
        self.slept.append(seconds)
        until = self._elapsed + seconds
        await asyncio.sleep(0)
        self._elapsed = max(self._elapsed, until)

"""HTTP that compares the servers' clocks with ours, by the Date header of each answer (RFC 9110 section 6.6.1).

A clock that is wrong renews too early or too late, takes good certificates for
expired ones and refuses what was just issued as not yet valid. The header
counts whole seconds, and an answer is on its way for a while: what lies between
the request and its answer is no difference.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta

from mailseal.acme.retry_after import http_date
from mailseal.model import Finding, Severity
from mailseal.system import Clock
from mailseal.system.http import Http, HttpResponse

TOLERATED = timedelta(minutes=2)


class Skew:
    """By how much our clock differs from the servers' that were asked; the smallest difference seen counts."""

    def __init__(self) -> None:
        self.ahead: timedelta | None = None

    def saw(self, date: datetime, before: datetime, after: datetime) -> None:
        """A server wrote `date` between these two instants of our clock."""
        early, late = before - timedelta(seconds=1) - date, after - date
        ahead = max(early, timedelta()) if late >= timedelta() else late
        if self.ahead is None or abs(ahead) < abs(self.ahead):
            self.ahead = ahead

    def findings(self) -> tuple[Finding, ...]:
        """One where the clocks differ by more than `TOLERATED`."""
        if self.ahead is None or abs(self.ahead) <= TOLERATED:
            return ()
        seconds = round(abs(self.ahead.total_seconds()))
        way = "ahead of" if self.ahead > timedelta() else "behind"
        return (
            Finding(
                "clock-differs",
                Severity.WARNING,
                "the machine's clock",
                seen=f"it is {timedelta(seconds=seconds)} {way} the CA's",
                expected=f"a difference of at most {TOLERATED.seconds // 60} minutes",
                why="By a wrong clock certificates are renewed too early or too late, and new ones seem not yet valid.",
                mend="timedatectl set-ntp true (or set the clock by hand), then mailseal renew",
            ),
        )


class DatedHttp:
    """Passes everything on to another `Http`."""

    def __init__(self, http: Http, clock: Clock, skew: Skew) -> None:
        self._http = http
        self._clock = clock
        self._skew = skew

    async def request(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        body: bytes | None = None,
        timeout: float = 30.0,
        limit: int = 1_048_576,
    ) -> HttpResponse:
        """As `Http.request`."""
        before = self._clock.now()
        answer = await self._http.request(
            method, url, headers=headers, body=body, timeout=timeout, limit=limit
        )
        date, age = http_date(answer.headers.get("date", "")), answer.headers.get("age", "0")
        if date is not None and age.strip() == "0":  # what a cache had lain by tells no time
            self._skew.saw(date, before, self._clock.now())
        return answer

    async def close(self) -> None:
        """As `Http.close`."""
        await self._http.close()

"""What the ACME core asks of whoever calls it: time, and a solver of challenges.

HTTP is `mailseal.system.http.Http`; the clock is any that has these three
methods (the system's has). A solver shows control of identifiers; it knows
web servers and zones, which this package does not.
"""

from __future__ import annotations

from datetime import datetime
from typing import Protocol

from mailseal.acme.messages import Authorization, Challenge


class AcmeClock(Protocol):
    """Time and waiting; with one in memory, months pass in a second."""

    def now(self) -> datetime:
        """Aware UTC."""
        ...

    def monotonic(self) -> float:
        """Seconds that only go forward."""
        ...

    async def sleep_async(self, seconds: float) -> None: ...


class Solver(Protocol):
    """Shows the CA control of identifiers.

    For one order, all chosen challenges are presented at the same time; only
    when every `present` has returned are they answered, so `present` returns
    when the CA may ask, and must end by itself in bounded time. `clean_up` is called once for each challenge whose
    `present` was called, also when it failed or the order was given up, and
    must bear being called for something that is gone already.
    """

    def choose(self, authorization: Authorization) -> Challenge | None:
        """The challenge of this authorization that will be solved, None if none can be."""
        ...

    async def present(
        self, authorization: Authorization, challenge: Challenge, key_authorization: str
    ) -> None:
        """Makes the answer visible. Raises a `MailsealError` (best: `ChallengeError`) if it cannot."""
        ...

    async def clean_up(
        self, authorization: Authorization, challenge: Challenge, key_authorization: str
    ) -> None:
        """Takes the answer away again."""
        ...

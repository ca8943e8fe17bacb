"""Fourteen months of a mail server in memory: its timer, its CA, and what befalls both, at the real time.

The machine's clock may be wrong; the CA, its certificates and the clients live
in the real time (`RealTime`). `Months` lets the timer fire and the events
happen, in order, and looks at what is served before and after each run: what
is served changes only in runs, so nothing escapes in between.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from cryptography import x509

from mailseal.errors import ExitCode, NetworkFault
from mailseal.report import Report
from mailseal.system.http import HttpResponse
from tests.support.fake_ca import FakeCa
from tests.support.memory import Machine, MemorySystem

DAY = timedelta(days=1)
TRUSTED_WITHIN = (
    30 * DAY
)  # a clock that is further off finds the CA's own certificate expired, or not yet valid

Down = Callable[[str, str], HttpResponse | NetworkFault | None]


class RealTime:
    """The clock of everybody else: what the machine's shows, less what that is off by."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        self.off_by = timedelta()

    def set_machine(self, off_by: timedelta) -> None:
        """The machine's clock shows from now on a time that is so much later than the real one."""
        self.machine.jump(off_by - self.off_by)
        self.off_by = off_by

    def now(self) -> datetime:
        return self.machine.now - self.off_by

    def monotonic(self) -> float:
        return self.machine.uptime

    async def sleep_async(self, seconds: float) -> None:
        await MemorySystem(self.machine).clock.sleep_async(seconds)


@dataclass
class Gate:
    """The way to the CA: `down` answers in its place, `at_order` is called once with the next order placed.

    `refusals` counts the problems that the CA answered with, but for bad nonces, which it refuses on purpose.
    """

    ca: FakeCa
    time: RealTime
    down: Down | None = None
    at_order: Callable[[], None] | None = None
    refusals: Counter[str] = field(default_factory=Counter)
    asked: Counter[str] = field(default_factory=Counter)

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
        """One exchange, as `Http` promises it."""
        path = url.removeprefix("https://ca.test")
        self.asked[path.split("/")[1]] += 1
        if abs(self.time.off_by) > TRUSTED_WITHIN:
            raise NetworkFault(
                f"The TLS certificate of {url} cannot be trusted or used",
                reason="certificate is not yet valid",
            )
        answer = self.down(method, path) if self.down is not None else None
        if isinstance(answer, NetworkFault):
            raise answer
        if answer is not None:
            return answer
        answer = await self.ca.request(method, url, headers=headers, body=body, timeout=timeout, limit=limit)
        if answer.status >= 400 and b"badNonce" not in answer.body:
            self.refusals[f"{answer.status} {path.split('/')[1]}"] += 1
        if path == "/new-order" and answer.status == 201 and self.at_order is not None:
            befalls, self.at_order = self.at_order, None
            befalls()
        return answer

    async def close(self) -> None:
        return


@dataclass
class Months:
    """The course of the months: `serves` tells the leaf that each endpoint serves now, `renew` is the timer's run."""

    machine: Machine
    time: RealTime
    gate: Gate
    renew: Callable[[], Report]
    serves: Callable[[], Mapping[str, x509.Certificate]]
    every: timedelta
    runs: int = 0
    on: bool = True
    codes: Counter[ExitCode] = field(default_factory=Counter)
    least: timedelta = 999 * DAY  # how close to its expiry anything served ever was
    trouble: list[tuple[datetime, str]] = field(default_factory=list)  # what the runs could not do, and when

    def go(self, length: timedelta, story: Iterator[timedelta]) -> None:
        """Lets them pass; fails at the first endpoint that is expired or not yet valid.

        `story` tells what befalls the machine: each value that it yields is how long it waits before it goes on.
        """
        end = self.time.now() + length
        fires = self.time.now() + self.every
        goes_on = self.time.now() + next(story, 2 * length)
        while min(fires, goes_on) < end:
            self.machine.advance(max(0.0, (min(fires, goes_on) - self.time.now()).total_seconds()))
            self.look()
            if goes_on <= fires:
                goes_on = self.time.now() + next(story, 2 * length)
            else:
                fires = self.time.now() + self.every
                if self.on:
                    self.run()
            self.look()
        assert next(story, None) is None, "the months were too short for the story"

    def run(self) -> None:
        """The timer fires."""
        self.runs += 1
        report = self.renew()
        self.machine.disk.rest()
        self.codes[report.exit_code] += 1
        self.trouble.extend((self.time.now(), error.message) for error in report.errors)

    def look(self) -> None:
        """What clients see."""
        now = self.time.now()
        for endpoint, leaf in self.serves().items():
            assert leaf.not_valid_before_utc <= now, f"{endpoint} at {now}: not yet valid"
            assert now < leaf.not_valid_after_utc, f"{endpoint} at {now}: expired, after {self.trouble[-3:]}"
            self.least = min(self.least, leaf.not_valid_after_utc - now)

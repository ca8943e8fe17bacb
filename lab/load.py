"""What a change of a mail server costs its clients: new connections all the while, counted change by change.

`Load` has a program on the CA's host (`lab.load_client`) connect to Postfix,
Dovecot and Apache at a steady rate. `during(kind)` brackets one change: what
began while it went on, and after it until every port was asked some times more,
is the change's. Whatever fails in between is told too, as of no change.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from math import comb
from typing import Self

from lab.box import Box
from lab.guard import CHECKOUT
from lab.recipe import LAB_PYTHON
from lab.world import World

PORTS = ("25,smtp", "993", "443")
AFTER = 8  # connections of every port after a change that still count as its own
_CLIENT = CHECKOUT / "lab" / "load_client.py"
_LIMIT = 120.0  # seconds until the clients must have come that often

RELOAD = """
postfix reload
doveadm reload
apache2ctl graceful
"""
# `systemctl restart postfix dovecot apache2`, where there is no systemd: each is stopped and, when it is gone, started.
RESTART = """
stop() { start-stop-daemon --stop --oknodo --quiet --retry TERM/30/KILL/5 --pidfile "$1"; }
postfix stop
postfix start
stop /run/dovecot/master.pid
dovecot
stop /run/apache2/apache2.pid
apache2ctl start
"""


@dataclass(frozen=True, slots=True)
class Ask:
    """One connection: beginning and end (monotonic seconds), what came of it (`lab.load_client`), what was said."""

    port: int
    began: float
    ended: float
    what: str
    said: str

    @classmethod
    def read(cls, line: str) -> Ask:
        port, began, ended, what, said = (*line.split(" ", 4), "")[:5]
        return cls(int(port), float(began), float(ended), what, said)

    def __str__(self) -> str:
        return f"{self.port}: {self.what}, {self.said}"


@dataclass(frozen=True, slots=True)
class Change:
    """One change: when it began, when it was done, and until when connections were counted as its own."""

    kind: str
    began: float
    done: float
    until: float


@dataclass(slots=True)
class Cost:
    """What all changes of one kind cost: how many there were, the connections meanwhile, those that were not good."""

    kind: str
    changes: int = 0
    asks: int = 0
    bad: list[Ask] = field(default_factory=list)
    longest: float = 0.0  # seconds in which a port was good for nobody

    @property
    def wrong(self) -> list[Ask]:
        return [ask for ask in self.bad if ask.what == "wrong"]

    def __str__(self) -> str:
        each = len(self.bad) / self.changes if self.changes else 0.0
        return (
            f"{self.kind}: {self.changes} times, {self.asks} connections, {len(self.bad)} failed "
            f"({each:.1f} each time), {len(self.wrong)} of them in TLS; longest without service {self.longest:.2f} s"
        )


class Load:
    """Clients of one host. Use as a context manager; they connect from its beginning to its end."""

    def __init__(self, world: World, box: Box, roots: str, *, pause: float = 0.25, workers: int = 2) -> None:
        self._ca = world.ca
        self._box = box
        self._roots = roots
        self._pause = pause
        self._ports = [f"{told if ',' in told else told + ','},{workers}" for told in PORTS]
        self._log = f"/tmp/load-{time.monotonic_ns()}.log"
        self.changes: list[Change] = []

    def __enter__(self) -> Self:
        program = f"/src/mailseal/{_CLIENT.relative_to(CHECKOUT)}"
        argv = [self._box.name, self._box.name, self._roots, str(self._pause), *self._ports]
        env = {"PYTHONPATH": "/src/mailseal/src:/src/mailseal"}
        self._process = self._ca.spawn([LAB_PYTHON, program, *argv], env=env, log=self._log)
        self._wait_for(time.monotonic())
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.wait(_LIMIT)

    @contextmanager
    def during(self, kind: str) -> Iterator[None]:
        """One change goes on within."""
        began = time.monotonic()
        yield
        done = time.monotonic()
        self._wait_for(done)
        self.changes.append(Change(kind, began, done, time.monotonic()))

    def asks(self) -> list[Ask]:
        """Every connection that has ended so far, in the order of their beginnings."""
        whole, _, _ = self._ca.read(self._log).rpartition("\n")
        return sorted((Ask.read(line) for line in whole.splitlines()), key=lambda ask: ask.began)

    def costs(self) -> dict[str, Cost]:
        """By kind of change; what was of no change is under the empty name."""
        asks = self.asks()
        found = {"": Cost("")}
        for change in self.changes:
            found.setdefault(change.kind, Cost(change.kind)).changes += 1
        for ask in asks:
            own = [one for one in self.changes if one.began <= ask.ended and ask.began <= one.until]
            cost = found[own[0].kind if own else ""]
            cost.asks += 1
            if ask.what != "good":
                cost.bad.append(ask)
        for change in self.changes:
            longest = max(_gap(asks, change, int(told.partition(",")[0])) for told in PORTS)
            found[change.kind].longest = max(found[change.kind].longest, longest)
        return found

    def _wait_for(self, since: float) -> None:
        """Until every port was asked AFTER times more, each from beginning to end."""
        deadline = time.monotonic() + _LIMIT
        while time.monotonic() < deadline:
            later = (
                [ask.port for ask in self.asks() if ask.began >= since] if self._ca.exists(self._log) else []
            )
            if all(later.count(int(told.partition(",")[0])) >= AFTER for told in PORTS):
                return
            time.sleep(0.2)
        raise TimeoutError(
            f"no {AFTER} connections to each port within {_LIMIT:.0f} s: {self._ca.read(self._log)[-500:]}"
        )


def _gap(asks: Sequence[Ask], change: Change, port: int) -> float:
    """The longest time between the ends of two good connections to a port around a change in which one failed."""
    near = [
        ask
        for ask in asks
        if ask.port == port and ask.ended >= change.began - 2 and ask.began <= change.until
    ]
    longest = 0.0
    last = near[0].ended if near else 0.0
    failed = False
    for ask in sorted(near, key=lambda one: one.ended):
        if ask.what != "good":
            failed = True
            continue
        if failed:
            longest = max(longest, ask.ended - last)
        last, failed = ask.ended, False
    return longest


def more_than_chance(ours: int, theirs: int) -> float:
    """How probable it is that of all failures so many or more are ours, if both kinds of change cost the same.

    Failures at a reload are rare and independent, so their counts are Poisson; of two such counts with equal means,
    over equally many changes, the share of one follows the binomial distribution with one half.
    """
    both = ours + theirs
    return float(sum(comb(both, n) for n in range(ours, both + 1)) / 2**both)

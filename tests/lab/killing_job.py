"""Run inside a lab host: `mailseal renew` (or another command) killed at every effect that it has.

`killing_job.py JSON`: {"command": […], "name": "mail", "batch": 12, "generations": 0}. As long
as a run meets an effect at which none was killed yet, it is killed there; then
`mailseal renew` runs again, unharmed, and must end with everything proven,
whereupon every port is asked by OpenSSL, from here, for the certificate that is
live now. Before the journal is begun no daemon and no file of a daemon is
touched: there several runs are killed one after the other before that look.

Prints one JSON object: the points, how many looks, and the seconds.
"""

from __future__ import annotations

import json
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
from cryptography.x509 import load_pem_x509_certificate

from mailseal.acme.ari import certificate_id
from mailseal.stores.filesystem import DEFAULT_ROOT, LineageStore
from mailseal.stores.state import StateStore, Suggestion
from mailseal.system import Completed
from mailseal.system.local import LocalSystem
from tests.lab.asking import served
from tests.lab.effects import Asked, Effect, Ran, Strike, answers, run

LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)
FAILED, WAITING = 3, 4
MOST = 600  # points; more says that it never ends


@dataclass
class Explorer:
    """Goes on until a run from a clean start meets nothing new."""

    command: list[str]
    name: str
    batch: int
    prepare: Callable[[], None]
    known: dict[Asked, Completed]
    well: tuple[int, ...] = (0,)
    killed: dict[str, str] = field(default_factory=dict)  # the point, and the part of the run that it was in
    looks: int = 0
    unlooked: int = 0
    patience: int = 5
    spent: Counter[str] = field(default_factory=Counter)

    def explore(self) -> None:
        """Kills at every effect; raises `AssertionError` where the machine is not whole after one."""
        clean = True
        while len(self.killed) < MOST:
            self.prepare()
            ran = run(self.command, self._decide, rehearsed=False, known=self.known)
            self.spend("runs that were killed", ran)
            if not ran.killed:
                if self._was_busy(ran):
                    clean = False
                    continue
                assert ran.status in self.well, (
                    f"unharmed, it ended with {ran.status}: {ran.stdout}{ran.stderr}"
                )
                if clean:
                    return
                self._look("a run that met nothing new")
                clean = True
                continue
            began = any("/journal/" in effect for effect in ran.effects) or open_records()
            self.killed[ran.struck] = "transaction" if began else "before"
            self.unlooked += 1
            clean = began or self.unlooked >= self.batch
            if clean:
                self._look(f"{ran.struck} ({ran.stdout}{ran.stderr})")
        raise AssertionError(f"more than {MOST} points: {list(self.killed)[-20:]}")

    def spend(self, on: str, ran: Ran) -> None:
        self.spent[on] += round(ran.cpu * 1000)

    def _decide(self, effect: Effect) -> Strike | None:
        if f"before {effect}" not in self.killed:
            return Strike("before")
        if effect.kind in ("run", "http") and f"after {effect}" not in self.killed:
            return Strike("after")
        return None

    def _was_busy(self, ran: Ran) -> bool:
        """Whether a good daemon took longer to answer than a probe waits, so that what is new was taken back, or the
        CA refused an order for reasons of its own, so that the next must wait; a person's apply then goes on."""
        said = f"{ran.stdout}{ran.stderr}"
        busy = ran.status in (FAILED, WAITING) and ("no answer within" in said or "refused the order" in said)
        self.patience -= busy
        return busy and self.patience >= 0

    def _look(self, point: str) -> None:
        """The run after the kill, and what every port serves then."""
        self.unlooked = 0
        self.looks += 1
        ran = run(["renew"], rehearsed=False)
        self.spend("runs that heal", ran)
        while self._was_busy(ran):
            ran = run(["apply"], rehearsed=False)
        told = f"after a kill at {point}: {ran.stdout}{ran.stderr}"
        assert not ran.killed and ran.status in self.well, f"renew ended with {ran.status} {told}"
        assert "proven " in ran.stdout, told
        assert not open_records(), told
        wrong = served(self.name)
        assert not wrong, f"{wrong} {told}"


def open_records() -> bool:
    return any(path.name[:1].isdigit() for path in Path(f"{DEFAULT_ROOT}/journal").iterdir())


def renewal_is_due(name: str) -> None:
    """As if the CA had asked for it: the instant that was drawn for the newest generation has passed."""
    system = LocalSystem()
    store, states = LineageStore(system, DEFAULT_ROOT), StateStore(system, DEFAULT_ROOT)
    live = Path(f"{DEFAULT_ROOT}/lineages/{name}/current").resolve()
    generation = store.find(name, live.name)
    assert generation is not None
    again = datetime.now(UTC) + timedelta(hours=12)
    suggestions = {}
    for kind, facts in generation.leaves:
        leaf = load_pem_x509_certificate(Path(f"{live}/{kind.value}/cert.pem").read_bytes())
        known = certificate_id(leaf)
        assert known
        suggestions[kind] = Suggestion(known, facts.fingerprint, LONG_AGO, LONG_AGO, LONG_AGO, again)
    states.save(name, msgspec.structs.replace(states.load(name), suggestions=suggestions))


def earlier_is_there(name: str) -> None:
    """A rollback goes one generation back from wherever it is; from the first that is kept, to the newest at once."""
    store = LineageStore(LocalSystem(), DEFAULT_ROOT)
    if store.current_number(name) == min(store.numbers(name)):
        ran = run(["apply"], rehearsed=False)
        assert ran.status == 0, ran.stdout + ran.stderr


def report(explorer: Explorer, began: float, first: Ran) -> dict[str, object]:
    """What the test outside prints and judges."""
    parts = list(explorer.killed.values())
    return {
        "points": list(explorer.killed),
        "in the transaction": parts.count("transaction"),
        "before it": parts.count("before"),
        "looks": explorer.looks,
        "milliseconds of CPU": dict(explorer.spent),
        "effects of a run unharmed": list(first.effects),
        "seconds": round(time.monotonic() - began, 1),
    }


def main() -> None:
    """One command, explored."""
    asked = json.loads(sys.argv[1])
    began = time.monotonic()
    name, command = asked["name"], asked["command"]
    for _ in range(asked["generations"]):
        renewal_is_due(name)
        ran = run(["renew"], rehearsed=False)
        assert ran.status == 0, ran.stdout + ran.stderr
    renewal_is_due(name)
    known = answers()
    prepare, well = (renewal_is_due, (0,)) if command == ["renew"] else (earlier_is_there, (0, WAITING))
    prepare(name)
    first = run(command, lambda effect: None)
    assert first.status == 0, first.stdout + first.stderr
    explorer = Explorer(command, name, asked["batch"], lambda: prepare(name), known, well)
    try:
        explorer.explore()
    finally:
        print(json.dumps(report(explorer, began, first)))


if __name__ == "__main__":
    main()

"""Run inside a lab host: `mailseal apply` with a failure in the place of each of its effects, one at a time.

`faulty_job.py JSON`: {"name": "mail"}. A reference run tells the effects. Then,
for each of them, a renewal is due, and in an `apply` that one effect fails: a
file with ENOSPC, EIO or EACCES in turn, a request to the CA with a broken
connection, a daemon's checker or reload with a status, or by hanging. However
that ends, every port is then asked by OpenSSL for the certificate that is live,
and the run has told the cause. The last run is unharmed and must prove everything.

Of one write to one file (create, write, fsync, rename) only the first step
fails here; all of them do in tests/unit/test_every_effect.py.
"""

from __future__ import annotations

import errno
import json
import os
import re
import sys
import time
from dataclasses import dataclass, field
from itertools import cycle

from tests.lab.asking import served
from tests.lab.effects import Decide, Effect, Ran, Strike, answers, run
from tests.lab.killing_job import open_records, renewal_is_due

ERRNOS = ("ENOSPC", "EIO", "EACCES")
# What only goes on with a write that has its place in the list already, or lies inside a tree that appears whole.
_LATER_STEPS = re.compile(r"^(write|fsync|chmod|chown|truncate) |\.NNNN\.mailseal-\*/|/run/lock/")
_KEPT = re.compile(
    r"^(fsync \S+/lineages/mail( |$)|rename \S+/(current|RECORD\.json|mail\.json)|write \S+/history)"
)
_CHECKS = re.compile(r"^look .*( check|configtest|doveconf .*-n -x)")


@dataclass
class Faults:
    """What was tried, and what came of it."""

    name: str
    tried: dict[str, str] = field(default_factory=dict)
    not_met: list[str] = field(default_factory=list)
    taken_back: int = 0
    went_on: int = 0

    def explore(self) -> None:
        renewal_is_due(self.name)
        known = answers()
        renewal_is_due(self.name)
        first = run(["apply"], lambda effect: None, rehearsed=False, looks=True)
        assert first.status == 0, first.stdout + first.stderr
        errnos = cycle(ERRNOS)
        for target in dict.fromkeys(first.effects):
            for how in ways(target, errnos):
                renewal_is_due(self.name)
                memory = None if target.startswith("look ") else known
                looks = memory is None
                ran = run(["apply"], only(target, how), rehearsed=False, known=memory, looks=looks)
                if (
                    not ran.struck
                ):  # what an earlier failure left was gone on with: once more from a clean start
                    renewal_is_due(self.name)
                    assert run(["apply"], rehearsed=False).status == 0
                    renewal_is_due(self.name)
                    ran = run(["apply"], only(target, how), rehearsed=False, known=memory, looks=looks)
                self.judge(target, how, ran)
        renewal_is_due(self.name)
        last = run(["apply"], rehearsed=False)
        assert last.status == 0 and "proven " in last.stdout and not open_records(), last.stdout + last.stderr

    def judge(self, target: str, how: str, ran: Ran) -> None:
        """Raises where an endpoint is worse, or nobody was told why."""
        told = f"{how} at {target}: status {ran.status}: {ran.stdout}{ran.stderr}"
        if not ran.struck:
            self.not_met.append(target)
            return
        self.tried[target] = how
        assert ran.status in (0, 1, 3, 4) and "fault of mailseal itself" not in ran.stderr, told
        wrong = served(self.name)
        assert not wrong, f"{wrong} {told}"
        if ran.status == 3:
            self.taken_back += 1
            assert cause(how) in f"{ran.stdout}{ran.stderr}", told
        else:
            self.went_on += 1


def ways(target: str, errnos: cycle[str]) -> list[str]:
    """How an effect fails; empty for what is not tried here."""
    if target.startswith("look "):
        return ["status", "hangs"] if _CHECKS.search(target) else []
    if target.startswith("run "):
        return ["status", "hangs", next(errnos)] if "unshare" not in target else ["status"]
    if target.startswith("http "):
        return ["breaks"]
    if target.startswith("listen ") or (_LATER_STEPS.search(target) and not _KEPT.search(target)):
        return []
    return [next(errnos)]


def only(target: str, how: str) -> Decide:
    """Strikes at one effect."""

    def decide(effect: Effect) -> Strike | None:
        return Strike(how) if str(effect) == target else None

    return decide


def cause(how: str) -> str:
    """What the error must name."""
    match how:
        case "status" | "breaks":
            return "made to fail"
        case "hangs":
            return "did not end within"
        case _:
            return os.strerror(getattr(errno, how))


def main() -> None:
    """All of them."""
    began = time.monotonic()
    faults = Faults(json.loads(sys.argv[1])["name"])
    try:
        faults.explore()
    finally:
        told = {
            "tried": faults.tried,
            "not met": faults.not_met,
            "taken back or stopped": faults.taken_back,
            "went on": faults.went_on,
            "seconds": round(time.monotonic() - began, 1),
        }
        print(json.dumps(told))


if __name__ == "__main__":
    main()

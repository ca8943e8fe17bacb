"""What the tests share that stop mailseal at each of its effects: a server, a quick CA, a client throughout."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lab.box import SOURCE, Box
from lab.ca import Pebble, PebbleOptions
from lab.host import Host
from lab.recipe import LAB_PYTHON
from lab.world import World
from tests.lab.job import CONFIG, MAIL_PORTS, ROOTS, setup

JOBS = Path(__file__).parent
PATIENT = 3000.0  # seconds for a job that takes two minutes on a machine that has nothing else to do
CLIENT = "/tmp/client.json"

# Validation is Pebble's own affair here; every order has authorizations of its own, so that all requests are sent.
QUICK = PebbleOptions(nonce_reject=0, authz_reuse=0, always_valid=True)


@contextmanager
def served(world: World, release: str) -> Iterator[tuple[Host, Pebble]]:
    """mail.example.test, set up by mailseal, with room for many generations."""
    pebble = world.pebble(QUICK)
    mail = world.host(release)
    try:
        setup(mail, pebble)
        text = mail.read(CONFIG)
        assert "[state]" not in text
        mail.write(CONFIG, f"{text}\n[state]\nkeep_generations = 500\n\n[timer]\ninstall = false\n")
        done = mail.mailseal("apply", timeout=PATIENT)
        assert done.returncode == 0, done.stdout + done.stderr
        yield mail, pebble
    finally:
        world.discard(mail)
        pebble.stop()


@contextmanager
def watched(world: World, mail: Box) -> Iterator[None]:
    """A client of every port throughout, on the CA's host; fails where one ever met a key that does not fit."""
    world.ca.write(ROOTS, mail.read(ROOTS))
    asking = [LAB_PYTHON, f"{SOURCE}/tests/lab/asking.py", mail.ipv4, mail.name, ROOTS, *map(str, MAIL_PORTS)]
    world.ca.sh(f"rm -f {CLIENT}")
    client = world.ca.spawn(asking, env={"PYTHONPATH": f"{SOURCE}/src:{SOURCE}"}, log=CLIENT)
    try:
        yield
    finally:
        client.terminate()
        client.wait(60)
    told = world.ca.read(CLIENT)
    seen = json.loads(told)
    assert len(seen) == len(MAIL_PORTS), told
    good = turned_away = 0
    for port, one in seen.items():
        counts = one["counts"]
        assert set(counts) <= {"good", "turned away"}, f"port {port}: {one}"
        assert counts["good"] > counts.get("turned away", 0), f"port {port}: {one}"
        good, turned_away = good + counts["good"], turned_away + counts.get("turned away", 0)
    print(
        f"clients throughout: {good} handshakes, every key fitted; {turned_away} turned away; {told.strip()}"
    )


def job(mail: Box, script: str, **asked: object) -> dict[str, object]:
    """Runs a job inside; its report. The test fails with what the job said."""
    done = mail.python(JOBS / script, json.dumps(asked), timeout=PATIENT, check=False)
    said = done.stdout.strip().splitlines()
    report: dict[str, object] = json.loads(said[-1]) if said else {}
    print(re.sub(r"(.{4000}).*", r"\1…", json.dumps(report, indent=1), flags=re.S) if done.returncode else "")
    assert done.returncode == 0, done.stderr[-8000:]
    return report

"""Two mailseals at once on a real machine: one works, the other waits or says who it is; the dead hold nothing."""

from __future__ import annotations

import hashlib
import json
import re
import time
from collections.abc import Iterator

import pytest

from lab import image
from lab.box import SOURCE, Box, Spawned
from lab.ca import Pebble
from lab.host import Host
from lab.recipe import LAB_PYTHON
from lab.world import World
from tests.lab.bad_day import wait_for
from tests.lab.job import add_name, setup, view

SABOTAGE = f"{SOURCE}/tests/lab/sabotage.py"
CURRENT = "readlink /var/lib/mailseal/lineages/mail/current"
STOPPED = "echo $PPID >/run/first.pid; while [ ! -e /run/go-on ] && kill -0 $PPID; do sleep 0.05; done"


def first(mail: Box) -> Spawned:
    """An apply that stands still before its first reload, with the lock; it goes on when /run/go-on is there."""
    path = {"PYTHONPATH": f"{SOURCE}/src:{SOURCE}"}
    process = mail.spawn([LAB_PYTHON, SABOTAGE, "reload", STOPPED, "apply"], env=path, log="/tmp/first")
    wait_for(mail, "/run/first.pid", "\n", 120)
    return process


@pytest.fixture(scope="module")
def served(world: World, pebble: Pebble, own_release: str) -> Iterator[Host]:
    """One server for all of these: each begins with a wish for one more name, and ends with it served."""
    mail = world.host(own_release if own_release in image.RELEASES else image.RELEASES[-1])
    setup(mail, pebble)
    yield mail
    world.discard(mail)


@pytest.fixture
def mail(world: World, served: Host, request: pytest.FixtureRequest) -> Host:
    name = hashlib.sha256(request.node.name.encode()).hexdigest()[:8]
    add_name(world, served, f"n{name}.example.test")
    served.sh("rm -f /run/first.pid /run/go-on /tmp/first /tmp/second")
    return served


@pytest.fixture
def before(mail: Host) -> str:
    """The generation that is live."""
    return mail.sh(CURRENT).strip()


@pytest.fixture
def working(before: str, mail: Host) -> Spawned:
    return first(mail)


def test_the_second_says_who_is_at_work_and_changes_nothing(
    mail: Host, before: str, working: Spawned
) -> None:
    pid = mail.read("/run/first.pid").strip()
    found = mail.snapshot("/etc", "/var/lib/mailseal")
    for command in (["apply"], ["renew", "--wait", "0.5"], ["rollback"]):
        done = mail.mailseal(*command)
        assert done.returncode == 4, (command, done.stdout, done.stderr)
        assert f"Another mailseal is at work: pid {pid} (" in done.stderr and " apply)" in done.stderr, (
            done.stderr
        )
        assert re.search(r"since \d{4}-\d\d-\d\d", done.stderr) and f"ps -fp {pid}" in done.stderr
    told = json.loads(mail.mailseal("apply", "--json").stdout)
    assert told["error"]["kind"] == "Locked" and told["exit_status"] == 4
    assert mail.snapshot("/etc", "/var/lib/mailseal") == found
    mail.write("/run/go-on", "")
    assert working.wait(180) == 0, mail.read("/tmp/first")
    assert int(mail.sh(CURRENT)) == int(before) + 1


def test_a_renewal_waits_and_finds_the_work_done(
    world: World, mail: Host, before: str, working: Spawned
) -> None:
    second = mail.spawn([*mail.mailseal_command, "renew", "--wait", "600"], log="/tmp/second")
    wait_for(mail, "/tmp/second", "waiting for it, 600 s at most", 60)
    assert second.poll() is None
    mail.write("/run/go-on", "")
    assert working.wait(180) == 0, mail.read("/tmp/first")
    assert second.wait(180) == 0, mail.read("/tmp/second")
    told = mail.read("/tmp/second")
    assert "proven" in told and "done " not in told, "it looked again: nothing was left to do"
    assert int(mail.sh(CURRENT)) == int(before) + 1
    assert len(set(view(world).values())) == 1


def test_after_a_kill_the_lock_is_free(world: World, mail: Host, before: str, working: Spawned) -> None:
    second = mail.spawn([*mail.mailseal_command, "renew", "--wait", "600"], log="/tmp/second")
    wait_for(mail, "/tmp/second", "waiting for it", 60)
    mail.sh("kill -KILL $(cat /run/first.pid)")
    began = time.monotonic()
    assert second.wait(300) == 0, mail.read("/tmp/second")
    assert time.monotonic() - began < 300
    told = mail.read("/tmp/second")
    assert "an earlier run was interrupted" in told, told
    assert int(mail.sh(CURRENT)) == int(before) + 1
    seen = view(world)
    assert len(set(seen.values())) == 1 and "" not in seen.values()

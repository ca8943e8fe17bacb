"""The timer on whole machines: it fires, renews, reloads and proves by itself, and catches up what it missed.

Both releases at once, since most of the time is waiting. Everything that a run does under the timer
happens in its unit, with its hardening: the rehearsal, the reloads, sendmail, hooks. No clock is set.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

from lab.box import Box
from lab.ca import AcmeServer, PebbleOptions
from lab.ca_faults import Fault
from lab.host import Host
from lab.machine import Machine
from lab.world import World
from tests.lab.job import CONFIG, seen, setup

NAMES = {"bookworm": "mail.example.test", "trixie": "mx2.example.test"}
PROGRAM = "/usr/local/bin/mailseal"
LIFE = 60  # seconds: half of it is over when a certificate is due
LONG_LIFE = 6_600  # a look every minute
PATIENCE = 240.0
PORTS = (25, 993, 443)
UNITS = ("mailseal.timer", "mailseal.service", "timers.target.wants/mailseal.timer")
HOOK = "/etc/mailseal/hooks/after.d/10-tell"
# Only outside of the hardened unit can it write there.
HOOK_TEXT = """#!/bin/sh
cat >/usr/local/told-$MAILSEAL_COMMAND.json
grep CapBnd /proc/self/status >/usr/local/told-caps
"""
NOTIFY = """
[notify]
summary = true

[notify.mail]
to = ["alice@mail.example.test"]
"""


def test_it_renews_again_and_again_and_catches_up(world: World) -> None:
    short, long = (world.faulty(world.pebble(PebbleOptions(validity=life))) for life in (LIFE, LONG_LIFE))
    for server in (short, long):
        # Pebble suggests a window two days wide, whatever the lifetime: the certificate's own dates decide here.
        server.inject(Fault("/renewalInfo/", "GET", times=100_000, status=404, body="none"))
    machines = [world.machine(release, name) for release, name in NAMES.items()]
    old = world.host("bookworm", "mx3.example.test")
    try:
        with ThreadPoolExecutor(len(machines) + 1) as pool:
            by_cron = pool.submit(_by_cron, old, short)
            for told in pool.map(lambda machine: _story(world, machine, short, long), machines):
                print(told)
            by_cron.result()
    finally:
        for box in (*machines, old):
            world.discard(box)


def _by_cron(host: Host, ca: AcmeServer) -> None:
    """Where systemd does not run, cron looks."""
    host.run(["ln", "-s", "/opt/lab/bin/mailseal", PROGRAM])
    done = setup(host, ca, "--name", host.name)["done"]
    assert "have cron look" in str(done), done
    cron = host.spawn(["cron", "-f"])
    _wait(lambda: _status(host)["last_run"]["command"] == "renew", host, "a run by cron")
    assert _status(host)["timer"]["by"] == "cron"
    cron.terminate()
    _unless_locked(host, "detach", "--yes")
    assert not host.exists("/etc/cron.d/mailseal")


def _story(world: World, machine: Machine, short: AcmeServer, long: AcmeServer) -> str:
    machine.run(["ln", "-s", "/opt/lab/bin/mailseal", PROGRAM])
    machine.write(HOOK, HOOK_TEXT, 0o755)
    done = setup(machine, short, "--name", machine.name)["done"]
    assert "have systemd look every 10 seconds" in str(done), done
    machine.write(CONFIG, machine.read(CONFIG) + NOTIFY)
    exposure = _exposure(machine)
    assert exposure < 4.5

    serials = _renews_twice(world, machine)
    _worked_in_its_unit(machine)

    machine.write(CONFIG, machine.read(CONFIG).replace(short.directory_url, long.directory_url))
    machine.write("/etc/ssl/lab-roots.pem", "".join(long.roots()))
    _unless_locked(machine, "apply")  # or the timer itself was faster
    assert "*:*:0" not in machine.read("/etc/systemd/system/mailseal.timer")
    timer = _status(machine)["timer"]
    assert timer["by"] == "systemd" and timer["every"] == "minute", timer
    late = _catches_up(machine)

    if machine.release == "bookworm":  # uninstalling takes the timer away, too
        machine.run(["/src/mailseal/script/uninstall", "--prefix", "/opt/lab", "--link", PROGRAM])
        _nothing_left(machine)
    _unless_locked(machine, "detach", "--yes")
    _nothing_left(machine)
    return f"{machine.release}: {len(serials)} serials, exposure {exposure}, caught up {late:.1f} s after booting"


def _renews_twice(world: World, machine: Machine) -> set[str]:
    """Only the timer works; strangers see new certificates come at every port."""
    serials: set[str] = set()

    def renewed() -> bool:
        served = {seen(world, port, machine.name).serial for port in PORTS}
        serials.update(served)
        standing = _status(machine)
        live = standing["certificates"][0]
        return live["generation"] >= 3 and bool(live["proven"]) and standing["last_run"]["command"] == "renew"

    _wait(renewed, machine, "two renewals by the timer")
    assert len(serials - {""}) >= 2, serials
    return serials


def _worked_in_its_unit(machine: Machine) -> None:
    journal = machine.journal("mailseal.service")
    for sign in ("rehearsing with throw-away", "reloading Postfix", "reloading Dovecot", "reloading Apache"):
        assert sign in journal, (sign, journal[-4000:])
    assert "not-rehearsed" not in journal and "Operation not permitted" not in journal, journal[-4000:]
    assert machine.failed_units() == [], journal[-4000:]
    # Hooks run in a unit of their own, which the hardening does not bind.
    assert json.loads(machine.read("/usr/local/told-renew.json"))["command"] == "renew"
    bound = machine.run(["systemctl", "show", "--value", "-p", "CapabilityBoundingSet", "mailseal.service"])
    assert "cap_sys_admin" in bound.stdout and "cap_mknod" not in bound.stdout
    assert machine.read("/usr/local/told-caps") == machine.sh("grep CapBnd /proc/1/status")
    # sendmail worked in the unit, and Postfix delivered.
    _wait(lambda: _mail(machine) > 0, machine, "a mail that tells of a renewal")
    # postmap does, too.
    unit = "/run/systemd/system/mailseal.service.d/map.conf"
    machine.run(["mkdir", "-p", "/run/systemd/system/mailseal.service.d"])
    machine.write("/etc/postfix/lab-map", "a.example.test b\n", 0o600)
    machine.write(unit, "[Service]\nExecStartPre=/usr/sbin/postmap hash:/etc/postfix/lab-map\n")
    machine.run(["systemctl", "daemon-reload"])
    _wait(lambda: machine.exists("/etc/postfix/lab-map.db"), machine, "a map made under the timer")
    machine.run(["rm", "-r", "/run/systemd/system/mailseal.service.d"])
    machine.run(["systemctl", "daemon-reload"])


def _catches_up(machine: Machine) -> float:
    """Off over the instant at which it would have looked; seconds from booting until it looks."""
    for _ in range(4):
        due = _next(machine)
        _wait(partial(_past, due - timedelta(seconds=4)), machine, "the end of a minute")
        machine.turn_off()
        was_off = _now() < due
        _wait(partial(_past, due + timedelta(seconds=1)), machine, "the instant")
        machine.turn_on()
        booted = _now()
        _wait(lambda due=due: _last(machine) > due, machine, "a run after booting")  # type: ignore[misc]
        last = _last(machine)
        if was_off and booted < due + timedelta(seconds=30):  # else this machine is too busy to tell
            assert last < due + timedelta(seconds=50), (due, booted, last)  # the next regular one is later
            _wait(lambda last=last: _ended(machine) > last, machine, "the end of that run")  # type: ignore[misc]
            return (last - booted).total_seconds()
    raise AssertionError("it was never off at the right time")


def _next(machine: Machine) -> datetime:
    """When it looks next; while a run is at work, that is not known."""
    found: list[str] = []

    def known() -> bool:
        found.append(_status(machine)["timer"]["next"] or "")
        return bool(found[-1])

    _wait(known, machine, "a next time")
    return _at(found[-1])


def _last(machine: Machine) -> datetime:
    return _at(_status(machine)["timer"]["last"] or "1970-01-01T00:00:00Z")


def _past(instant: datetime) -> bool:
    return _now() > instant


def _ended(machine: Machine) -> datetime:
    return _at(_status(machine)["last_run"]["ended"])


def _nothing_left(machine: Machine) -> None:
    for unit in UNITS:
        assert not machine.exists(f"/etc/systemd/system/{unit}"), unit
    assert not machine.exists("/etc/cron.d/mailseal")
    assert not machine.exists("/var/lib/systemd/timers/stamp-mailseal.timer")
    shown = machine.run(["systemctl", "show", "mailseal.timer", "-p", "LoadState,ActiveState"]).stdout
    assert sorted(shown.split()) == ["ActiveState=inactive", "LoadState=not-found"]
    assert machine.failed_units() == []


def _exposure(machine: Machine) -> float:
    told = machine.run(["systemd-analyze", "security", "--no-pager", "mailseal.service"]).stdout
    match = re.search(r"Overall exposure level for mailseal.service: ([0-9.]+) OK", told)
    assert match, told[-300:]
    return float(match[1])


def _unless_locked(box: Box, *command: str) -> Any:
    """A command that may meet the timer's own run, and is typed again then."""
    for _ in range(60):
        done = box.mailseal(*command, "--json")
        if done.returncode == 0:
            return json.loads(done.stdout)
        assert "at work" in done.stdout + done.stderr, done.stdout + done.stderr
        time.sleep(0.5)
    raise AssertionError(f"{box.name} is always at work")


def _status(box: Box) -> Any:
    done = box.mailseal("status", "--json")
    assert done.returncode in (0, 1), done.stdout + done.stderr
    return json.loads(done.stdout)


def _mail(machine: Machine) -> int:
    return int(
        machine.sh("cat /var/mail/alice /home/alice/Maildir/new/* 2>/dev/null | grep -ci mailseal || true")
    )


def _wait(holds: Callable[[], bool], box: Box, what: str) -> None:
    end = time.monotonic() + PATIENCE
    while not holds():
        if time.monotonic() > end:
            told = box.journal("mailseal.service") if isinstance(box, Machine) else str(_status(box))
            raise AssertionError(f"{box.name}: {what} did not come:\n{told[-6000:]}")
        time.sleep(0.5)


def _now() -> datetime:
    return datetime.now(UTC)


def _at(text: str) -> datetime:
    return datetime.fromisoformat(text)

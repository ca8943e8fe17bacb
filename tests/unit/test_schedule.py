"""What renews by itself: how often, in whose words, and what of it stands on which machine."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from mailseal import config as configuration
from mailseal.config import DEFAULT_PATH
from mailseal.config.reference import SMALLEST
from mailseal.config.schema import Config, Http01
from mailseal.config.timer import Timer
from mailseal.schedule import cron, units
from mailseal.schedule.interval import INTERVALS, LONGEST, calendar, cron_times, interval, words
from mailseal.schedule.keeping import directories
from mailseal.schedule.place import Place, look, timing
from mailseal.schedule.standing import sentence, standing
from mailseal.schedule.way import Schedule, way
from tests.support.memory import MemorySystem

DAY = timedelta(days=1)
SEEDS = (0, 1, 59, 3_599, 7_201, 14_399, 2**32 - 1)


@pytest.mark.parametrize(
    ("lifetime", "told"),
    [
        (timedelta(days=398), "4 hours"),
        (timedelta(days=90), "4 hours"),
        (timedelta(days=64), "4 hours"),
        (timedelta(days=45), "4 hours"),
        (timedelta(hours=160), "hour"),
        (timedelta(days=1), "10 minutes"),
        (timedelta(hours=1), "30 seconds"),
        (timedelta(minutes=90), "30 seconds"),
        (timedelta(minutes=5), "10 seconds"),
        (timedelta(seconds=1), "10 seconds"),
    ],
)
def test_the_interval_follows_the_lifetime(lifetime: timedelta, told: str) -> None:
    assert words(interval([lifetime])) == told


def test_the_shortest_lifetime_held_decides() -> None:
    assert interval([90 * DAY, timedelta(hours=160), 45 * DAY]) == timedelta(hours=1)
    assert interval([]) == LONGEST


@pytest.mark.parametrize("days", range(1, 400))
def test_every_window_that_a_ca_suggests_is_met(days: int) -> None:
    """A fiftieth of the lifetime wide, as Let's Encrypt's are; a look comes late by the timer's delay."""
    every = interval([days * DAY])
    delay = min(300.0, every.total_seconds() / 10) + 60
    assert every.total_seconds() + delay <= days * 86_400 / 50


@pytest.mark.parametrize("every", INTERVALS)
@pytest.mark.parametrize("seed", SEEDS)
def test_a_calendar_names_every_instant(every: timedelta, seed: int) -> None:
    """As systemd.time(7) reads it: in a day it comes as often as the interval fits, and equally far apart."""
    match = re.fullmatch(r"\*-\*-\* (\S+):(\S+):(\S+) UTC", calendar(every, seed))
    assert match
    hours, minutes, seconds = (
        _matching(field, 24 if place == 0 else 60) for place, field in enumerate(match.groups())
    )
    times = [h * 3600 + m * 60 + s for h in hours for m in minutes for s in seconds]
    step = int(every.total_seconds())
    assert times == list(range(seed % step, 86_400, step))


@pytest.mark.parametrize("every", [one for one in INTERVALS if one >= timedelta(minutes=1)])
@pytest.mark.parametrize("seed", SEEDS)
def test_a_crontab_names_every_instant(every: timedelta, seed: int) -> None:
    minutes, hours, *rest = cron_times(every, seed).split()
    assert rest == ["*", "*", "*"]
    times = [h * 60 + m for h in _matching(hours, 24) for m in _matching(minutes, 60)]
    step = int(every.total_seconds()) // 60
    assert times == list(range(seed % (step * 60) // 60, 1440, step))


def test_cron_knows_no_seconds() -> None:
    assert cron_times(timedelta(seconds=10), 7) == "* * * * *"


def _matching(field: str, end: int) -> list[int]:
    """What one field of a calendar matches: `*`, `7`, `3/5`, `3-59/5`, `1,5,9`."""
    if "/" in field:
        start, step = field.split("/")
        return list(range(int(start.partition("-")[0]), end, int(step)))
    return list(range(end)) if field == "*" else [int(one) for one in field.split(",")]


def test_the_timer_catches_up_soon() -> None:
    text = units.timer(LONGEST, 4_000)
    assert "Persistent=true\n" in text and "RandomizedDelaySec=300\n" in text
    assert "OnCalendar=*-*-* 1/4:06:40 UTC\n" in text
    assert "RandomizedDelaySec=1\n" in units.timer(INTERVALS[0], 0)


def test_the_service_may_write_where_the_configuration_names() -> None:
    config = Config(http01=Http01(webroot="/home/www/site", webroots={"a.example.org": "/srv/a b"}))
    assert directories(config) == ("/home/www/site",)
    text = units.service("/usr/bin/mailseal", ("/home/www/site", "/opt/100% mail"))
    assert 'ReadWritePaths=-/etc -/var -/run -/srv -/home/www/site "-/opt/100%% mail"\n' in text
    assert "ExecStart=/usr/bin/mailseal renew\n" in text


def test_the_cron_file_does_nothing_where_systemd_runs() -> None:
    lines = cron.crontab("/usr/bin/mailseal", LONGEST, 4_000).splitlines()
    jobs = [line for line in lines if " root " in line]
    assert [line.split(" root ")[0] for line in jobs] == ["6 1,5,9,13,17,21 * * *", "@reboot"]
    assert all("root test -d /run/systemd/system || " in line for line in jobs)


@pytest.mark.parametrize(
    ("install", "path", "expected"),
    [
        (True, DEFAULT_PATH, Schedule.KEEP),
        (False, DEFAULT_PATH, Schedule.REMOVE),
        (True, "/etc/second.toml", Schedule.LEAVE),
        (False, "/etc/second.toml", Schedule.LEAVE),
        (True, "", Schedule.LEAVE),
    ],
)
def test_only_the_usual_configuration_has_a_timer(install: bool, path: str, expected: Schedule) -> None:
    assert way(Config(timer=Timer(install=install)), path) is expected


def test_the_table_is_read() -> None:
    assert configuration.load(SMALLEST, DEFAULT_PATH).timer.install
    assert not configuration.load(f"{SMALLEST}\n[timer]\ninstall = false\n", DEFAULT_PATH).timer.install


class TestPlace:
    """What a machine has."""

    def test_nothing(self) -> None:
        place = look(MemorySystem())
        assert not place.able and place.lacking.startswith("there is no mailseal in /usr/bin")

    def test_systemd(self) -> None:
        place = look(_machine("systemd"))
        assert replace(place, seed=0) == Place("/usr/bin/mailseal", True, False, 0)
        assert place.able and not place.lacking

    def test_cron(self) -> None:
        assert look(_machine("cron")).able
        system = _machine("cron")
        del system.machine.programs.table[("/usr/sbin/cron",)]
        assert look(system).lacking == "neither systemd nor cron runs here"

    def test_machines_look_at_different_times(self) -> None:
        seeds = set()
        for identity in ("0123", "4567"):
            system = _machine("systemd")
            system.machine.put("/etc/machine-id", f"{identity}\n")
            assert look(system) == look(system)
            seeds.add(look(system).seed)
        assert len(seeds) == 2


class TestStanding:
    """What status tells."""

    def test_a_timer_that_runs(self) -> None:
        system = _machine("systemd")
        system.machine.programs.says(
            "systemctl",
            "show",
            stdout="NextElapseUSecRealtime=Mon 2026-11-23 20:21:05 UTC\nLastTriggerUSec=n/a\nActiveState=active\n",
        )
        found = standing(system, Schedule.KEEP, [90 * DAY])
        assert (found.by, found.every, found.trouble) == ("systemd", "4 hours", "")
        assert sentence(found).startswith("systemd (mailseal.timer) looks every 4 hours")
        assert found.next == datetime(2026, 11, 23, 20, 21, 5, tzinfo=UTC) and found.last is None

    def test_a_timer_whose_run_is_at_work(self) -> None:
        system = _machine("systemd")
        shown = "NextElapseUSecRealtime=\nActiveState=active\nSubState=running\n"
        system.machine.programs.says("systemctl", "show", stdout=shown)
        found = standing(system, Schedule.KEEP, [90 * DAY])
        assert found.by == "systemd" and found.at_work and found.next is None and not found.trouble

    def test_a_timer_that_does_not(self) -> None:
        system = _machine("systemd")
        system.machine.programs.says("systemctl", "show", stdout="ActiveState=inactive\n")
        assert standing(system, Schedule.KEEP, [90 * DAY]).trouble
        assert not standing(system, Schedule.KEEP, []).trouble  # there is nothing to renew yet
        assert not standing(system, Schedule.REMOVE, [90 * DAY]).trouble
        assert not standing(system, Schedule.LEAVE, [90 * DAY]).trouble
        assert sentence(standing(system, Schedule.LEAVE, [])).startswith("Nothing looks by itself: ")

    def test_cron(self) -> None:
        system = _machine("cron")
        assert standing(system, Schedule.KEEP, [90 * DAY]).trouble
        system.machine.put(cron.PATH, "# …")
        assert timing(system).by == "cron"
        assert not standing(system, Schedule.KEEP, [90 * DAY]).trouble


def _machine(init: str) -> MemorySystem:
    system = MemorySystem()
    system.machine.put("/usr/bin/mailseal", "#!", mode=0o755)
    system.machine.put("/etc/machine-id", "89abcdef\n")
    if init == "systemd":
        system.machine.put_directory("/run/systemd/system")
    else:
        system.machine.put_directory(cron.FOLDER)
        system.machine.programs.says("/usr/sbin/cron")
    return system

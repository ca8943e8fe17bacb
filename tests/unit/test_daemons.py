"""Daemons restarted from within mailseal's own unit: one that no unit runs must outlive the run."""

from __future__ import annotations

from dataclasses import replace

import pytest

from mailseal.daemons import Daemons, Service
from tests.support.daemon import DaemonAdapter, DaemonFacts
from tests.support.memory import Machine, MemorySystem


@pytest.fixture
def system() -> MemorySystem:
    machine = Machine()
    machine.put_directory("/run/systemd/system")
    machine.put("/usr/bin/systemd-run", "#!", mode=0o755)
    for program in ("daemonctl", "systemd-run"):
        machine.programs.says(program)
    return MemorySystem(machine)


def _restart(system: MemorySystem, *, systemd: bool) -> list[tuple[str, ...]]:
    facts = replace(DaemonFacts(), systemd=systemd)
    Daemons(system, lambda line: None).restart([Service(DaemonAdapter(), facts)])
    return [argv for argv in system.machine.programs.argvs() if "restart" in argv]


def test_from_a_shell_it_is_restarted_as_it_is(system: MemorySystem) -> None:
    assert _restart(system, systemd=False) == [("daemonctl", "restart")]


def test_under_the_timer_systemd_starts_it_beside_our_unit(system: MemorySystem) -> None:
    system.machine.put("/proc/self/cgroup", "0::/system.slice/mailseal.service\n")
    (argv,) = _restart(system, systemd=False)
    assert argv[0] == "systemd-run" and argv[-3:] == ("--", "daemonctl", "restart")
    assert "--property=KillMode=process" in argv


def test_what_a_unit_runs_needs_no_such_thing(system: MemorySystem) -> None:
    system.machine.put("/proc/self/cgroup", "0::/system.slice/mailseal.service\n")
    assert _restart(system, systemd=True) == [("daemonctl", "restart")]

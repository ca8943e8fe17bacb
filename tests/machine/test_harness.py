"""Whole machines: what the harness promises to the tests that stand on it."""

from __future__ import annotations

import os

from lab.machine import Machine
from lab.recipe import PASSWORD, USER
from lab.supervisor import PREFIX, own_groups
from lab.world import World

MAIL_PORTS = {25, 80, 110, 143, 993, 995, 4190}


def test_a_machine_boots_with_its_mail_stack(machine: Machine, world: World) -> None:
    assert machine.failed_units() == []
    assert {port for _, port in machine.listening()} >= MAIL_PORTS
    for unit in ("postfix", "dovecot", "apache2"):
        assert machine.run(["systemctl", "is-active", unit]).stdout == "active\n"
    for unit in ("caddy", "named"):
        assert machine.run(["systemctl", "is-active", unit], check=False).stdout == "inactive\n"
    served = world.ca.run(
        ["openssl", "s_client", "-connect", f"{machine.name}:993", "-brief"], input=""
    ).stderr
    assert "Protocol version: TLSv1.3" in served


def test_it_sends_reloads_and_resolves(machine: Machine, world: World) -> None:
    machine.run(["systemctl", "reload", "postfix", "dovecot", "apache2"])
    machine.wait_listening(*MAIL_PORTS)
    assert machine.run(["getent", "ahosts", "ca.example.test"]).stdout.startswith(world.ca.ipv6)
    swaks = [
        "swaks",
        "--to",
        f"{USER}@mail.example.test",
        "--server",
        machine.name,
        "--tls",
        "--body",
        PASSWORD,
    ]
    assert "250 2.0.0 Ok: queued" in world.ca.run(swaks).stdout


def test_a_reboot_keeps_what_was_written(machine: Machine) -> None:
    machine.write("/etc/kept", "through the reboot\n")
    machine.run(["systemctl", "disable", "apache2"])
    boot = machine.read("/proc/sys/kernel/random/boot_id"), machine.read("/proc/1/stat")
    machine.reboot()
    assert machine.read("/proc/1/stat") != boot[1]
    assert machine.read("/etc/kept") == "through the reboot\n"
    assert {port for _, port in machine.listening()} >= MAIL_PORTS - {80}
    assert 80 not in {port for _, port in machine.listening()}


def test_the_clock_cannot_be_set(machine: Machine) -> None:
    assert "not permitted" in machine.run(["date", "--set", "2030-01-01"], check=False).stderr
    unit = ["systemd-run", "--wait", "--pipe", "--quiet", "date", "--set", "2030-01-01"]
    assert machine.run(unit, check=False).returncode != 0


def test_two_machines_do_not_disturb_each_other(machine: Machine, world: World) -> None:
    """Each has control groups of its own, or one systemd would stop the processes of the other."""
    other = world.machine(machine.release, "other.example.test")
    apache = machine.pids("apache2")
    other.run(["systemctl", "stop", "apache2", "dovecot", "postfix"])
    assert machine.pids("apache2") == apache
    assert {port for _, port in machine.listening()} >= MAIL_PORTS
    assert other.run(["systemctl", "status", "apache2"], check=False).returncode == 3
    world.discard(other)
    assert machine.failed_units() == []


def test_poweroff_leaves_nothing(machine: Machine) -> None:
    pid = machine.pid
    mine = f"{PREFIX}{os.getpid()}-*"
    assert any(list(own.glob(mine)) for own in own_groups())
    machine.poweroff()
    assert not os.path.exists(f"/proc/{pid}")
    assert not any(list(own.glob(mine)) for own in own_groups())


def test_packages_leave_no_trace_of_the_build(machine: Machine) -> None:
    assert machine.read("/etc/hosts").splitlines()[-1] == "127.0.1.1 mail.example.test mail"
    assert machine.run(["hostname", "--fqdn"]).stdout == "mail.example.test\n"
    for path in ("/usr/sbin/policy-rc.d", "/root/build-bundle.crt", "/etc/apt/apt.conf.d/99lab-build"):
        assert not machine.exists(path)

"""How a daemon is started and stopped: by systemd where it is PID 1, else by its own command.

sd_booted(3): systemd is the running init exactly where /run/systemd/system is
a directory. In a container without it, `systemctl` may be installed and fails;
so nothing here ever looks for the program.

Commands are data; nothing is run here. `systemctl reload` is left out on
purpose: its exit status says little (Debian 12's postfix.service reloads with
/bin/true), so adapters name the daemon's own reload.
"""

from __future__ import annotations

from mailseal.model import Command
from mailseal.system import System

_RUNNING = "/run/systemd/system"


def systemd_is_init(system: System) -> bool:
    """Whether systemd is PID 1 here (sd_booted(3))."""
    found = system.files.stat(_RUNNING)
    return found is not None and found.kind == "directory"


def systemctl_restart(unit: str, title: str) -> Command:
    """Starts the unit anew, or for the first time."""
    return Command(("systemctl", "restart", unit), timeout=120.0, why=f"{title} starts anew")


def systemctl_is_active(unit: str, title: str) -> Command:
    """Ends with 0 while the unit is active. That is not proof that it serves: a broken daemon can be active."""
    return Command(("systemctl", "is-active", "--quiet", unit), timeout=30.0, why=f"whether {title} runs")

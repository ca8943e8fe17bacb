"""What may not change on a machine that has services already: packages, files of /etc, listening ports.

Read without any tool that may be missing: dpkg's status through dpkg-query(1),
which every Debian has; /etc itself; the kernel's table of TCP sockets
(proc(5), state 0A is LISTEN). Ports of the kernel's ephemeral range are left out:
programs open and close them all the time, and no service is met there.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass

from lab.box import SNAPSHOT

LISTEN = "0A"


@dataclass(frozen=True)
class MachineState:
    """One look at the machine."""

    packages: frozenset[str]
    files: dict[str, str]
    listening: frozenset[str]

    def changes(self, later: MachineState) -> Iterator[str]:
        """What is not the same any more, a line each."""
        for what in sorted(self.packages ^ later.packages):
            yield f"package {what}"
        for path in sorted({*self.files, *later.files}):
            if self.files.get(path) != later.files.get(path):
                yield f"file {path}"
        for where in sorted(self.listening ^ later.listening):
            yield f"listening {where}"


def machine_state() -> MachineState:
    """As it is now."""
    told = _run("dpkg-query", "-W", "-f", "${Package}:${Architecture} ${Version} ${Status}\\n")
    return MachineState(frozenset(told.splitlines()), tree("/etc"), _services(listening()))


def tree(*paths: str) -> dict[str, str]:
    """Every file under `paths`: type, mode, owner, content's hash or link's target."""
    told = _run(sys.executable, "-I", "-c", SNAPSHOT, *paths)
    return dict(line.rsplit("|", 1) for line in told.splitlines())


def listening() -> frozenset[str]:
    """Address and port, in the kernel's hexadecimal, of every TCP socket that listens."""
    found = set()
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        try:
            with open(table, encoding="ascii") as lines:
                rows = [line.split() for line in lines][1:]
        except FileNotFoundError:  # a kernel without IPv6
            continue
        found |= {row[1] for row in rows if row[3] == LISTEN}
    return frozenset(found)


def _services(sockets: frozenset[str]) -> frozenset[str]:
    """Those below the kernel's ephemeral ports (ip(7), ip_local_port_range)."""
    with open("/proc/sys/net/ipv4/ip_local_port_range", encoding="ascii") as told:
        first = int(told.read().split()[0])
    return frozenset(where for where in sockets if _port(where) < first)


def _port(where: str) -> int:
    return int(where.rpartition(":")[2], 16)


def taken_ports() -> set[int]:
    """The TCP ports that anything listens on, at any address."""
    return {_port(where) for where in listening()}


def _run(*argv: str) -> str:
    return subprocess.run(argv, capture_output=True, text=True, check=True).stdout

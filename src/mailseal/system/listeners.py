"""Who listens on which TCP port of this machine, from /proc (man 5 proc_pid_net, proc_pid_fd).

`/proc/net/tcp` and `tcp6` list sockets with addresses in the kernel's word
order, state 0A being LISTEN, and the socket's inode; the process that holds
it has a descriptor that reads `socket:[inode]`. Only root sees everybody's
descriptors; a holder that cannot be seen (another user's process, another
PID namespace, the kernel) has pid None and no program. No iproute2 is needed.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Container, Iterable
from dataclasses import dataclass

from mailseal.errors import SystemFault
from mailseal.system import System

_LISTEN = "0A"
_SOCKET = re.compile(r"socket:\[(\d+)\]")


@dataclass(frozen=True, slots=True, order=True)
class Listener:
    """A listening TCP socket. `program` is the kernel's short name (at most 15 octets), empty where not known."""

    address: str
    port: int
    pid: int | None = None
    program: str = ""

    @property
    def is_wildcard(self) -> bool:
        return ipaddress.ip_address(self.address).is_unspecified

    def __str__(self) -> str:
        host = f"[{self.address}]" if ":" in self.address else self.address
        who = f"{self.program} (pid {self.pid})" if self.pid else "a process that cannot be seen"
        return f"{who} on {host}:{self.port}"


def listeners(system: System, ports: Container[int] | None = None) -> tuple[Listener, ...]:
    """Every listening TCP socket (of these ports), by port and address; one entry for each program that holds it.

    A server's children hold its sockets too: of one program, the process with the lowest number is named.
    """
    sockets: dict[int, tuple[str, int]] = {}
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        found_here = parse_table(_text(system, table))
        sockets.update({inode: at for inode, at in found_here.items() if ports is None or at[1] in ports})
    found: set[Listener] = set()
    holders = _holders(system, set(sockets))
    for inode, (address, port) in sockets.items():
        for program, pid in holders.get(inode, {"": None}).items():
            found.add(Listener(address, port, pid, program))
    return tuple(sorted(found, key=lambda each: (each.port, each.address, each.pid or 0)))


def on_port(found: Iterable[Listener], port: int) -> tuple[Listener, ...]:
    return tuple(each for each in found if each.port == port)


def covering(found: Iterable[Listener], address: str, port: int) -> tuple[Listener, ...]:
    """Those that keep another from listening at this address: the same one, or a wildcard on either side.

    A socket on `::` may or may not take IPv4 too; /proc does not tell, so it counts as if it did.
    """
    wanted = ipaddress.ip_address(address)
    return tuple(
        each
        for each in on_port(found, port)
        if (theirs := ipaddress.ip_address(each.address)) == wanted
        or (theirs.is_unspecified and (theirs.version == 6 or wanted.version == 4))
        or (wanted.is_unspecified and theirs.version == wanted.version)
    )


def parse_table(text: str) -> dict[int, tuple[str, int]]:
    """The listening sockets of a /proc/net/tcp or tcp6: inode → address and port."""
    found: dict[int, tuple[str, int]] = {}
    for line in text.splitlines()[1:]:
        fields = line.split()
        if len(fields) < 10 or fields[3] != _LISTEN:
            continue
        address, _, port = fields[1].partition(":")
        try:
            found[int(fields[9])] = (_address(address), int(port, 16))
        except ValueError:
            continue
    return found


def _address(text: str) -> str:
    """An address of /proc/net/tcp: 32-bit words, each in the machine's own order."""
    import sys

    raw = bytes.fromhex(text)
    words = (raw[at : at + 4] for at in range(0, len(raw), 4))
    packed = b"".join(word[::-1] if sys.byteorder == "little" else word for word in words)
    address = ipaddress.ip_address(packed)
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return str(mapped or address)


def _holders(system: System, wanted: set[int]) -> dict[int, dict[str, int | None]]:
    found: dict[int, dict[str, int | None]] = {}
    if not wanted:
        return found
    for pid in sorted(int(name) for name in _names(system, "/proc") if name.isdigit()):
        held = {
            int(match[1])
            for fd in _names(system, f"/proc/{pid}/fd")
            if (match := _SOCKET.fullmatch(_target(system, f"/proc/{pid}/fd/{fd}"))) is not None
        }
        if held & wanted:
            program = _text(system, f"/proc/{pid}/comm").strip()
            for inode in held & wanted:
                found.setdefault(inode, {}).setdefault(program, pid)
    return found


def _names(system: System, path: str) -> tuple[str, ...]:
    try:
        return system.files.listdir(path)
    except SystemFault:  # a process that ended meanwhile, or is not ours to look into
        return ()


def _target(system: System, path: str) -> str:
    try:
        return system.files.state(path).target
    except SystemFault:
        return ""


def _text(system: System, path: str) -> str:
    try:
        return system.files.read(path).decode("utf-8", "replace")
    except SystemFault:
        return ""

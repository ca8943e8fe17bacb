"""A network for lab hosts, with no way out and no interface on the host.

veth(4) pairs lead from each host's network namespace to a bridge in a namespace
that belongs to the network alone (network_namespaces(7): devices without a
physical side vanish with their namespace). Nothing is named outside, so two
runs cannot collide and a crash leaves nothing: the namespace lives as long as
its holder process, which exits when its maker's end of a pipe closes.

Addresses are 10.77.0.0/16 and fd77::/64, given out in order, both on every host,
without duplicate address detection, so that they can be used at once. There is
no default route.
"""

from __future__ import annotations

import subprocess
import sys
from typing import Self

from lab.box import child_of, nsenter
from lab.guard import require

_HOLD = "import sys; print('ready', flush=True); sys.stdin.read()"


class Network:
    """A bridge; `attach` plugs a network namespace in."""

    def __init__(self) -> None:
        require()
        self._holder = subprocess.Popen(
            ["unshare", "--net", "--fork", "--kill-child", sys.executable, "-ISc", _HOLD],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        assert self._holder.stdout is not None
        self._holder.stdout.readline()
        self._pid = child_of(self._holder.pid)
        self._hosts = 0
        self._ip("link add br0 type bridge mcast_snooping 0", "link set br0 up")

    def attach(self, pid: int) -> tuple[str, str]:
        """Gives the network namespace of `pid` an eth0; returns its IPv4 and IPv6 address."""
        self._hosts += 1
        number = self._hosts
        ipv4, ipv6 = f"10.77.{number >> 8}.{number & 255}", f"fd77::{number:x}"
        self._ip(
            f"link add v{number} type veth peer name eth0 netns /proc/{pid}/ns/net",
            f"link set v{number} master br0 up",
        )
        batch = [
            "link set lo up",
            f"addr add {ipv4}/16 dev eth0",
            f"addr add {ipv6}/64 dev eth0 nodad",
            "link set eth0 addrgenmode none up",
        ]
        _batch(pid, *batch)
        return ipv4, ipv6

    def add_address(self, pid: int, address: str) -> None:
        """One more address, with its prefix length, on a host's eth0."""
        _batch(pid, f"addr add {address} dev eth0" + (" nodad" if ":" in address else ""))

    def close(self) -> None:
        """Takes the network away; hosts still on it lose their link."""
        self._holder.kill()
        self._holder.communicate()

    def _ip(self, *commands: str) -> None:
        _batch(self._pid, *commands)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _batch(pid: int, *commands: str) -> None:
    done = subprocess.run(
        [*nsenter(pid, "--net"), "ip", "-batch", "-"],
        input="\n".join(commands) + "\n",
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise RuntimeError(f"ip: {done.stderr.strip()}")

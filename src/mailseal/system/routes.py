"""Where packets for the world leave: the default gateway, from /proc/net/route (man 5 proc_pid_net; route(8)).

A machine behind NAT has its router there, and the router's answers on port 80
are not the world's. IPv4 only: IPv6 knows no NAT that would matter here.
"""

from __future__ import annotations

import ipaddress

from mailseal.errors import SystemFault
from mailseal.system import Files

_UP_GATEWAY = 0x1 | 0x2  # RTF_UP, RTF_GATEWAY of linux/route.h


def default_gateway(files: Files) -> str | None:
    """The IPv4 address of the default gateway with the smallest metric; None where there is none."""
    try:
        return parse_routes(files.read("/proc/net/route").decode("ascii", "replace"))
    except SystemFault:
        return None


def parse_routes(text: str) -> str | None:
    """The default gateway in the kernel's table, whose addresses are words in the machine's own order."""
    import sys

    found: list[tuple[int, str]] = []
    for line in text.splitlines()[1:]:
        fields = line.split()
        try:
            _, destination, gateway, flags, _, _, metric, mask = fields[:8]
            if int(destination, 16) or int(mask, 16) or int(flags, 16) & _UP_GATEWAY != _UP_GATEWAY:
                continue
            packed = int(gateway, 16).to_bytes(4, sys.byteorder)
            found.append((int(metric), str(ipaddress.IPv4Address(packed))))
        except (ValueError, OverflowError):
            continue
    return min(found)[1] if found else None

"""Where a daemon that listens can be met from its own machine.

A wildcard listener is met on loopback, once for each address family that the
machine has; one on an address of its own only there. Host names as listening
addresses are passed over: what they resolve to is not in the configuration.
"""

from __future__ import annotations

import ipaddress
import posixpath
from collections.abc import Iterable, Iterator

from mailseal.errors import SystemFault
from mailseal.model import Command, Endpoint
from mailseal.system import Files


def has_ipv6(files: Files) -> bool:
    """Whether any interface has an IPv6 address; without one, daemons skip `::` silently."""
    try:
        return bool(files.read("/proc/net/if_inet6").strip())
    except SystemFault:
        return False


def reachable(listen: str, ipv6: bool) -> Iterator[str]:
    """The addresses at which a listener can be met; `listen` holds some, parted by commas or blanks."""
    for part in listen.replace(",", " ").split():
        if part == "*":
            yield "127.0.0.1"
            continue
        try:
            address = ipaddress.ip_address(part.strip("[]"))
        except ValueError:
            continue
        if address.version == 6 and not ipv6:
            continue
        if address.is_unspecified:
            yield "127.0.0.1" if address.version == 4 else "::1"
        else:
            yield str(address)


def lent_addresses(endpoints: Iterable[Endpoint], who: str) -> Iterator[Command]:
    """A rehearsal's network namespace has loopback only: the commands that add what a daemon listens on."""
    for address in dict.fromkeys(endpoint.address for endpoint in endpoints):
        parsed = ipaddress.ip_address(address)
        if parsed.is_loopback:
            continue
        no_wait = ("nodad",) if parsed.version == 6 else ()
        argv = ("ip", "address", "add", f"{address}/{parsed.max_prefixlen}", "dev", "lo", *no_wait)
        yield Command(argv, why=f"an address that {who} listens on")


def coverable(files: Files, paths: Iterable[str]) -> tuple[str, ...]:
    """The directories to cover so that nothing below `paths` is reached: each, or where it is not there its parent.

    Links are followed, and what would uncover a whole file system (`/`, `/var`) is left out.
    """
    found = []
    for wanted in paths:
        path = wanted
        while path not in ("/", "") and files.stat(path, follow=True) is None:
            path = posixpath.dirname(path)
        real = files.resolve(path)
        if real.count("/") >= 2 or real == "/run":
            found.append(real)
    nested = {path for path in found for above in found if path.startswith(above + "/")}
    return tuple(dict.fromkeys(path for path in found if path not in nested))

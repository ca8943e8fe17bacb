"""The network of this machine, as the port `Network` promises it.

Addresses of our own come from the kernel's tables: /proc/net/fib_trie, where
each local IPv4 address is a `/32 host LOCAL` leaf, and /proc/net/if_inet6
(proc(5)), whose columns are address, interface, prefix length, scope, flags
and name. Both show the network namespace that we are in. Where a container
hides them, `ip -j address` (ip-address(8)) is asked.

asyncio is imported on use: commands that never touch the network start without it.
"""

from __future__ import annotations

import errno
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from mailseal.errors import NetworkFault, SystemFault
from mailseal.system import Files, Processes
from mailseal.system.faults import reason_of

if TYPE_CHECKING:
    import asyncio

    from mailseal.system import Handler, Server
    from mailseal.system.smtp import MailServer

_LONGEST_LINE = 1 << 16
_SCOPES_OF_OTHERS = 0x10 | 0x20  # host (loopback) and link
_NOT_USABLE = 0x08 | 0x40  # IFA_F_DADFAILED, IFA_F_TENTATIVE of linux/if_addr.h


class LocalNetwork:
    """The port `Network` on this machine."""

    def __init__(self, files: Files, processes: Processes) -> None:
        self._files = files
        self._processes = processes

    async def connect(
        self, address: str, port: int, *, timeout: float, source: str | None = None
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        import asyncio

        _require_address(address)
        try:
            async with asyncio.timeout(timeout):
                return await asyncio.open_connection(
                    address, port, limit=_LONGEST_LINE, local_addr=(source, 0) if source else None
                )
        except TimeoutError as error:
            raise _unreached(address, port, f"no answer within {timeout:g} s", errno.ETIMEDOUT) from error
        except OSError as error:
            raise _unreached(address, port, reason_of(error), error.errno) from error

    async def serve(self, address: str, port: int, handler: Handler) -> Server:
        from mailseal.system import listen

        return await listen.serve(address, port, handler)

    def submit(
        self, server: MailServer, sender: str, recipients: Sequence[str], message: bytes
    ) -> tuple[str, ...]:
        from mailseal.system import smtp

        return smtp.submit(server, sender, recipients, message)

    def own_addresses(self) -> tuple[str, ...]:
        try:
            found = [*_from_fib_trie(self._text("/proc/net/fib_trie")), *self._ipv6()]
        except SystemFault:
            found = list(_from_ip(self._processes))
        return tuple(dict.fromkeys(address for address in found if not _is_loopback(address)))

    def _ipv6(self) -> Iterator[str]:
        if self._files.stat("/proc/net/if_inet6") is not None:  # away where IPv6 is switched off
            yield from _from_if_inet6(self._text("/proc/net/if_inet6"))

    def _text(self, path: str) -> str:
        return self._files.read(path).decode("ascii", "replace")


def _unreached(address: str, port: int, reason: str, number: int | None) -> NetworkFault:
    where = f"[{address}]:{port}" if ":" in address else f"{address}:{port}"
    mend = ""
    if number == errno.ECONNREFUSED and _is_loopback(address):
        mend = f"see who listens: ss -ltnp 'sport = :{port}'"
    return NetworkFault(f"Cannot connect to {where}", reason=reason, errno=number, next_command=mend)


def _require_address(address: str) -> None:
    import ipaddress

    try:
        ipaddress.ip_address(address)
    except ValueError as error:
        raise NetworkFault(
            f"Cannot use {address!r}", reason="not an IP address", errno=errno.EINVAL
        ) from error


def _is_loopback(address: str) -> bool:
    return address.startswith("127.") or address == "::1"


def _from_fib_trie(text: str) -> Iterator[str]:
    """A leaf's address stands on the line `|-- ADDRESS`, what it is on the lines below it."""
    address = ""
    for line in text.splitlines():
        words = line.split()
        if len(words) == 2 and words[0] == "|--":
            address = words[1]
        elif words[:3] == ["/32", "host", "LOCAL"]:
            yield address


def _from_if_inet6(text: str) -> Iterator[str]:
    import ipaddress

    for line in text.splitlines():
        digits, _, _, scope, flags, *_ = line.split()
        if not (int(scope, 16) & _SCOPES_OF_OTHERS or int(flags, 16) & _NOT_USABLE):
            yield str(ipaddress.IPv6Address(bytes.fromhex(digits)))


def _from_ip(processes: Processes) -> Iterator[str]:
    import json

    told = processes.run(["ip", "-j", "address", "show"], timeout=10.0)
    if not told.ok:
        raise SystemFault("Cannot list the machine's own addresses", reason=told.said)
    found = [
        (entry["family"], entry["local"])
        for link in json.loads(told.stdout)
        for entry in link.get("addr_info", ())
        if entry.get("scope") == "global"
    ]
    yield from (address for _, address in sorted(found, key=lambda pair: pair[0] != "inet"))

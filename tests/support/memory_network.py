"""The ports `Network`, `Http` and `Dns` in memory: handlers registered by address and port, no socket of the host's.

A connection is a pair of asyncio streams over socketpair(2), so that code may
start TLS on it as on any other. What nobody listens on refuses connections;
an address in `silent` never answers, which costs simulated time only.
"""

from __future__ import annotations

import asyncio
import errno
import ipaddress
import os
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mailseal.errors import NetworkFault
from mailseal.system import Handler
from mailseal.system.dns import DnsRecord, DnsReply
from mailseal.system.http import Http, HttpResponse
from mailseal.system.smtp import MailServer

if TYPE_CHECKING:
    from tests.support.memory import MemorySystem

_UNREACHABLE = os.strerror(errno.ENETUNREACH)


@dataclass(frozen=True)
class Submitted:
    """A mail that a mail server took, and how."""

    server: MailServer
    sender: str
    recipients: tuple[str, ...]
    message: bytes


class World:
    """What a machine can reach.

    `listeners` by address and port (also of other hosts), `silent` addresses
    that swallow packets, `addresses` the machine's own, `records` DNS answers
    by name and type, `web` what answers HTTP, `mails` what mail servers took. While it is `cut_off`, only the
    machine itself can be reached.
    """

    def __init__(self) -> None:
        self.listeners: dict[tuple[str, int], Handler] = {}
        self.silent: set[str] = set()
        self.addresses: list[str] = ["192.0.2.7", "2001:db8::7"]
        self.records: dict[tuple[str, str], DnsReply] = {}
        self.web: Http | None = None
        self.mails: list[Submitted] = []
        self.mail_refused: dict[str, str] = {}
        self.cut_off = False
        self.next_port = 49152

    def answer(self, address: str, port: int, handler: Handler) -> None:
        """Connections to this address and port reach the handler."""
        self.listeners[address, port] = handler

    def record(self, name: str, rdtype: str, *data: str, ttl: int = 300, authenticated: bool = False) -> None:
        """The resolver answers so."""
        records = tuple(DnsRecord(name.lower(), rdtype, ttl, text) for text in data)
        self.records[name.lower(), rdtype] = DnsReply("NOERROR", authenticated, records, server="192.0.2.53")

    def is_own(self, address: str) -> bool:
        return address in self.addresses or ipaddress.ip_address(address).is_loopback

    def handler(self, address: str, port: int) -> Handler | None:
        if (exact := self.listeners.get((address, port))) is not None:
            return exact
        if self.is_own(address):
            return self.listeners.get(("::" if ":" in address else "0.0.0.0", port))
        return None


class MemoryNetwork:
    """The port `Network` in memory."""

    def __init__(self, system: MemorySystem) -> None:
        self._system = system

    @property
    def _world(self) -> World:
        return self._system.machine.world

    async def connect(
        self, address: str, port: int, *, timeout: float, source: str | None = None
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        where = _require_address(address, port)
        self._effect("connect", f"Cannot connect to {where}", where)
        if self._world.cut_off and not self._world.is_own(address):
            raise NetworkFault(f"Cannot connect to {where}", reason=_UNREACHABLE, errno=errno.ENETUNREACH)
        if address in self._world.silent:
            await self._system.clock.sleep_async(timeout)
            raise NetworkFault(
                f"Cannot connect to {where}", reason=f"no answer within {timeout:g} s", errno=errno.ETIMEDOUT
            )
        handler = self._world.handler(address, port)
        if handler is None:
            raise NetworkFault(
                f"Cannot connect to {where}", reason=os.strerror(errno.ECONNREFUSED), errno=errno.ECONNREFUSED
            )
        mine = (source or ("::1" if ":" in address else "127.0.0.1"), self._port())
        here, there = socket.socketpair()
        ours = await _streams(here, mine, (address, port))
        theirs = await _streams(there, (address, port), mine)
        self._system.machine.keep(asyncio.ensure_future(_serve(handler, *theirs)))
        return ours

    async def serve(self, address: str, port: int, handler: Handler) -> MemoryServer:
        where = _require_address(address, port)
        self._effect("listen", f"Cannot listen on {where}", where)
        port = port or self._port()
        if (address, port) in self._world.listeners:
            raise NetworkFault(
                f"Cannot listen on {where}", reason=os.strerror(errno.EADDRINUSE), errno=errno.EADDRINUSE
            )
        self._world.listeners[address, port] = handler
        return MemoryServer(self._world, address, port)

    def submit(
        self, server: MailServer, sender: str, recipients: Sequence[str], message: bytes
    ) -> tuple[str, ...]:
        """The mail lies in `world.mails`; a server in `world.mail_refused` answers so."""
        told = f"The mail could not be handed to {server}"
        self._effect("submit", told, str(server))
        if self._world.cut_off:
            raise NetworkFault(told, reason=_UNREACHABLE, errno=errno.ENETUNREACH)
        if refusal := self._world.mail_refused.get(server.host):
            raise NetworkFault(told, reason=refusal)
        self._world.mails.append(Submitted(server, sender, tuple(recipients), message))
        return ()

    def own_addresses(self) -> tuple[str, ...]:
        self._system.alive()
        return tuple(self._world.addresses)

    def _port(self) -> int:
        self._world.next_port += 1
        return self._world.next_port

    def _effect(self, kind: str, message: str, where: str) -> None:
        try:
            self._system.effect(kind, where)
        except OSError as error:
            raise NetworkFault(message, reason=error.strerror or "", errno=error.errno) from error


class MemoryServer:
    """The port `Server` in memory."""

    def __init__(self, world: World, address: str, port: int) -> None:
        self._world = world
        self._address = address
        self._port = port

    @property
    def address(self) -> str:
        return self._address

    @property
    def port(self) -> int:
        return self._port

    async def close(self) -> None:
        self._world.listeners.pop((self._address, self._port), None)


class MemoryHttp:
    """The port `Http`: hands requests to what the test registered as `world.web`."""

    def __init__(self, system: MemorySystem) -> None:
        self._system = system

    async def request(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        body: bytes | None = None,
        timeout: float = 30.0,
        limit: int = 1_048_576,
    ) -> HttpResponse:
        try:
            self._system.effect("http", f"{method} {url}")
        except OSError as error:
            raise NetworkFault(
                f"Cannot reach {url}", reason=error.strerror or "", errno=error.errno
            ) from error
        web = self._system.machine.world.web
        if self._system.machine.world.cut_off:
            raise NetworkFault(f"Cannot reach {url}", reason=_UNREACHABLE, errno=errno.ENETUNREACH)
        if web is None:
            raise NetworkFault(
                f"Cannot reach {url}", reason=os.strerror(errno.ECONNREFUSED), errno=errno.ECONNREFUSED
            )
        answer = await web.request(method, url, headers=headers, body=body, timeout=timeout, limit=limit)
        if len(answer.body) > limit:
            raise NetworkFault(f"{url} sent more than {limit} bytes")
        return answer

    async def close(self) -> None:
        return


class MemoryDns:
    """The port `Dns`: what the test registered in `world.records`; any other name does not exist."""

    def __init__(self, system: MemorySystem) -> None:
        self._system = system

    async def query(
        self, name: str, rdtype: str, *, timeout: float = 10.0, checking_disabled: bool = False
    ) -> DnsReply:
        self._system.alive()
        if self._system.machine.world.cut_off:
            await self._system.clock.sleep_async(timeout)
            raise NetworkFault(f"No answer about {name}", reason=_UNREACHABLE, errno=errno.ENETUNREACH)
        asked = name.rstrip(".").lower()
        records = self._system.machine.world.records
        if (reply := records.get((asked, rdtype))) is not None:
            return reply
        exists = any(known == asked for known, _ in records)
        return DnsReply("NOERROR" if exists else "NXDOMAIN", False, server="192.0.2.53")


class _NamedWriter(asyncio.StreamWriter):
    """Knows addresses that a socketpair has not."""

    addresses: Mapping[str, tuple[str, int]] = {}

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return self.addresses.get(name) or super().get_extra_info(name, default)


async def _streams(
    end: socket.socket, mine: tuple[str, int], peer: tuple[str, int]
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader(limit=1 << 16, loop=loop)
    protocol = asyncio.StreamReaderProtocol(reader, loop=loop)
    transport, _ = await loop.create_connection(lambda: protocol, sock=end)
    writer = _NamedWriter(transport, protocol, reader, loop)
    writer.addresses = {"sockname": mine, "peername": peer}
    return reader, writer


async def _serve(handler: Handler, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        await handler(reader, writer)
    except (OSError, asyncio.IncompleteReadError):
        return
    finally:
        writer.close()


def _require_address(address: str, port: int) -> str:
    try:
        ipaddress.ip_address(address)
    except ValueError as error:
        raise NetworkFault(
            f"Cannot use {address!r}", reason="not an IP address", errno=errno.EINVAL
        ) from error
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"

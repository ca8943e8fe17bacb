"""Servers on loopback that speak from a script.

A script is a list of acts, played to each client in turn: octets to send, `Expect`
a line that begins so, `START_TLS`, `HANG_UP`. With `trickle` every octet goes out in a
packet of its own, so that no reply comes in one read.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
import tempfile
import threading
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from mailseal.model import AppProtocol, Endpoint, TlsMode
from tests.support.certs import Issued


@dataclass(frozen=True)
class Expect:
    """Reads a line and checks its beginning."""

    beginning: bytes


START_TLS = object()
HANG_UP = object()
Act = bytes | Expect | object


def server_context(
    issued: Sequence[Issued],
    *,
    minimum: ssl.TLSVersion = ssl.TLSVersion.TLSv1_2,
    maximum: ssl.TLSVersion | None = None,
) -> ssl.SSLContext:
    """A server's TLS context with these certificates, their chains with them."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = minimum
    if maximum is not None:
        context.maximum_version = maximum
    for one in issued:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "combined.pem")
            path.touch(mode=0o600)
            path.write_bytes(one.combined_pem)
            context.load_cert_chain(path)
    return context


@dataclass
class Running:
    """A server that runs: its port, and the lines it was sent."""

    port: int
    heard: list[bytes]
    faults: list[str]

    def endpoint(self, protocol: AppProtocol, tls: TlsMode, service: str = "test") -> Endpoint:
        return Endpoint(service, "127.0.0.1", self.port, protocol, tls)


@asynccontextmanager
async def scripted(
    acts: Sequence[Act],
    context: ssl.SSLContext | None = None,
    *,
    implicit: bool = False,
    trickle: bool = False,
) -> AsyncIterator[Running]:
    """Runs a server that plays the script to every client."""
    running = Running(0, [], [])
    clients: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        clients.add(task)
        with suppress(ConnectionError, asyncio.IncompleteReadError, ssl.SSLError, TimeoutError):
            async with asyncio.timeout(10):
                await _play(acts, reader, writer, context, trickle, running)
        with suppress(OSError, TimeoutError):
            writer.close()
            async with asyncio.timeout(0.2):
                await writer.wait_closed()
        hang_up(writer)

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context if implicit else None)
    running.port = server.sockets[0].getsockname()[1]
    try:
        yield running
    finally:
        server.close()
        if clients:
            await asyncio.wait(clients, timeout=2.0)
        await asyncio.sleep(0.01)


def hang_up(writer: asyncio.StreamWriter) -> None:
    """Aborts; Python 3.11's TLS transports break where they have ended by themselves already."""
    with suppress(AttributeError):
        writer.transport.abort()


async def _play(
    acts: Sequence[Act],
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
    context: ssl.SSLContext | None,
    trickle: bool,
    running: Running,
) -> None:
    for act in acts:
        if isinstance(act, bytes):
            for piece in (act[i : i + 1] for i in range(len(act))) if trickle else (act,):
                writer.write(piece)
                await writer.drain()
                await asyncio.sleep(0)
        elif isinstance(act, Expect):
            line = await reader.readline()
            running.heard.append(line)
            if not line.startswith(act.beginning):
                running.faults.append(f"expected {act.beginning!r}, heard {line!r}")
                return
        elif act is START_TLS:
            assert context is not None
            await writer.start_tls(context)
        elif act is HANG_UP:
            return
    while line := await reader.readline():
        running.heard.append(line)


@contextmanager
def one_handshake(context: ssl.SSLContext) -> Iterator[Running]:
    """A server in a thread that shakes hands with one client, alerts and all: asyncio's never sends its alerts."""
    listener = socket.create_server(("127.0.0.1", 0))
    listener.settimeout(5.0)

    def serve() -> None:
        with suppress(OSError):
            client, _ = listener.accept()
            client.settimeout(5.0)
            with client, suppress(OSError), context.wrap_socket(client, server_side=True) as tls:
                tls.recv(1)

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield Running(listener.getsockname()[1], [], [])
    finally:
        thread.join()
        listener.close()

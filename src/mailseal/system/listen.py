"""Listening sockets of the real network port (`Network.serve`), on asyncio's streams.

One socket listens on one address; an IPv6 socket takes IPv6 only (RFC 3493
section 5.3), so that `0.0.0.0` and `::` can be listened on side by side and it
is always known who answers. A connection beyond `AT_ONCE` waits for a place,
one that is still open when the server closes is broken off.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket

from mailseal.errors import NetworkFault
from mailseal.system import Handler

AT_ONCE = 512
BACKLOG = 512
LINE_LIMIT = 65_536  # octets that a reader buffers before it stops reading from the socket


class LocalServer:
    """A listening socket and the connections that it accepted (`mailseal.system.Server`)."""

    def __init__(self, address: str, handler: Handler) -> None:
        self.address = address
        self._handler = handler
        self._places = asyncio.Semaphore(AT_ONCE)
        self._busy: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None
        self._port = 0

    @property
    def port(self) -> int:
        return self._port

    async def start(self, listening: socket.socket) -> None:
        self._port = listening.getsockname()[1]
        self._server = await asyncio.start_server(
            self._accepted, sock=listening, backlog=BACKLOG, limit=LINE_LIMIT
        )

    async def _accepted(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._busy.add(task)
        try:
            async with self._places:
                await self._handler(reader, writer)
        except (OSError, asyncio.CancelledError):
            # The peer went away, or we are closing: either way this connection is over, and the
            # task that asyncio made for it has nobody who would want to hear more.
            pass
        finally:
            self._busy.discard(task)
            writer.close()
            with contextlib.suppress(OSError, asyncio.CancelledError):
                await writer.wait_closed()

    async def close(self) -> None:
        if self._server is None:
            return
        server, self._server = self._server, None
        server.close()
        for task in tuple(self._busy):
            task.cancel()
        await asyncio.gather(*self._busy, return_exceptions=True)
        await server.wait_closed()


def _listening_socket(address: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    made = socket.socket(family, socket.SOCK_STREAM)
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        made.setblocking(False)
        made.bind((address, port))
        made.listen(BACKLOG)
    except BaseException:
        made.close()
        raise
    return made


async def serve(address: str, port: int, handler: Handler) -> LocalServer:
    """Listens on one IP address and port (0: the kernel chooses). Raises `NetworkFault` with its errno."""
    try:
        listening = _listening_socket(address, port)
    except (OSError, OverflowError) as error:
        where = f"[{address}]:{port}" if ":" in address else f"{address}:{port}"
        raise NetworkFault(
            f"Cannot listen on {where}",
            reason=getattr(error, "strerror", None) or str(error),
            errno=getattr(error, "errno", None),
        ) from error
    server = LocalServer(address, handler)
    await server.start(listening)
    return server

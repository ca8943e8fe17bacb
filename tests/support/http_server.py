"""HTTP servers of the tests that answer from a table: what a misdirected name would meet."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager

Reply = bytes | Callable[[str, str], bytes]  # whole octets, or made from Host and target


def status(line: str, body: bytes = b"", **headers: str) -> bytes:
    """A whole answer; underscores in header names stand for hyphens."""
    fields = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in headers.items())
    return f"HTTP/1.1 {line}\r\nContent-Length: {len(body)}\r\n{fields}\r\n".encode() + body


def redirect(location: str) -> bytes:
    return status("301 Moved Permanently", Location=location)


@asynccontextmanager
async def http_server(
    replies: Mapping[str, Reply],
    *,
    address: str = "127.0.0.1",
    port: int = 0,
    tls: ssl.SSLContext | None = None,
    hang: bool = False,
) -> AsyncIterator[int]:
    """Answers targets from the table (`*` for all others, 404 without); with `hang`, never answers."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
            if hang:
                await reader.read()
                return
            target = head.split(" ")[1]
            host = next(line[5:].strip() for line in head.split("\r\n") if line.lower().startswith("host:"))
            reply = replies.get(target, replies.get("*", status("404 Not Found", b"nothing here")))
            writer.write(reply if isinstance(reply, bytes) else reply(host, target))
            await writer.drain()
        except (OSError, asyncio.IncompleteReadError):
            return
        finally:
            writer.close()

    server = await asyncio.start_server(answer, address, port, ssl=tls)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        await server.wait_closed()

"""A web server of the smallest kind: answers a path with the file that a function names, or 404."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from mailseal.system.listen import serve


@asynccontextmanager
async def serve_files(where: Callable[[str], Path]) -> AsyncIterator[int]:
    """Runs until the block ends; gives the port on 127.0.0.1."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        file = where(head.split(b" ")[1].decode())
        body = file.read_bytes() if file.is_file() else None
        status = "404 Not Found" if body is None else "200 OK"
        text = body if body is not None else b"nothing here\n"
        writer.write(
            f"HTTP/1.1 {status}\r\nContent-Length: {len(text)}\r\nServer: test\r\n\r\n".encode() + text
        )
        await writer.drain()

    server = await serve("127.0.0.1", 0, answer)
    try:
        yield server.port
    finally:
        await server.close()

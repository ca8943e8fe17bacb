"""A CA on a socket that does what its script says, and serves honestly where the script is silent.

Behind it is the CA in memory; before it, `Misdeed`s take requests by method and
path. A misdeed answers with octets of its own (`Raw`: pieces, with a pause
between them, once or for ever), or changes what the honest one would have said
(`Changed`). The server counts requests and the octets that it could send.

    with SocketCa(ca) as server:
        server.script = [Misdeed("/new-order", says("500 Internal Server Error"))]
"""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from itertools import repeat
from pathlib import Path
from types import TracebackType
from typing import Any

from mailseal.system.aiohttp_client import AiohttpClient
from mailseal.system.http import HttpResponse
from tests.support.fake_ca import FakeCa


@dataclass(frozen=True)
class Raw:
    """Octets in pieces, `pause` seconds after each; `stays`: the connection is left open, with nothing more said."""

    pieces: Callable[[], Iterable[bytes]]
    pause: float = 0.0
    stays: bool = False


Changed = Callable[[HttpResponse], HttpResponse]


@dataclass
class Misdeed:
    """What happens to requests whose path begins with `path`: to the first `times`, or to all."""

    path: str
    does: Raw | Changed
    method: str = ""
    times: int | None = None

    def takes(self, method: str, path: str) -> bool:
        """Whether it takes this request; counts it then."""
        if self.times == 0 or not path.startswith(self.path) or self.method not in ("", method):
            return False
        if self.times is not None:
            self.times -= 1
        return True


def octets(status: str, body: bytes = b"", **headers: str) -> bytes:
    """A whole answer; underscores in header names stand for hyphens."""
    fields = {"Content-Length": str(len(body)), "Content-Type": "application/json"}
    fields |= {name.replace("_", "-"): value for name, value in headers.items()}
    lines = "".join(f"{name}: {value}\r\n" for name, value in fields.items() if value)
    return f"HTTP/1.1 {status}\r\n{lines}\r\n".encode() + body


def says(status: str, body: bytes | str = b"", **headers: str) -> Raw:
    """That answer, in one piece."""
    whole = octets(status, body.encode() if isinstance(body, str) else body, **headers)
    return Raw(lambda: (whole,))


def refuses(status: str, kind: str, detail: str, **headers: str) -> Raw:
    """A problem document."""
    document = {"type": f"urn:ietf:params:acme:error:{kind}", "detail": detail}
    return says(status, json.dumps(document), Content_Type="application/problem+json", **headers)


def drips(start: bytes, piece: bytes = b"x", *, pause: float = 0.02) -> Raw:
    """A beginning, and then the same piece again and again, slowly, for ever."""

    def pieces() -> Iterator[bytes]:
        yield start
        yield from repeat(piece)

    return Raw(pieces, pause)


def floods(start: bytes, piece: bytes = b"x" * 65_536) -> Raw:
    """The same, as fast as it is taken."""
    return drips(start, piece, pause=0.0)


def with_body(**fields: Any) -> Changed:
    """The honest answer with other values in its JSON; None takes a field away."""

    def change(answer: HttpResponse) -> HttpResponse:
        document = {**json.loads(answer.body), **fields}
        kept = {name: value for name, value in document.items() if value is not None}
        return replace(answer, body=json.dumps(kept).encode())

    return change


def with_headers(**headers: str) -> Changed:
    """The honest answer with other headers; an empty one is taken away."""

    def change(answer: HttpResponse) -> HttpResponse:
        others = {name.replace("_", "-").lower(): value for name, value in headers.items()}
        kept = {name: value for name, value in {**answer.headers, **others}.items() if value}
        return replace(answer, headers=kept)

    return change


@dataclass
class SocketCa:
    """Serves `ca` on a port of loopback, from a thread of its own."""

    ca: FakeCa
    script: list[Misdeed] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)
    sent: int = 0
    port: int = 0

    def __post_init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._up = threading.Event()
        self._tasks: set[asyncio.Task[None]] = set()

    def __enter__(self) -> SocketCa:
        self._thread.start()
        assert self._up.wait(10)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        server = self._loop.run_until_complete(asyncio.start_server(self._talk, "127.0.0.1", 0))
        self.port = server.sockets[0].getsockname()[1]
        self._up.set()
        self._loop.run_forever()
        server.close()
        for task in tuple(self._tasks):
            task.cancel()
        self._loop.run_until_complete(asyncio.gather(*self._tasks, return_exceptions=True))
        self._loop.run_until_complete(asyncio.sleep(0.01))  # in which what was aborted is closed
        self._loop.close()

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        try:
            with suppress(OSError, asyncio.IncompleteReadError):
                await self._exchange(reader, writer)
        finally:
            writer.transport.abort()

    async def _exchange(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One request a connection."""
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        method, path, _ = head[0].split(" ")
        headers = {
            name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:])
        }
        body = await reader.readexactly(int(headers.get("content-length", "0")))
        self.requests.append(f"{method} {path}")
        misdeed = next((one for one in self.script if one.takes(method, path)), None)
        if misdeed is not None and isinstance(misdeed.does, Raw):
            await self._say(writer, misdeed.does)
            return
        answer = await self.ca.request(method, f"{self.ca.state.base}{path}", headers=headers, body=body)
        if misdeed is not None and not isinstance(misdeed.does, Raw):
            answer = misdeed.does(answer)
        await self._say(writer, Raw(lambda: (_written(answer, method),)))

    async def _say(self, writer: asyncio.StreamWriter, raw: Raw) -> None:
        for piece in raw.pieces():
            writer.write(piece)
            await writer.drain()
            self.sent += len(piece)
            if raw.pause:
                await asyncio.sleep(raw.pause)
        if raw.stays:
            await asyncio.sleep(3600)
        writer.close()
        await writer.wait_closed()


def _written(answer: HttpResponse, method: str) -> bytes:
    fields = {"connection": "close", **answer.headers}
    lines = [f"{name}: {value}" for name, value in fields.items()]
    lines += [f"link: {link}" for link in answer.links]
    if answer.status not in (204, 304):
        lines.append(f"content-length: {len(answer.body)}")
    head = f"HTTP/1.1 {answer.status} Said\r\n" + "".join(f"{line}\r\n" for line in lines) + "\r\n"
    return head.encode("latin-1") + (answer.body if method != "HEAD" else b"")


class Way:
    """The real client of the HTTP port, on the way to that server, whatever the URL's host.

    Where the script answers with octets of its own, seconds last a hundredth: what ends by time is soon over.
    """

    def __init__(self, server: SocketCa, trusted: Path) -> None:
        self.server = server
        self._trusted = str(
            trusted
        )  # one root: the system's store takes long to load, and nobody speaks TLS here

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
        """One exchange, as `Http` promises it."""
        client, there = AiohttpClient(ca_file=self._trusted), f"http://127.0.0.1:{self.server.port}"
        path = url.removeprefix(self.server.ca.state.base)
        hurry = any(isinstance(one.does, Raw) and path.startswith(one.path) for one in self.server.script)
        try:
            return await client.request(
                method,
                url.replace(self.server.ca.state.base, there),
                headers=headers,
                body=body,
                timeout=timeout / 100 if hurry else timeout,
                limit=limit,
            )
        finally:
            await client.close()

    async def close(self) -> None:
        return

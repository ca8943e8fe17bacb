"""The aiohttp client of the HTTP port against real servers on loopback: bounds, faults, trust, kept connections."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from mailseal.errors import NetworkFault
from mailseal.system.aiohttp_client import AiohttpClient, trust
from mailseal.system.http import HttpResponse
from tests.support.certs import Ca

ROOT = Ca.root("Test Root")
GOOD = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nLink: <a>;rel=x\r\nX-Twice: 1\r\nLINK: <b>\r\nx-twice: 2\r\n\r\nhi"


class Server:
    """Answers each request with the next of `answers` (the last again and again); counts connections."""

    def __init__(self, *answers: bytes | None) -> None:
        self.answers = list(answers)
        self.connections = 0
        self.heads: list[bytes] = []

    async def talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            while True:
                self.heads.append(await reader.readuntil(b"\r\n\r\n"))
                answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
                if answer is None:
                    break
                writer.write(answer)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()


@asynccontextmanager
async def serving(server: Server, tls: ssl.SSLContext | None = None) -> AsyncIterator[str]:
    listening = await asyncio.start_server(server.talk, "127.0.0.1", 0, ssl=tls)
    async with listening:
        port = listening.sockets[0].getsockname()[1]
        yield f"http{'s' if tls else ''}://127.0.0.1:{port}/x"


def ask(
    server: Server,
    *,
    times: int = 1,
    tls: ssl.SSLContext | None = None,
    ca: Path | None = None,
    **options: object,
) -> list[HttpResponse]:
    async def work() -> list[HttpResponse]:
        client = AiohttpClient(ca_file=str(ca) if ca else None)
        try:
            async with serving(server, tls) as url:
                return [await client.request("GET", url, **options) for _ in range(times)]  # type: ignore[arg-type]
        finally:
            await client.close()
            await asyncio.sleep(0)

    return asyncio.run(work())


def server_side(tmp_path: Path, *names: str) -> ssl.SSLContext:
    file = tmp_path / "server.pem"
    file.write_bytes(ROOT.issue(*names).combined_pem)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(file)
    return context


def test_an_answer_is_whole_and_its_headers_are_plain() -> None:
    server = Server(GOOD)
    (answer,) = ask(server)
    assert (answer.status, answer.body) == (200, b"hi")
    assert answer.links == ("<a>;rel=x", "<b>")
    assert answer.headers["x-twice"] == "2"
    assert b"user-agent: mailseal/" in server.heads[0].lower()
    assert b"cookie" not in server.heads[0].lower()


def test_connections_are_kept_and_a_redirect_is_an_answer() -> None:
    server = Server(GOOD, b"HTTP/1.1 302 Found\r\nLocation: /y\r\nContent-Length: 0\r\n\r\n", GOOD)
    assert [answer.status for answer in ask(server, times=3)] == [200, 302, 200]
    assert server.connections == 1


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 99999999\r\n\r\nx",
        b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * 5000,
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + b"1000\r\n" + b"x" * 4096 + b"\r\n",
    ],
)
def test_no_answer_is_read_beyond_its_bound(answer: bytes) -> None:
    with pytest.raises(NetworkFault, match="longer than 1000 bytes"):
        ask(Server(answer), limit=1000)


@pytest.mark.parametrize(
    "answer",
    [
        b"220 mail.example.org ESMTP\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhi",
        b"HTTP/1.1 200 OK\r\nX: " + b"x" * 100_000 + b"\r\n\r\n",
        None,
    ],
)
def test_what_is_no_answer_is_a_fault(answer: bytes | None) -> None:
    with pytest.raises(NetworkFault):
        ask(Server(answer), timeout=1.0)


def test_a_server_that_says_nothing_is_left_in_time() -> None:
    with pytest.raises(NetworkFault, match="No answer"):
        ask(Server(b""), timeout=0.2)


@pytest.mark.parametrize(
    ("url", "match"),
    [
        ("http://127.0.0.1:1/", "No connection"),
        ("http://nowhere.invalid/", "does not resolve"),
        ("http://[::1", "failed"),
        ("gopher://127.0.0.1/", "failed"),
    ],
)
def test_what_cannot_be_reached_is_told(url: str, match: str) -> None:
    async def work() -> None:
        client = AiohttpClient()
        try:
            await client.request("GET", url, timeout=5.0)
        finally:
            await client.close()

    with pytest.raises(NetworkFault, match=match):
        asyncio.run(work())


def test_only_the_named_root_is_trusted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = tmp_path / "root.pem"
    root.write_bytes(ROOT.pem)
    (answer,) = ask(Server(GOOD), tls=server_side(tmp_path, "127.0.0.1"), ca=root)
    assert answer.status == 200
    with pytest.raises(NetworkFault, match="cannot be trusted"):
        ask(Server(GOOD), tls=server_side(tmp_path, "elsewhere.example.org"), ca=root)
    monkeypatch.setenv("SSL_CERT_FILE", str(root))
    with pytest.raises(NetworkFault, match="cannot be trusted"):
        ask(Server(GOOD), tls=server_side(tmp_path, "127.0.0.1"))


def test_roots_that_cannot_be_read_are_told(tmp_path: Path) -> None:
    (tmp_path / "bad.pem").write_text("nonsense")
    for name in ("bad.pem", "missing.pem"):
        with pytest.raises(NetworkFault, match=name):
            trust(str(tmp_path / name))

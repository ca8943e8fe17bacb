"""A CA's walk, against real servers on loopback."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mailseal.challenges.fetch import LONGEST_BODY, Answered, Failed, Ports, Trouble, fetch
from mailseal.system.local import LocalSystem
from tests.support.certs import self_signed
from tests.support.http_server import Reply, http_server, redirect, status
from tests.support.servers import server_context
from tests.support.zones import Zones

ZONES = Zones({("other.example", "A"): ["127.0.0.1"], ("mail.example", "A"): ["127.0.0.1"]})
PATH = "/.well-known/acme-challenge/abc"


async def walk(port: int, https: int = 1, timeout: float = 5.0) -> Answered | Failed:
    return await fetch(
        LocalSystem().network,
        ZONES,
        name="mail.example",
        address="127.0.0.1",
        path=PATH,
        timeout=timeout,
        ports=Ports(port, https),
    )


def meet(replies: dict[str, Reply], *, hang: bool = False) -> Answered | Failed:
    async def story() -> Answered | Failed:
        async with http_server(replies, hang=hang) as port:
            return await walk(port, timeout=0.5 if hang else 5.0)

    return asyncio.run(story())


@pytest.mark.parametrize(
    ("reply", "code", "body"),
    [
        (status("200 OK", b"hello", Server="x"), 200, b"hello"),
        (status("404 Not Found", b"no", Server="x"), 404, b"no"),
        (b"HTTP/1.0 200 OK\r\nServer: x\r\n\r\nuntil the end", 200, b"until the end"),
        (
            b"HTTP/1.1 200 OK\r\nServer: x\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
            200,
            b"abc",
        ),
        (
            b"HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 200 OK\r\nServer: x\r\nContent-Length: 2\r\n\r\nok",
            200,
            b"ok",
        ),
        (b"HTTP/1.1 200 OK\r\nServer: x\r\nContent-Length: 9\r\n\r\nshort", 200, b"short"),
        (b"HTTP/1.1 200 OK\r\nServer: x\r\n\r\n" + b"x" * 300_000, 200, b"x" * LONGEST_BODY),
        (status("302 Found", b"no target", Server="x"), 302, b"no target"),
    ],
)
def test_answers(reply: bytes, code: int, body: bytes) -> None:
    got = meet({PATH: reply})
    assert isinstance(got, Answered)
    assert (got.status, got.server, got.body) == (code, "x", body)


def test_the_name_is_sent_as_host() -> None:
    got = meet({PATH: lambda host, target: status("200 OK", host.encode())})
    assert isinstance(got, Answered)
    assert got.body.startswith(b"mail.example:")


@pytest.mark.parametrize(
    ("reply", "trouble", "word"),
    [
        (b"220 mail.example ESMTP\r\n", Trouble.NO_HTTP, "hung up"),
        (b"220 mail.example ESMTP\r\n\r\n", Trouble.NO_HTTP, "no HTTP"),
        (b"", Trouble.REFUSED, "without a word"),
        (b"HTTP/1.1 200 OK\r\nX: " + b"y" * 100_000, Trouble.NO_HTTP, "too long"),
        (redirect(PATH), Trouble.LOOP, "in a circle"),
        (redirect("ftp://mail.example/x"), Trouble.BAD_REDIRECT, "ftp"),
        (redirect("http://mail.example:8080/x"), Trouble.BAD_REDIRECT, "8080"),
        (redirect("http://192.0.2.1/x"), Trouble.BAD_REDIRECT, "192.0.2.1"),
        (redirect("http://[::1]/x"), Trouble.BAD_REDIRECT, "::1"),
        (redirect("http://mail.example:99999/"), Trouble.BAD_REDIRECT, "no URL"),
        (redirect("javascript:alert(1)"), Trouble.BAD_REDIRECT, "does not follow"),
        (redirect("http://nowhere.example/x"), Trouble.NO_ADDRESS, "no address"),
    ],
)
def test_failures(reply: bytes, trouble: Trouble, word: str) -> None:
    got = meet({PATH: reply})
    assert isinstance(got, Failed)
    assert (got.trouble, word in got.detail) == (trouble, True), got


def test_a_silent_server_times_out() -> None:
    got = meet({}, hang=True)
    assert isinstance(got, Failed) and got.trouble is Trouble.TIMEOUT


def test_a_closed_port_refuses() -> None:
    async def story() -> Answered | Failed:
        async with http_server({}) as port:
            pass
        return await walk(port)

    got = asyncio.run(story())
    assert isinstance(got, Failed) and got.trouble is Trouble.REFUSED


def test_ten_redirects_are_followed_and_an_eleventh_is_not() -> None:
    def chain(length: int) -> dict[str, Reply]:
        steps: dict[str, Reply] = {f"/{n}": redirect(f"/{n + 1}") for n in range(1, length)}
        return {**steps, PATH: redirect("/1"), f"/{length}": status("200 OK", b"end")}

    got = meet(chain(10))
    assert isinstance(got, Answered) and len(got.hops) == 11
    beyond = meet(chain(11))
    assert isinstance(beyond, Failed) and beyond.trouble is Trouble.TOO_MANY


def test_https_with_any_certificate_and_another_name() -> None:
    context = server_context([self_signed("whatever.invalid")])

    async def story() -> Answered | Failed:
        there = status("200 OK", b"found")
        async with (
            http_server({PATH: there}, tls=context) as https,
            http_server({PATH: redirect(f"https://other.example:{https}{PATH}")}) as http,
        ):
            return await walk(http, https)

    got = asyncio.run(story())
    assert isinstance(got, Answered), got
    assert got.body == b"found"
    assert got.hops[1].startswith("https://other.example:")


@given(st.binary(max_size=300))
@settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow], deadline=None)
def test_no_octets_of_a_server_raise(noise: bytes) -> None:
    for reply in (
        noise,
        b"HTTP/1.1 200 OK\r\n" + noise,
        b"HTTP/1.1 301 X\r\nLocation: " + noise + b"\r\n\r\n",
    ):
        assert isinstance(meet({PATH: reply}), Answered | Failed)

"""The listener, over real sockets: what it answers, what it bears, whom it names."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Awaitable, Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailseal.challenges.listener import ListenerSolver
from mailseal.errors import ChallengeError
from mailseal.model import Identifier
from mailseal.system.local import LocalSystem

NAME = Identifier.parse("mail.example.org")
PATH = b"/.well-known/acme-challenge/abc"


def with_listener(story: Callable[[ListenerSolver, int], Awaitable[None]]) -> None:
    async def run() -> None:
        async with ListenerSolver(LocalSystem(), addresses=("127.0.0.1", "::1"), port=0) as solver:
            await solver.present(NAME, "abc", "abc.def")
            await story(solver, solver.endpoints[0][1])
            await solver.clean_up(NAME, "abc")
        assert len(solver.endpoints) == 0

    asyncio.run(run())


async def talk(port: int, octets: bytes, address: str = "127.0.0.1") -> bytes:
    reader, writer = await asyncio.open_connection(address, port)
    try:
        writer.write(octets)
        await writer.drain()
        return await reader.read()
    finally:
        writer.close()


@pytest.mark.parametrize(
    ("request_line", "status", "body"),
    [
        (b"GET " + PATH, b"200", b"abc.def"),
        (b"GET http://mail.example.org" + PATH, b"200", b"abc.def"),
        (b"GET " + PATH + b"?x", b"200", b"abc.def"),
        (b"HEAD " + PATH, b"200", b""),
        (b"GET " + PATH + b"d", b"404", b"no such challenge\n"),
        (b"GET " + PATH + b"/", b"404", b"no such challenge\n"),
        (b"GET /", b"404", b"no such challenge\n"),
        (b"GET /.well-known/acme-challenge/", b"404", b"no such challenge\n"),
        (b"GET /.well-known/acme-challenge/../../etc/passwd", b"404", b"no such challenge\n"),
        (b"POST " + PATH, b"405", b"only GET and HEAD\n"),
        (b"GET " + PATH + b" HTTP/9", b"400", b"no request line of HTTP/1\n"),
    ],
)
def test_answers(request_line: bytes, status: bytes, body: bytes) -> None:
    async def story(solver: ListenerSolver, port: int) -> None:
        for address in ("127.0.0.1", "::1"):
            got = await talk(port, request_line + b" HTTP/1.1\r\nHost: any.example\r\n\r\n", address)
            head, _, rest = got.partition(b"\r\n\r\n")
            assert (head.split(b" ")[1], rest) == (status, body)
            assert b"Connection: close" in head

    with_listener(story)


def test_a_head_without_end_is_cut_off() -> None:
    async def story(solver: ListenerSolver, port: int) -> None:
        got = await talk(port, b"GET " + PATH + b" HTTP/1.1\r\nX: " + b"y" * 200_000)
        assert got[:12] in (b"HTTP/1.1 431", b"")  # the kernel may answer the rest with a reset

    with contextlib.suppress(ConnectionError):
        with_listener(story)


def test_silent_and_slow_clients_keep_nobody_out() -> None:
    async def story(solver: ListenerSolver, port: int) -> None:
        idle = [await asyncio.open_connection("127.0.0.1", port) for _ in range(150)]
        slow = await asyncio.open_connection("127.0.0.1", port)
        request = b"GET " + PATH + b" HTTP/1.1\r\nHost: a.example\r\n\r\n"
        for octet in request[:20]:
            slow[1].write(bytes([octet]))
            await slow[1].drain()
        many = await asyncio.gather(*(talk(port, request) for _ in range(100)))
        assert all(got.endswith(b"abc.def") for got in many)
        slow[1].write(request[20:])
        assert (await slow[0].read()).endswith(b"abc.def")
        for _, writer in (*idle, slow):
            writer.close()

    with_listener(story)


def test_closing_breaks_off_who_is_still_connected() -> None:
    async def run() -> bytes:
        solver = ListenerSolver(LocalSystem(), addresses=("127.0.0.1",), port=0)
        async with solver:
            reader, writer = await asyncio.open_connection("127.0.0.1", solver.endpoints[0][1])
            writer.write(b"GET ")
            await asyncio.sleep(0.05)
        got = await asyncio.wait_for(reader.read(), 5)
        writer.close()
        return got

    assert asyncio.run(run()) == b""


def test_it_listens_only_while_something_is_presented() -> None:
    async def run() -> list[int]:
        solver = ListenerSolver(LocalSystem(), addresses=("127.0.0.1",), port=0)
        counts = [len(solver.endpoints)]
        await solver.present(NAME, "abc", "abc.def")
        counts.append(len(solver.endpoints))
        await solver.clean_up(NAME, "abc")
        return [*counts, len(solver.endpoints)]

    assert asyncio.run(run()) == [0, 1, 0]


def test_who_has_the_port_is_named() -> None:
    async def run() -> list[str]:
        async with ListenerSolver(LocalSystem(), addresses=("127.0.0.1",), port=0) as first:
            port = first.endpoints[0][1]
            second = ListenerSolver(LocalSystem(), addresses=("127.0.0.1",), port=port)
            with pytest.raises(ChallengeError) as caught:
                await second.present(NAME, "abc", "abc.def")
            assert second.endpoints == ()
            await second.clean_up(NAME, "abc")
            return caught.value.lines()

    told = " ".join(asyncio.run(run()))
    assert f"(pid {os.getpid()}) on 127.0.0.1:" in told
    assert "is in use" in told and "Next:" in told


def test_one_token_has_one_answer() -> None:
    async def story(solver: ListenerSolver, port: int) -> None:
        with pytest.raises(ChallengeError):
            await solver.present(NAME, "abc", "abc.other")

    with_listener(story)


@given(st.binary(max_size=400))
def test_every_head_gets_a_whole_response(head: bytes) -> None:
    reply = ListenerSolver(LocalSystem()).reply(head)
    assert reply.startswith(b"HTTP/1.1 ") and b"\r\n\r\n" in reply

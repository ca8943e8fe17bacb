"""Messages from strangers: tables of what is read and refused, and noise."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailseal.challenges.httpwire import (
    LONGEST_HEAD,
    Malformed,
    Request,
    body_length,
    parse_request,
    parse_response_head,
    response,
    unchunked,
)

noise = st.one_of(
    st.binary(max_size=600),
    st.lists(
        st.sampled_from(
            [
                b"GET",
                b" ",
                b"/.well-known/acme-challenge/x",
                b"HTTP/1.1",
                b"\r\n",
                b"Host",
                b":",
                b"a.example",
                b"\0",
                b"\xff",
            ]
        ),
        max_size=30,
    ).map(b"".join),
)


@pytest.mark.parametrize(
    ("head", "expected"),
    [
        (b"GET /a HTTP/1.1\r\nHost: Mail.Example.org:80", Request("GET", "/a", "mail.example.org")),
        (b"HEAD /a?b HTTP/1.0", Request("HEAD", "/a?b", "")),
        (
            b"GET http://x.example/a HTTP/1.1\r\nhost:x.example.",
            Request("GET", "http://x.example/a", "x.example"),
        ),
        (b"GET / HTTP/1.1\r\nHost: [2001:db8::1]:80", Request("GET", "/", "2001:db8::1")),
    ],
)
def test_requests_that_are_read(head: bytes, expected: Request) -> None:
    assert parse_request(head) == expected


@pytest.mark.parametrize(
    ("target", "path"),
    [("/a?b=c", "/a"), ("http://h/a?b", "/a"), ("HTTP://h", ""), ("*", "*"), ("/%2e%2e/x", "/%2e%2e/x")],
)
def test_paths(target: str, path: str) -> None:
    assert Request("GET", target, "h").path == path


@pytest.mark.parametrize(
    "head",
    [
        b"",
        b"GET /a",
        b"GET /a HTTP/2.0\r\nHost: a",
        b"GET  /a HTTP/1.1\r\nHost: a",
        b"GET /a HTTP/1.1",
        b"GET /a HTTP/1.1\r\nHost: a\r\nHost: b",
        b"GET /a HTTP/1.1\r\nHost : a",
        b"GET /a HTTP/1.1\r\nHost: a\r\n folded",
        b"GET /a\0 HTTP/1.1\r\nHost: a",
        b"GET /a HTTP/1.1\nHost: a",
        b"GET /a HTTP/1.1\r\nHost: a\r\n" + b"\r\n".join(b"X-%d: y" % number for number in range(200)),
        b"GET /a HTTP/1.1\r\nHost: a\r\nX: " + b"y" * LONGEST_HEAD,
    ],
)
def test_requests_that_are_refused(head: bytes) -> None:
    with pytest.raises(Malformed):
        parse_request(head)


@pytest.mark.parametrize(
    ("head", "length"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 12", 12),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 12\r\nContent-Length: 12", 12),
        (b"HTTP/1.0 200", None),
        (b"HTTP/1.1 204 No Content\r\nContent-Length: 5", 0),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: Chunked\r\nContent-Length: 5", None),
    ],
)
def test_body_lengths(head: bytes, length: int | None) -> None:
    assert body_length(parse_response_head(head)) == length


@pytest.mark.parametrize("value", [b"-1", b"12 ", b"1,2", b"0x10", "١٢".encode(), b"9" * 40])
def test_lengths_that_are_none(value: bytes) -> None:
    if value.strip() == b"12":
        return
    with pytest.raises(Malformed):
        body_length(parse_response_head(b"HTTP/1.1 200 OK\r\nContent-Length: " + value))


def test_two_lengths_are_refused() -> None:
    with pytest.raises(Malformed):
        body_length(parse_response_head(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2"))


@given(noise)
def test_no_request_raises_anything_else(data: bytes) -> None:
    with contextlib.suppress(Malformed):
        assert parse_request(data).method


@given(noise)
def test_no_response_raises_anything_else(data: bytes) -> None:
    with contextlib.suppress(Malformed):
        body_length(parse_response_head(b"HTTP/1.1 200 OK\r\n" + data))


@given(st.lists(st.binary(min_size=1, max_size=50), max_size=8), st.integers(0, 400))
def test_chunked_bodies(pieces: list[bytes], cut: int) -> None:
    whole = b"".join(b"%x;q=1\r\n%s\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"
    assert unchunked(whole) == (b"".join(pieces), True)
    body, _ = unchunked(whole[:cut])
    assert b"".join(pieces).startswith(body)


@given(noise)
def test_no_chunked_body_raises_anything_else(data: bytes) -> None:
    with contextlib.suppress(Malformed):
        unchunked(data)


def test_our_own_responses_are_read_back() -> None:
    raw = response(200, "OK", b"token.thumb")
    head, _, body = raw.partition(b"\r\n\r\n")
    read = parse_response_head(head)
    assert (read.status, body_length(read), body) == (200, len(body), b"token.thumb")
    assert response(200, "OK", b"x", head_only=True).endswith(b"\r\n\r\n")

"""Whatever a server sends, every parser either understands it or says what is wrong; nothing else comes out."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mailseal.model import AppProtocol, Endpoint, TlsMode
from mailseal.probes import http, imap, pop3, sieve, smtp
from mailseal.probes.base import Question
from mailseal.probes.faults import ProbeFault, shown
from mailseal.probes.wire import Wire

ENDPOINT = Endpoint("test", "192.0.2.1", 25, AppProtocol.SMTP, TlsMode.NONE)
Parser = Callable[[Wire], Awaitable[object]]


async def page(wire: Wire) -> bytes:
    return await http.read_body(wire, await http.read_head(wire))


PARSERS: dict[str, Parser] = {
    "smtp": smtp.read_reply,
    "imap": lambda wire: imap.read_capabilities(wire, "a"),
    "pop3": pop3.read_list,
    "sieve": sieve.read_response,
    "http": page,
}

# Words that the protocols are made of, so that what is drawn comes near to them.
WORDS = [
    b"\r\n",
    b"\n",
    b"\r",
    b" ",
    b"-",
    b'"',
    b"\\",
    b"{3}",
    b"{3+}\r\n",
    b"{99999999}\r\n",
    b"{-1}",
    b"220",
    b"250-",
    b"250 STARTTLS",
    b"\xb2\xb3\xb9 ",
    b"* CAPABILITY STARTTLS",
    b"a OK",
    b"a NO",
    b"* OK [CAPABILITY ",
    b"+OK",
    b"-ERR",
    b".",
    b"..",
    b"OK",
    b"NO (",
    b"BYE",
    b'"SASL" "PLAIN"',
    b"HTTP/1.1 200 OK\r\n",
    b"HTTP/1.1 \xb2\xb3\xb9\r\n",
    b"Transfer-Encoding: chunked\r\n",
    b"Content-Length: 5\r\n",
    b"Content-Length: -5\r\n",
    b"ffffffffff\r\n",
    b"-5\r\n",
    b"0x5\r\n",
    b"x" * 9_000,
]
OCTETS = st.lists(st.one_of(st.sampled_from(WORDS), st.binary(max_size=20)), max_size=40).map(b"".join)


def read(parser: Parser, octets: bytes) -> object:
    """What the parser makes of these octets, or the fault's text."""

    async def run() -> object:
        reader = asyncio.StreamReader()
        reader.feed_data(octets)
        reader.feed_eof()
        wire = Wire(Question(ENDPOINT), reader, cast(Any, None))
        try:
            return await parser(wire)
        except ProbeFault as fault:
            assert str(fault)
            return str(fault)

    return asyncio.run(run())


@pytest.mark.parametrize("name", PARSERS)
@given(octets=OCTETS)
@settings(max_examples=150, deadline=None)
def test_any_octets_end_in_a_reply_or_a_fault(name: str, octets: bytes) -> None:
    result = read(PARSERS[name], octets)
    if name == "http" and isinstance(result, bytes):
        assert len(result) <= http.BODY_LIMIT


@given(text=st.text())
def test_what_is_shown_is_safe_to_print(text: str) -> None:
    said = shown(text)
    assert len(said) <= 200
    assert said == "" or said.isprintable()


@given(
    texts=st.lists(
        st.text(st.characters(codec="ascii", categories=["L", "N"]), max_size=30), min_size=1, max_size=20
    )
)
def test_an_smtp_reply_of_many_lines_is_read_whole(texts: list[str]) -> None:
    lines = [f"250{'-' if number < len(texts) - 1 else ' '}{text}\r\n" for number, text in enumerate(texts)]
    assert read(smtp.read_reply, "".join(lines).encode()) == smtp.Reply(250, tuple(texts))


@pytest.mark.parametrize(
    ("lines", "auth"),
    [
        (("hello", "AUTH PLAIN LOGIN"), True),
        (("hello", "AUTH=LOGIN"), True),
        (("hello", "auth cram-md5"), True),
        (("hello", "AUTH"), False),
        (("hello", "XAUTH PLAIN"), False),
        (("AUTH PLAIN is not the first line", "SIZE"), False),
    ],
)
def test_auth_is_seen(lines: tuple[str, ...], auth: bool) -> None:
    assert smtp.Reply(250, lines).offers_auth() is auth


@pytest.mark.parametrize(
    ("capabilities", "plain"),
    [
        ("IMAP4rev1 STARTTLS LOGINDISABLED", False),
        ("IMAP4rev1 STARTTLS LOGINDISABLED AUTH=SCRAM-SHA-256", False),
        ("IMAP4rev1 STARTTLS", True),
        ("IMAP4rev1 LOGINDISABLED AUTH=PLAIN", True),
        ("IMAP4rev1 AUTH=PLAIN AUTH=LOGIN", True),
    ],
)
def test_imap_passwords_in_the_clear(capabilities: str, plain: bool) -> None:
    told = imap.parse_capabilities(f"* OK [CAPABILITY {capabilities}] ready")
    assert told is not None
    assert imap.offers_plain_auth(told) is plain


def test_the_own_name_is_an_address_literal() -> None:
    assert [smtp._own_name(address) for address in ("192.0.2.1", "2001:db8::1", "fe80::1%eth0", "")] == [
        "[192.0.2.1]",
        "[IPv6:2001:db8::1]",
        "[IPv6:fe80::1]",
        "[127.0.0.1]",
    ]

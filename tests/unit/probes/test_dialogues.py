"""Each protocol's dialogue against a real server on loopback that plays a script."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Sequence

import pytest

from mailseal.model import AppProtocol, KeyFamily, KeyType, TlsMode
from mailseal.probes import ask, ask_many
from mailseal.probes.base import Answer, Question, Stage
from mailseal.probes.http import HttpQuestion
from mailseal.system.local import LocalSystem
from tests.support.certs import Ca, Issued
from tests.support.servers import (
    HANG_UP,
    START_TLS,
    Act,
    Expect,
    Running,
    one_handshake,
    scripted,
    server_context,
)

INTERMEDIATE = Ca.root().intermediate()
EC = INTERMEDIATE.issue("mail.example.org")
RSA = INTERMEDIATE.issue("mail.example.org", key_type=KeyType.RSA_2048)

SMTP: list[Act] = [
    b"220-mail.example.org ESMTP\r\n220 ready\r\n",
    Expect(b"EHLO [127.0.0.1]"),
    b"250-mail.example.org\r\n250-SIZE 1000\r\n250-starttls\r\n250 8BITMIME\r\n",
    Expect(b"STARTTLS"),
    b"220 2.0.0 Ready to start TLS\r\n",
    START_TLS,
]
IMAP: list[Act] = [
    b"* OK [CAPABILITY IMAP4rev1 STARTTLS LOGINDISABLED] ready\r\n",
    Expect(b"b STARTTLS"),
    b"* OK still here\r\nb OK begin\r\n",
    START_TLS,
]
IMAP_ASKED: list[Act] = [
    b"* OK ready\r\n",
    Expect(b"a CAPABILITY"),
    b"* CAPABILITY IMAP4rev1 STARTTLS AUTH=PLAIN LOGINDISABLED\r\na OK done\r\n",
    Expect(b"b STARTTLS"),
    b"b OK begin\r\n",
    START_TLS,
]
POP3: list[Act] = [
    b"+OK ready\r\n",
    Expect(b"CAPA"),
    b"+OK\r\nCAPA\r\nTOP\r\nSTLS\r\nSASL\r\n.\r\n",
    Expect(b"STLS"),
    b"+OK begin\r\n",
    START_TLS,
]
POP3_PLAIN: list[Act] = [
    b"+OK ready\r\n",
    Expect(b"CAPA"),
    b"+OK\r\nUSER\r\nSTLS\r\n.\r\n",
    Expect(b"STLS"),
    b"+OK begin\r\n",
    START_TLS,
]
POP3_NO_CAPA: list[Act] = [
    b"+OK ready\r\n",
    Expect(b"CAPA"),
    b"-ERR what?\r\n",
    Expect(b"STLS"),
    b"+OK begin\r\n",
    START_TLS,
]
SIEVE: list[Act] = [
    b'"IMPLEMENTATION" "Sieve \\"one\\""\r\n{4+}\r\nSASL ""\r\n"STARTTLS"\r\nOK "ready"\r\n',
    Expect(b"STARTTLS"),
    b'OK "begin"\r\n',
    START_TLS,
]
SIEVE_PLAIN: list[Act] = [
    b'"SASL" {11}\r\nPLAIN LOGIN\r\n"STARTTLS"\r\nOK (TAG {3}\r\nabc) "ready"\r\n',
    Expect(b"STARTTLS"),
    b"OK\r\n",
    START_TLS,
]


def put(
    acts: Sequence[Act],
    protocol: AppProtocol,
    tls: TlsMode,
    context: ssl.SSLContext | None = None,
    *,
    trickle: bool = False,
    timeout: float = 5.0,
    family: KeyFamily | None = None,
    server_name: str | None = "mail.example.org",
) -> tuple[Answer, Running]:
    async def run() -> tuple[Answer, Running]:
        async with scripted(acts, context, implicit=tls is TlsMode.IMPLICIT, trickle=trickle) as server:
            question = Question(server.endpoint(protocol, tls), server_name, family)
            answer = await ask(question, LocalSystem().network, timeout)
            await asyncio.sleep(0.01)
            return answer, server

    return asyncio.run(run())


GOOD = [
    pytest.param(AppProtocol.SMTP, SMTP, False, id="smtp"),
    pytest.param(AppProtocol.SUBMISSION, SMTP, False, id="submission"),
    pytest.param(AppProtocol.IMAP, IMAP, False, id="imap"),
    pytest.param(AppProtocol.IMAP, IMAP_ASKED, True, id="imap-asked-auth-plain"),
    pytest.param(AppProtocol.POP3, POP3, False, id="pop3"),
    pytest.param(AppProtocol.POP3, POP3_PLAIN, True, id="pop3-user"),
    pytest.param(AppProtocol.SIEVE, SIEVE, False, id="sieve"),
    pytest.param(AppProtocol.SIEVE, SIEVE_PLAIN, True, id="sieve-plain"),
]


@pytest.mark.parametrize("trickle", [False, True], ids=["at-once", "octet-by-octet"])
@pytest.mark.parametrize(("protocol", "acts", "plain"), GOOD)
def test_starttls_shows_the_chain_as_sent(
    protocol: AppProtocol, acts: list[Act], plain: bool, trickle: bool
) -> None:
    answer, server = put(acts, protocol, TlsMode.STARTTLS, server_context([EC]), trickle=trickle)
    assert (server.faults, answer.detail) == ([], "")
    assert answer.stage is Stage.DONE
    assert answer.chain == EC.served
    assert answer.tls_version == "TLSv1.3"
    assert answer.cipher
    assert answer.starttls_offered is True
    assert answer.offers_plain_auth is plain


def test_a_pop3_server_without_capa_is_asked_for_tls_all_the_same() -> None:
    answer, _ = put(POP3_NO_CAPA, AppProtocol.POP3, TlsMode.STARTTLS, server_context([EC]))
    assert answer.ok
    assert (answer.starttls_offered, answer.offers_plain_auth) == (None, None)


@pytest.mark.parametrize("protocol", [p for p in AppProtocol if p is not AppProtocol.HTTP])
def test_implicit_tls_shows_the_chain_and_says_nothing_more(protocol: AppProtocol) -> None:
    answer, server = put([b"hello\r\n"], protocol, TlsMode.IMPLICIT, server_context([RSA]))
    assert answer.ok, answer.detail
    assert answer.chain == RSA.served
    assert server.heard == []


def test_the_goodbye_is_heard() -> None:
    _, server = put(SMTP, AppProtocol.SMTP, TlsMode.STARTTLS, server_context([EC]))
    assert server.heard[-1] == b"QUIT\r\n"


@pytest.mark.parametrize(("family", "expected"), [("ecdsa", EC), ("rsa", RSA)])
def test_a_key_family_is_insisted_on(family: KeyFamily, expected: Issued) -> None:
    answer, _ = put([], AppProtocol.IMAP, TlsMode.IMPLICIT, server_context([EC, RSA]), family=family)
    assert answer.chain == expected.served
    assert answer.tls_version == "TLSv1.2"


def shaken(context: ssl.SSLContext, family: KeyFamily | None) -> Answer:
    with one_handshake(context) as server:
        endpoint = server.endpoint(AppProtocol.IMAP, TlsMode.IMPLICIT)
        return asyncio.run(ask(Question(endpoint, family=family), LocalSystem().network, 5.0))


def test_a_key_family_that_is_not_served_fails_the_handshake() -> None:
    answer = shaken(server_context([EC]), "rsa")
    assert answer.stage is Stage.HANDSHAKE
    assert "handshake failure" in answer.detail


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_server_of_old_versions_only_fails_the_handshake() -> None:
    context = server_context([RSA], minimum=ssl.TLSVersion.TLSv1, maximum=ssl.TLSVersion.TLSv1_1)
    context.set_ciphers("ALL:@SECLEVEL=0")
    answer = shaken(context, None)
    assert answer.stage is Stage.HANDSHAKE
    assert "protocol version" in answer.detail


def test_sni_is_sent_or_not() -> None:
    names: list[str | None] = []
    context = server_context([EC])
    context.sni_callback = lambda _sock, name, _context: names.append(name)
    for name in ("mail.example.org", None, "192.0.2.1"):
        put([], AppProtocol.IMAP, TlsMode.IMPLICIT, context, server_name=name)
    assert names == ["mail.example.org", None, None]


STRIPPED = [
    (
        AppProtocol.SMTP,
        [
            b"220 hi\r\n",
            Expect(b"EHLO"),
            b"250-hi\r\n250-XXXXXXXA\r\n250 AUTH=LOGIN PLAIN\r\n",
            Expect(b"QUIT"),
        ],
    ),
    (AppProtocol.IMAP, [b"* OK [CAPABILITY IMAP4rev1] hi\r\n", Expect(b"z LOGOUT")]),
    (AppProtocol.POP3, [b"+OK hi\r\n", Expect(b"CAPA"), b"+OK\r\nUSER\r\n.\r\n", Expect(b"QUIT")]),
    (AppProtocol.SIEVE, [b'"SASL" "PLAIN"\r\nOK\r\n', Expect(b"LOGOUT")]),
]


@pytest.mark.parametrize(("protocol", "acts"), STRIPPED)
def test_a_missing_starttls_is_told(protocol: AppProtocol, acts: list[Act]) -> None:
    answer, server = put(acts, protocol, TlsMode.STARTTLS)
    assert server.faults == []
    assert answer.stage is Stage.STARTTLS
    assert answer.starttls_offered is False
    assert answer.offers_plain_auth is True
    assert "not offered" in answer.detail


BROKEN = [
    pytest.param(AppProtocol.SMTP, [b"554 go away\r\n"], Stage.GREETING, "554 go away", id="refused"),
    pytest.param(AppProtocol.SMTP, [b"220-a\r\n221 b\r\n"], Stage.GREETING, "220 and 221", id="two-codes"),
    pytest.param(AppProtocol.SMTP, [b"hello\r\n"], Stage.GREETING, "not a line of SMTP", id="not-smtp"),
    pytest.param(AppProtocol.SMTP, [HANG_UP], Stage.GREETING, "closed", id="hangs-up"),
    pytest.param(AppProtocol.SMTP, [b"2", HANG_UP], Stage.GREETING, "after '2'", id="hangs-up-midst"),
    pytest.param(AppProtocol.SMTP, [b"x" * 100_000], Stage.GREETING, "more than 8192", id="long-line"),
    pytest.param(AppProtocol.SMTP, [b"220-x\r\n" * 5_000], Stage.GREETING, "more than 256", id="long-reply"),
    pytest.param(AppProtocol.SMTP, [], Stage.GREETING, "no answer within 0.3", id="silent"),
    pytest.param(
        AppProtocol.SMTP,
        [b"220 hi\r\n", Expect(b"EHLO"), b"502 what\r\n"],
        Stage.STARTTLS,
        "EHLO is refused: 502",
        id="no-ehlo",
    ),
    pytest.param(
        AppProtocol.SMTP,
        [b"220 hi\r\n", Expect(b"EHLO"), b"250-x\r\n250 STARTTLS\r\n", Expect(b"STARTTLS"), b"454 no\r\n"],
        Stage.STARTTLS,
        "454 no",
        id="starttls-refused",
    ),
    pytest.param(
        AppProtocol.SMTP,
        [
            b"220 hi\r\n",
            Expect(b"EHLO"),
            b"250-x\r\n250 STARTTLS\r\n",
            Expect(b"STARTTLS"),
            b"220 a\r\n250 b\r\n",
        ],
        Stage.HANDSHAKE,
        "in the clear",
        id="injection",
    ),
    pytest.param(
        AppProtocol.SMTP,
        [
            b"220 hi\r\n",
            Expect(b"EHLO"),
            b"250-x\r\n250 STARTTLS\r\n",
            Expect(b"STARTTLS"),
            b"220 a\r\n",
            HANG_UP,
        ],
        Stage.HANDSHAKE,
        "closed the connection during",
        id="no-handshake",
    ),
    pytest.param(AppProtocol.IMAP, [b"* BYE no\r\n"], Stage.GREETING, "* BYE no", id="imap-bye"),
    pytest.param(AppProtocol.IMAP, [b"* OK hi\r\n", b"x" * 9_000], Stage.STARTTLS, "8192", id="imap-long"),
    pytest.param(
        AppProtocol.IMAP, [b"* OK hi\r\n", b"a BAD what\r\n"], Stage.STARTTLS, "BAD what", id="imap-bad"
    ),
    pytest.param(AppProtocol.POP3, [b"-ERR busy\r\n"], Stage.GREETING, "-ERR busy", id="pop3-busy"),
    pytest.param(
        AppProtocol.POP3, [b"+OK\r\n+OK\r\n" + b"X\r\n" * 999], Stage.STARTTLS, "256", id="pop3-list"
    ),
    pytest.param(AppProtocol.SIEVE, [b'BYE "busy"\r\n'], Stage.GREETING, "busy", id="sieve-bye"),
    pytest.param(AppProtocol.SIEVE, [b'"A" {999999}\r\n'], Stage.GREETING, "999999", id="sieve-literal"),
    pytest.param(AppProtocol.SIEVE, [b"\x1b[2Jboo\r\n"], Stage.GREETING, "?[2Jboo", id="terminal-escape"),
]


@pytest.mark.parametrize(("protocol", "acts", "stage", "words"), BROKEN)
def test_what_goes_wrong_is_an_answer(
    protocol: AppProtocol, acts: list[Act], stage: Stage, words: str
) -> None:
    timeout = 0.3 if not acts else 5.0
    answer, _ = put(acts, protocol, TlsMode.STARTTLS, server_context([EC]), timeout=timeout)
    assert answer.stage is stage
    assert words in answer.detail
    assert not answer.ok


@pytest.mark.parametrize("tls", TlsMode)
@pytest.mark.parametrize("protocol", AppProtocol)
def test_every_protocol_has_a_probe_and_answers_where_nobody_listens(
    protocol: AppProtocol, tls: TlsMode
) -> None:
    async def run() -> Answer:
        async with scripted([]) as server:
            endpoint = server.endpoint(protocol, tls)
        return await ask(Question(endpoint), LocalSystem().network, 2.0)

    answer = asyncio.run(run())
    assert answer.stage is Stage.CONNECT
    assert "refused" in answer.detail


@pytest.mark.parametrize("protocol", AppProtocol)
def test_every_probe_answers_what_hangs_up_or_is_silent(protocol: AppProtocol) -> None:
    for acts, timeout in (([HANG_UP], 5.0), ([], 0.2)):
        answer, _ = put(acts, protocol, TlsMode.NONE, timeout=timeout)
        assert answer.stage is Stage.GREETING
        assert answer.detail


def test_the_source_address_is_another() -> None:
    acts: list[Act] = [b"220 hi\r\n", Expect(b"EHLO [127.0.0.2]"), b"250-x\r\n250 PIPELINING\r\n"]

    async def run() -> list[str]:
        async with scripted(acts) as server:
            endpoint = server.endpoint(AppProtocol.SMTP, TlsMode.NONE)
            answer = await ask(Question(endpoint, source="127.0.0.2"), LocalSystem().network, 2.0)
            assert answer.ok
            return server.faults

    assert asyncio.run(run()) == []


REQUEST: list[Act] = [
    Expect(b"GET / HTTP/1.1"),
    Expect(b"Host: mail.example.org:"),
    Expect(b"User-Agent: mailseal"),
    Expect(b"Accept:"),
    Expect(b"Connection: close"),
    Expect(b"\r\n"),
]
HTTP = [
    pytest.param(
        b"HTTP/1.1 301 Moved\r\nLocation: https://mail.example.org/\r\nContent-Length: 0\r\n\r\n",
        (301, "https://mail.example.org/", b""),
        id="redirect",
    ),
    pytest.param(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\ntokenMORE", (200, "", b"token"), id="length"),
    pytest.param(
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\ntok\r\n2;x=y\r\nen\r\n0\r\n\r\n",
        (200, "", b"token"),
        id="chunks",
    ),
    pytest.param(b"HTTP/1.0 200 OK\r\n\r\ntoken", (200, "", b"token"), id="to-the-end"),
    pytest.param(
        b"HTTP/1.1 103 Early\r\nLink: x\r\n\r\nHTTP/1.1 204 None\r\n\r\n", (204, "", b""), id="early-hints"
    ),
    pytest.param(b"HTTP/1.0 200 OK\r\n\r\n" + b"x" * 200_000, (200, "", b"x" * 65_536), id="endless"),
]


@pytest.mark.parametrize("tls", [TlsMode.NONE, TlsMode.IMPLICIT])
@pytest.mark.parametrize(("sent", "expected"), HTTP)
def test_http(sent: bytes, expected: tuple[int, str, bytes], tls: TlsMode) -> None:
    answer, server = put([*REQUEST, sent, HANG_UP], AppProtocol.HTTP, tls, server_context([EC]))
    assert server.faults == []
    assert answer.ok, answer.detail
    assert (answer.status, answer.location, answer.body) == expected
    assert answer.chain == (EC.served if tls is TlsMode.IMPLICIT else ())


@pytest.mark.parametrize(
    "sent",
    [
        b"SSH-2.0\r\n",
        b"HTTP/1.1 abc\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"a: b\r\n" * 999,
        b"HTTP/1.1 200 OK\r\nno end",
    ],
)
def test_what_is_not_http_fails_with_its_chain_told(sent: bytes) -> None:
    answer, _ = put([*REQUEST, sent, HANG_UP], AppProtocol.HTTP, TlsMode.IMPLICIT, server_context([EC]))
    assert answer.stage is Stage.GREETING
    assert answer.chain == EC.served


def test_http_asks_for_a_path() -> None:
    async def run() -> tuple[Answer, Running]:
        acts: list[Act] = [Expect(b"GET /a/b HTTP/1.1\r\n"), b"HTTP/1.1 404 No\r\nContent-Length: 0\r\n\r\n"]
        async with scripted(acts) as server:
            question = HttpQuestion(server.endpoint(AppProtocol.HTTP, TlsMode.NONE), path="/a/b")
            return await ask(question, LocalSystem().network, 2.0), server

    answer, server = asyncio.run(run())
    assert (answer.status, server.faults) == (404, [])


def test_many_questions_are_answered_in_order_and_not_all_at_once() -> None:
    async def run() -> tuple[tuple[Answer, ...], tuple[Question, ...]]:
        async with scripted(SMTP, server_context([EC])) as good, scripted([b"554 no\r\n"]) as bad:
            questions = tuple(
                Question(server.endpoint(AppProtocol.SMTP, TlsMode.STARTTLS), f"{number}.example.org")
                for number in range(10)
                for server in (good, bad)
            )
            return await ask_many(questions, LocalSystem().network, timeout=5.0, in_flight=4), questions

    answers, questions = asyncio.run(run())
    assert [answer.question for answer in answers] == list(questions)
    assert [answer.ok for answer in answers] == [True, False] * 10


def test_no_questions_no_answers() -> None:
    assert asyncio.run(ask_many((), LocalSystem().network)) == ()

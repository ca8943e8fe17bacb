"""Verdicts, as a table: where the address is, what came of the look, what is said."""

from __future__ import annotations

import pytest

from mailseal.challenges.base import Preflight, Reach
from mailseal.challenges.fetch import Answered, Failed, Trouble
from mailseal.challenges.judging import alike, judge, judge_names, name_wrong_aaaa
from mailseal.dns.lookup import Addresses, Lookup, Outcome
from mailseal.model import Identifier

NAME = Identifier.parse("mail.example.org")
HERE, THERE, HERE6 = "192.0.2.1", "203.0.113.9", "2001:db8::1"
OURS = b"token.thumb"
URL = "http://mail.example.org/.well-known/acme-challenge/token"


def answered(
    status: int, body: bytes, server: str = "nginx", *, address: str = HERE, hops: int = 1
) -> Answered:
    return Answered(status, server, body, address, tuple(f"{URL}{n}" for n in range(hops)))


def failed(trouble: Trouble, *, address: str = HERE) -> Failed:
    return Failed(trouble, "details", address, (URL,))


@pytest.mark.parametrize(
    ("ours", "got", "reach", "code"),
    [
        (True, answered(200, OURS), Reach.CONFIRMED, "reached"),
        (True, answered(200, OURS + b"\r\n"), Reach.CONFIRMED, "reached"),
        (False, answered(200, OURS), Reach.CONFIRMED, "reached"),
        (True, answered(200, OURS, hops=3), Reach.CONFIRMED, "reached"),
        (True, answered(200, b"<html>"), Reach.REFUTED, "other-server"),
        (True, answered(500, OURS), Reach.REFUTED, "other-server"),
        (True, answered(404, b"no"), Reach.REFUTED, "not-served"),
        (True, answered(403, b"no"), Reach.REFUTED, "forbidden"),
        (True, answered(401, b"no"), Reach.REFUTED, "forbidden"),
        (False, answered(404, b"no"), Reach.REFUTED, "wrong-address"),
        (False, answered(200, b"router"), Reach.REFUTED, "wrong-address"),
        (True, failed(Trouble.REFUSED), Reach.REFUTED, "connection-refused"),
        (True, failed(Trouble.TIMEOUT), Reach.REFUTED, "timeout"),
        (True, failed(Trouble.UNREACHABLE), Reach.REFUTED, "unreachable"),
        (False, failed(Trouble.REFUSED), Reach.UNKNOWN, "unreachable-from-here"),
        (False, failed(Trouble.TIMEOUT), Reach.UNKNOWN, "unreachable-from-here"),
        (True, failed(Trouble.TIMEOUT, address=THERE), Reach.UNKNOWN, "unreachable-from-here"),
        (True, failed(Trouble.NO_HTTP), Reach.REFUTED, "no-http"),
        (False, failed(Trouble.NO_HTTP), Reach.REFUTED, "no-http"),
        (False, failed(Trouble.LOOP), Reach.REFUTED, "redirect-loop"),
        (True, failed(Trouble.TOO_MANY), Reach.REFUTED, "too-many-redirects"),
        (True, failed(Trouble.BAD_REDIRECT), Reach.REFUTED, "bad-redirect"),
        (True, failed(Trouble.NO_ADDRESS), Reach.REFUTED, "redirect-without-address"),
    ],
)
def test_verdicts(ours: bool, got: Answered | Failed, reach: Reach, code: str) -> None:
    said = judge(NAME, HERE, ours=ours, got=got, expected=OURS)
    assert (said.identifier, said.address, said.reach, said.code) == (NAME, HERE, reach, code)
    assert said.seen
    assert bool(said.mend) == (reach is not Reach.CONFIRMED)


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        (answered(200, b"<html>x"), answered(200, b"<html>x"), True),
        (answered(200, b"x" * 60 + b"1"), answered(200, b"x" * 60 + b"2"), True),
        (answered(200, b"<html>x"), answered(404, b"<html>x"), False),
        (answered(200, b"<html>x"), answered(200, b"<html>x", "other"), False),
        (failed(Trouble.BAD_REDIRECT), failed(Trouble.BAD_REDIRECT, address=THERE), True),
        (failed(Trouble.BAD_REDIRECT), failed(Trouble.LOOP), False),
        (failed(Trouble.BAD_REDIRECT), answered(200, b""), False),
    ],
)
def test_who_answers_alike(one: Answered | Failed, other: Answered | Failed, same: bool) -> None:
    assert alike(one, other) is same


def test_a_redirect_to_a_closed_port_is_told_as_such() -> None:
    got = Failed(Trouble.REFUSED, "Connection refused", HERE, (URL, "https://mail.example.org/x"))
    said = judge(NAME, HERE, ours=True, got=got, expected=OURS)
    assert said.code == "connection-refused"
    assert "by way of https://mail.example.org/x" in said.seen and "the redirect" in said.mend


def test_a_routers_own_page_refutes_nothing() -> None:
    for got in (answered(200, b"<html>FRITZ!Box"), failed(Trouble.BAD_REDIRECT)):
        said = judge(NAME, THERE, ours=False, got=got, expected=OURS, router="192.168.178.1")
        assert (said.reach, said.code) == (Reach.UNKNOWN, "router-answers")
        assert "192.168.178.1" in said.seen


def test_who_answered_is_told_without_moving_the_terminal() -> None:
    said = judge(
        NAME,
        THERE,
        ours=False,
        got=answered(
            200, b"\x1b[2J<h1>It   works!</h1>\n" + b"x" * 500, "nginx/1.22\x07", address=THERE, hops=2
        ),
        expected=OURS,
    )
    assert said.seen.startswith(
        f"{THERE} answered 200, Server: nginx/1.22, beginning “[2J<h1>It works!</h1> xxx"
    )
    assert said.seen.isprintable() and len(said.seen) < 250
    assert "A record of mail.example.org" in said.mend


def look(outcome: Outcome, *data: str, rdtype: str = "A") -> Lookup:
    from mailseal.system.dns import DnsRecord

    records = tuple(DnsRecord("mail.example.org", rdtype, 60, each) for each in data)
    return Lookup("mail.example.org", rdtype, outcome, records, detail="details")


@pytest.mark.parametrize(
    ("ipv4", "ipv6", "reach", "code"),
    [
        (look(Outcome.FOUND, HERE), look(Outcome.NO_DATA), None, ""),
        (look(Outcome.UNREACHABLE), look(Outcome.FOUND, HERE6), None, ""),
        (look(Outcome.NO_NAME), look(Outcome.NO_NAME), Reach.REFUTED, "no-such-name"),
        (look(Outcome.NO_DATA), look(Outcome.NO_DATA), Reach.REFUTED, "no-address"),
        (look(Outcome.BOGUS), look(Outcome.BOGUS), Reach.REFUTED, "dnssec-broken"),
        (look(Outcome.FOUND, HERE), look(Outcome.BOGUS), Reach.REFUTED, "dnssec-broken"),
        (look(Outcome.BROKEN), look(Outcome.BROKEN), Reach.UNKNOWN, "dns-silent"),
        (look(Outcome.NO_DATA), look(Outcome.UNREACHABLE), Reach.UNKNOWN, "dns-silent"),
    ],
)
def test_what_dns_alone_says(ipv4: Lookup, ipv6: Lookup, reach: Reach | None, code: str) -> None:
    said = judge_names(NAME, Addresses(ipv4, ipv6))
    assert (said and said.reach, said.code if said else "") == (reach, code)


def said(address: str, reach: Reach) -> Preflight:
    return Preflight(NAME, address, reach, "x", "seen", "")


@pytest.mark.parametrize(
    ("results", "codes"),
    [
        ([said(HERE6, Reach.REFUTED), said(HERE, Reach.CONFIRMED)], ["wrong-aaaa", "x"]),
        ([said(HERE6, Reach.REFUTED), said(HERE, Reach.REFUTED)], ["x", "x"]),
        ([said(HERE6, Reach.CONFIRMED), said(HERE, Reach.CONFIRMED)], ["x", "x"]),
        ([said(HERE6, Reach.UNKNOWN), said(HERE, Reach.CONFIRMED)], ["x", "x"]),
        ([said(HERE6, Reach.REFUTED)], ["x"]),
        (
            [said(HERE6, Reach.REFUTED), said(HERE, Reach.CONFIRMED), said(THERE, Reach.REFUTED)],
            ["x", "x", "x"],
        ),
    ],
)
def test_a_wrong_aaaa_is_called_so(results: list[Preflight], codes: list[str]) -> None:
    assert [each.code for each in name_wrong_aaaa(tuple(results))] == codes

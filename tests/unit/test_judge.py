"""The rules by which an endpoint is judged, a line each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest

from mailseal.chains import TrustAnchors
from mailseal.judge.answer import judge
from mailseal.judge.expect import STRANGER, Expectation, ExpectedLeaf, PublicFile, source_for
from mailseal.judge.surroundings import Surroundings
from mailseal.judge.verdict import Verdict, assess, verdict, worse
from mailseal.model import AppProtocol, Endpoint, KeyType, Severity, TlsMode
from mailseal.probes.base import Answer, Question, Stage
from mailseal.probes.http import HttpQuestion
from tests.support.certs import Ca, Issued, self_signed, utc_now

NOW = utc_now()
ROOT = Ca.root("Lab Root")
UPPER = ROOT.intermediate("Upper")
LOWER = UPPER.intermediate("Lower")
ANCHORS = TrustAnchors("the lab's root", ROOT.pem)
AROUND = Surroundings(NOW, ANCHORS)
NAME = "mail.example.org"
SMTP = Endpoint("postfix", "127.0.0.1", 25, AppProtocol.SMTP, TlsMode.STARTTLS)
IMAPS = Endpoint("dovecot", "127.0.0.1", 993, AppProtocol.IMAP, TlsMode.IMPLICIT)
WEB = Endpoint("apache", "127.0.0.1", 80, AppProtocol.HTTP, TlsMode.NONE)
LEAF = LOWER.issue(NAME)
OLD = LOWER.issue(NAME, not_before=NOW - timedelta(days=60))
FILE = PublicFile("/.well-known/acme-challenge/x", b"token")
L, U = LOWER.der, UPPER.der


def answered(
    endpoint: Endpoint = SMTP, served: Sequence[bytes] = LEAF.served, name: str | None = NAME, **more: Any
) -> Answer:
    question = Question(endpoint, name, more.pop("family", None), source_for(endpoint.address))
    return Answer(question, more.pop("stage", Stage.DONE), chain=tuple(served), **more)


def told(answer: Answer, expected: Expectation | None = None, around: Surroundings = AROUND) -> list[str]:
    wanted = expected or Expectation(answer.question.endpoint, (NAME,), leaves=(ExpectedLeaf(LEAF.served),))
    return [finding.code for finding in judge(answer, wanted, around)]


def issued(**changes: Any) -> Issued:
    return LOWER.issue(NAME, **changes)


def free(endpoint: Endpoint = SMTP, **more: Any) -> Expectation:
    return Expectation(endpoint, (NAME,), **more)


CASES = [
    pytest.param(answered(), None, [], id="as-it-should-be"),
    pytest.param(answered(name=None), free(default_name=NAME), [], id="default-good"),
    pytest.param(answered(stage=Stage.CONNECT, served=()), None, ["endpoint-unreachable"], id="unreachable"),
    pytest.param(answered(stage=Stage.GREETING, served=()), None, ["endpoint-silent"], id="silent"),
    pytest.param(
        answered(stage=Stage.STARTTLS, served=(), starttls_offered=False),
        None,
        ["starttls-missing"],
        id="stripped",
    ),
    pytest.param(
        answered(stage=Stage.STARTTLS, served=(), starttls_offered=True),
        None,
        ["starttls-refused"],
        id="refused",
    ),
    pytest.param(answered(stage=Stage.HANDSHAKE, served=()), None, ["handshake-failed"], id="handshake"),
    pytest.param(
        answered(stage=Stage.HANDSHAKE, served=(), detail="tlsv1 alert protocol version"),
        None,
        ["tls-too-old"],
        id="too-old",
    ),
    pytest.param(
        answered(stage=Stage.HANDSHAKE, served=(), family="rsa", detail="ssl/tls alert handshake failure"),
        None,
        ["key-family-missing"],
        id="no-rsa",
    ),
    pytest.param(answered(served=OLD.served), None, ["leaf-differs"], id="stale"),
    pytest.param(answered(served=(LEAF.der,)), None, ["chain-incomplete"], id="leaf-alone"),
    pytest.param(answered(served=(LEAF.der, L)), None, ["chain-incomplete"], id="known-to-be-longer"),
    pytest.param(answered(served=(LEAF.der, L)), free(), ["untrusted"], id="not-known-to-be-longer"),
    pytest.param(answered(served=(LEAF.der, U, L)), None, ["chain-order"], id="out-of-order"),
    pytest.param(answered(served=(*LEAF.served, OLD.der)), None, ["chain-superfluous"], id="surplus"),
    pytest.param(answered(served=(*LEAF.served, ROOT.der)), None, ["chain-with-root"], id="root-sent"),
    pytest.param(answered(served=self_signed(NAME).served), free(), ["untrusted"], id="self-signed"),
    pytest.param(
        answered(served=LOWER.issue("a.example").served), free(), ["name-mismatch"], id="other-name"
    ),
    pytest.param(answered(served=LOWER.issue("*.example.org").served), free(), [], id="wildcard"),
    pytest.param(
        answered(name=None), free(default_name="mx.example.org"), ["name-mismatch"], id="default-for-another"
    ),
    pytest.param(answered(name=None), free(), [], id="default-not-judged"),
    pytest.param(answered(offers_plain_auth=True), None, ["auth-before-tls"], id="auth"),
    pytest.param(answered(served=()), None, [], id="nothing-sent"),
    pytest.param(answered(served=(b"rubbish",)), None, ["certificate-unreadable"], id="rubbish"),
]


@pytest.mark.parametrize(("answer", "expected", "codes"), CASES)
def test_one_answer(answer: Answer, expected: Expectation | None, codes: list[str]) -> None:
    assert told(answer, expected) == codes


LIFE = timedelta(days=90)


@pytest.mark.parametrize(
    ("left", "codes", "severity"),
    [
        (timedelta(days=40), [], None),
        (timedelta(days=17), ["expiring"], Severity.WARNING),
        (timedelta(days=4), ["expiring"], Severity.ERROR),
        (timedelta(seconds=-1), ["expired"], Severity.ERROR),
        (LIFE + timedelta(hours=2), ["not-yet-valid"], Severity.ERROR),
    ],
)
def test_dates_are_relative_to_the_lifetime(
    left: timedelta, codes: list[str], severity: Severity | None
) -> None:
    leaf = issued(not_before=NOW + left - LIFE, not_after=NOW + left)
    found = judge(answered(served=leaf.served), free(), AROUND)
    assert [finding.code for finding in found] == codes
    assert not found or found[0].severity is severity


def test_a_short_lived_certificate_is_not_expiring_all_its_life() -> None:
    leaf = issued(not_before=NOW - timedelta(hours=60), not_after=NOW + timedelta(hours=100))
    assert told(answered(served=leaf.served), free()) == []


def test_an_expired_intermediate_is_named_and_not_called_untrusted() -> None:
    stale = ROOT.intermediate("Stale", not_before=NOW - timedelta(days=99), not_after=NOW - timedelta(days=9))
    found = judge(answered(served=stale.issue(NAME).served), free(), AROUND)
    assert [finding.code for finding in found] == ["chain-expired"]
    assert "Stale" in found[0].seen


def test_an_expired_leaf_of_an_unknown_root_is_both() -> None:
    leaf = Ca.root("Unknown").intermediate().issue(NAME, not_before=NOW - LIFE, not_after=NOW - timedelta(1))
    assert told(answered(served=leaf.served), free()) == ["untrusted", "expired"]


def test_the_stale_certificate_is_told_by_its_date() -> None:
    leaf = issued(not_before=datetime.fromisoformat("2026-08-12T10:00:00+00:00"), not_after=NOW + LIFE)
    [finding] = judge(
        answered(served=leaf.served),
        free(leaves=(ExpectedLeaf(issued(not_before=NOW + timedelta(0)).served),)),
        AROUND,
    )
    assert finding.code == "leaf-differs"
    assert "still the certificate of 12 August 2026 for mail.example.org by Lower" in finding.seen
    assert "postfix reload" in finding.mend


def test_auth_is_not_judged_where_we_are_no_stranger() -> None:
    for address in ("::1", "2001:db8::1"):
        endpoint = replace(SMTP, address=address)
        around = replace(AROUND, own_addresses=("2001:db8::1",))
        answer = Answer(Question(endpoint, NAME), Stage.DONE, chain=LEAF.served, offers_plain_auth=True)
        assert told(answer, free(endpoint), around) == []


def test_questions_for_one_and_two_key_families() -> None:
    rsa = LOWER.issue(NAME, key_type=KeyType.RSA_2048)
    one = Expectation(SMTP, (NAME, "b.example"), default_name=NAME, leaves=(ExpectedLeaf(LEAF.served),))
    two = replace(one, leaves=(ExpectedLeaf(LEAF.served), ExpectedLeaf(rsa.served)))
    assert [(q.server_name, q.family, q.source) for q in one.questions()] == [
        (None, None, STRANGER),
        (NAME, None, STRANGER),
        ("b.example", None, STRANGER),
    ]
    assert [(q.server_name, q.family) for q in two.essential()] == [
        (None, None),
        (None, "ecdsa"),
        (None, "rsa"),
    ]
    assert len(two.questions()) == 7
    assert told(answered(served=rsa.served), two) == told(answered(served=LEAF.served), two) == []
    assert told(answered(served=OLD.served), two) == ["leaf-differs"]
    assert told(answered(served=rsa.served[:1]), two) == ["chain-incomplete"]
    only_13 = answered(stage=Stage.HANDSHAKE, served=(), family="rsa", detail="tlsv1 alert protocol version")
    assert told(only_13, two) == ["key-family-not-asked"]
    assert told(answered(served=rsa.served, family="rsa"), two) == []
    assert told(answered(served=LEAF.served, family="ecdsa"), two) == []


def test_sources() -> None:
    own = ("192.0.2.1", "2001:db8::1")
    asked_from = {
        address: source_for(address, own) for address in ("127.0.0.1", "127.0.0.2", "192.0.2.1", "::1")
    }
    assert asked_from == {"127.0.0.1": STRANGER, "127.0.0.2": "127.0.0.3", "192.0.2.1": STRANGER, "::1": None}
    assert source_for("2001:db8::1", own) is source_for("198.51.100.1", own) is None


def web(path: str = "/", **more: Any) -> Answer:
    return Answer(HttpQuestion(WEB, NAME, None, None, path), Stage.DONE, **more)


@pytest.mark.parametrize(
    ("answer", "codes"),
    [
        (web(status=301, location="https://mail.example.org/"), []),
        (web(status=302, location="https://mail.example.org/"), ["redirect-temporary"]),
        (web(status=301, location="http://mail.example.org/x"), ["redirect-missing"]),
        (web(status=200), ["redirect-missing"]),
        (web(FILE.path, status=200, body=b"token"), []),
        (web(FILE.path, status=200, body=b"other"), ["challenge-not-served"]),
        (web(FILE.path, status=404), ["challenge-not-served"]),
        (web(FILE.path, status=301, location="https://x/"), ["challenge-not-served"]),
    ],
)
def test_the_web(answer: Answer, codes: list[str]) -> None:
    assert told(answer, Expectation(WEB, (NAME,), redirect=True, public_file=FILE)) == codes


def looked(*answers: Answer, leaves: tuple[ExpectedLeaf, ...] = ()) -> Verdict:
    return verdict(
        assess(one, Expectation(one.question.endpoint, (NAME,), leaves=leaves), AROUND) for one in answers
    )


GONE = answered(stage=Stage.CONNECT, served=(), detail="refused")
SNAKEOIL = answered(served=self_signed("debian", NAME).served)
NEW = (ExpectedLeaf(LEAF.served),)
COMPARED = [
    pytest.param(answered(), answered(), [], id="as-before"),
    pytest.param(answered(), GONE, ["endpoint-unreachable"], id="died"),
    pytest.param(SNAKEOIL, GONE, ["endpoint-unreachable"], id="died-that-was-untrusted"),
    pytest.param(SNAKEOIL, answered(), [], id="healed"),
    pytest.param(SNAKEOIL, SNAKEOIL, [], id="untrusted-before-and-after"),
    pytest.param(GONE, GONE, [], id="broken-before-and-after"),
    pytest.param(GONE, SNAKEOIL, [], id="better-if-not-good"),
    pytest.param(answered(), answered(served=OLD.served), [], id="still-the-old-one"),
    pytest.param(answered(), answered(served=(LEAF.der,)), ["chain-incomplete"], id="lost-its-chain"),
    pytest.param(answered(), answered(offers_plain_auth=True), ["auth-before-tls"], id="now-offers-auth"),
    pytest.param(answered(offers_plain_auth=True), answered(offers_plain_auth=True), [], id="offered-before"),
    pytest.param(
        answered(name=None), answered(name="new.example"), ["name-mismatch"], id="name-not-asked-before"
    ),
    pytest.param(SNAKEOIL, answered(name="new.example"), [], id="name-not-asked-before-and-no-worse"),
]


@pytest.mark.parametrize(("before", "after", "codes"), COMPARED)
def test_the_verdict_is_relative(before: Answer, after: Answer, codes: list[str]) -> None:
    found = worse(looked(before), looked(after, leaves=NEW))
    assert [finding.code for finding in found] == codes


def test_an_endpoint_that_vanished_is_worse_but_not_one_that_was_not_looked_at() -> None:
    submission = replace(SMTP, port=587)
    before = looked(answered(), answered(submission), answered(IMAPS))
    assert [f.subject for f in worse(before, looked(answered()))] == ["postfix 127.0.0.1:587"]


def test_the_forgotten_port() -> None:
    ports = [replace(SMTP, port=port) for port in (25, 465, 587)]
    named = [*(answered(port) for port in ports), answered(IMAPS, OLD.served)]
    seen = looked(*named, *(replace(one, question=replace(one.question, server_name=None)) for one in named))
    [finding] = seen.findings
    assert (finding.code, finding.subject) == (
        "certificates-disagree",
        "dovecot 127.0.0.1:993",
    )
    assert "as on 3 others" in finding.expected


def test_the_web_may_serve_another_certificate_to_whoever_gives_no_name() -> None:
    https = Endpoint("apache", "127.0.0.1", 443, AppProtocol.HTTP, TlsMode.IMPLICIT)
    www = LOWER.issue("www.example.org")
    assert [
        f.code for f in looked(answered(name=None), answered(https, www.served, name=None)).findings
    ] == []


def test_a_finding_is_told_once_for_many_endpoints() -> None:
    ports = [replace(SMTP, port=port) for port in range(100, 130)]
    [finding] = looked(*(answered(one, SNAKEOIL.chain) for one in ports)).findings
    assert finding.subject.startswith("postfix 127.0.0.1:100, postfix 127.0.0.1:101, ")
    assert finding.subject.endswith("postfix 127.0.0.1:123 and 6 more as mail.example.org")


def test_a_finding_is_told_once_for_many_names() -> None:
    names = [None, *(f"{letter}.example.org" for letter in "abcdef")]
    [finding] = looked(*(answered(stage=Stage.CONNECT, served=(), name=name) for name in names)).findings
    told_names = "no name, a.example.org, b.example.org, c.example.org and 3 more"
    assert finding.subject == f"postfix 127.0.0.1:25 as {told_names}"


def test_asks_are_counted() -> None:
    wanted = Expectation(SMTP, (NAME,), leaves=NEW)
    first = assess(answered(served=OLD.served), wanted, AROUND)
    second = assess(answered(), wanted, AROUND, first)
    assert (second.asks, second.good) == (2, 1)

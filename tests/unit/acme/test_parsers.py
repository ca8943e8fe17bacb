"""Everything that reads foreign text: tables of good and bad, and fuzzing that only our own errors come out."""

from __future__ import annotations

import contextlib
import json
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mailseal.acme.explain import ADVICE, duration
from mailseal.acme.messages import (
    AccountBody,
    Authorization,
    Directory,
    Order,
    RenewalInfoBody,
    decode,
)
from mailseal.acme.problems import PREFIX, AcmeProblem, AcmeProtocolError, compound, plain, read_problem
from mailseal.acme.retry_after import LONGEST, http_date, retry_after
from mailseal.acme.urls import _USUAL, check_token, check_url, is_nonce, join_url

NOW = datetime(2026, 11, 1, 12, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"retry-after": ""}, None),
        ({"retry-after": "0"}, 0),
        ({"retry-after": " 120 "}, 120),
        ({"retry-after": "999999999999"}, LONGEST),
        ({"retry-after": "-5"}, None),
        ({"retry-after": "1.5"}, None),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "١٢"}, None),
        ({"retry-after": "Sun, 01 Nov 2026 12:01:00 GMT"}, 60),
        ({"retry-after": "Sunday, 01-Nov-26 12:01:00 GMT"}, 60),
        ({"retry-after": "Sun Nov  1 12:01:00 2026"}, 60),
        ({"retry-after": "Sun, 01 Nov 2026 11:00:00 GMT"}, 0),
        ({"retry-after": "Sun, 01 Nov 2099 11:00:00 GMT"}, LONGEST),
        # The server's own clock, a day ahead of ours, is what its date is measured against.
        ({"retry-after": "Mon, 02 Nov 2026 12:01:00 GMT", "date": "Mon, 02 Nov 2026 12:00:30 GMT"}, 30),
        ({"retry-after": "Sun, 01 Nov 2026 12:01:00 GMT", "date": "rubbish"}, 60),
    ],
)
def test_retry_after_in_both_forms(headers: dict[str, str], seconds: float | None) -> None:
    assert retry_after(headers, NOW) == seconds


@given(st.text(max_size=80), st.text(max_size=80))
def test_any_retry_after_is_a_bounded_wait_or_none(value: str, date: str) -> None:
    wait = retry_after({"retry-after": value, "date": date}, NOW)
    assert wait is None or 0 <= wait <= LONGEST
    http_date(value)


@pytest.mark.parametrize(
    "url",
    [
        "https://ca.test/x",
        "https://ca.test:14000/a?b=c&d=%20",
        "https://[2001:db8::1]/dir",
        "https://127.0.0.1/",
    ],
)
def test_good_urls(url: str) -> None:
    assert check_url(url, what="x", insecure=False) == url


@pytest.mark.parametrize(
    "url",
    [
        "",
        "/dir",
        "http://ca.test/",
        "ftp://ca.test/",
        "file:///etc/shadow",
        "https://",
        "https:///x",
        "https://user:pw@ca.test/",
        "https://ca.test/\r\nHost: x",
        "https://ca.test/ x",
        'https://ca.test/"',
        "https://ca.test/#x",
        "https://ca.test:99999/",
        "https://ca.test:x/",
        "https://[::1/",
        "https://ca.test/é",
        "https://ca.test/" + "a" * 2048,
    ],
)
def test_bad_urls(url: str) -> None:
    with pytest.raises(AcmeProtocolError):
        check_url(url, what="x", insecure=False)


def test_http_is_let_through_only_where_the_directory_was_http() -> None:
    assert check_url("http://127.0.0.1:14000/x", what="x", insecure=True)
    with pytest.raises(AcmeProtocolError):
        check_url("gopher://127.0.0.1/x", what="x", insecure=True)
    assert (
        join_url("https://ca.test/cert/1", "/cert/1/2", what="x", insecure=False)
        == "https://ca.test/cert/1/2"
    )
    with pytest.raises(AcmeProtocolError):
        join_url("https://ca.test/cert/1", "http://ca.test/x", what="x", insecure=False)


@given(st.text(max_size=300))
def test_any_text_is_a_url_or_an_error(text: str) -> None:
    for insecure in (False, True):
        with contextlib.suppress(AcmeProtocolError):
            assert check_url(text, what="x", insecure=insecure) == text
        with contextlib.suppress(AcmeProtocolError):
            join_url("https://ca.test/a/b", text, what="x", insecure=insecure)


@pytest.mark.parametrize(
    "token", [None, "", "short", "a" * 21, "a" * 257, "a" * 30 + "/", "../" * 10, "a" * 30 + "\n", "ä" * 30]
)
def test_bad_tokens(token: str | None) -> None:
    with pytest.raises(AcmeProtocolError):
        check_token(token, what="http-01")


@given(st.text(max_size=300))
def test_a_token_that_passes_is_a_plain_file_name(text: str) -> None:
    try:
        token = check_token(text, what="http-01")
    except AcmeProtocolError:
        return
    assert token.isascii()
    assert "/" not in token
    assert "." not in token
    assert 22 <= len(token) <= 256
    assert is_nonce(token)


def problem(body: Any, status: int = 400) -> AcmeProblem:
    return AcmeProblem("the order", read_problem(json.dumps(body).encode(), status), status=status)


def test_subproblems_become_sentences_that_name_the_identifier() -> None:
    error = problem(
        {
            "type": PREFIX + "compound",
            "detail": "several",
            "subproblems": [
                {
                    "type": PREFIX + "caa",
                    "detail": "CAA says no",
                    "identifier": {"type": "dns", "value": "a.example.org"},
                },
                {
                    "type": PREFIX + "connection",
                    "detail": "192.0.2.7: Timeout",
                    "identifier": {"type": "dns", "value": "b.example.org"},
                },
            ],
        }
    )
    assert error.identifiers == ("a.example.org", "b.example.org")
    assert error.identifier == ""
    lines = error.lines()
    assert "  A CAA record forbids this CA to issue for a.example.org. It says: CAA says no" in lines
    assert "  The CA could not connect to b.example.org. It says: 192.0.2.7: Timeout" in lines
    assert "CAA records of a.example.org" in error.next_command
    assert "port 80" in error.next_command


def test_the_only_subproblem_speaks_for_the_whole() -> None:
    error = problem(
        {
            "type": PREFIX + "malformed",
            "subproblems": [
                {
                    "type": PREFIX + "rejectedIdentifier",
                    "detail": "no",
                    "identifier": {"type": "dns", "value": "x.test"},
                }
            ],
        }
    )
    assert (error.kind, error.identifier) == ("rejectedIdentifier", "x.test")


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"", "HTTP status 502"),
        (b"<html><h1>Bad\x1b[31m gateway", "HTTP status 502: <html><h1>Bad[31m gateway"),
        (b"[]", "HTTP status 502: []"),
        (b'{"type": 7}', 'HTTP status 502: {"type": 7}'),
        (b'{"detail": "plain words"}', "plain words"),
        (b'{"title": "a title"}', "a title"),
        (b'{"type":"about:blank","status":"503","detail":"x\\u0007\\ny"}', "x y"),
        (b"\xff\xfe", "HTTP status 502: \ufffd\ufffd"),
    ],
)
def test_an_answer_that_is_no_problem_document_is_still_told(body: bytes, said: str) -> None:
    assert read_problem(body, 502).said == said


@pytest.mark.parametrize("kind", sorted(ADVICE))
def test_each_kind_has_a_sentence_without_gaps(kind: str) -> None:
    for identifier in ({}, {"identifier": {"type": "dns", "value": "mail.example.org"}}):
        error = problem({"type": PREFIX + kind, "detail": "words of the CA"} | identifier)
        text = "\n".join(error.lines())
        assert "{" not in text
        assert "words of the CA" in text
        assert error.next_command
        assert error.kind == kind
        assert not identifier or "mail.example.org" in text


@given(st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=30),
    lambda inner: st.lists(inner, max_size=4)
    | st.dictionaries(
        st.sampled_from(["type", "detail", "title", "status", "identifier", "subproblems", "value", "x"]), inner
    ),
    max_leaves=25,
))  # fmt: skip
def test_any_document_is_a_problem_that_can_be_told(document: Any) -> None:
    error = problem(document)
    for line in error.lines():
        assert "\n" not in line
        assert line.isprintable()
    assert error.identifiers is not None
    compound([error.problem, error.problem])


@given(st.binary(max_size=200))
def test_any_bytes_are_a_problem_that_can_be_told(body: bytes) -> None:
    assert "\n".join(AcmeProblem("x", read_problem(body, 500)).lines())


def test_depth_and_breadth_of_problems_are_bounded() -> None:
    deep: dict[str, Any] = {"detail": "bottom"}
    for _ in range(200):
        deep = {"detail": "x", "subproblems": [deep]}
    assert len(problem(deep).sentences) == 1
    wide = {"detail": "x", "subproblems": [{"detail": "y"}] * 5000}
    assert len(problem(wide).sentences) <= 1000
    assert len(plain("x" * 10_000)) == 600
    assert read_problem(b'{"subproblems":' * 5000, 400).said.startswith("HTTP status 400")


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (0.2, "1 second"),
        (1, "1 second"),
        (45, "45 seconds"),
        (119, "119 seconds"),
        (121, "3 minutes"),
        (7200, "2 hours"),
        (7201, "3 hours"),
        (400_000, "5 days"),
    ],
)
def test_durations_as_people_say_them(seconds: float, said: str) -> None:
    assert duration(seconds) == said


KINDS: list[Any] = [Directory, AccountBody, Order, Authorization, RenewalInfoBody]


@settings(max_examples=200)
@given(st.sampled_from(KINDS), st.binary(max_size=200))
def test_any_bytes_are_a_message_or_an_error(kind: Any, body: bytes) -> None:
    with contextlib.suppress(AcmeProtocolError):
        decode(body, kind, what="a test")


_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4)
    | st.dictionaries(
        st.sampled_from(
            ["status", "identifiers", "authorizations", "finalize", "expires", "type", "value", "challenges", "token",
             "url", "identifier", "error", "suggestedWindow", "start", "end", "orders", "newNonce", "meta", "profiles"]
        ),
        inner,
    ),
    max_leaves=30,
)  # fmt: skip


@settings(max_examples=300)
@given(st.sampled_from(KINDS), _json)
def test_any_json_is_a_message_or_an_error(kind: Any, document: Any) -> None:
    with contextlib.suppress(AcmeProtocolError):
        decode(json.dumps(document).encode(), kind, what="a test")


ORDER: dict[str, Any] = {
    "status": "ready",
    "identifiers": [{"type": "dns", "value": "mail.example.org"}],
    "authorizations": [],
    "finalize": "https://ca.test/order/1/finalize",
}


@pytest.mark.parametrize(
    "change",
    [
        {"status": "maybe"},
        {"identifiers": []},
        {"identifiers": [{"type": "dns", "value": "a" * 300}]},
        {"identifiers": [{"type": "dns", "value": "a"}] * 1001},
        {"authorizations": ["https://ca.test/a"] * 1001},
        {"authorizations": ["https://ca.test/" + "a" * 2048]},
        {"expires": "tomorrow"},
        {"expires": "2026-01-01T00:00:00"},
        {"finalize": None},
    ],
)
def test_orders_that_are_none(change: dict[str, Any]) -> None:
    assert decode(json.dumps(ORDER).encode(), Order, what="an order").names
    with pytest.raises(AcmeProtocolError):
        decode(json.dumps(ORDER | change).encode(), Order, what="an order")


def test_endless_nesting_is_refused() -> None:
    with pytest.raises(AcmeProtocolError):
        decode(b"[" * 100_000, Order, what="an order")


def test_times_with_nanoseconds_and_zones_are_read() -> None:
    body = b'{"suggestedWindow":{"start":"2026-11-01T12:00:00.123456789Z","end":"2026-11-02T12:00:00+02:00"}}'
    window = decode(body, RenewalInfoBody, what="x").suggested_window
    assert window.end == datetime(2026, 11, 2, 10, 0, tzinfo=UTC)


@given(st.from_regex(_USUAL, fullmatch=True))
def test_the_usual_urls_pass_the_whole_check_too(url: str) -> None:
    parts = urlsplit(url)
    assert (parts.scheme, parts.username, parts.fragment) == ("https", None, "")
    assert parts.hostname
    assert parts.port is None or 0 < parts.port < 65536

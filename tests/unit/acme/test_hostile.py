"""A server that lies: any answer of the whole exchange damaged in any way ends in a certificate or in our own error."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mailseal.errors import MailsealError
from mailseal.system.http import HttpResponse
from tests.support.acme import Desk, names, request_for
from tests.support.certs import new_key

CSR = request_for(names("mail.example.org"), new_key())
EXCHANGES = 10  # directory, nonce, account, and the seven requests of an order

_values: st.SearchStrategy[Any] = st.one_of(
    st.none(),
    st.integers(),
    st.text(max_size=20),
    st.lists(st.none(), max_size=2),
    st.just({}),
    st.sampled_from(
        ["pending", "ready", "processing", "valid", "invalid", "revoked", "https://ca.test/nowhere"]
    ),
    st.just("x" * 20_000),
    st.just(["https://ca.test/authz/1"] * 1500),
)


@st.composite
def damages(draw: st.DrawFn) -> tuple[str, Any]:
    """How an answer is changed."""
    kind = draw(st.sampled_from(["body", "cut", "field", "drop", "status", "header", "unheader"]))
    match kind:
        case "body":
            return kind, draw(st.binary(max_size=60))
        case "cut":
            return kind, draw(st.integers(0, 400))
        case "field" | "drop":
            return kind, (draw(st.integers(0, 12)), draw(_values))
        case "status":
            return kind, draw(
                st.sampled_from([100, 204, 206, 301, 304, 400, 401, 403, 404, 409, 429, 500, 503, 599])
            )
        case "header":
            name = draw(st.sampled_from(["location", "replay-nonce", "retry-after", "link", "content-type"]))
            return kind, (name, draw(st.text(max_size=30)))
    return "unheader", draw(st.sampled_from(["location", "replay-nonce"]))


def damage(answer: HttpResponse, how: tuple[str, Any]) -> HttpResponse:
    kind, what = how
    headers = dict(answer.headers)
    if kind == "body":
        return replace(answer, body=what)
    if kind == "cut":
        return replace(answer, body=answer.body[:what])
    if kind == "status":
        return replace(answer, status=what)
    if kind == "header":
        return replace(answer, headers=headers | {what[0]: what[1]})
    if kind == "unheader":
        headers.pop(what, None)
        return replace(answer, headers=headers)
    try:
        document = json.loads(answer.body)
    except ValueError:
        return answer
    if not isinstance(document, dict) or not document:
        return answer
    field = list(document)[what[0] % len(document)]
    if kind == "drop":
        del document[field]
    else:
        document[field] = what[1]
    return replace(answer, body=json.dumps(document).encode())


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.dictionaries(st.integers(0, EXCHANGES - 1), damages(), min_size=1, max_size=3), st.booleans())
def test_any_damage_ends_in_a_certificate_or_in_our_own_error(
    planned: dict[int, tuple[str, Any]], stays: bool
) -> None:
    desk = Desk()
    ask = desk.ca.request
    asked = 0

    async def request(method: str, url: str, **options: Any) -> HttpResponse:
        nonlocal asked
        how = planned.get(asked % EXCHANGES if stays else asked)
        asked += 1
        answer = await ask(method, url, **options)
        return answer if how is None else damage(answer, how)

    desk.ca.request = request  # type: ignore[method-assign]

    async def work() -> None:
        await desk.register()
        await desk.obtain("mail.example.org", csr_der=CSR, timeout=3600)

    try:
        asyncio.run(work())
    except MailsealError as error:
        assert all(line.isprintable() for line in error.lines())
        assert len(str(error)) < 5000
    assert desk.solver.left == 0
    assert desk.clock.monotonic() <= 3700
    assert asked < 3000


@pytest.mark.parametrize("text", ["\x1b[31mred", "a\nb", "\u202egnp.exe"])
def test_what_a_server_says_cannot_steer_a_terminal(text: str) -> None:
    desk = Desk()
    body = json.dumps({"type": "urn:ietf:params:acme:error:malformed", "detail": text}).encode()
    desk.ca.outages.append(("/new-account", HttpResponse(400, {}, body)))
    with pytest.raises(MailsealError) as caught:
        asyncio.run(desk.register())
    assert all(line.isprintable() for line in caught.value.lines())

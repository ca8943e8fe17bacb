"""What the client heals by itself, and what it passes on: nonces, 5xx, limits, broken connections, deadlines."""

from __future__ import annotations

import asyncio

import pytest

from mailseal.acme import account
from mailseal.acme.client import MOST_REFUSALS, AcmeClient, together
from mailseal.acme.nonces import MOST, Nonces
from mailseal.acme.problems import AcmeProblem, AcmeProtocolError
from mailseal.errors import ExitCode, NetworkFault
from mailseal.system.http import HttpResponse
from tests.support.acme import Desk, account_key
from tests.support.fake_ca import Rules, respond

PROBLEM = "urn:ietf:params:acme:error:"


def refuse(status: int, kind: str, **headers: str) -> HttpResponse:
    return respond(
        status,
        {"type": PROBLEM + kind, "detail": "for a test"},
        {k.replace("_", "-"): v for k, v in headers.items()},
    )


def test_a_server_that_refuses_every_nonce_is_given_up_on() -> None:
    desk = Desk(Rules(nonces_refused=1.0))
    with pytest.raises(AcmeProblem) as caught:
        asyncio.run(desk.register())
    assert caught.value.kind == "badNonce"
    posts = [path for method, path in desk.ca.asked if method == "POST"]
    assert len(posts) == MOST_REFUSALS + 1
    # Each retry took the nonce that came with the refusal: newNonce was asked once.
    assert len([path for method, path in desk.ca.asked if path == "/nonce"]) == 1


@pytest.mark.parametrize(
    ("outages", "slept"),
    [
        ([refuse(503, "serverInternal", retry_after="5")], [5.0]),
        ([refuse(503, "rateLimited", retry_after="Sun, 01 Nov 2026 12:00:20 GMT")], [20.0]),
        ([refuse(429, "rateLimited", retry_after="2")], [2.0]),
        ([HttpResponse(502, {}, b"<html>Bad Gateway</html>")] * 2, [0.25, 1.0]),
        ([NetworkFault("broken off")] * 2, [0.25, 1.0]),
        ([NetworkFault("broken off"), refuse(503, "serverInternal", retry_after="0")], [0.25, 1.0]),
    ],
)
def test_what_passes_is_waited_for(outages: list[HttpResponse | NetworkFault], slept: list[float]) -> None:
    desk = Desk()
    desk.ca.outages.extend(("/new-account", outage) for outage in outages)
    asyncio.run(desk.register())
    assert desk.clock.slept == pytest.approx(slept)


@pytest.mark.parametrize(
    ("outage", "retry_after"),
    [
        (refuse(429, "rateLimited", retry_after="7200"), 7200),
        (refuse(429, "rateLimited"), None),
        (refuse(503, "serverInternal", retry_after="Sun, 01 Nov 2026 18:00:00 GMT"), 6 * 3600),
        (refuse(403, "unauthorized"), None),
        (refuse(400, "malformed", retry_after="1"), 1),
    ],
)
def test_what_does_not_pass_is_raised_at_once(outage: HttpResponse, retry_after: float | None) -> None:
    desk = Desk()
    desk.ca.outages.append(("/new-account", outage))
    with pytest.raises(AcmeProblem) as caught:
        asyncio.run(desk.register())
    assert caught.value.retry_after == retry_after
    assert desk.clock.slept == []
    if retry_after == 7200:
        assert "Try again in 2 hours" in caught.value.next_command
        assert caught.value.exit_code == ExitCode.WAITING


def test_a_server_too_busy_for_a_nonce_is_waited_for() -> None:
    desk = Desk()
    desk.ca.outages.append(("/nonce", refuse(503, "rateLimited", retry_after="2")))
    desk.ca.outages.append(("/nonce", NetworkFault("broken off")))
    asyncio.run(desk.register())
    assert desk.clock.slept == pytest.approx([2.0, 1.0])


def test_the_directory_is_asked_for_once() -> None:
    desk = Desk()

    async def work() -> None:
        await asyncio.gather(*(desk.client.directory() for _ in range(5)))

    asyncio.run(work())
    assert desk.ca.asked == [("GET", "/dir")]


def test_a_broken_server_is_given_up_on() -> None:
    desk = Desk()
    desk.ca.outages.extend([("/new-account", NetworkFault("no route"))] * 9)
    with pytest.raises(NetworkFault, match="no route"):
        asyncio.run(desk.register())
    assert len(desk.clock.slept) == 2
    desk = Desk()
    desk.ca.outages.extend([("/new-account", refuse(500, "serverInternal"))] * 9)
    with pytest.raises(AcmeProblem):
        asyncio.run(desk.register())
    assert len(desk.clock.slept) == 3


def test_a_retry_beyond_the_deadline_is_the_problem_itself() -> None:
    desk = Desk()
    desk.ca.outages.append(("/new-account", refuse(503, "serverInternal", retry_after="20")))
    with pytest.raises(AcmeProblem) as caught:
        asyncio.run(account.register(desk.client.within(10), agree_to_terms=True))
    assert caught.value.retry_after == 20
    assert desk.clock.monotonic() == 0


@pytest.mark.parametrize(
    ("path", "answer", "match"),
    [
        ("/dir", HttpResponse(200, {}, b"<html>hello</html>"), "RFC 8555"),
        ("/dir", respond(200, {"newNonce": "https://ca.test/nonce"}), "RFC 8555"),
        (
            "/dir",
            respond(200, {"newNonce": "ftp://x/", "newAccount": "https://x/", "newOrder": "https://x/"}),
            "not https",
        ),
        (
            "/dir",
            respond(200, {"newNonce": "http://x/", "newAccount": "https://x/", "newOrder": "https://x/"}),
            "not https",
        ),
        ("/dir", HttpResponse(302, {"location": "https://elsewhere.test/"}, b""), "redirects"),
        ("/nonce", HttpResponse(200, {}, b""), "no nonce"),
        ("/nonce", HttpResponse(200, {"replay-nonce": "not a nonce"}, b""), "no nonce"),
        ("/new-account", respond(201, {"status": "valid"}), "did not say where"),
        ("/new-account", respond(201, {"status": "valid"}, {"location": "http://ca.test/a"}), "not https"),
        ("/new-account", respond(201, {"status": 7}, {"location": "https://ca.test/a"}), "RFC 8555"),
        ("/new-account", respond(201, {"status": "valid", "contact": ["x" * 9000]}), "did not say|RFC 8555"),
    ],
)
def test_what_a_server_must_not_send_is_refused(path: str, answer: HttpResponse, match: str) -> None:
    desk = Desk()
    desk.ca.outages.append((path, answer))
    with pytest.raises(AcmeProtocolError, match=match):
        asyncio.run(desk.register())


def test_a_directory_over_http_is_for_tests_only_and_then_stays_http_capable() -> None:
    desk = Desk()
    with pytest.raises(AcmeProtocolError):
        AcmeClient(desk.ca, desk.clock, account_key(), "file:///etc/passwd")
    assert AcmeClient(desk.ca, desk.clock, account_key(), "http://127.0.0.1:14000/dir").insecure


def test_many_orders_share_few_requests_in_flight() -> None:
    desk = Desk()
    most = running = 0
    ask = desk.ca.request

    async def counted(*args, **options):  # type: ignore[no-untyped-def]
        nonlocal most, running
        running += 1
        most = max(most, running)
        await asyncio.sleep(0)
        try:
            return await ask(*args, **options)
        finally:
            running -= 1

    desk.ca.request = counted  # type: ignore[method-assign]

    async def work() -> None:
        await desk.register()
        await asyncio.gather(*(desk.obtain(f"h{number}.example.org") for number in range(40)))

    asyncio.run(work())
    assert len(desk.ca.state.issued) == 40
    assert most <= 8
    assert len([path for _, path in desk.ca.asked if path == "/nonce"]) <= 8


def test_nonces_are_bounded_newest_first_and_used_once() -> None:
    pool = Nonces()
    for number in range(MOST + 10):
        pool.put(f"n{number}")
    pool.put(None)
    pool.put("bad nonce")
    pool.put("")
    assert len(pool) == MOST
    assert pool.take() == f"n{MOST + 9}"
    assert pool.take() == f"n{MOST + 8}"
    while pool.take():
        pass
    assert pool.take() is None


def test_together_raises_the_first_failure_itself() -> None:
    async def good() -> int:
        await asyncio.sleep(3600)
        return 1

    async def bad() -> int:
        raise NetworkFault("as it is")

    async def both() -> None:
        await together(good(), bad(), good())

    with pytest.raises(NetworkFault, match="as it is"):
        asyncio.run(both())

"""The look before an order, with a real listener, real sockets and a DNS that is a table.

127.0.0.0/8 plays the network: 127.0.0.1 and ::1 are this machine, 127.0.0.9
is another host, and ports stand for who answers.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack

import pytest

from mailseal.challenges.base import Reach
from mailseal.challenges.fetch import Ports
from mailseal.challenges.listener import ListenerSolver
from mailseal.challenges.preflight import Looked, preflight, require
from mailseal.errors import ChallengeError
from mailseal.model import Identifier
from mailseal.system.local import LocalSystem
from tests.support.http_server import Reply, http_server, redirect, status
from tests.support.zones import Zones

MAIL = Identifier.parse("mail.example.org")


def look(
    zones: Mapping[tuple[str, str], Sequence[str]],
    *names: str,
    listening: tuple[str, ...] = ("127.0.0.1", "::1"),
    others: Mapping[str, Mapping[str, Reply]] | None = None,
) -> Looked:
    """A preflight of a listener at `listening`, with other servers at `others` (address → replies)."""

    async def story() -> Looked:
        async with AsyncExitStack() as stack:
            solver = ListenerSolver(LocalSystem(), addresses=listening, port=0)
            await stack.enter_async_context(solver)
            port = solver.endpoints[0][1]
            for address, replies in (others or {}).items():
                await stack.enter_async_context(http_server(replies, address=address, port=port))
            found = await preflight(
                LocalSystem(),
                solver,
                [Identifier.parse(name) for name in names],
                dns=Zones(zones),
                ports=Ports(port, 1),
                timeout=1.0,
            )
            assert not solver._answers, "what was presented is cleaned up"
            return found

    return asyncio.run(story())


def codes(looked: Looked) -> list[tuple[str, str, str]]:
    return [(str(each.identifier), each.address, each.code) for each in looked.results]


def test_confirmed_over_both_families_and_through_an_alias() -> None:
    zones = {
        ("mail.example.org", "A"): ["127.0.0.1"],
        ("mail.example.org", "AAAA"): ["::1"],
        ("www.example.org", "CNAME"): ["mail.example.org"],
    }
    looked = look(zones, "mail.example.org", "www.example.org")
    assert [(name, reach) for name, _, reach in codes(looked)] == [
        ("mail.example.org", "reached"),
        ("mail.example.org", "reached"),
        ("www.example.org", "reached"),
        ("www.example.org", "reached"),
    ]
    assert looked.addresses[1] == (Identifier.parse("www.example.org"), ("::1", "127.0.0.1"))
    require(looked)


def test_a_wrong_aaaa_where_only_ipv6_is_wrong() -> None:
    zones = {("mail.example.org", "A"): ["127.0.0.1"], ("mail.example.org", "AAAA"): ["::1"]}
    other = {"*": status("404 Not Found", b"nothing", Server="nginx")}
    looked = look(zones, "mail.example.org", listening=("127.0.0.1",), others={"::1": other})
    assert codes(looked) == [
        ("mail.example.org", "::1", "wrong-aaaa"),
        ("mail.example.org", "127.0.0.1", "reached"),
    ]
    with pytest.raises(ChallengeError) as caught:
        require(looked)
    told = "\n".join(caught.value.lines())
    assert "AAAA record of mail.example.org (::1)" in told
    assert "Server: nginx" in told and "Nothing was ordered." in told


def test_an_aaaa_where_nothing_listens() -> None:
    zones = {("mail.example.org", "A"): ["127.0.0.1"], ("mail.example.org", "AAAA"): ["::1"]}
    looked = look(zones, "mail.example.org", listening=("127.0.0.1",))
    assert codes(looked)[0] == ("mail.example.org", "::1", "wrong-aaaa")
    assert "Connection refused" in looked.results[0].seen


def test_another_server_answers() -> None:
    zones = {("mail.example.org", "A"): ["127.0.0.9"]}
    other = {"*": status("200 OK", b"<html>It works!</html>", Server="Apache")}
    looked = look(zones, "mail.example.org", others={"127.0.0.9": other})
    (result,) = looked.results
    assert result.reach is Reach.REFUTED
    assert "200, Server: Apache, beginning “<html>It works!</html>”" in result.seen


def test_a_looping_redirect() -> None:
    zones = {("mail.example.org", "A"): ["127.0.0.9"]}
    loop = {"*": lambda host, target: redirect(f"http://{host}{target}")}
    looked = look(zones, "mail.example.org", others={"127.0.0.9": loop})
    assert [each.code for each in looked.refuted] == ["redirect-loop"]


def test_no_hairpin_is_unknown_and_blocks_nothing() -> None:
    # 192.0.2.0/24 is for documentation: nobody answers, as a router without hairpin NAT does not.
    looked = look({("mail.example.org", "A"): ["192.0.2.77"]}, "mail.example.org")
    assert [each.code for each in looked.unknown] == ["unreachable-from-here"]
    assert "hairpin" in looked.unknown[0].mend
    require(looked)


def test_a_server_that_is_just_reloading_is_asked_again() -> None:
    async def story() -> Looked:
        answers = iter([status("404 Not Found"), status("503 Service Unavailable")])
        presented: dict[str, bytes] = {}

        class Reloading:
            kind = "http-01"

            async def present(self, identifier: Identifier, token: str, key_authorization: str) -> None:
                presented[f"/.well-known/acme-challenge/{token}"] = key_authorization.encode()

            async def clean_up(self, identifier: Identifier, token: str) -> None:
                presented.clear()

        def answer(host: str, target: str) -> bytes:
            return next(answers, None) or status("200 OK", presented[target])

        async with http_server({"*": answer}) as port:
            zones = Zones({("mail.example.org", "A"): ["127.0.0.1"]})
            return await preflight(LocalSystem(), Reloading(), [MAIL], dns=zones, ports=Ports(port, 1))

    assert [each.code for each in asyncio.run(story()).results] == ["reached"]


def test_an_address_that_is_silent_is_waited_for_only_a_few_times() -> None:
    zones = {(f"m{n}.example.org", "A"): ["127.0.0.1"] for n in range(100)}

    async def story() -> tuple[Looked, float]:
        system = LocalSystem()
        began = system.clock.monotonic()
        async with (
            http_server({}, hang=True) as port,
            ListenerSolver(system, addresses=("::1",), port=0) as solver,
        ):
            names = [Identifier.parse(f"m{n}.example.org") for n in range(100)]
            looked = await preflight(
                system, solver, names, dns=Zones(zones), ports=Ports(port, 1), timeout=0.3
            )
        return looked, system.clock.monotonic() - began

    looked, seconds = asyncio.run(story())
    assert {each.code for each in looked.results} == {"timeout"} and len(looked.results) == 100
    assert seconds < 5


def test_names_without_addresses_and_wildcards() -> None:
    looked = look(
        {("mail.example.org", "A"): ["127.0.0.1"]}, "gone.example.org", "*.example.org", "mail.example.org"
    )
    assert {(name, code) for name, _, code in codes(looked)} == {
        ("gone.example.org", "no-such-name"),
        ("*.example.org", "wildcard"),
        ("mail.example.org", "reached"),
    }
    with pytest.raises(ChallengeError, match=r"\*\.example\.org, gone\.example\.org|gone\.example\.org"):
        require(looked)


def test_an_address_is_asked_at_itself() -> None:
    assert codes(look({}, "127.0.0.1", "::1")) == [
        ("127.0.0.1", "127.0.0.1", "reached"),
        ("::1", "::1", "reached"),
    ]


def test_a_hundred_names() -> None:
    zones = {(f"m{n}.example.org", "A"): ["127.0.0.1"] for n in range(100)}
    looked = look(zones, *(f"m{n}.example.org" for n in range(100)))
    assert {each.code for each in looked.results} == {"reached"} and len(looked.results) == 100

"""The ACME core against Let's Encrypt's test server, in its moods: docs say what a server may do, Pebble does it."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

import pytest

from lab import image
from lab.ca import EAB_KEYS, Pebble, PebbleOptions
from lab.world import World
from tests.lab.acme_world import Asker

OFTEN = PebbleOptions(nonce_reject=50, authz_reuse=0, chain_length=3, alternate_roots=2)


@pytest.fixture(scope="module")
def asker(world: World) -> Iterator[Asker]:
    box = world.host(image.RELEASES[-1], "asker.example.test", stack=False)
    yield Asker(world, box)
    world.discard(box)


@pytest.fixture(scope="module")
def odd(world: World) -> Iterator[Pebble]:
    """Refuses half of the nonces, reuses no authorization, has long chains and other roots."""
    server = world.pebble(OFTEN)
    yield server
    server.stop()


@pytest.fixture(scope="module")
def reusing(world: World) -> Iterator[Pebble]:
    """Reuses every authorization, and asks for seconds between polls."""
    server = world.pebble(PebbleOptions(nonce_reject=0, authz_reuse=100, retry_authz=3, retry_order=2))
    yield server
    server.stop()


def test_half_of_the_nonces_refused_and_long_chains(asker: Asker, odd: Pebble) -> None:
    names = asker.names("a.example.test", "b.example.test")
    said = asker.run("issue", odd, names, times=3)
    assert said["refused_nonces"] > 3
    assert said["left"] == 0
    for issued in said["issued"]:
        assert issued["names"] == names
        assert issued["length"] == 4
    asker.verify(said["issued"][-1], odd.roots()[0])


def test_alternate_chains_are_chosen_by_their_topmost_issuer(asker: Asker, odd: Pebble) -> None:
    names = asker.names("alternate.example.test")
    default = asker.run("issue", odd, names)["issued"][0]
    for number, root in enumerate(odd.roots()[1:], start=1):
        common_name = (
            asker.box.run(["openssl", "x509", "-noout", "-subject", "-nameopt", "multiline"], input=root)
            .stdout.rpartition("= ")[2]
            .strip()
        )
        other = asker.run("issue", odd, names, preferred_chain=common_name)["issued"][0]
        assert other["top"] == f"CN={common_name}" != default["top"], number
        asker.verify(other, root)
    none = asker.run("issue", odd, names, preferred_chain="Nobody")["issued"][0]
    assert none["top"] == default["top"]


def test_a_hundred_identifiers(asker: Asker, odd: Pebble) -> None:
    names = asker.names(*(f"h{number:03}.example.test" for number in range(100)))
    said = asker.run("issue", odd, names)
    assert said["issued"][0]["names"] == names
    assert said["issued"][0]["seconds"] < 60


def test_an_address(asker: Asker, odd: Pebble) -> None:
    names = sorted(["address.example.test", asker.box.ipv4])
    asker.names("address.example.test")
    assert sorted(asker.run("issue", odd, names)["issued"][0]["names"]) == names


def test_reused_authorizations_are_not_shown_again(asker: Asker, reusing: Pebble) -> None:
    names = asker.names("again.example.test")
    said = asker.run("issue", reusing, names, times=3)
    challenges = [url for url in said["asked"] if "/chalZ/" in url]
    assert len(challenges) == 1
    asker.verify(said["issued"][0], reusing.roots()[0])


def test_the_seconds_asked_for_between_polls_are_not_lost(asker: Asker, reusing: Pebble) -> None:
    names = asker.names(*(f"patient{number}.example.test" for number in range(5)))
    said = asker.run("series", reusing, names)
    # A first poll that comes too early costs the 3 seconds that the server asks for; then the wait is learned.
    assert min(issued["seconds"] for issued in said["issued"][1:]) < 2.9
    # The 2 seconds that it asks for after finalize are waited for, every time.
    assert min(issued["seconds"] for issued in said["issued"]) >= 2


@pytest.mark.parametrize("key", ["ecdsa-p256", "rsa-2048"])
def test_accounts_with_either_key(asker: Asker, odd: Pebble, key: str) -> None:
    said = asker.run("accounts", odd, asker.names("account.example.test"), account_key=key, rollover=True)
    url = said["first"]["url"]
    assert said["found"] == said["rolled"] == url
    assert said["none"] is None
    assert said["changed"] == ["mailto:other@example.test"]
    assert said["ended"] == "deactivated"


def test_an_external_account_is_required(asker: Asker, world: World) -> None:
    server = world.pebble(PebbleOptions(eab=True))
    names = asker.names("eab.example.test")
    assert "external account binding" in asker.run("issue", server, names)["error"][0]
    assert asker.run("issue", server, names, eab=["kid-1", EAB_KEYS["kid-1"]])["issued"]
    wrong = asker.run("issue", server, names, eab=["kid-1", EAB_KEYS["kid-2"]])
    assert wrong["kind"] == "AcmeProblem"
    server.stop()


def test_an_interrupted_order_is_resumed_and_not_bought_twice(asker: Asker, odd: Pebble) -> None:
    cuts = ["/authZ/", "/chalZ/", "/finalize-order/", "/my-order/", "/certZ/"]
    asker.names(*(f"cut{number}.resume.example.test" for number in range(len(cuts))))
    said = asker.run("interrupted", odd, ["resume.example.test"], cuts=cuts)
    for number, round_ in enumerate(said["rounds"]):
        assert round_["broke"], number
        assert round_["kept"] == [round_["order"]]


def test_renewal_information_and_a_named_predecessor(asker: Asker, odd: Pebble) -> None:
    said = asker.run("renewal", odd, asker.names("renew.example.test"))
    start, end, again = map(datetime.fromisoformat, said["info"])
    assert start < end < datetime.fromisoformat(said["not_after"])
    assert again is not None
    assert len(set(said["serials"])) == 3
    # The first names its predecessor; the second may not, since it was replaced already, and is placed without.
    assert said["replaced"] == [True, False]


def test_revocation_by_account_and_by_key(asker: Asker, odd: Pebble) -> None:
    said = asker.run("revoke", odd, asker.names("revoked.example.test"))
    assert said["again"] == [[True, False], [True, False]]
    assert [odd.status_of(serial) for serial in said["revoked"]] == ["Revoked", "Revoked"]
    assert odd.status_of(said["kept"]) == "Valid"
    assert said["refused"]


def test_every_identifier_that_fails_is_named(asker: Asker, odd: Pebble) -> None:
    names = asker.names("good.example.test", "bad1.example.test", "bad2.example.test")
    said = asker.run("fail", odd, names, wrong=names[1:])
    assert sorted(said["identifiers"]) == names[1:]
    assert said["left"] == 0
    said = asker.run("fail", odd, ["blocked.example.test", *names[:1]])
    assert said["identifiers"] in ([], ["blocked.example.test"])
    assert "blocked.example.test" in "\n".join(said["lines"])


def test_many_orders_at_the_same_time(asker: Asker, odd: Pebble) -> None:
    names = asker.names(*(f"crowd{number}.example.test" for number in range(6)))
    said = asker.run("crowd", odd, names)
    assert sorted(name for issued in said["issued"] for name in issued["names"]) == sorted(names)

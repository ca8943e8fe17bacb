"""The ACME core against smallstep's CA inside Caddy: a second implementation, so that we fit the protocol."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from lab import image
from lab.ca import Caddy
from lab.world import World
from tests.lab.acme_world import Asker


@pytest.fixture(scope="module")
def asker(world: World) -> Iterator[Asker]:
    box = world.host(image.RELEASES[0], "asker2.example.test", stack=False)
    yield Asker(world, box)
    world.discard(box)


def test_certificates_one_after_another(asker: Asker, caddy: Caddy) -> None:
    names = asker.names("c1.example.test", "c2.example.test")
    said = asker.run("issue", caddy, names, times=3)
    for issued in said["issued"]:
        assert issued["names"] == names
        assert issued["length"] == 2
    assert said["left"] == 0
    asker.verify(said["issued"][0], caddy.roots()[0])


def test_a_hundred_identifiers(asker: Asker, caddy: Caddy) -> None:
    names = asker.names(*(f"s{number:03}.example.test" for number in range(100)))
    said = asker.run("issue", caddy, names)
    assert said["issued"][0]["names"] == names


@pytest.mark.parametrize("key", ["ecdsa-p256", "rsa-2048"])
def test_accounts_with_either_key(asker: Asker, caddy: Caddy, key: str) -> None:
    said = asker.run("accounts", caddy, asker.names("account.example.test"), account_key=key)
    assert said["found"] == said["first"]["url"]
    assert said["none"] is None
    assert said["ended"] == "deactivated"


def test_an_interrupted_order_is_resumed_and_not_bought_twice(asker: Asker, caddy: Caddy) -> None:
    cuts = ["/authz/", "/challenge/", "/finalize", "/certificate/"]
    asker.names(*(f"cut{number}.step.example.test" for number in range(len(cuts))))
    said = asker.run("interrupted", caddy, ["step.example.test"], cuts=cuts)
    for round_ in said["rounds"]:
        assert round_["broke"], round_
        assert round_["kept"] == [round_["order"]]


def test_every_identifier_that_fails_is_named(asker: Asker, caddy: Caddy) -> None:
    names = asker.names("good.example.test", "bad.example.test")
    said = asker.run("fail", caddy, names, wrong=names[1:])
    assert said["identifiers"] == names[1:]
    unknown = asker.run("fail", caddy, ["nowhere.example.test", *names[:1]])
    assert unknown["identifiers"] == ["nowhere.example.test"]


def test_many_orders_at_the_same_time(asker: Asker, caddy: Caddy) -> None:
    names = asker.names(*(f"many{number}.example.test" for number in range(12)))
    said = asker.run("crowd", caddy, names)
    assert sorted(name for issued in said["issued"] for name in issued["names"]) == sorted(names)

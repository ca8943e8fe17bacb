"""Pebble keeps the promises that the CA in memory keeps (tests/contract): what is shown on that one is true of this."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from lab import image
from lab.ca import Pebble
from lab.world import World
from tests.lab.acme_world import Asker
from tests.support.acme_promises import PROMISES

NAMES = [f"n{number}.promises.example.test" for number in range(5)]


@pytest.fixture(scope="module")
def asker(world: World) -> Iterator[Asker]:
    box = world.host(image.RELEASES[-1], "asker.example.test", stack=False)
    found = Asker(world, box)
    found.names(*NAMES)
    yield found
    world.discard(box)


@pytest.mark.parametrize("promise", PROMISES)
def test_pebble(asker: Asker, pebble: Pebble, promise: str) -> None:
    told = {"promise": promise, "blocked": "blocked.example.test", "backdated": 3600}
    said = asker.run("promise", pebble, NAMES, **told, renewal_information=True)
    assert said == said | {"kept": promise, "left": 0}

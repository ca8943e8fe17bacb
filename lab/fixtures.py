"""pytest fixtures of the lab, for tests/lab and tests/machine.

`world`    (session) the network, the CA host and the DNS
`pebble`   (session) a Pebble as Let's Encrypt would answer; `caddy` the other CA
`release`  the host's own Debian release; override with
           `@pytest.mark.parametrize("release", ["bookworm", "trixie"])`
`mail`     a fresh container per test, its mail stack running
`machine`  a fresh machine per test, once on each release
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from lab import image
from lab.ca import Caddy, Pebble
from lab.host import Host
from lab.machine import Machine
from lab.world import World


@pytest.fixture(scope="session")
def world(namespaces: None) -> Iterator[World]:
    """One network for the whole session."""
    with World(*image.RELEASES) as made:
        yield made


@pytest.fixture(scope="session")
def pebble(world: World) -> Pebble:
    """Pebble with its own habits: 5% of nonces refused, half of the authorizations reused."""
    return world.pebble()


@pytest.fixture(scope="session")
def caddy(world: World) -> Caddy:
    """smallstep's CA."""
    return world.caddy()


@pytest.fixture
def release(own_release: str) -> str:
    """What `mail` runs."""
    return own_release if own_release in image.RELEASES else image.RELEASES[-1]


@pytest.fixture
def mail(world: World, release: str) -> Iterator[Host]:
    """mail.example.test: Postfix, Dovecot and Apache as their packages leave them, without systemd."""
    host = world.host(release)
    yield host
    world.discard(host)


@pytest.fixture(params=image.RELEASES)
def machine(world: World, request: pytest.FixtureRequest) -> Iterator[Machine]:
    """mail.example.test: the same on a whole Debian with systemd."""
    booted = world.machine(request.param)
    yield booted
    world.discard(booted)

"""A real CA on its worst days, and real daemons: nothing goes live, what is served is served on; then it is mended.

What a CA may do to us besides is in tests/unit/test_ca_misbehaves.py, where one on a socket follows a script.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest

from lab.ca import Pebble
from lab.ca_faults import PROBLEM, Fault, FaultyServer, busy, rate_limited
from lab.host import Host
from lab.world import World
from tests.lab.bad_day import apply, picture
from tests.lab.job import CONFIG, add_name, setup
from tests.lab.job import seen as seen_at

NAME, MORE = "unlucky.example.test", "more.unlucky.example.test"
HTML = "<html><body>Sign in to the hotel's network</body></html>"
CHAIN = "-----BEGIN CERTIFICATE-----\nMIIBAAAA\n-----END CERTIFICATE-----\n"
FORGET = (
    "rm -f /var/lib/mailseal/state/mail.json /var/lib/mailseal/accounts/*/limits.json"  # until when to wait
)
INVALID = {"type": f"{PROBLEM}unauthorized", "detail": "the authorization was taken back", "status": 403}


@dataclass(frozen=True)
class Day:
    """What the CA does, and what is told of it."""

    faults: tuple[Fault, ...]
    told: str
    status: int = 3


def _in_two_hours() -> str:
    return format_datetime(datetime.now(UTC) + timedelta(hours=2), usegmt=True)


DAYS = {
    "broken": Day((Fault("dir", "GET", 99, status=500, body=HTML),), "HTTP status 500"),
    "busy, for long": Day((busy("dir", method="GET", retry_after="7200", times=99),), "HTTP status 503"),
    "busy until a date": Day(
        (busy("dir", method="GET", retry_after=_in_two_hours(), times=99),), "HTTP status 503"
    ),
    "hangs up on orders": Day((Fault("order-plz", times=99, drop=True),), "closed the connection"),
    "limited until a date": Day(
        (rate_limited("order-plz", "too many certificates", retry_after=_in_two_hours()),),
        "too many certificates",
        4,
    ),
    "a captive portal": Day((Fault("dir", "GET", 99, status=200, body=HTML),), "not what RFC 8555 allows"),
    "redirects": Day((Fault("dir", "GET", 99, status=302, headers={"Location": "/dir"}),), "redirects"),
    "takes the authorization back": Day(
        (Fault("finalize-order", times=99, status=403, problem=INVALID),), "the authorization was taken back"
    ),
    "another answer for the certificate": Day(
        (Fault("certZ", times=99, status=200, body=HTML),), "chain cannot be used"
    ),
    "a broken certificate": Day((Fault("certZ", times=99, status=200, body=CHAIN),), "does not load"),
}


@pytest.fixture(scope="module")
def faulty(world: World, pebble: Pebble) -> FaultyServer:
    return world.faulty(pebble)


@pytest.fixture(scope="module")
def unlucky(world: World, pebble: Pebble, faulty: FaultyServer, own_release: str) -> Iterator[Host]:
    """A machine that serves, with a wish for one more name, whose CA has bad days from now on."""
    host = world.host(own_release, NAME)
    setup(host, pebble)
    add_name(world, host, MORE)
    host.write(CONFIG, host.read(CONFIG).replace(f":{pebble.port}/", f":{faulty.port}/"))
    yield host
    world.discard(host)


def served(world: World) -> dict[int, str]:
    """What a stranger gets."""
    return {port: seen_at(world, port, NAME).serial for port in (25, 993, 443)}


@pytest.mark.parametrize("name", DAYS)
def test_a_bad_day(world: World, unlucky: Host, faulty: FaultyServer, name: str) -> None:
    unlucky.sh(FORGET)
    before, serials, day = picture(unlucky), served(world), DAYS[name]
    faulty.inject(*day.faults)
    asked = len(faulty.seen())
    seen = apply(unlucky)
    faulty.inject()
    assert seen.status == day.status, seen.stderr
    assert day.told in f"{seen.what}\n{seen.why}" and seen.state, seen.stderr
    assert len(faulty.seen()) - asked < 60
    assert picture(unlucky) - before == {}
    assert served(world) == serials


def test_a_good_day_after_all_of_these(world: World, unlucky: Host) -> None:
    serials = served(world)
    unlucky.sh(FORGET)
    seen = apply(unlucky)
    assert seen.status == 0, seen.stderr
    assert not set(served(world).values()) & set(serials.values())

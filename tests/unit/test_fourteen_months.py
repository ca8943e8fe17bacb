"""Fourteen months of the timer's runs, with certificates of 90, 45 and 6 days, through everything that befalls them.

The CA knows Let's Encrypt's limits and renewal windows; it is down for two weeks (a day and a half where
certificates live six days), the network for one, the clock is set forward and back, also in the middle of an
order, and is wrong after a boot. No endpoint ever serves what is expired or not yet valid; no limit is ever hit;
each order gives a certificate, and each certificate is ordered inside the window of the one before it wherever
nothing was wrong.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import cache, partial
from itertools import pairwise

import pytest
from cryptography import x509

from mailseal import services
from mailseal.acme.ari import certificate_id
from mailseal.errors import ExitCode, NetworkFault
from mailseal.model import KeyType
from mailseal.schedule.interval import interval
from mailseal.system.http import HttpResponse
from tests.support.fake_ca import FakeCa, lets_encrypt, respond
from tests.support.months import DAY, Gate, Months, RealTime
from tests.unit.test_reconcile import ROOT, Adapter, Stand

HOUR = timedelta(hours=1)
LENGTH = 14 * 30.4 * DAY


@dataclass(frozen=True)
class Kind:
    """Certificates that live so long; how long CA and network stay away; how many of them 14 months need."""

    name: str
    lifetime: timedelta
    outage: timedelta
    cut_off: timedelta
    needed: range

    @property
    def every(self) -> timedelta:
        """As the timer looks."""
        return interval([self.lifetime])


KINDS = (
    Kind("90 days", 90 * DAY, 14 * DAY, 7 * DAY, range(7, 9)),
    Kind("45 days", 45 * DAY, 14 * DAY, 7 * DAY, range(13, 17)),
    Kind("6 days", 160 * HOUR, 1.5 * DAY, 1 * DAY, range(123, 134)),
)


class Site(Stand):
    """The stand of the whole runs, in the real time; a daemon serves the first of its certificates."""

    def __init__(self, kind: Kind) -> None:
        super().__init__()
        self.kind = kind
        self.time = RealTime(self.machine)
        rules = replace(lets_encrypt(), lifetime=kind.lifetime, reuse_authorizations=7 * HOUR)
        self.ca = FakeCa(self.time, rules, self._look)
        self.gate = Gate(self.ca, self.time)
        self.machine.world.web = self.gate
        if kind.lifetime > 10 * DAY:  # those of six days have runs enough
            self.tables["other"] = ((KeyType.ECDSA_P256,), ("other.example.org",))
        self.months = Months(self.machine, self.time, self.gate, self.renew, self.leaves, kind.every)
        self.troubled: list[tuple[datetime, datetime]] = []

    def leaves(self) -> dict[str, x509.Certificate]:
        """What the daemon serves, and what readers of live/ find."""
        found = {"daemon": self.daemon.serves.encode()}
        for name in self.tables:
            live = f"{ROOT}/live/{name}/fullchain.pem"
            found[live] = self.machine.disk.find(live, follow=True).content
        return {where: _leaf(content) for where, content in found.items()}

    def until_due(self) -> timedelta:
        """How long until just before the window of the certificate that a daemon serves, seen from now."""
        start, _ = self.window(self.leaves()["daemon"])
        return start - self.kind.every - self.time.now()

    def window(self, leaf: x509.Certificate) -> tuple[datetime, datetime]:
        """What the CA suggests for it."""
        key = certificate_id(leaf) or ""
        return self.ca.state.window(key, self.ca.state.issued[key])

    def trouble(self, length: timedelta) -> Iterator[timedelta]:
        """So long something is wrong; and then until it must be over."""
        began = self.time.now()
        yield length
        self.set_right()
        yield self.kind.lifetime / 20
        self.troubled.append((began, self.time.now()))

    def set_right(self) -> None:
        """The days are good again."""
        self.gate.down = None
        self.machine.world.cut_off = False
        self.time.set_machine(timedelta())

    def was_wrong(self, begin: datetime, end: datetime) -> bool:
        """Whether anything was, between these."""
        return any(begin <= until and since <= end for since, until in self.troubled)

    def bought(self, name: str) -> list[x509.Certificate]:
        """Every certificate issued for a name, the oldest first."""
        found = (
            one.leaf
            for one in self.ca.state.issued.values()
            if name in {identifier.value for identifier in one.names}
        )
        return sorted(found, key=lambda leaf: leaf.not_valid_before_utc)


@cache
def _leaf(content: bytes) -> x509.Certificate:
    return x509.load_pem_x509_certificate(content[content.index(b"-----BEGIN CERTIFICATE") :])


def refused(method: str, path: str) -> NetworkFault:
    """Nobody answers."""
    return NetworkFault("No connection to https://ca.test", reason="Connection refused", errno=111)


def busy(method: str, path: str) -> HttpResponse:
    """Its balancer answers, and asks to come again in an hour."""
    return HttpResponse(503, {"retry-after": "3600", "content-type": "text/html"}, b"<h1>busy</h1>")


def half_broken(method: str, path: str) -> HttpResponse | None:
    """It can be read, and takes no orders."""
    problem = {"type": "urn:ietf:params:acme:error:serverInternal", "detail": "the database is away"}
    return respond(500, problem, kind="application/problem+json") if path == "/new-order" else None


def story(site: Site) -> Iterator[timedelta]:
    """What befalls it: each of these when a renewal is due."""
    kind, wrong = site.kind, site.kind.lifetime / 20
    yield site.until_due()
    began = site.time.now()
    for site.gate.down in (refused, busy, half_broken):
        yield kind.outage / 3
    site.gate.at_order = partial(site.time.set_machine, wrong)
    site.gate.down = None
    yield from site.trouble(kind.lifetime / 10)
    site.troubled.append((began, site.time.now()))
    yield site.until_due()
    site.machine.world.cut_off = True
    yield from site.trouble(kind.cut_off)
    for off_by in (wrong, -wrong):
        yield site.until_due()
        site.time.set_machine(off_by)
        yield from site.trouble(kind.lifetime / 10)
    yield site.until_due()
    site.gate.at_order = partial(site.time.set_machine, -wrong)
    yield from site.trouble(kind.lifetime / 10)
    yield site.until_due()
    for year in (1970, 2040):
        began, site.months.on = site.time.now(), False
        yield kind.lifetime / 20
        site.months.on = True
        site.time.set_machine(site.time.now().replace(year=year, month=1, day=2) - site.time.now())
        site.months.run()  # the timer catches up at boot
        yield from site.trouble(kind.every * 3)
        site.troubled.append((began, site.time.now()))


@pytest.fixture(autouse=True)
def one_service(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(services.ADAPTERS, "daemon", "tests.unit.test_reconcile:Adapter")
    monkeypatch.setattr(Adapter, "running", True)
    monkeypatch.setattr(Adapter, "extra", b"")


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_fourteen_months(kind: Kind) -> None:
    site = Site(kind)
    assert site.apply().exit_code is ExitCode.OK
    site.months.go(LENGTH, story(site))

    assert site.ca.state.limited == [], "a limit of the CA was hit"
    assert len(site.ca.state.orders) == len(site.ca.state.issued), "orders that gave nothing"
    assert set(site.gate.refusals) == {"400 new-account"}, "asked once whether the account was there already"
    assert [said for said in site.months.trouble if not site.was_wrong(said[0], said[0])] == []
    inside = 0
    for _, (name,) in site.tables.values():
        bought = site.bought(name)
        assert len(bought) in kind.needed
        for before, after in pairwise(bought):
            start, end = site.window(before)
            at = after.not_valid_before_utc + HOUR  # by which the CA backdates
            if not site.was_wrong(start, end):
                assert start <= at <= end, f"{name}: the window {start} to {end}, renewed {at}"
                inside += 1
    print(
        f"\n{kind.name}: {site.months.runs} runs, {len(site.ca.state.orders)} orders, {inside} of the renewals in"
    )
    print(f"good times and in their windows; never closer to an expiry than {site.months.least}")

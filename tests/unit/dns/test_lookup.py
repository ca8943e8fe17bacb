"""What answers mean, by a table of zones."""

from __future__ import annotations

import asyncio

import pytest

from mailseal.dns.lookup import Lookup, Outcome, addresses, look_up, validates
from tests.support.zones import Zones

ZONES = Zones(
    {
        ("mail.example.org", "A"): ["192.0.2.1", "192.0.2.2"],
        ("web.example.org", "CNAME"): ["mail.example.org"],
        ("deep.example.org", "CNAME"): ["web.example.org"],
        ("round.example.org", "CNAME"): ["trip.example.org"],
        ("trip.example.org", "CNAME"): ["round.example.org"],
        ("lost.example.org", "CNAME"): ["nowhere.example.org"],
        ("signed.example.org", "A"): ["192.0.2.3"],
        ("bogus.example.org", "A"): ["192.0.2.4"],
    },
    rcodes={"lame.example.org": "SERVFAIL", "refused.example.org": "REFUSED"},
    bogus=frozenset({"bogus.example.org"}),
    silent=frozenset({"silent.example.org"}),
    signed=frozenset({"signed.example.org"}),
)
TERSE = Zones(ZONES.records, terse=True)


def ask(name: str, rdtype: str = "A", zones: Zones = ZONES) -> Lookup:
    return asyncio.run(look_up(zones, name, rdtype))


@pytest.mark.parametrize(
    ("name", "rdtype", "outcome", "data"),
    [
        ("mail.example.org", "A", Outcome.FOUND, ("192.0.2.1", "192.0.2.2")),
        ("MAIL.example.org.", "A", Outcome.FOUND, ("192.0.2.1", "192.0.2.2")),
        ("mail.example.org", "AAAA", Outcome.NO_DATA, ()),
        ("web.example.org", "AAAA", Outcome.NO_DATA, ()),
        ("missing.example.org", "A", Outcome.NO_NAME, ()),
        ("lost.example.org", "A", Outcome.NO_NAME, ()),
        ("deep.example.org", "A", Outcome.FOUND, ("192.0.2.1", "192.0.2.2")),
        ("round.example.org", "A", Outcome.BROKEN, ()),
        ("lame.example.org", "A", Outcome.BROKEN, ()),
        ("refused.example.org", "A", Outcome.BROKEN, ()),
        ("bogus.example.org", "A", Outcome.BOGUS, ()),
        ("silent.example.org", "A", Outcome.UNREACHABLE, ()),
    ],
)
@pytest.mark.parametrize("terse", [False, True])
def test_outcomes(name: str, rdtype: str, outcome: Outcome, data: tuple[str, ...], terse: bool) -> None:
    zones = Zones(ZONES.records, rcodes=ZONES.rcodes, bogus=ZONES.bogus, silent=ZONES.silent, terse=terse)
    found = ask(name, rdtype, zones)
    assert (found.outcome, found.data) == (outcome, data)
    assert found.certain == (outcome in (Outcome.FOUND, Outcome.NO_DATA, Outcome.NO_NAME, Outcome.BOGUS))
    assert found.detail or outcome is Outcome.FOUND


def test_aliases_are_told_in_order() -> None:
    for zones in (ZONES, TERSE):
        assert ask("deep.example.org", zones=zones).aliases == ("web.example.org", "mail.example.org")


def test_the_dnssec_hint_names_the_name() -> None:
    assert "DNSSEC validation fails for bogus.example.org" in ask("bogus.example.org").detail
    assert "SERVFAIL for lame.example.org" in ask("lame.example.org").detail


def test_ad_is_kept_only_where_every_step_had_it() -> None:
    assert ask("signed.example.org").authenticated
    assert not ask("mail.example.org").authenticated


def test_addresses_come_ipv6_first() -> None:
    zones = Zones({("m.example", "A"): ["192.0.2.1"], ("m.example", "AAAA"): ["2001:db8::1"]})
    assert asyncio.run(addresses(zones, "m.example")).all == ("2001:db8::1", "192.0.2.1")


@pytest.mark.parametrize(
    ("zones", "expected"),
    [
        (Zones({(".", "SOA"): ["a. b. 1 2 3 4 5"]}, signed=frozenset({"."})), True),
        (Zones({(".", "SOA"): ["a. b. 1 2 3 4 5"]}), False),
        (Zones({}, silent=frozenset({"."})), None),
        (Zones({}, rcodes={".": "SERVFAIL"}), None),
    ],
)
def test_validates(zones: Zones, expected: bool | None) -> None:
    assert asyncio.run(validates(zones)) is expected

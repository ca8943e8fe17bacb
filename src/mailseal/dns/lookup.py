"""What a DNS answer means: records, an alias, no such name, no such data, or a zone that is broken (RFC 1034, 2308).

A resolver says NXDOMAIN when the name does not exist, and NOERROR with no
records when it exists without this type (RFC 2308). It says SERVFAIL when it
could not find out, and also when DNSSEC proves the answer forged (RFC 4035
section 5.5): asking again with checking disabled tells these two apart.
Aliases (CNAME) are followed to their end, also across answers.

Nothing is opened here: questions go through the `Dns` port. Every outcome is
a value; no look-up raises. Does not validate signatures itself: `authenticated`
repeats the resolver's word, which is worth as much as the way to the resolver.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from enum import StrEnum

from mailseal.errors import NetworkFault
from mailseal.system.dns import Dns, DnsRecord, DnsReply

MOST_ALIASES = 8
TIMEOUT = 10.0  # seconds for one look-up, aliases included


class Outcome(StrEnum):
    """How a look-up ended."""

    FOUND = "found"
    NO_DATA = "no-data"
    NO_NAME = "no-name"
    BOGUS = "bogus"
    BROKEN = "broken"
    UNREACHABLE = "unreachable"


@dataclass(frozen=True, slots=True)
class Lookup:
    """An interpreted answer.

    `records` are of the type asked for, at the end of `aliases` (every name
    that the asked one led to, in order). `authenticated`: the resolver had
    validated every step. `detail` says in words what was wrong.
    """

    name: str
    rdtype: str
    outcome: Outcome
    records: tuple[DnsRecord, ...] = ()
    aliases: tuple[str, ...] = ()
    authenticated: bool = False
    detail: str = ""

    @property
    def data(self) -> tuple[str, ...]:
        return tuple(record.data for record in self.records)

    @property
    def certain(self) -> bool:
        """Whether the answer says how things are, rather than that nobody could tell."""
        return self.outcome in (Outcome.FOUND, Outcome.NO_DATA, Outcome.NO_NAME, Outcome.BOGUS)


@dataclass(frozen=True, slots=True)
class Addresses:
    """The A and AAAA look-ups of one name."""

    ipv4: Lookup
    ipv6: Lookup

    @property
    def all(self) -> tuple[str, ...]:
        """IPv6 first, as CAs try them."""
        return self.ipv6.data + self.ipv4.data


async def look_up(dns: Dns, name: str, rdtype: str, *, timeout: float = TIMEOUT) -> Lookup:
    """Looks up one type of a name, aliases followed."""
    try:
        async with asyncio.timeout(timeout):
            return await _follow(dns, name.rstrip(".").lower() or ".", rdtype, timeout)
    except TimeoutError:
        return Lookup(name, rdtype, Outcome.UNREACHABLE, detail=f"no answer within {timeout:g} s")


async def addresses(dns: Dns, name: str, *, timeout: float = TIMEOUT) -> Addresses:
    """Looks up A and AAAA at the same time."""
    ipv4, ipv6 = await asyncio.gather(
        look_up(dns, name, "A", timeout=timeout), look_up(dns, name, "AAAA", timeout=timeout)
    )
    return Addresses(ipv4, ipv6)


async def validates(dns: Dns, *, signed_name: str = ".", timeout: float = TIMEOUT) -> bool | None:
    """Whether the resolver says that it validated a name known to be signed (the root); None: nobody answered."""
    found = await look_up(dns, signed_name, "SOA", timeout=timeout)
    return found.authenticated if found.outcome is Outcome.FOUND else None


async def _follow(dns: Dns, name: str, rdtype: str, timeout: float) -> Lookup:
    aliases: tuple[str, ...] = ()
    authenticated, asked = True, name
    while True:
        try:
            reply = await dns.query(asked, rdtype, timeout=timeout)
        except NetworkFault as fault:
            return Lookup(name, rdtype, Outcome.UNREACHABLE, aliases=aliases, detail=str(fault))
        authenticated = authenticated and reply.authenticated
        records, led = _read(reply, asked, rdtype)
        seen = {name, *aliases}
        aliases += led
        end = aliases[-1] if aliases else name
        if len(aliases) > MOST_ALIASES or seen & set(led) or len(set(led)) < len(led):
            detail = f"the aliases of {name} go round or on too long: {' → '.join((name, *aliases[:MOST_ALIASES]))}"
            return Lookup(name, rdtype, Outcome.BROKEN, aliases=aliases[:MOST_ALIASES], detail=detail)
        if reply.rcode not in ("NOERROR", "NXDOMAIN"):
            outcome, detail = await _why(dns, asked, rdtype, reply, timeout)
            return Lookup(name, rdtype, outcome, aliases=aliases, detail=detail)
        if records:
            return Lookup(name, rdtype, Outcome.FOUND, records, aliases, authenticated)
        if reply.rcode == "NXDOMAIN":
            detail = f"{end} does not exist"
            return Lookup(
                name, rdtype, Outcome.NO_NAME, aliases=aliases, authenticated=authenticated, detail=detail
            )
        if not led:
            detail = f"{end} has no {rdtype} record"
            return Lookup(
                name, rdtype, Outcome.NO_DATA, aliases=aliases, authenticated=authenticated, detail=detail
            )
        asked = end


def _read(reply: DnsReply, name: str, rdtype: str) -> tuple[tuple[DnsRecord, ...], tuple[str, ...]]:
    """The records at the end of the answer's chain of aliases, and the names it led through."""
    led: list[str] = []
    at = name
    while True:
        records = tuple(each for each in reply.records if _same(each.name, at) and each.type == rdtype)
        if records:
            return records, tuple(led)
        alias = next((each for each in reply.records if _same(each.name, at) and each.type == "CNAME"), None)
        if alias is None or len(led) > MOST_ALIASES:
            return (), tuple(led)
        at = alias.data.rstrip(".").lower()
        led.append(at)


def _same(one: str, other: str) -> bool:
    return one.rstrip(".") == other.rstrip(".")


async def _why(dns: Dns, name: str, rdtype: str, reply: DnsReply, timeout: float) -> tuple[Outcome, str]:
    """Whether a SERVFAIL comes of DNSSEC: then the resolver answers once checking is disabled."""
    who = f"the resolver {reply.server}" if reply.server else "the resolver"
    if reply.rcode == "SERVFAIL":
        try:
            unchecked = await dns.query(name, rdtype, timeout=timeout, checking_disabled=True)
        except NetworkFault:
            unchecked = reply
        if unchecked.rcode in ("NOERROR", "NXDOMAIN"):
            return (
                Outcome.BOGUS,
                f"DNSSEC validation fails for {name}: {who} answers only with checking disabled",
            )
    return Outcome.BROKEN, f"{who} answered {reply.rcode} for {name}"

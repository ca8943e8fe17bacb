"""The real DNS port, on dnspython: stub queries over UDP, over TCP where the answer is truncated (RFC 7766).

Queries carry EDNS with the DO bit and 1,232 octets, so that a resolver that
validates says so by AD (RFC 6840 section 5.8) and no answer needs fragments.
The resolvers are those of /etc/resolv.conf (man 5 resolv.conf), asked in
order; a resolver that is silent costs a third of the time that is left and is
asked again, since UDP loses packets. /etc/hosts is not read: the world, which
this is about, does not read ours.
"""

from __future__ import annotations

import asyncio
import ipaddress
import secrets
import socket
import time
from collections.abc import Sequence

import dns.asyncquery
import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdatatype
import dns.resolver
import dns.rrset

from mailseal.errors import NetworkFault
from mailseal.system import dnswire
from mailseal.system.dns import DnsRecord, DnsReply

PAYLOAD = 1232
LONGEST_DATAGRAM = 65_535
SHORTEST_WAIT = 0.5  # seconds
_LEFT_OUT = {dns.rdatatype.RRSIG, dns.rdatatype.NSEC, dns.rdatatype.NSEC3}


class SystemDns:
    """Look-ups through the machine's resolvers, or those given as `address` or `address:port`."""

    def __init__(self, nameservers: Sequence[str] = ()) -> None:
        self._servers = tuple(_parse_server(text) for text in nameservers)

    def _asked(self) -> tuple[tuple[str, int], ...]:
        if not self._servers:
            try:
                found = dns.resolver.Resolver().nameservers
            except (dns.resolver.NoResolverConfiguration, OSError) as error:
                raise NetworkFault("/etc/resolv.conf names no resolver", reason=str(error)) from error
            self._servers = tuple((str(server), 53) for server in found)
        return self._servers

    async def query(
        self, name: str, rdtype: str, *, timeout: float = 10.0, checking_disabled: bool = False
    ) -> DnsReply:
        question = _Question(name, rdtype, checking_disabled)
        servers = self._asked()
        ends = time.monotonic() + timeout
        worst: DnsReply | None = None
        trouble = "no answer in time"
        while (left := ends - time.monotonic()) > 0:
            wait = min(left, max(left / 3, SHORTEST_WAIT))
            for server, port in servers:
                try:
                    shown = f"{server}:{port}" if port != 53 else server
                    reply = await _exchange(question, server, port, wait, shown)
                except (dns.exception.Timeout, TimeoutError):
                    trouble = f"{server} did not answer within {timeout:g} s"
                    continue
                except (dns.exception.DNSException, OSError, EOFError) as error:
                    trouble = f"{server}: {error or type(error).__name__}"
                    continue
                if reply.rcode not in ("SERVFAIL", "REFUSED", "NOTIMP", "FORMERR"):
                    return reply
                worst = reply
            if worst is not None:
                return worst
            if not trouble.endswith(" s"):  # refused at once: asking again at once would only spin
                break
        raise NetworkFault(f"No resolver answered for {name} {rdtype}", reason=trouble)


class _Question:
    """One question: `wire` is the query, with an ID of its own; `message` the same for dnspython."""

    def __init__(self, name: str, rdtype: str, checking_disabled: bool) -> None:
        try:
            qname, number = dns.name.from_text(name), dns.rdatatype.from_text(rdtype)
        except (dns.exception.DNSException, UnicodeError) as error:
            raise NetworkFault(f"{name!r} {rdtype} cannot be asked for", reason=str(error)) from error
        self.name, self.type = name.rstrip(".").lower(), rdtype.upper()
        self.wire = dnswire.query(
            secrets.randbits(16),
            qname.to_wire() or b"\0",
            number,
            payload=PAYLOAD,
            checking_disabled=checking_disabled,
        )

    def message(self) -> dns.message.Message:
        return dns.message.from_wire(self.wire)


async def _exchange(question: _Question, server: str, port: int, timeout: float, shown: str) -> DnsReply:
    """One exchange over a connected socket, which hears at once when nobody is there (ICMP).

    Answers to another question than ours are passed over, as somebody may be guessing (RFC 5452).
    """
    loop = asyncio.get_running_loop()
    family = socket.AF_INET6 if ":" in server else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as connected:
        connected.setblocking(False)
        connected.connect((server, port))
        async with asyncio.timeout(timeout):
            await loop.sock_sendall(connected, question.wire)
            while True:
                wire = await loop.sock_recv(connected, LONGEST_DATAGRAM)
                plain = dnswire.plain_addresses(wire, question.wire, question.name, question.type, shown)
                if plain is not None:
                    return plain
                try:
                    response = dns.message.from_wire(wire, ignore_trailing=True, raise_on_truncation=True)
                except dns.message.Truncated:
                    break
                if question.message().is_response(response):
                    return _reply(response, shown)
    told = await dns.asyncquery.tcp(
        question.message(), server, timeout=timeout, port=port, ignore_trailing=True
    )
    return _reply(told, shown)


def _reply(response: dns.message.Message, server: str) -> DnsReply:
    return DnsReply(
        rcode=dns.rcode.to_text(response.rcode()),
        authenticated=bool(response.flags & dns.flags.AD),
        records=_records(response.answer),
        authority=_records(response.authority),
        server=server,
    )


def _records(section: Sequence[dns.rrset.RRset]) -> tuple[DnsRecord, ...]:
    return tuple(
        DnsRecord(
            name=rrset.name.to_text(omit_final_dot=True).lower(),
            type=dns.rdatatype.to_text(rrset.rdtype),
            ttl=int(rrset.ttl),
            data=rdata.to_text(),
        )
        for rrset in section
        if rrset.rdtype not in _LEFT_OUT
        for rdata in rrset
    )


def _parse_server(text: str) -> tuple[str, int]:
    """`192.0.2.1`, `192.0.2.1:5353`, `2001:db8::1`, `[2001:db8::1]:5353`."""
    host, port = text.strip(), 53
    if host.startswith("["):
        host, _, rest = host[1:].partition("]")
        if rest:
            port = _port(rest.removeprefix(":"), text)
    elif host.count(":") == 1:
        host, _, rest = host.partition(":")
        port = _port(rest, text)
    try:
        return str(ipaddress.ip_address(host)), port
    except ValueError as error:
        raise NetworkFault(f"{text!r} is not the address of a name server", reason=str(error)) from error


def _port(digits: str, text: str) -> int:
    if not (digits.isascii() and digits.isdigit() and 0 < int(digits) < 65536):
        raise NetworkFault(
            f"{text!r} is not the address of a name server", reason=f"{digits!r} is not a port"
        )
    return int(digits)

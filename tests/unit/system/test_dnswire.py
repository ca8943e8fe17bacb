"""The short way through an answer says what dnspython says, or leaves it to dnspython."""

from __future__ import annotations

import dns.exception
import dns.flags
import dns.message
import dns.rdatatype
import dns.rrset
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mailseal.system import dnswire
from mailseal.system.dns import DnsRecord

NAME = "mail.example.org"


def asked(rdtype: str = "A", name: bytes = b"\4mail\7Example\3org\0") -> bytes:
    number = dns.rdatatype.from_text(rdtype)
    return dnswire.query(4711, name, number, payload=1232, checking_disabled=False)


def answered(query: bytes, *lines: tuple[str, str, str], flags: int = 0) -> bytes:
    reply = dns.message.make_response(dns.message.from_wire(query))
    reply.flags |= flags
    for name, rdtype, data in lines:
        reply.answer.append(dns.rrset.from_text(f"{name}.", 300, "IN", rdtype, data))
    return reply.to_wire()


def test_the_query_is_what_dnspython_reads() -> None:
    read = dns.message.from_wire(
        dnswire.query(7, b"\4mail\7example\3org\0", 28, payload=1232, checking_disabled=True)
    )
    assert (read.id, str(read.question[0])) == (7, "mail.example.org. IN AAAA")
    assert read.flags == dns.flags.RD | dns.flags.AD | dns.flags.CD
    assert (read.edns, read.payload, read.ednsflags) == (0, 1232, dns.flags.DO)


@pytest.mark.parametrize(("rdtype", "data"), [("A", "192.0.2.1"), ("AAAA", "2001:db8::1")])
def test_addresses(rdtype: str, data: str) -> None:
    query = asked(rdtype)
    wire = answered(query, (NAME, rdtype, data), flags=dns.flags.AD)
    found = dnswire.plain_addresses(wire, query, NAME, rdtype, "192.0.2.53")
    assert found is not None and found.authenticated and found.rcode == "NOERROR"
    assert found.records == (DnsRecord(NAME, rdtype, 300, data),)


def test_an_owner_spelled_out() -> None:
    query = asked()
    head, owner, rest = answered(query, (NAME, "A", "192.0.2.1")).partition(b"\xc0\x0c")
    spelled = head + b"\4Mail\7example\3org\0" + rest
    assert owner and dnswire.plain_addresses(spelled, query, NAME, "A", "") is not None


@pytest.mark.parametrize(
    "wire",
    [
        answered(asked(), (NAME, "CNAME", "else.example.org."), ("else.example.org", "A", "192.0.2.1")),
        answered(asked()),
        answered(asked(), (NAME, "A", "192.0.2.1"), flags=dns.flags.TC),
        answered(asked("AAAA"), (NAME, "AAAA", "2001:db8::1")),
        answered(asked(name=b"\5other\7example\3org\0"), ("other.example.org", "A", "192.0.2.1")),
        b"\0\0" + answered(asked(), (NAME, "A", "192.0.2.1"))[2:],
        answered(asked(), (NAME, "A", "192.0.2.1"))[:-16],
        asked(),
        b"",
    ],
)
def test_all_else_is_left_alone(wire: bytes) -> None:
    assert dnswire.plain_addresses(wire, asked(), NAME, "A", "") is None


@settings(deadline=None, max_examples=300)
@given(st.integers(0, 255), st.integers(0, 255), st.integers(0, 80))
def test_what_is_taken_is_what_dnspython_reads(place: int, octet: int, cut: int) -> None:
    query = asked()
    wire = bytearray(answered(query, (NAME, "A", "192.0.2.1"), (NAME, "A", "192.0.2.2")))
    wire[place % len(wire)] = octet
    spoiled = bytes(wire[: len(wire) - cut])
    found = dnswire.plain_addresses(spoiled, query, NAME, "A", "")
    if found is not None:
        try:
            read = dns.message.from_wire(spoiled, ignore_trailing=True)
        except dns.exception.DNSException:  # of what comes after the answer, which is not looked at
            return
        assert dns.message.from_wire(query).is_response(read)
        texts = {rdata.to_text() for rrset in read.answer for rdata in rrset}
        assert {record.data for record in found.records} == texts

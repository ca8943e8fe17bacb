"""The usual DNS exchange at the octets (RFC 1035 section 4, RFC 6891): one question, its addresses.

Nearly every look-up here asks for the addresses of one name and is answered by
just these, each record's owner spelled as in the question or a pointer to it
(section 4.1.4). This shape is read here in a few steps, which matters where thousands of names are
looked at; all others are dnspython's to read. Promises: `plain_addresses` takes
nothing that it does not understand to the last octet, and raises nothing.
"""

from __future__ import annotations

import socket
import struct

from mailseal.system.dns import DnsRecord, DnsReply

_HEADER = struct.Struct("!HHHHHH")
_RECORD = struct.Struct("!HHIH")  # what follows the owner: type, class, TTL, length
_QR, _RD, _AD, _CD = 0x8000, 0x0100, 0x0020, 0x0010
_MUST_BE = _QR | 0x7800 | 0x0200 | 0x000F  # QR, opcode, TC, RCODE
_TO_THE_QUESTION = struct.pack("!H", 0xC000 | _HEADER.size)
_ADDRESSES = {"A": (1, socket.AF_INET, 4), "AAAA": (28, socket.AF_INET6, 16)}
_IN = 1


def query(number: int, name: bytes, rdtype: int, *, payload: int, checking_disabled: bool) -> bytes:
    """A query for `name` (in wire form), recursion desired, with AD and DO set; `number` is its ID."""
    flags = _RD | _AD | (_CD if checking_disabled else 0)
    options = b"\0" + struct.pack("!HHIH", 41, payload, 0x8000, 0)
    return _HEADER.pack(number, flags, 1, 0, 0, 1) + name + struct.pack("!HH", rdtype, _IN) + options


def plain_addresses(wire: bytes, asked: bytes, name: str, rdtype: str, server: str) -> DnsReply | None:
    """The answer to `asked`, if it is one and holds nothing but the addresses of `name`; None for any other."""
    kind = _ADDRESSES.get(rdtype)
    if kind is None or len(wire) < _HEADER.size:
        return None
    number, family, length = kind
    identity, flags, questions, answers, _, _ = _HEADER.unpack_from(wire)
    if identity != _HEADER.unpack_from(asked)[0] or flags & _MUST_BE != _QR or questions != 1 or not answers:
        return None
    end = asked.index(b"\0", _HEADER.size) + 1  # no label is empty but the root
    owner = asked[_HEADER.size : end].lower()
    if wire[_HEADER.size : end].lower() != owner or wire[end : end + 4] != asked[end : end + 4]:
        return None
    at, records = end + 4, []
    for _ in range(answers):
        if wire.startswith(_TO_THE_QUESTION, at):
            at += 2
        elif wire[at : at + len(owner)].lower() == owner:
            at += len(owner)
        else:
            return None
        if len(wire) < at + _RECORD.size + length:
            return None
        rrtype, rrclass, ttl, octets = _RECORD.unpack_from(wire, at)
        if (rrtype, rrclass, octets) != (number, _IN, length):
            return None
        at += _RECORD.size + length
        records.append(DnsRecord(name, rdtype, ttl, socket.inet_ntop(family, wire[at - length : at])))
    return DnsReply("NOERROR", bool(flags & _AD), tuple(records), server=server)

"""DNS as the rest of the tree asks for it: one question, one answer, nothing interpreted (RFC 1035, 4035).

The port (`Dns`) sends a query to a resolver and hands back what it said. What
an answer means (an alias followed, a name that is not there, a zone that is
broken) is read by `mailseal.dns.lookup`, which opens nothing. Its promises:
the answer belongs to the question, a truncated one was asked again over TCP,
the whole exchange ends within `timeout` seconds over all resolvers, and every
failure of the network is a `NetworkFault`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class DnsRecord:
    """One record: owner name (lower case, no final dot), type as text, TTL in seconds, data as in a zone file.

    Names within `data` are absolute, with the final dot, as zone files write them.
    """

    name: str
    type: str
    ttl: int
    data: str


@dataclass(frozen=True, slots=True)
class DnsReply:
    """What a resolver answered.

    `rcode` is the code's name (NOERROR, NXDOMAIN, SERVFAIL, REFUSED, …),
    `authenticated` the AD flag (RFC 4035 section 3.2.3), `records` the answer
    section without signatures, `authority` that of the authority section where
    the answer is not just what was asked for, `server` who answered.
    """

    rcode: str
    authenticated: bool
    records: tuple[DnsRecord, ...] = ()
    authority: tuple[DnsRecord, ...] = ()
    server: str = ""


class Dns(Protocol):
    """Asks the resolvers it was made for."""

    async def query(
        self, name: str, rdtype: str, *, timeout: float = 10.0, checking_disabled: bool = False
    ) -> DnsReply:
        """One question. `checking_disabled` sets CD: answer, also where DNSSEC says that it is forged.

        A resolver that answers SERVFAIL or REFUSED is followed by the next; the last such answer is
        returned where none did better. Raises `NetworkFault` when nobody answered in time.
        """
        ...

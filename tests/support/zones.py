"""A resolver in memory: what each name answers, as a table. Implements the `Dns` port."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from mailseal.errors import NetworkFault
from mailseal.system.dns import DnsRecord, DnsReply


class Zones:
    """Answers from `records`, (name, type) → data; `rcodes` overrides a name's answer; `bogus` names fail DNSSEC.

    An alias is (name, "CNAME") → (target,); `terse` leaves its target out of the answer, as some servers do.
    """

    def __init__(
        self,
        records: Mapping[tuple[str, str], Sequence[str]],
        *,
        rcodes: Mapping[str, str] | None = None,
        bogus: frozenset[str] = frozenset(),
        silent: frozenset[str] = frozenset(),
        signed: frozenset[str] = frozenset(),
        terse: bool = False,
    ) -> None:
        self.records = dict(records)
        self.rcodes = dict(rcodes or {})
        self.bogus, self.silent, self.signed, self.terse = bogus, silent, signed, terse
        self.asked: list[tuple[str, str]] = []

    async def query(
        self, name: str, rdtype: str, *, timeout: float = 10.0, checking_disabled: bool = False
    ) -> DnsReply:
        self.asked.append((name, rdtype))
        if name in self.silent:
            raise NetworkFault(f"No resolver answered for {name}", reason="silence")
        if name in self.rcodes:
            return DnsReply(self.rcodes[name], False, server="192.0.2.53")
        if name in self.bogus and not checking_disabled:
            return DnsReply("SERVFAIL", False, server="192.0.2.53")
        found: list[DnsRecord] = []
        at = name
        for _ in range(20):
            found += [DnsRecord(at, rdtype, 60, data) for data in self.records.get((at, rdtype), ())]
            alias = self.records.get((at, "CNAME"))
            if not alias:
                break
            found.append(DnsRecord(at, "CNAME", 60, f"{alias[0]}."))
            at = alias[0]
            if self.terse:
                return DnsReply("NOERROR", False, tuple(found))
        exists = any(known == at for known, _ in self.records)
        return DnsReply(
            "NOERROR" if exists else "NXDOMAIN", name in self.signed, tuple(found), server="192.0.2.53"
        )

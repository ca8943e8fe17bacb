"""IMAP as far as TLS: RFC 9051 (and 3501) sections 6.1.1 CAPABILITY, 6.2.1 STARTTLS, 7.2.2 LOGINDISABLED.

A server greets with `* OK`, mostly with its capabilities in brackets; where
it does not, it is asked. A stranger may log in before TLS when LOGINDISABLED
is missing (then LOGIN works) or a plain mechanism (AUTH=PLAIN, AUTH=LOGIN) is
offered. 993 shakes hands at once and is left right after.
"""

from __future__ import annotations

import re

from mailseal.model import TlsMode
from mailseal.probes.base import Answer, Question, Stage
from mailseal.probes.faults import ProbeFault, shown
from mailseal.probes.wire import REPLY_LIMIT, Wire, converse
from mailseal.system import Network

_CODE = re.compile(r"\* OK \[CAPABILITY ([^\]]*)\]", re.IGNORECASE)
_UNTAGGED = re.compile(r"\* CAPABILITY (.*)", re.IGNORECASE)


class ImapProbe:
    """Asks an IMAP server."""

    async def ask(self, question: Question, network: Network, *, timeout: float) -> Answer:
        """See `mailseal.probes.base.Probe`."""
        return await converse(question, network, timeout, _talk)


async def _talk(wire: Wire) -> None:
    if wire.question.endpoint.tls is TlsMode.IMPLICIT:
        wire.farewell("")
        return
    greeting = await wire.line()
    if not greeting.upper().startswith("* OK"):
        raise ProbeFault(f"the server does not greet but says {shown(greeting)!r}")
    wire.stage = Stage.STARTTLS
    capabilities = parse_capabilities(greeting)
    if capabilities is None:
        wire.send("a CAPABILITY")
        capabilities = await read_capabilities(wire, "a")
    wire.starttls_offered = "STARTTLS" in capabilities
    wire.offers_plain_auth = offers_plain_auth(capabilities)
    if wire.question.endpoint.tls is TlsMode.STARTTLS:
        if not wire.starttls_offered:
            wire.farewell("z LOGOUT")
            raise ProbeFault("STARTTLS is not offered")
        wire.send("b STARTTLS")
        await read_capabilities(wire, "b")
        await wire.start_tls()
    wire.farewell("z LOGOUT")


def parse_capabilities(line: str) -> frozenset[str] | None:
    """The capabilities that a line announces, in capitals; None where it announces none."""
    found = _CODE.match(line) or _UNTAGGED.match(line)
    return frozenset(found[1].upper().split()) if found else None


def offers_plain_auth(capabilities: frozenset[str]) -> bool:
    """Whether a password may be sent as things stand."""
    return "LOGINDISABLED" not in capabilities or not capabilities.isdisjoint({"AUTH=PLAIN", "AUTH=LOGIN"})


async def read_capabilities(wire: Wire, tag: str) -> frozenset[str]:
    """Reads to the tagged reply; the capabilities told on the way. Raises `ProbeFault` if it is not OK."""
    told: frozenset[str] = frozenset()
    for _ in range(REPLY_LIMIT):
        line = await wire.line()
        if line.startswith("*"):
            told = parse_capabilities(line) or told
            continue
        word, _, rest = line.partition(" ")
        if word != tag:
            raise ProbeFault(f"not a reply of IMAP: {shown(line)!r}")
        if rest.split(" ", 1)[0].upper() != "OK":
            raise ProbeFault(f"the server refuses: {shown(rest)!r}")
        return told
    raise ProbeFault(f"a reply of more than {REPLY_LIMIT} lines")

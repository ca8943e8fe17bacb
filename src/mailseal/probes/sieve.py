"""ManageSieve as far as TLS: RFC 5804 sections 1.7 (capabilities), 2.2 (STARTTLS).

The server speaks first: one line a capability, name and value as quoted
strings or literals (`{12}` and a line's end, then twelve octets), and then
`OK`. The SASL capability lists the mechanisms that may be used now; before
TLS it should be empty. STARTTLS is answered with `OK`, `NO` or `BYE`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from mailseal.model import TlsMode
from mailseal.probes.base import Answer, Question, Stage
from mailseal.probes.faults import ProbeFault, shown
from mailseal.probes.wire import LINE_LIMIT, REPLY_LIMIT, Wire, converse
from mailseal.system import Network

_LITERAL = re.compile(r"\{(\d{1,9})\+?\}$")
_QUOTED = re.compile(r'"((?:[^"\\]|\\.)*)"')


@dataclass(frozen=True, slots=True)
class Response:
    """What came before and with OK, NO or BYE: capabilities (name in capitals, value) and the final line."""

    verdict: str
    final: str
    capabilities: tuple[tuple[str, str], ...]

    def value(self, name: str) -> str | None:
        """A capability's value, empty where it has none; None where it is not there."""
        return next((value for key, value in self.capabilities if key == name), None)


class SieveProbe:
    """Asks a ManageSieve server."""

    async def ask(self, question: Question, network: Network, *, timeout: float) -> Answer:
        """See `mailseal.probes.base.Probe`."""
        return await converse(question, network, timeout, _talk)


async def _talk(wire: Wire) -> None:
    if wire.question.endpoint.tls is TlsMode.IMPLICIT:
        wire.farewell("")
        return
    greeting = await read_response(wire)
    if greeting.verdict != "OK":
        raise ProbeFault(f"the server does not greet but says {shown(greeting.final)!r}")
    wire.stage = Stage.STARTTLS
    wire.starttls_offered = greeting.value("STARTTLS") is not None
    wire.offers_plain_auth = bool((greeting.value("SASL") or "").strip())
    if wire.question.endpoint.tls is TlsMode.STARTTLS:
        if not wire.starttls_offered:
            wire.farewell("LOGOUT")
            raise ProbeFault("STARTTLS is not offered")
        wire.send("STARTTLS")
        agreed = await read_response(wire)
        if agreed.verdict != "OK":
            raise ProbeFault(f"STARTTLS is refused: {shown(agreed.final)!r}")
        await wire.start_tls()
    wire.farewell("LOGOUT")


async def read_response(wire: Wire) -> Response:
    """Reads to OK, NO or BYE. Raises `ProbeFault` where something else comes."""
    told: list[tuple[str, str]] = []
    while len(told) < REPLY_LIMIT:
        strings, bare = await _read_line(wire)
        word = re.split(r"[ (]", bare, maxsplit=1)[0].upper()
        if word in ("OK", "NO", "BYE"):
            return Response(word, bare, tuple(told))
        if not strings:
            raise ProbeFault(f"not a line of ManageSieve: {shown(bare)!r}")
        told.append((strings[0].upper(), strings[1] if len(strings) > 1 else ""))
    raise ProbeFault(f"a response of more than {REPLY_LIMIT} lines")


async def _read_line(wire: Wire) -> tuple[list[str], str]:
    """The strings of one line, its literals among them, and the line as text."""
    strings: list[str] = []
    text = ""
    while True:
        part = await wire.line()
        literal = _LITERAL.search(part)
        plain = part[: literal.start()] if literal else part
        strings += [re.sub(r"\\(.)", r"\1", found) for found in _QUOTED.findall(plain)]
        text += plain
        if literal is None:
            return strings, text
        size = int(literal[1])
        if size + len(text) > LINE_LIMIT:
            raise ProbeFault(f"the server announces a string of {size} octets")
        strings.append((await wire.octets(size)).decode("latin-1"))
        text += strings[-1]

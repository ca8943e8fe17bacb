"""POP3 as far as TLS: RFC 1939 for the dialogue, RFC 2449 for CAPA, RFC 2595 section 4 for STLS.

A reply is `+OK` or `-ERR`; the list after CAPA ends with a lone dot. A
stranger may log in before TLS where CAPA lists USER or SASL with a mechanism.
A server that knows no CAPA is asked for STLS all the same; whether it would
take a password is then not known.
"""

from __future__ import annotations

from mailseal.model import TlsMode
from mailseal.probes.base import Answer, Question, Stage
from mailseal.probes.faults import ProbeFault, shown
from mailseal.probes.wire import REPLY_LIMIT, Wire, converse
from mailseal.system import Network


class Pop3Probe:
    """Asks a POP3 server."""

    async def ask(self, question: Question, network: Network, *, timeout: float) -> Answer:
        """See `mailseal.probes.base.Probe`."""
        return await converse(question, network, timeout, _talk)


async def _talk(wire: Wire) -> None:
    if wire.question.endpoint.tls is TlsMode.IMPLICIT:
        wire.farewell("")
        return
    greeting = await wire.line()
    if not is_ok(greeting):
        raise ProbeFault(f"the server does not greet but says {shown(greeting)!r}")
    wire.stage = Stage.STARTTLS
    wire.send("CAPA")
    if is_ok(await wire.line()):
        capabilities = await read_list(wire)
        wire.starttls_offered = any(line.split()[:1] == ["STLS"] for line in capabilities)
        wire.offers_plain_auth = offers_plain_auth(capabilities)
    if wire.question.endpoint.tls is TlsMode.STARTTLS:
        if wire.starttls_offered is False:
            wire.farewell("QUIT")
            raise ProbeFault("STLS is not offered")
        wire.send("STLS")
        agreed = await wire.line()
        if not is_ok(agreed):
            raise ProbeFault(f"STLS is refused: {shown(agreed)!r}")
        await wire.start_tls()
    wire.farewell("QUIT")


def is_ok(line: str) -> bool:
    """Whether a status line says yes. Raises `ProbeFault` where it is no status line."""
    word = line.split(" ", 1)[0].upper()
    if word not in ("+OK", "-ERR"):
        raise ProbeFault(f"not a reply of POP3: {shown(line)!r}")
    return word == "+OK"


def offers_plain_auth(capabilities: tuple[str, ...]) -> bool:
    """Whether a password may be sent as things stand."""
    words = [line.split() for line in capabilities]
    return any(line[:1] == ["USER"] or (line[:1] == ["SASL"] and len(line) > 1) for line in words)


async def read_list(wire: Wire) -> tuple[str, ...]:
    """The lines up to the lone dot, in capitals. Raises `ProbeFault` where it does not come."""
    lines: list[str] = []
    while len(lines) < REPLY_LIMIT:
        line = await wire.line()
        if line == ".":
            return tuple(lines)
        lines.append(line.upper())
    raise ProbeFault(f"a list of more than {REPLY_LIMIT} lines")

"""SMTP as far as TLS: RFC 5321 for the dialogue, RFC 3207 for STARTTLS, RFC 4954 for AUTH.

Port 25 and 587 greet, take EHLO and are asked for STARTTLS; 465 shakes hands
at once (RFC 8314) and is left right after, since its banner adds nothing.
EHLO names us by our address as section 4.1.3 has it for clients without a
name, which strict servers accept. A reply is one or more lines
`250-text … 250 text` with one and the same code.
"""

from __future__ import annotations

from dataclasses import dataclass

from mailseal.model import TlsMode
from mailseal.probes.base import Answer, Question, Stage
from mailseal.probes.faults import ProbeFault, shown
from mailseal.probes.wire import REPLY_LIMIT, Wire, converse
from mailseal.system import Network


@dataclass(frozen=True, slots=True)
class Reply:
    """A whole reply: its code and the text of each line."""

    code: int
    texts: tuple[str, ...]

    def __str__(self) -> str:
        return shown(f"{self.code} {' '.join(self.texts)}")

    def has(self, keyword: str) -> bool:
        """Whether an EHLO keyword is among the lines after the first."""
        return any(text.split(" ", 1)[0].upper() == keyword for text in self.texts[1:])

    def offers_auth(self) -> bool:
        """Whether AUTH with a mechanism is offered, also in the old form `AUTH=LOGIN`."""
        for text in self.texts[1:]:
            words = text.upper().replace("=", " ").split()
            if len(words) > 1 and words[0] == "AUTH":
                return True
        return False


class SmtpProbe:
    """Asks a mail server or a submission service."""

    async def ask(self, question: Question, network: Network, *, timeout: float) -> Answer:
        """See `mailseal.probes.base.Probe`."""
        return await converse(question, network, timeout, _talk)


async def _talk(wire: Wire) -> None:
    if wire.question.endpoint.tls is TlsMode.IMPLICIT:
        wire.farewell("")
        return
    greeting = await read_reply(wire)
    if greeting.code != 220:
        raise ProbeFault(f"the server does not greet but says {greeting}")
    wire.stage = Stage.STARTTLS
    wire.send(f"EHLO {_own_name(wire.local_address)}")
    offered = await read_reply(wire)
    wire.starttls_offered = offered.code == 250 and offered.has("STARTTLS")
    wire.offers_plain_auth = offered.code == 250 and offered.offers_auth()
    if wire.question.endpoint.tls is TlsMode.STARTTLS:
        if offered.code != 250:
            raise ProbeFault(f"EHLO is refused: {offered}")
        if not wire.starttls_offered:
            wire.farewell("QUIT")
            raise ProbeFault("STARTTLS is not offered")
        wire.send("STARTTLS")
        agreed = await read_reply(wire)
        if agreed.code != 220:
            raise ProbeFault(f"STARTTLS is refused: {agreed}")
        await wire.start_tls()
    wire.farewell("QUIT")


async def read_reply(wire: Wire) -> Reply:
    """The next whole reply. Raises `ProbeFault` where it is none."""
    texts: list[str] = []
    first: int | None = None
    while len(texts) < REPLY_LIMIT:
        line = await wire.line()
        code, more, text = parse_line(line)
        if first is not None and code != first:
            raise ProbeFault(f"one reply holds the codes {first} and {code}")
        first = code
        texts.append(text)
        if not more:
            return Reply(code, tuple(texts))
    raise ProbeFault(f"a reply of more than {REPLY_LIMIT} lines")


def parse_line(line: str) -> tuple[int, bool, str]:
    """Code, whether more lines follow, text. Raises `ProbeFault` where the line is none of SMTP."""
    code, mark, text = line[:3], line[3:4], line[4:]
    if (
        len(code) != 3
        or not (code.isascii() and code.isdigit())
        or code[0] not in "2345"
        or mark not in ("", " ", "-")
    ):
        raise ProbeFault(f"not a line of SMTP: {shown(line)!r}")
    return int(code), mark == "-", text.strip()


def _own_name(address: str) -> str:
    if ":" in address:
        return f"[IPv6:{address.partition('%')[0]}]"
    return f"[{address or '127.0.0.1'}]"

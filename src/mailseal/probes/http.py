"""One GET as RFC 9110 and 9112 have it, on port 80 or after a TLS handshake.

Redirects are not followed: that a site answers 301 to https is itself the
answer. The Host header is the question's name (the address where there is
none). The body is read to `BODY_LIMIT` octets, in any of the three framings
(length, chunks, end of the connection); more is cut off, not a fault, since
only a challenge's token is ever compared. A server that shakes hands and then
does not answer as HTTP fails in the stage GREETING, with its chain told.
"""

from __future__ import annotations

from dataclasses import dataclass

from mailseal.probes.base import Answer, Question, Stage
from mailseal.probes.faults import ProbeFault, shown
from mailseal.probes.wire import REPLY_LIMIT, Wire, converse
from mailseal.system import Network

BODY_LIMIT = 65_536


@dataclass(frozen=True, slots=True)
class HttpQuestion(Question):
    """A question with a path; a plain `Question` asks for `/`."""

    path: str = "/"


@dataclass(frozen=True, slots=True)
class Head:
    """The status line and the header fields, names in lower case."""

    status: int
    line: str
    fields: tuple[tuple[str, str], ...]

    def field(self, name: str) -> str:
        """A field's value; empty where it is not there."""
        return next((value for key, value in self.fields if key == name), "")


class HttpProbe:
    """Asks a web server."""

    async def ask(self, question: Question, network: Network, *, timeout: float) -> Answer:
        """See `mailseal.probes.base.Probe`."""
        return await converse(question, network, timeout, _talk)


async def _talk(wire: Wire) -> None:
    wire.stage = Stage.GREETING
    question = wire.question
    path = question.path if isinstance(question, HttpQuestion) else "/"
    wire.send(
        f"GET {path} HTTP/1.1\r\nHost: {host_field(question)}\r\n"
        "User-Agent: mailseal\r\nAccept: */*\r\nConnection: close\r\n"
    )
    head = await read_head(wire)
    while 100 <= head.status < 200:
        head = await read_head(wire)
    wire.status = head.status
    wire.location = shown(head.field("location"))
    wire.detail = shown(head.line)
    wire.body = await read_body(wire, head)
    wire.farewell("")


def host_field(question: Question) -> str:
    """The Host header's value: the port only where it is not the usual one."""
    endpoint = question.endpoint
    host = question.server_name or (f"[{endpoint.address}]" if endpoint.is_ipv6 else endpoint.address)
    return host if endpoint.port in (80, 443) else f"{host}:{endpoint.port}"


async def read_head(wire: Wire) -> Head:
    """Status line and fields. Raises `ProbeFault` where it is not HTTP."""
    line = await wire.line()
    version, _, rest = line.partition(" ")
    code = rest[:3]
    if not version.startswith("HTTP/1.") or not (code.isascii() and code.isdigit() and len(code) == 3):
        raise ProbeFault(f"not a status line of HTTP: {shown(line)!r}")
    fields: list[tuple[str, str]] = []
    while len(fields) < REPLY_LIMIT:
        field = await wire.line()
        if not field:
            return Head(int(code), line, tuple(fields))
        name, _, value = field.partition(":")
        fields.append((name.strip().lower(), value.strip()))
    raise ProbeFault(f"more than {REPLY_LIMIT} header fields")


async def read_body(wire: Wire, head: Head) -> bytes:
    """The body, at most `BODY_LIMIT` octets."""
    if head.status in (204, 304):
        return b""
    if head.field("transfer-encoding").lower().endswith("chunked"):
        return await _chunks(wire)
    length = head.field("content-length")
    if length.isascii() and length.isdigit() and len(length) < 12:
        return await wire.rest(min(int(length), BODY_LIMIT))
    return await wire.rest(BODY_LIMIT)


async def _chunks(wire: Wire) -> bytes:
    body = bytearray()
    while len(body) < BODY_LIMIT:
        size_text = (await wire.line()).partition(";")[0].strip()
        try:
            size = int(size_text, 16)
        except ValueError:
            raise ProbeFault(f"not the size of a chunk: {shown(size_text)!r}") from None
        if size <= 0 or len(size_text) > 8:
            break
        body += await wire.octets(min(size, BODY_LIMIT - len(body)))
        if len(body) < BODY_LIMIT:
            await wire.line()
    return bytes(body)

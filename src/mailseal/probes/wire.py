"""One connection under question, and the course that all mail protocols share.

Connect, be greeted, ask what is offered, ask for TLS, shake hands, take
leave. The protocols differ in words; each gives `converse` a function that
speaks them on a `Wire`. The wire remembers the stage reached and what was
learned, so that a failure at any point still answers with all that was seen.

Promises: a line is never longer than `LINE_LIMIT` octets nor a reply than
`REPLY_LIMIT` lines, whatever the server sends; replies may come in any number
of reads; octets that follow the reply to STARTTLS in the clear are a fault,
since in TLS the client speaks first: they can only have been put in by
somebody between (response injection) or by a server gone wrong.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from mailseal.errors import NetworkFault
from mailseal.model import TlsMode
from mailseal.probes.base import Answer, Question, Stage
from mailseal.probes.faults import ProbeFault, shown
from mailseal.probes.tls import Handshake, TlsStream, shake_hands
from mailseal.system import Network

LINE_LIMIT = 8_192
REPLY_LIMIT = 256


class Wire:
    """A connection, clear at first and TLS after `start_tls`, and what was learned over it."""

    def __init__(
        self, question: Question, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self.question = question
        self.stage = Stage.GREETING
        self.detail = ""
        self.starttls_offered: bool | None = None
        self.offers_plain_auth: bool | None = None
        self.status: int | None = None
        self.location = ""
        self.body = b""
        self._handshake: Handshake | None = None
        self._tls: TlsStream | None = None
        self._reader = reader
        self._writer = writer
        self._held = bytearray()

    @property
    def local_address(self) -> str:
        """The address we ask from."""
        name = self._writer.get_extra_info("sockname")
        return str(name[0]) if name else ""

    async def line(self) -> str:
        """The next line without its end, as Latin-1 (every octet is a character). Raises `ProbeFault`."""
        while (end := self._held.find(b"\n")) < 0:
            if len(self._held) > LINE_LIMIT:
                raise ProbeFault(f"the server sent a line of more than {LINE_LIMIT} octets")
            if not await self._more():
                said = f" after {shown(self._held.decode('latin-1'))!r}" if self._held else ""
                raise ProbeFault(f"the server closed the connection{said}")
        if end > LINE_LIMIT:
            raise ProbeFault(f"the server sent a line of more than {LINE_LIMIT} octets")
        octets = bytes(self._held[:end])
        del self._held[: end + 1]
        return octets.removesuffix(b"\r").decode("latin-1")

    async def octets(self, count: int) -> bytes:
        """Exactly that many octets. Raises `ProbeFault` at an early end."""
        while len(self._held) < count:
            if not await self._more():
                raise ProbeFault("the server closed the connection in the midst of its answer")
        taken = bytes(self._held[:count])
        del self._held[:count]
        return taken

    async def rest(self, limit: int) -> bytes:
        """All until the end of the connection, at most `limit` octets."""
        while len(self._held) < limit and await self._more():
            pass
        return bytes(self._held[:limit])

    def send(self, text: str) -> None:
        """Sends a command; the line's end is added."""
        octets = text.encode("ascii", "replace") + b"\r\n"
        if self._tls is not None:
            self._tls.write(octets)
        else:
            self._writer.write(octets)

    async def start_tls(self) -> None:
        """Shakes hands; from here on everything is encrypted."""
        self.stage = Stage.HANDSHAKE
        if self._held:
            raise ProbeFault(
                f"the server sent {len(self._held)} octets in the clear after agreeing to TLS: "
                f"{shown(self._held.decode('latin-1'))!r}"
            )
        question = self.question
        self._handshake, self._tls = await shake_hands(
            self._reader, self._writer, question.server_name, question.family
        )

    def farewell(self, command: str) -> None:
        """Takes leave without waiting for the answer."""
        octets = command.encode("ascii") + b"\r\n" if command else b""
        if self._tls is not None:
            self._tls.farewell(octets)
        elif octets:
            self._writer.write(octets)

    def answer(self, seconds: float) -> Answer:
        """All that was learned, as it stands."""
        shaken = self._handshake
        return Answer(
            question=self.question,
            stage=self.stage,
            detail=self.detail,
            tls_version=shaken.version if shaken else "",
            cipher=shaken.cipher if shaken else "",
            chain=shaken.chain if shaken else (),
            starttls_offered=self.starttls_offered,
            offers_plain_auth=self.offers_plain_auth,
            status=self.status,
            location=self.location,
            body=self.body,
            seconds=seconds,
        )

    def close(self) -> None:
        """Hangs up, without waiting."""
        transport = self._writer.transport
        if transport.get_write_buffer_size():
            transport.abort()
        else:
            self._writer.close()

    async def _more(self) -> bool:
        source = self._tls or self._reader
        octets = await source.read(LINE_LIMIT)
        self._held += octets
        return bool(octets)


Talk = Callable[[Wire], Awaitable[None]]


async def converse(question: Question, network: Network, timeout: float, talk: Talk) -> Answer:
    """Connects, lets `talk` speak, hangs up; whatever goes wrong is in the answer.

    For TLS from the first octet the handshake comes before `talk`. `timeout`
    (seconds) bounds the whole.
    """
    loop = asyncio.get_running_loop()
    began = loop.time()
    endpoint = question.endpoint
    try:
        async with asyncio.timeout(timeout):
            reader, writer = await network.connect(
                endpoint.address, endpoint.port, timeout=timeout, source=question.source
            )
    except (NetworkFault, OSError) as error:
        reason = _why(error, timeout)
        return Answer(question, Stage.CONNECT, detail=reason, seconds=loop.time() - began)
    wire = Wire(question, reader, writer)
    try:
        async with asyncio.timeout(max(0.0, began + timeout - loop.time())):
            if endpoint.tls is TlsMode.IMPLICIT:
                await wire.start_tls()
            await talk(wire)
            wire.stage = Stage.DONE
    except (ProbeFault, OSError) as error:
        wire.detail = _why(error, timeout)
    finally:
        wire.close()
    return wire.answer(loop.time() - began)


def _why(error: Exception, timeout: float) -> str:
    if isinstance(error, TimeoutError):
        return f"no answer within {timeout:g} seconds"
    if isinstance(error, NetworkFault):
        return error.reason or error.message
    if isinstance(error, OSError):
        return error.strerror or str(error)
    return str(error)

"""One question to one endpoint over one connection, and its answer.

A probe connects, speaks the protocol as far as TLS, shakes hands with SNI (or
without) and hangs up. It verifies nothing and judges nothing: whatever
certificate comes is written down, in the order sent, and `mailseal.prove`
judges it. It never logs in.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from mailseal.model import Endpoint, KeyFamily
from mailseal.system import Network


class Stage(StrEnum):
    """How far a probe came: the stage in which it failed, or DONE."""

    CONNECT = "connect"
    GREETING = "greeting"
    STARTTLS = "starttls"
    HANDSHAKE = "handshake"
    DONE = "done"


@dataclass(frozen=True, slots=True)
class Question:
    """What to ask: the endpoint, the SNI (None: none sent), the key family to insist on (None: what comes).

    `source` is the local address to ask from: 127.0.0.2 for an endpoint at
    127.0.0.1, since daemons treat a peer with their own address as secured.
    """

    endpoint: Endpoint
    server_name: str | None = None
    family: KeyFamily | None = None
    source: str | None = None


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back.

    `chain` is every certificate that was sent, DER, in the order sent;
    `offers_plain_auth` whether a stranger may log in before TLS (None: not
    asked); `starttls_offered` whether the capability was there; `detail` the
    error in one line, or for HTTP the status line; `location` the redirect's
    target; `seconds` how long it took.
    """

    question: Question
    stage: Stage
    detail: str = ""
    tls_version: str = ""
    cipher: str = ""
    chain: tuple[bytes, ...] = ()
    starttls_offered: bool | None = None
    offers_plain_auth: bool | None = None
    status: int | None = None
    location: str = ""
    body: bytes = b""
    seconds: float = 0.0

    @property
    def ok(self) -> bool:
        return self.stage is Stage.DONE


class Probe(Protocol):
    """One protocol family. Listed in `mailseal.probes.PROBES` by protocol."""

    async def ask(self, question: Question, network: Network, *, timeout: float) -> Answer:
        """Asks; every failure is an Answer with its stage, never an exception."""
        ...

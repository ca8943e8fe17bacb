"""What a challenge solver does: it makes control of an identifier visible, and takes that away (RFC 8555 section 8)."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from mailseal.model import Identifier


class Reach(StrEnum):
    """What the own look at a challenge's path said before anything was ordered."""

    CONFIRMED = "confirmed"
    REFUTED = "refuted"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Preflight:
    """The look at one identifier at one address (`address` empty: before any was tried).

    Only REFUTED blocks an order; `seen` says what answered, `mend` what to do.
    """

    identifier: Identifier
    address: str
    reach: Reach
    code: str
    seen: str
    mend: str = ""


class Solver(Protocol):
    """Presents key authorizations for one challenge type; what it presents, it cleans up."""

    @property
    def kind(self) -> str:
        """The challenge type as ACME writes it: http-01, dns-01, …"""
        ...

    async def present(self, identifier: Identifier, token: str, key_authorization: str) -> None:
        """Makes the answer visible before it returns. Raises `ChallengeError`."""
        ...

    async def clean_up(self, identifier: Identifier, token: str) -> None:
        """Takes it away; what is gone already is no fault."""
        ...

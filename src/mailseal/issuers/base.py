"""Where generations come from: the contract of every issuer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from mailseal.model import CertificateSpec, Generation, KeyType


@dataclass(frozen=True, slots=True)
class IssueRequest:
    """What to issue; `replaces` names each key type's predecessor to a CA that wants to know (RFC 9773)."""

    spec: CertificateSpec
    replaces: tuple[tuple[KeyType, str], ...] = ()

    def predecessor(self, key_type: KeyType) -> str | None:
        return next((found for kind, found in self.replaces if kind is key_type), None)


class Issuer(Protocol):
    """Brings a generation, whole and written to the store, or raises `IssueError` and leaves what can be resumed."""

    async def issue(self, request: IssueRequest) -> Generation: ...

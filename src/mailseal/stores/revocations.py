"""Revocations: what is to be revoked, what was, and which keys are never used again.

    <root>/revocations.json      one small file for all lineages, 0600

A revocation cannot be taken back, so that it is wanted is durable before
anything is done about it, and stands until its outcome is known: a run that
was killed in between is carried on by the next one, which asks the CA again
(RFC 8555 section 7.6: `alreadyRevoked` is an answer).

A key that was marked compromised is known by the SHA-256 of its public half
(SubjectPublicKeyInfo), whatever certificate it comes back in, and stays marked
when the generation that held it is gone.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

import msgspec

from mailseal.errors import SystemFault
from mailseal.model import KeyType
from mailseal.system import System
from mailseal.unreadable import UNREADABLE


class Revocation(msgspec.Struct, frozen=True, omit_defaults=True):
    """One certificate that is to be revoked, or was (`revoked`: when), by its fingerprint (SHA-256 of the DER).

    `issuer` is the CA's directory URL, `reason` a code of RFC 5280 section 5.3.1. `forced`: also while it serves.
    """

    fingerprint: str
    spki_sha256: str
    lineage: str
    number: int
    key_type: KeyType
    serial: str
    issuer: str
    reason: int
    wanted: datetime
    not_after: datetime
    forced: bool = False
    revoked: datetime | None = None

    @property
    def label(self) -> str:
        return f"{self.number:04d}"


class Compromised(msgspec.Struct, frozen=True):
    """A key that must never be used again; `lineage` and `number` tell where it was first."""

    spki_sha256: str
    at: datetime
    lineage: str
    number: int


class _Kept(msgspec.Struct, frozen=True, omit_defaults=True):
    revocations: list[Revocation] = []
    compromised: list[Compromised] = []


class RevocationStore:
    """The file under one root. Only whoever holds mailseal's lock may write to it."""

    def __init__(self, system: System, root: str) -> None:
        self._files = system.files
        self.path = f"{root.rstrip('/')}/revocations.json"

    def all(self) -> tuple[Revocation, ...]:
        return tuple(self._load().revocations)

    def open(self) -> tuple[Revocation, ...]:
        """Those whose outcome is not known yet."""
        return tuple(one for one in self.all() if one.revoked is None)

    def want(self, revocations: Iterable[Revocation]) -> None:
        """Makes the intents durable; one that is there already for the same certificate is replaced."""
        kept, new = self._load(), {one.fingerprint: one for one in revocations}
        others = [one for one in kept.revocations if one.fingerprint not in new]
        self._save(msgspec.structs.replace(kept, revocations=[*others, *new.values()]))

    def forget(self, fingerprints: Iterable[str]) -> None:
        """These are not to be revoked after all, or cannot be; what was revoked stays known."""
        kept, gone = self._load(), set(fingerprints)
        left = [one for one in kept.revocations if one.revoked is not None or one.fingerprint not in gone]
        self._save(msgspec.structs.replace(kept, revocations=left))

    def compromised(self) -> frozenset[str]:
        """The keys that must never be used again, by the SHA-256 of their SubjectPublicKeyInfo (hex)."""
        return frozenset(one.spki_sha256 for one in self._load().compromised)

    def compromise(self, keys: Iterable[Compromised]) -> None:
        """Marks keys for ever."""
        kept = self._load()
        known = {one.spki_sha256 for one in kept.compromised}
        new = {one.spki_sha256: one for one in keys if one.spki_sha256 not in known}
        if new:
            self._save(msgspec.structs.replace(kept, compromised=[*kept.compromised, *new.values()]))

    def _load(self) -> _Kept:
        if self._files.stat(self.path) is None:
            return _Kept()
        try:
            return msgspec.json.decode(self._files.read(self.path), type=_Kept)
        except UNREADABLE as error:
            raise SystemFault(
                f"{self.path} is damaged",
                reason=str(error),
                next_command="restore it from a backup: it holds the keys that must never be used again",
            ) from error

    def _save(self, kept: _Kept) -> None:
        self._files.replace(self.path, msgspec.json.format(msgspec.json.encode(kept)), mode=0o600)

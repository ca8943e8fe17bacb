"""`history.jsonl`: one line of JSON for each thing that mailseal did, in the order in which it did it.

    <state>/history.jsonl      append-only, 0600; a line is durable when the work goes on
    <state>/history.jsonl.1    the one before it, moved there when it had grown to `MOST` octets

Each line tells when (UTC), in which run and of which command, what was done,
to which lineage and generation, with the serial numbers and fingerprints of
its certificates, and by which CA. No line holds key material.

A power loss may tear the last line. Whoever appends next begins a new one, and
readers leave out what is no JSON. A line may be missing where the machine
stopped between an effect and its line: the history is told by, and never
acted on; what is true is on disk and on the wire.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from enum import StrEnum

import msgspec

from mailseal.model import Generation
from mailseal.system import System
from mailseal.unreadable import UNREADABLE

MOST = 8_388_608  # octets; about 25,000 lines
_READ = 268_435_456  # one batch may be longer than MOST


class Deed(StrEnum):
    """What was done, or tried."""

    ORDERED = "ordered"
    DEPLOYED = "deployed"
    PROVEN = "proven"
    TAKEN_BACK = "taken-back"
    FAILED = "failed"
    RECOVERED = "recovered"  # what an interrupted run had left was finished or undone
    ROLLED_BACK = "rolled-back"
    REVOKED = "revoked"
    PRUNED = "pruned"
    DETACHED = "detached"  # the machine was handed back
    HOOK_FAILED = "hook-failed"


class Certificate(msgspec.Struct, frozen=True):
    """One certificate of a generation: serial number and SHA-256 of its DER in lower-case hex."""

    key_type: str
    serial: str
    fingerprint: str
    not_after: datetime


class Event(msgspec.Struct, frozen=True, omit_defaults=True):
    """One thing done. `lineage` is empty and `generation` 0 where it concerned none; `detail` is a sentence."""

    deed: Deed
    at: datetime
    lineage: str = ""
    generation: int = 0
    certificates: tuple[Certificate, ...] = ()
    issuer: str = ""
    detail: str = ""


class Line(msgspec.Struct, frozen=True, omit_defaults=True):
    """An event as it stands in the file."""

    time: datetime
    run: str
    command: str
    event: Deed
    lineage: str = ""
    generation: int = 0
    certificates: tuple[Certificate, ...] = ()
    issuer: str = ""
    detail: str = ""


def of(deed: Deed, at: datetime, generation: Generation, detail: str = "") -> Event:
    """What was done to a generation."""
    certificates = tuple(
        Certificate(key_type, f"{facts.serial:x}", facts.fingerprint, facts.not_after)
        for key_type, facts in generation.leaves
    )
    return Event(deed, at, generation.lineage, generation.number, certificates, generation.issuer, detail)


class History:
    """The history of one machine; `root` is the state directory."""

    def __init__(self, system: System, root: str) -> None:
        self._files = system.files
        self.path = f"{root.rstrip('/')}/history.jsonl"
        self._ends_whole = False

    def add(self, run: str, command: str, events: Sequence[Event]) -> None:
        """Appends a line for each, together durable when this returns. Raises `SystemFault`."""
        if not events:
            return
        lines = [
            msgspec.json.encode(
                Line(
                    event.at,
                    run,
                    command,
                    event.deed,
                    event.lineage,
                    event.generation,
                    event.certificates,
                    event.issuer,
                    event.detail,
                )
            )
            for event in events
        ]
        self._make_room()
        torn = b"" if self._ends_whole else self._torn()
        self._ends_whole = False
        self._files.append(self.path, torn + b"\n".join(lines) + b"\n", mode=0o600)
        self._ends_whole = True

    def lines(self) -> Iterator[Line]:
        """Every line that can be read, the oldest first."""
        for path in (f"{self.path}.1", self.path):
            if self._files.stat(path) is not None:
                for text in self._files.read(path, _READ).split(b"\n"):
                    try:
                        yield msgspec.json.decode(text, type=Line)
                    except UNREADABLE:
                        continue

    def _make_room(self) -> None:
        found = self._files.stat(self.path)
        if found is not None and found.size >= MOST:
            self._files.rename(self.path, f"{self.path}.1")

    def _torn(self) -> bytes:
        """What ends a line that a power loss tore."""
        if self._files.stat(self.path) is None:
            return b""
        content = self._files.read(self.path, _READ)
        return b"\n" if content and not content.endswith(b"\n") else b""

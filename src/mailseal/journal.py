"""The journal: what a transaction is about to change, durable before it changes anything.

    <root>/journal/<id>.json       one open transaction: every path, what stood there, what will stand there
    <root>/journal/baseline.json   every path of the machine that we ever changed: as found, and as we left it
    <root>/journal/blobs/<sha256>  the contents that both name
    <root>/journal/detached        there while the machine is handed back

A transaction that is open when mailseal starts was interrupted; `mailseal.recover`
finishes or undoes it. When one is committed, its paths are merged into the
baseline and its own file goes away; both are idempotent, so a crash between
them loses nothing. The baseline is what `mailseal detach` restores: of every
path what stood there before our first change, and, where somebody edited the
file between two changes of ours, that with the edit in it (`mailseal.merging`).

Paths under mailseal's own root (generations, `current`) belong to a
transaction's undo but not to the baseline: they are ours.

Not promised: that an undo is right when somebody else changed the file in
between. It restores a path only if that still holds what was written, and says
so otherwise.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from typing import TypeVar

import msgspec

from mailseal.errors import SystemFault
from mailseal.merging import rebase
from mailseal.model import FileState
from mailseal.steps import Put, after_state
from mailseal.system import System
from mailseal.unreadable import UNREADABLE

T = TypeVar("T")
_RECORD = re.compile(r"[0-9]{8}T[0-9]{6}Z-[0-9a-f]+\.json")


class Image(msgspec.Struct, frozen=True, omit_defaults=True):
    """What stands (or stood) at a path; a regular file's content is the blob of that SHA-256."""

    kind: str
    sha256: str = ""
    target: str = ""
    mode: int = 0
    uid: int = 0
    gid: int = 0


class Entry(msgspec.Struct, frozen=True):
    """One path: its state before and after."""

    path: str
    before: Image
    after: Image


class Record(msgspec.Struct, frozen=True):
    """One transaction: its entries in the order in which they are carried out."""

    id: str
    purpose: str
    started: str
    services: list[str]
    generations: list[tuple[str, int]]
    entries: list[Entry]


class _Baseline(msgspec.Struct, frozen=True):
    entries: list[Entry] = []


class Journal:
    """The journal under one root folder. Only whoever holds mailseal's lock may write to it."""

    def __init__(self, system: System, root: str) -> None:
        self._system = system
        self._files = system.files
        self._own = root.rstrip("/") + "/"
        self.folder = f"{root.rstrip('/')}/journal"

    def begin(
        self,
        purpose: str,
        puts: tuple[Put, ...],
        services: tuple[str, ...],
        generations: tuple[tuple[str, int], ...],
    ) -> Record:
        """Makes the intent durable: contents first, then the record that names them.

        `services` are those that ran when it began: after a crash they are reloaded, or started again.
        """
        self._files.mkdir(self.folder, mode=0o700, exist_ok=True)
        self._files.mkdir(f"{self.folder}/blobs", mode=0o700, exist_ok=True)
        self._sweep()
        now = self._system.clock.now()
        entries = [
            Entry(put.path, self._image(put.path, put.before), self._image(put.path, after_state(put)))
            for put in puts
        ]
        record = Record(
            id=f"{now:%Y%m%dT%H%M%SZ}-{self._system.random.token(4)}",
            purpose=purpose,
            started=now.isoformat(timespec="seconds"),
            services=list(services),
            generations=list(generations),
            entries=entries,
        )
        # replace, not create: a record is there whole or not at all, also after a power loss.
        self._files.replace(self._path(record), msgspec.json.format(msgspec.json.encode(record)), mode=0o600)
        return record

    def open_records(self) -> tuple[Record, ...]:
        """Transactions that were begun and neither committed nor undone, the oldest first."""
        names = [name for name in self._files.listdir(self.folder) if _RECORD.fullmatch(name)]
        records = [self._decode(f"{self.folder}/{name}", Record) for name in names]
        return tuple(sorted(records, key=lambda record: record.id))

    def commit(self, record: Record) -> None:
        """The transaction stands: its paths join the baseline, its record goes.

        Contents that nothing names any more stay until the next transaction begins, so that the
        same run may still take this one back (`uncommit`).
        """
        before_us = self.baseline()
        merged = {entry.path: entry for entry in before_us}
        for entry in record.entries:
            if entry.path.startswith(self._own):
                continue
            known = merged.get(entry.path)
            before = self._without_us(known, entry.before) if known else entry.before
            merged[entry.path] = Entry(entry.path, before, entry.after)
        if tuple(merged.values()) != before_us:
            self._write_baseline(merged.values())
        self._files.remove(self._path(record))

    def close(self, record: Record) -> None:
        """The transaction was undone, or is no change of ours: its record goes and the baseline stays as it was."""
        self._files.remove(self._path(record))
        self._sweep()

    def uncommit(self, record: Record) -> None:
        """A committed transaction was undone after all: the baseline holds its paths as they stood before it."""
        changed = {entry.path: entry for entry in record.entries}
        kept = []
        for entry in self.baseline():
            undone = changed.get(entry.path)
            if undone is None:
                kept.append(entry)
            elif entry.before != undone.before:
                kept.append(Entry(entry.path, entry.before, undone.before))
        self._write_baseline(kept)
        self._sweep()

    def baseline(self) -> tuple[Entry, ...]:
        """Every path of the machine that stands changed by us, in the order of the first change."""
        path = f"{self.folder}/baseline.json"
        if self._files.stat(path) is None:
            return ()
        return tuple(self._decode(path, _Baseline).entries)

    def forget(self, paths: Iterable[str]) -> None:
        """These paths were handed back; the baseline no longer holds them."""
        gone = set(paths)
        self._write_baseline(entry for entry in self.baseline() if entry.path not in gone)
        self._sweep()

    @property
    def detached(self) -> bool:
        """Whether the machine was handed back, and nobody has asked since to take it up again."""
        return self._files.stat(f"{self.folder}/detached") is not None

    def detach(self) -> None:
        """Remembers that the machine was handed back, so that no timer takes it up again."""
        self._files.replace(f"{self.folder}/detached", b"", mode=0o600)

    def attach(self) -> None:
        """A person asks for the machine to be kept."""
        if self.detached:
            self._files.remove(f"{self.folder}/detached")

    def state(self, image: Image) -> FileState:
        """An image with its content."""
        content = self._content(image) if image.kind == "file" else b""
        kind = image.kind
        if kind not in ("absent", "file", "link", "directory"):
            raise SystemFault(f"the journal holds an image of an unknown kind {kind!r}")
        return FileState(kind, content, image.target, image.mode, image.uid, image.gid)  # type: ignore[arg-type]

    def _content(self, image: Image) -> bytes:
        path = f"{self.folder}/blobs/{image.sha256}"
        content = self._files.read(path)
        if hashlib.sha256(content).hexdigest() != image.sha256:
            raise SystemFault(
                f"{path} is damaged",
                reason="it does not hold the content that it is named after",
                next_command="put a file of that content there from a backup",
            )
        return content

    def _without_us(self, known: Entry, seen: Image) -> Image:
        """What a path that we changed before would hold by now had we never touched it."""
        if seen == known.before or seen.kind != known.after.kind:
            return seen  # put back, or something else altogether: nothing of ours is in it
        if seen == known.after or not seen.kind == known.before.kind == "file":
            return known.before
        content = rebase(self._content(known.after), self._content(seen), self._content(known.before))
        theirs = (seen.mode, seen.uid, seen.gid)
        was = (known.before.mode, known.before.uid, known.before.gid)
        mode, uid, gid = was if theirs == (known.after.mode, known.after.uid, known.after.gid) else theirs
        return self._image(known.path, FileState("file", content, "", mode, uid, gid))

    def _image(self, path: str, state: FileState) -> Image:
        if state.kind == "other":
            raise SystemFault(
                f"{path} is neither file, link nor directory; it is left alone", next_command=f"ls -l {path}"
            )
        digest = ""
        if state.kind == "file":
            digest = hashlib.sha256(state.content).hexdigest()
            blob = f"{self.folder}/blobs/{digest}"
            if self._files.stat(blob) is None:
                self._files.replace(blob, state.content, mode=0o600)
        return Image(state.kind, digest, state.target, state.mode, state.uid, state.gid)

    def _path(self, record: Record) -> str:
        return f"{self.folder}/{record.id}.json"

    def _write_baseline(self, entries: Iterable[Entry]) -> None:
        content = msgspec.json.format(msgspec.json.encode(_Baseline(list(entries))))
        self._files.replace(f"{self.folder}/baseline.json", content, mode=0o600)

    def _decode(self, path: str, kind: type[T]) -> T:
        try:
            return msgspec.json.decode(self._files.read(path), type=kind)
        except UNREADABLE as error:
            raise SystemFault(
                f"the journal file {path} is damaged",
                reason=str(error),
                next_command="restore it from a backup; or see that every file it names is as it should be, "
                "and move it away",
            ) from error

    def _sweep(self) -> None:
        """Removes contents that nothing names any more."""
        named = {
            image.sha256
            for entry in (*self.baseline(), *(e for record in self.open_records() for e in record.entries))
            for image in (entry.before, entry.after)
        }
        for blob in self._files.listdir(f"{self.folder}/blobs"):
            if blob not in named:
                self._files.remove(f"{self.folder}/blobs/{blob}")


def image_matches(image: Image, state: FileState) -> bool:
    """Whether a path still holds what the image says."""
    if image.kind != state.kind:
        return False
    match state.kind:
        case "file":
            same = hashlib.sha256(state.content).hexdigest() == image.sha256
            return same and (state.mode, state.uid, state.gid) == (image.mode, image.uid, image.gid)
        case "link":
            return state.target == image.target
        case _:
            return True

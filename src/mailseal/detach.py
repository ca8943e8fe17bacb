"""The machine handed back: every path that we ever changed as it was found, from the journal's baseline.

A file that still holds what we wrote gets its first before-image back, byte
for byte, with mode and owner. One that somebody edited since is merged line
by line: our changes go, theirs stay; where the two touch the same lines, the
file is left alone and told. The whole is one transaction like any other,
except that nothing need be served as before: it is the admin's wish that the
old state returns, so only a daemon that refuses its configuration stops it.

Generations, accounts and the configuration under /etc/mailseal stay: they are
not edits of ours to the machine.
"""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import dataclass

from mailseal.effects import write
from mailseal.journal import Entry, Journal, image_matches
from mailseal.model import FileState
from mailseal.system import Files


@dataclass(frozen=True, slots=True)
class Return:
    """What detaching does to one path: the state to write (None: it is left alone), and why."""

    path: str
    found: FileState
    wanted: FileState | None
    why: str

    def describe(self) -> str:
        verb = "leave" if self.wanted is None else ("remove" if self.wanted.kind == "absent" else "restore")
        return f"{verb} {self.path} ({self.why})"


def returns(files: Files, journal: Journal) -> tuple[Return, ...]:
    """What detaching would do, the last change first; looks and changes nothing."""
    return tuple(_return(files, journal, entry) for entry in reversed(journal.baseline()))


def hand_back(files: Files, journal: Journal, planned: Sequence[Return]) -> None:
    """Carries it out, and forgets each path once it is back."""
    done = []
    for one in planned:
        if one.wanted is None:
            continue
        if one.wanted != one.found:
            write(files, one.path, one.wanted, one.found)
        done.append(one.path)
    journal.forget(done)


def _return(files: Files, journal: Journal, entry: Entry) -> Return:
    found = files.state(entry.path)
    before = journal.state(entry.before)
    if image_matches(entry.before, found):
        return Return(entry.path, found, found, "it is as it was found")
    if image_matches(entry.after, found):
        if before.kind == "absent" and found.kind == "directory" and _occupied(files, entry.path, journal):
            return Return(entry.path, found, None, "somebody else's files are in it")
        return Return(entry.path, found, before, "as it was found")
    if found.kind == "absent":
        return Return(entry.path, found, None, "somebody removed it since")
    if found.kind == before.kind == entry.after.kind == "file":
        merged = merge(journal.state(entry.after).content, found.content, before.content)
        if merged is not None:
            kept = FileState("file", merged, "", found.mode, found.uid, found.gid)
            return Return(entry.path, found, kept, "ours taken out, what was edited since kept")
    return Return(entry.path, found, None, "it was edited since, in the same lines as ours")


def _occupied(files: Files, path: str, journal: Journal) -> bool:
    ours = {entry.path for entry in journal.baseline()}
    return any(f"{path}/{name}" not in ours for name in files.listdir(path))


def merge(ours: bytes, theirs: bytes, original: bytes) -> bytes | None:
    """Takes the change original → ours out of `theirs`, line by line; None where both touch the same lines."""
    base, edited, wanted = (text.splitlines(keepends=True) for text in (ours, theirs, original))
    undo = _changes(base, wanted)
    kept = _changes(base, edited)
    for low, high, _ in undo:
        for first, last, _ in kept:
            # Touching at one point counts too: an insertion just there may belong to what goes.
            if low <= last and first <= high:
                return None
    result: list[bytes] = []
    position = 0
    for low, high, lines in sorted((*undo, *kept), key=lambda change: change[:2]):
        result.extend(base[position:low])
        result.extend(lines)
        position = high
    result.extend(base[position:])
    return b"".join(result)


def _changes(base: list[bytes], other: list[bytes]) -> list[tuple[int, int, list[bytes]]]:
    matcher = difflib.SequenceMatcher(a=base, b=other, autojunk=False)
    return [(i1, i2, other[j1:j2]) for tag, i1, i2, j1, j2 in matcher.get_opcodes() if tag != "equal"]

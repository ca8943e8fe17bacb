"""Three texts, line by line: what we wrote, what stands there now, what stood there before us.

diff3(1) answers the question for two people who edited one file; here one of
the two is mailseal, whose part is to go. `take_out` is for handing a file
back: where the other's edit touches the same lines as ours, nobody can say
what is meant, and it says so. `rebase` is for the memory of what a file would
hold without us: there has to be an answer, and where the two overlap it is the
other's, who came last.

Pure. Lines are kept with their ends, bytes are not decoded. Does not promise
to follow lines that were moved: a line that went elsewhere is one that went
and one that came.
"""

from __future__ import annotations

import difflib
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class _Change:
    """The lines low…high of a text give way to others."""

    low: int
    high: int
    lines: tuple[bytes, ...]

    @property
    def inserts(self) -> bool:
        return self.low == self.high

    def touches(self, other: _Change) -> bool:
        """Whether they overlap, or stand so close that one may belong to the other."""
        return self.low <= other.high and other.low <= self.high

    def overlaps(self, other: _Change) -> bool:
        """Whether the same lines give way in both, or one inserts amid the lines of the other."""
        if self.inserts or other.inserts:
            return self.low < other.high and other.low < self.high and self.inserts != other.inserts
        return self.low < other.high and other.low < self.high


def take_out(ours: bytes, theirs: bytes, original: bytes) -> bytes | None:
    """Takes the change original → ours out of `theirs`; None where both touch the same lines."""
    base = ours.splitlines(keepends=True)
    undo, kept = _changes(base, original), _changes(base, theirs)
    if any(ending.touches(edit) for ending in undo for edit in kept):
        return None
    return _joined(base, undo, kept)


def rebase(ours: bytes, theirs: bytes, original: bytes) -> bytes:
    """What `theirs` would be had we never written `ours` over `original`; where the two overlap, theirs holds."""
    base = ours.splitlines(keepends=True)
    undo, kept = _changes(base, original), _changes(base, theirs)
    mended = [
        _Change(one.low, one.high, ())
        if any(one.overlaps(edit) and not edit.inserts for edit in kept)
        else one
        for one in undo
    ]
    return _joined(base, mended, kept)


def _changes(base: list[bytes], other: bytes) -> list[_Change]:
    lines = other.splitlines(keepends=True)
    matcher = difflib.SequenceMatcher(a=base, b=lines, autojunk=False)
    return [
        _Change(i1, i2, tuple(lines[j1:j2]))
        for tag, i1, i2, j1, j2 in matcher.get_opcodes()
        if tag != "equal"
    ]


def _joined(base: list[bytes], undo: list[_Change], kept: list[_Change]) -> bytes:
    """The text with both done: an insertion of theirs stands before what comes back at the same place."""
    changes = [*((c, 0 if c.inserts else 2) for c in kept), *((c, 1) for c in undo)]
    gone = {number for change, _ in changes for number in range(change.low, change.high)}
    result: list[bytes] = []
    for at in range(len(base) + 1):
        for change, _ in sorted((c for c in changes if c[0].low == at), key=lambda c: c[1]):
            result.extend(change.lines)
        if at < len(base) and at not in gone:
            result.append(base[at])
    whole = [line if line.endswith((b"\n", b"\r")) else line + b"\n" for line in result[:-1]]
    return b"".join((*whole, *result[-1:]))


__all__ = ["rebase", "take_out"]

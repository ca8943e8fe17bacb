"""A file system in memory that knows what a power loss may take: what POSIX promises, and no more.

What fsync(2) on a file covers is its content and metadata; what fsync on a
directory covers is its entries. All else sits in a cache. At a power loss
every change of an entry since the directory's last fsync is there or not, each
on its own (a rename is one change, whole or not at all, also between two
directories); a file has its content as of its last fsync, as of any write
since, or a torn write; its mode and owner as of any moment since.

That is stricter than ext4, xfs or btrfs as Debian mounts them, which order
more than they promise. `after_power_loss` gives one such state, chosen by the
caller; `power_losses` walks through them.

Methods raise `OSError` with the errno that Linux gives. Permission bits are
kept, not enforced: the one user is root. There are no hard links.
"""

from __future__ import annotations

import errno
import os
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import lru_cache
from typing import Literal, TypeVar

Kind = Literal["file", "link", "directory"]
Choose = Callable[[int], int]  # of n possibilities, 0 being the oldest and n-1 the newest
_T = TypeVar("_T")
_MOST_LINKS = 40


@dataclass(frozen=True)
class Metadata:
    """A mode and an owner."""

    mode: int
    uid: int = 0
    gid: int = 0


@dataclass
class Inode:
    """A file, link or directory; the lists hold what it was since it was last synced, oldest first."""

    number: int
    kind: Kind
    metadata: Metadata
    content: bytes = b""
    target: str = ""
    entries: dict[str, int] = field(default_factory=dict)
    modified: datetime = datetime(2026, 1, 1, tzinfo=UTC)
    unsynced_contents: list[bytes] = field(default_factory=list)
    unsynced_metadata: list[Metadata] = field(default_factory=list)

    def write(self, content: bytes) -> None:
        self.unsynced_contents.append(self.content)
        self.content = content

    def change(self, metadata: Metadata) -> None:
        self.unsynced_metadata.append(self.metadata)
        self.metadata = metadata

    def sync(self) -> None:
        self.unsynced_contents.clear()
        self.unsynced_metadata.clear()

    def survivor(self, choose: Choose) -> Inode:
        """This inode as a power loss may leave it."""
        contents = list(self.unsynced_contents)
        if contents:
            grown = self.content.startswith(contents[-1])
            kept = len(contents[-1]) if grown else 0
            contents.append(self.content[: (kept + len(self.content)) // 2])  # a torn last write
        contents.append(self.content)
        metadata = [*self.unsynced_metadata, self.metadata]
        return replace(
            self,
            content=_one_of(contents, choose),
            metadata=_one_of(metadata, choose),
            entries={},
            unsynced_contents=[],
            unsynced_metadata=[],
        )


@dataclass
class Change:
    """Entries that came or went (None) in one step, and the directories whose fsync it still waits for."""

    entries: tuple[tuple[int, str, int | None], ...]
    waits_for: set[int]


def _one_of(candidates: list[_T], choose: Choose) -> _T:
    """One of the different candidates, the last being the newest."""
    different = list(dict.fromkeys(reversed(candidates)))[::-1]
    return different[choose(len(different))] if len(different) > 1 else different[0]


@lru_cache(100_000)
def _parts(path: str) -> tuple[str, ...]:
    return tuple(part for part in path.split("/") if part)


class Disk:
    """Inodes, what is at which path now, and what would be there after a power loss."""

    def __init__(self, capacity: int = 1 << 30) -> None:
        self.capacity = capacity
        self.inodes: dict[int, Inode] = {2: Inode(2, "directory", Metadata(0o755))}
        self._durable: dict[int, dict[str, int]] = {2: {}}
        self._changes: list[Change] = []
        self._next = 3

    @property
    def root(self) -> Inode:
        return self.inodes[2]

    # Looking.

    def find(self, path: str, *, follow: bool) -> Inode:
        """The inode at an absolute path; links on the way followed, one at the end if asked for."""
        here = self.inodes[2]
        for part in _parts(path):  # the usual way, on which no link lies
            number = here.entries.get(part)
            if number is None or self.inodes[number].kind == "link":
                return self.trace(path, follow=follow)[1]
            here = self.inodes[number]
        return here

    def trace(self, path: str, *, follow: bool) -> tuple[str, Inode]:
        """The path without links, and the inode there."""
        ahead = [part for part in reversed(path.split("/")) if part not in ("", ".")]
        way: list[tuple[str, Inode]] = [("", self.root)]
        links = 0
        while ahead:
            part = ahead.pop()
            here = way[-1][1]
            if here.kind != "directory":
                raise error(errno.ENOTDIR)
            if part == "..":
                way = way[:-1] or way
                continue
            below = self.below(here, part)
            if below.kind == "link" and (ahead or follow):
                links += 1
                if links > _MOST_LINKS:
                    raise error(errno.ELOOP)
                if below.target.startswith("/"):
                    way = way[:1]
                ahead.extend(piece for piece in reversed(below.target.split("/")) if piece not in ("", "."))
            else:
                way.append((part, below))
        return "/".join(name for name, _ in way) or "/", way[-1][1]

    def below(self, directory: Inode, name: str) -> Inode:
        if name not in directory.entries:
            raise error(errno.ENOENT)
        return self.inodes[directory.entries[name]]

    def used(self) -> int:
        return sum(len(inode.content) for inode in self.inodes.values())

    # Changing.

    def new(self, directory: Inode, name: str, kind: Kind, metadata: Metadata, *, target: str = "") -> Inode:
        """A new entry; EEXIST where one is."""
        if name in directory.entries:
            raise error(errno.EEXIST)
        if len(name.encode()) > 255:
            raise error(errno.ENAMETOOLONG)
        made = Inode(self._next, kind, metadata, target=target)
        self._next += 1
        self.inodes[made.number] = made
        if kind == "directory":
            self._durable[made.number] = {}
        self._change((directory, name, made))
        return made

    def write(self, inode: Inode, content: bytes) -> None:
        if self.used() - len(inode.content) + len(content) > self.capacity:
            raise error(errno.ENOSPC)
        inode.write(content)

    def drop(self, directory: Inode, name: str, kind: Kind | None = None) -> None:
        """unlink(2), or rmdir(2) where `kind` is "directory"."""
        there = self.below(directory, name)
        if kind == "directory":
            if there.kind != "directory":
                raise error(errno.ENOTDIR)
            if there.entries:
                raise error(errno.ENOTEMPTY)
        elif there.kind == "directory":
            raise error(errno.EISDIR)
        self._change((directory, name, None))

    def move(self, source: Inode, name: str, destination: Inode, new_name: str) -> None:
        """rename(2)."""
        moved = self.below(source, name)
        if new_name in destination.entries:
            there = self.below(destination, new_name)
            if there is moved:
                return
            if there.kind == "directory" and moved.kind != "directory":
                raise error(errno.EISDIR)
            if there.kind != "directory" and moved.kind == "directory":
                raise error(errno.ENOTDIR)
            if there.entries:
                raise error(errno.ENOTEMPTY)
        self._change((destination, new_name, moved), (source, name, None))

    def _change(self, *entries: tuple[Inode, str, Inode | None]) -> None:
        change = Change(
            tuple(
                (directory.number, name, inode.number if inode else None)
                for directory, name, inode in entries
            ),
            {directory.number for directory, _, _ in entries},
        )
        self._changes.append(change)
        _apply(change, lambda number: self.inodes[number].entries)

    # Lasting.

    def sync(self, inode: Inode) -> None:
        """fsync(2) on a file or a directory."""
        inode.sync()
        for change in self._changes:
            change.waits_for.discard(inode.number)
        while self._changes and not self._changes[0].waits_for:
            _apply(self._changes.pop(0), lambda number: self._durable.setdefault(number, {}))

    def settle(self) -> None:
        """sync(2): all that stands is durable."""
        for inode in self.inodes.values():
            inode.sync()
        for change in self._changes:
            _apply(change, lambda number: self._durable.setdefault(number, {}))
        self._changes.clear()

    def rest(self) -> None:
        """What a disk does while nobody works: everything becomes durable, and what nothing leads to is freed."""
        self.settle()
        reached, ahead = {2}, [2]
        while ahead:
            below = self.inodes[ahead.pop()].entries.values()
            ahead.extend(below)
            reached.update(below)
        self.inodes = {number: inode for number, inode in self.inodes.items() if number in reached}
        self._durable = {number: entries for number, entries in self._durable.items() if number in reached}

    @property
    def dirty(self) -> bool:
        """Whether a power loss could take anything."""
        return bool(self._changes) or any(
            inode.unsynced_contents or inode.unsynced_metadata for inode in self.inodes.values()
        )

    def after_power_loss(self, choose: Choose) -> Disk:
        """One of the disks that a power loss now may leave; `choose` decides at each open question."""
        durable = {number: dict(entries) for number, entries in self._durable.items()}
        for change in self._changes:
            if not change.waits_for or choose(2):
                _apply(change, lambda number: durable.setdefault(number, {}))
        left = Disk(self.capacity)
        left._next = self._next
        left._durable = {}
        reached = [2]
        while reached:
            number = reached.pop()
            left.inodes[number] = survivor = self.inodes[number].survivor(choose)
            if survivor.kind == "directory":
                survivor.entries = dict(durable.get(number, {}))
                left._durable[number] = dict(survivor.entries)
                reached.extend(survivor.entries.values())
        return left

    def power_losses(self, most: int = 256) -> Iterator[Disk]:
        """The disks that a power loss now may leave: all where there are few, else the corners and a sample."""
        seen = 0
        script: list[int] | None = []
        while script is not None and seen < most // 2:
            run = _Script(script)
            yield self.after_power_loss(run)
            seen += 1
            script = run.following()
        if script is None:
            return
        yield self.after_power_loss(lambda n: n - 1)
        dice = random.Random(seen)
        for _ in range(most - seen - 1):
            yield self.after_power_loss(dice.randrange)


def _apply(change: Change, entries_of: Callable[[int], dict[str, int]]) -> None:
    for directory, name, inode in change.entries:
        if inode is None:
            entries_of(directory).pop(name, None)
        else:
            entries_of(directory)[name] = inode


class _Script:
    """Answers as written, then 0; knows the next script in counting order."""

    def __init__(self, answers: list[int]) -> None:
        self.answers = answers
        self.given: list[tuple[int, int]] = []

    def __call__(self, possibilities: int) -> int:
        place = len(self.given)
        answer = self.answers[place] if place < len(self.answers) else 0
        self.given.append((answer, possibilities))
        return answer

    def following(self) -> list[int] | None:
        """None after the last."""
        for place in range(len(self.given) - 1, -1, -1):
            answer, possibilities = self.given[place]
            if answer + 1 < possibilities:
                return [before for before, _ in self.given[:place]] + [answer + 1]
        return None


def error(number: int) -> OSError:
    """The OSError of an errno, of the subclass that Python gives it."""
    return OSError(number, os.strerror(number))

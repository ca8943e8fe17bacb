"""Puts carried out and taken back: the only code that changes the machine's configuration.

Before a put, the path is looked at again: where it no longer holds what the
plan saw, somebody edited underneath and nothing is written. Before an undo,
likewise: only what still holds what we wrote is restored. A directory that we
made goes away only when it is empty. An undo goes on past what it cannot
restore (a full disk takes no file, but lets others be removed) and tells it.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterable
from dataclasses import dataclass

from mailseal.errors import SystemFault
from mailseal.journal import Entry, Journal, Record, image_matches
from mailseal.model import AbsentWish, DirectoryWish, FileState, FileWish, LinkWish
from mailseal.steps import Put, after_state
from mailseal.system import Files


@dataclass(frozen=True, slots=True)
class Undone:
    """What an undo did: the paths restored, those left because somebody changed them since, those that it failed at.

    `failed` holds the path and why; whoever undoes keeps the record open then, so that the next run tries again.
    """

    restored: tuple[str, ...] = ()
    left: tuple[str, ...] = ()
    failed: tuple[tuple[str, str], ...] = ()


def require_unchanged(files: Files, put: Put) -> None:
    """Raises `SystemFault` if the path no longer holds what the plan saw."""
    if files.state(put.path) != put.before:
        raise SystemFault(
            f"{put.path} was changed by somebody else since the plan was made",
            next_command="mailseal plan, then mailseal apply",
        )


def perform_all(files: Files, puts: Iterable[Put]) -> None:
    """Carries puts out in this order, which a power loss keeps to: a file that is written finds what went before.

    Links and directories that follow each other are made durable together. Raises as `perform` does.
    """
    waiting: set[str] = set()
    for put in puts:
        light = isinstance(put.wish, LinkWish | DirectoryWish)
        if not light:
            files.sync(waiting)
            waiting.clear()
        perform(files, put, durable=not light)
        if light:
            waiting.add(posixpath.dirname(put.path))
        if isinstance(put.wish, DirectoryWish):
            waiting.add(put.path)
    files.sync(waiting)


def perform(files: Files, put: Put, *, durable: bool = True) -> None:
    """Carries one put out. Raises `SystemFault` if the path changed since the plan was made, or on any fault."""
    require_unchanged(files, put)
    write(files, put.path, after_state(put), put.before, durable=durable)


def write(files: Files, path: str, wanted: FileState, found: FileState, *, durable: bool = True) -> None:
    """Makes a path hold a state, in one rename where something stands there already.

    Without `durable`, links and directories wait for the caller's `Files.sync`.
    """
    match wanted.kind:
        case "absent":
            files.rmdir(path) if found.kind == "directory" else files.remove(path)
        case "link":
            files.symlink(path, wanted.target, durable=durable)
        case "directory":
            owner = (wanted.uid, wanted.gid)
            files.mkdir(path, mode=wanted.mode, owner=owner, exist_ok=True, durable=durable)
        case "file":
            files.replace(path, wanted.content, mode=wanted.mode, owner=(wanted.uid, wanted.gid))
        case _:
            raise SystemFault(f"{path} is neither file, link nor directory; it is left alone")


def undo(files: Files, journal: Journal, record: Record) -> Undone:
    """Takes a transaction back, the last entry first."""
    restored: list[str] = []
    left: list[str] = []
    failed: list[tuple[str, str]] = []
    for entry in reversed(record.entries):
        try:
            sweep(files, entry.path)  # an interrupt may have come amid its write
            (restored if undo_entry(files, journal, entry) else left).append(entry.path)
        except SystemFault as fault:
            failed.append((entry.path, fault.reason or fault.message))
    return Undone(tuple(restored), tuple(left), tuple(failed))


def undo_entry(files: Files, journal: Journal, entry: Entry) -> bool:
    """Restores one path; False where it holds something that we did not write."""
    now = files.state(entry.path)
    if image_matches(entry.before, now):
        return True
    if not image_matches(entry.after, now):
        return False
    if entry.before.kind == "absent" and now.kind == "directory" and files.listdir(entry.path):
        return False
    write(files, entry.path, journal.state(entry.before), now)
    return True


def sweep(files: Files, path: str) -> None:
    """Removes what a write of this path that was killed may have left beside it: a hidden, unfinished neighbour."""
    folder, name = posixpath.split(path)
    unfinished = re.compile(rf"\.{re.escape(name)}\.mailseal-[0-9a-f]+")
    for entry in files.listdir(folder):
        if unfinished.fullmatch(entry):
            files.remove(f"{folder}/{entry}")


def parents_first(puts: tuple[Put, ...], *, current_last: bool = False) -> tuple[Put, ...]:
    """Directories before what stands in them, `current` before the files that name it, removals last.

    A daemon starts children that read its configuration at any instant; so
    that none reads of a file which is not there yet, the generation goes live
    before the configuration that names it. `current_last`: the generation has
    fewer files than the one before, so it goes live after the configuration
    that still names them.
    """

    def rank(put: Put) -> tuple[int, int]:
        match put.wish:
            case DirectoryWish(path):
                return (0, path.count("/"))
            case LinkWish(path) if posixpath.basename(path) == "current":
                return (4 if current_last else 1, 0)
            case LinkWish():
                return (3, 0)
            case FileWish():
                return (2, 0)
            case AbsentWish():
                return (5, 0)

    return tuple(sorted(puts, key=rank))

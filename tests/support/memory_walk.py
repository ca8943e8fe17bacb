"""The way to a file that is written, on a disk in memory: the rules of `mailseal.system.walk` and `as_owner`."""

from __future__ import annotations

import errno
from collections.abc import Sequence

from mailseal.errors import SystemFault
from tests.support.memory_disk import Disk, Inode, error

_MOST_LINKS = 40


def parent_of(disk: Disk, uid: int, path: str, *, removing: bool = False) -> tuple[Inode, str]:
    """The directory of the path, if the user can rely on the way to it, and the last component's name."""
    parts = _parts(path)[::-1]
    if not path.startswith("/") or not parts or ".." in parts or "\0" in path:
        raise SystemFault(
            f"Will not write to {path!r}", reason="not an absolute path without ..", errno=errno.EINVAL
        )
    way, ahead, links = [disk.root], parts[-2::-1], 0
    while ahead:
        if not removing:
            _rely_on(way[-1], uid, path)
        part = ahead.pop()
        if part == "..":
            way = way[:-1] or way
            continue
        below = disk.below(way[-1], part)
        if below.kind == "directory":
            way.append(below)
            continue
        if below.kind != "link":
            raise error(errno.ENOTDIR)
        links += 1
        if links > _MOST_LINKS:
            raise error(errno.ELOOP)
        if below.metadata.uid not in (0, uid):
            raise refused(path, f"{part} is a symbolic link of user {below.metadata.uid}")
        if below.target.startswith("/"):
            way = way[:1]
        ahead.extend(_parts(below.target))
    if not removing:
        _rely_on(way[-1], uid, path)
    return way[-1], parts[-1]


def web_root(disk: Disk, root: str, below: Sequence[str]) -> Inode:
    """The directory that something is planted below; a link is followed only where only root can have made it."""
    for part in below or ("",):
        if part in ("", ".", "..") or "/" in part or "\0" in part:
            raise SystemFault(f"{part!r} is not a file name")
    here, trusted = disk.root, True
    ahead = _parts(root)
    while ahead:
        part = ahead.pop()
        trusted = trusted and here.metadata.uid == 0 and not here.metadata.mode & 0o022
        following = disk.below(here, part)
        if following.kind != "link":
            here = following
            continue
        if not trusted:
            raise refused(root, f"{part} is a symbolic link where others may write")
        ahead.extend(_parts(following.target))
        if following.target.startswith("/"):
            here = disk.root
    return here


def down(disk: Disk, here: Inode, part: str, shown: str) -> Inode:
    """One directory further, no link followed."""
    below = disk.below(here, part)
    if below.kind == "link":
        raise refused(shown, f"{part} is a symbolic link where others may write")
    if below.kind != "directory":
        raise SystemFault(f"Cannot use {shown}", reason=f"{part!r} is not a directory")
    return below


def require_own(inode: Inode, uid: int, path: str) -> None:
    """As open(2) with O_NOFOLLOW and `mailseal.system.files.own_regular` have it."""
    if inode.kind == "link":
        raise error(errno.ELOOP)
    if inode.kind == "directory":
        raise error(errno.EISDIR)
    if inode.metadata.uid not in (0, uid):
        raise SystemFault(
            f"Will not write to {path}",
            reason=f"it belongs to user {inode.metadata.uid}",
            errno=errno.EPERM,
        )


def refused(path: str, why: str) -> SystemFault:
    return SystemFault(
        f"Will not write to {path}",
        reason=f"{why}, who could put something else in its place",
        errno=errno.EPERM,
    )


def _rely_on(directory: Inode, uid: int, path: str) -> None:
    data = directory.metadata
    if data.uid not in (0, uid):
        raise refused(path, f"a directory on the way is owned by user {data.uid}")
    if not data.mode & 0o1000 and (data.mode & 0o002 or (data.mode & 0o020 and data.gid != 0)):
        raise refused(path, "others may write a directory on the way")


def _parts(path: str) -> list[str]:
    """The components, last first."""
    return [part for part in reversed(path.split("/")) if part not in ("", ".")]

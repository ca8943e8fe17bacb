"""The way to a file that is to be written, taken so that nobody else can bend it.

Whoever may rename an entry of a directory on the way, or owns a symbolic link
there, decides where a write by root really lands (symlink(7), path_resolution(7)).
So the path is walked from the root with a descriptor for each directory
(openat(2) with O_NOFOLLOW), and each is looked at through that descriptor:

- its owner is root or the user we run as; and nobody else may write it (group
  root excepted), unless the sticky bit keeps others from renaming our entries;
- a symbolic link is followed only when root or the user we run as owns it.

Promises: the descriptor that comes back is the directory that was checked,
whatever happens to the path meanwhile. `removing` lifts the first rule: what
is taken away cannot be made to do harm there, as long as no link leads away.
Does not look at the last component: the callers open it with O_NOFOLLOW.
"""

from __future__ import annotations

import errno
import os
import stat
from shlex import quote

from mailseal.errors import SystemFault

_PASSING = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_LINK = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC
_HOLDING = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_BY_OTHERS = stat.S_IWOTH | stat.S_IWGRP
_MOST_LINKS = 40  # as the kernel's own limit, path_resolution(7)


def trusted(uid: int) -> bool:
    """Whether what this user owns can be relied on: root, and whoever we run as."""
    return uid in (0, os.geteuid())


class parent_of:  # noqa: N801 - a context manager, as contextlib names its own
    """The directory of the path, walked to and opened for reading, and the last component's name.

    Raises `OSError` for what the kernel refuses, `SystemFault` for what we refuse.
    """

    __slots__ = ("_directory", "_path", "_removing")

    def __init__(self, path: str, *, removing: bool = False) -> None:
        self._path = path
        self._removing = removing

    def __enter__(self) -> tuple[int, str]:
        path = self._path
        parts = [part for part in path.split("/") if part not in ("", ".")]
        if not path.startswith("/") or not parts or ".." in parts or "\0" in path:
            raise SystemFault(
                f"Will not write to {path!r}", reason="not an absolute path without ..", errno=errno.EINVAL
            )
        walker = _Walker(path, self._removing)
        try:
            walker.descend(parts[:-1])
            self._directory = os.open(".", _HOLDING, dir_fd=walker.here)
        finally:
            os.close(walker.here)
        return self._directory, parts[-1]

    def __exit__(self, *_: object) -> None:
        os.close(self._directory)


class _Walker:
    def __init__(self, path: str, removing: bool) -> None:
        self.path = path
        self.removing = removing
        self.here = os.open("/", _PASSING)
        self.way = ""
        self.links = 0

    def descend(self, parts: list[str]) -> None:
        self._check()
        ahead = parts[::-1]
        while ahead:
            part = ahead.pop()
            try:
                below = os.open(part, _PASSING, dir_fd=self.here)
            except NotADirectoryError:
                ahead.extend(self._link(part))
                continue
            os.close(self.here)
            self.here = below
            self.way = f"{self.way}/{part}" if part != ".." else os.path.dirname(self.way)
            self._check()

    def _check(self) -> None:
        if self.removing:
            return
        found = os.fstat(self.here)
        if found.st_uid == 0 and not found.st_mode & _BY_OTHERS:
            return  # the usual case, at every step of every way
        place = self.way or "/"
        if not trusted(found.st_uid):
            self._refuse(f"{place} is owned by {_user(found.st_uid)}", f"chown root: {quote(place)}")
        if found.st_mode & stat.S_ISVTX:
            return
        if found.st_mode & stat.S_IWOTH:
            self._refuse(f"anybody may write {place}", f"chmod o-w {quote(place)}")
        if found.st_mode & stat.S_IWGRP and found.st_gid != 0:
            self._refuse(f"group {_group(found.st_gid)} may write {place}", f"chmod g-w {quote(place)}")

    def _link(self, part: str) -> list[str]:
        """The components of a symbolic link's target, last first; the walk starts anew for an absolute one."""
        link = os.open(part, _LINK, dir_fd=self.here)
        try:
            found = os.fstat(link)
            if not stat.S_ISLNK(found.st_mode):
                raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), part)
            self.links += 1
            if self.links > _MOST_LINKS:
                raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), part)
            if not trusted(found.st_uid):
                place = f"{self.way}/{part}"
                self._refuse(f"{place} is a symbolic link of {_user(found.st_uid)}", f"ls -ld {quote(place)}")
            target = os.readlink("", dir_fd=link)
        finally:
            os.close(link)
        if target.startswith("/"):
            root = os.open("/", _PASSING)
            os.close(self.here)
            self.here, self.way = root, ""
        return [piece for piece in target.split("/") if piece not in ("", ".")][::-1]

    def _refuse(self, why: str, mend: str) -> None:
        raise SystemFault(
            f"Will not write to {self.path}",
            reason=f"{why}, who could put something else in its place",
            errno=errno.EPERM,
            next_command=mend,
        )


def _user(uid: int) -> str:
    import pwd

    try:
        return f"user {pwd.getpwuid(uid).pw_name}"
    except KeyError:
        return f"user {uid}"


def _group(gid: int) -> str:
    import grp

    try:
        return grp.getgrgid(gid).gr_name
    except KeyError:
        return str(gid)

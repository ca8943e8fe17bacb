"""The files of this machine, as the port `Files` promises them.

A write is durable when it returns: the data by fsync(2) on the file, the name
by fsync on its directory. A file that replaces another is made beside it under
a hidden name with a random suffix, and takes its place by rename(2). Every
way to a file that is written is walked by `mailseal.system.walk`.

A crash between the making and the rename leaves the hidden neighbour behind
(`.NAME.mailseal-…`), complete or not; it is nobody's file and may be removed.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from typing import Literal, TypeVar

from mailseal.errors import SystemFault
from mailseal.model import FileState
from mailseal.system import Stat, as_owner, stamps
from mailseal.system.faults import file_fault
from mailseal.system.walk import parent_of, trusted

NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_READING = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK  # O_NONBLOCK: a FIFO must not hold us up
DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_CHUNK = 1 << 20

T = TypeVar("T")
Owner = tuple[int, int]
Kind = Literal["absent", "file", "link", "directory", "other"]


class LocalFiles:
    """The port `Files` on this machine."""

    def read(self, path: str, limit: int = 16_777_216) -> bytes:
        with telling("read", path):
            return _content(os.open(path, _READING), path, limit)[0]

    def state(self, path: str, limit: int = 16_777_216) -> FileState:
        with telling("read", path):
            try:
                found = os.lstat(path)
                kind = kind_of(found.st_mode)
                content, target = b"", ""
                if kind == "link":
                    target = os.readlink(path)
                elif kind == "file":
                    content, found = _content(os.open(path, _READING | os.O_NOFOLLOW), path, limit)
            except (FileNotFoundError, NotADirectoryError):
                return FileState("absent")
            return FileState(kind, content, target, stat.S_IMODE(found.st_mode), found.st_uid, found.st_gid)

    def stat(self, path: str, *, follow: bool = False) -> Stat | None:
        with telling("look at", path):
            try:
                found = os.stat(path, follow_symlinks=follow)
            except (FileNotFoundError, NotADirectoryError):
                return None
            return Stat(
                kind=kind_of(found.st_mode),
                mode=stat.S_IMODE(found.st_mode),
                uid=found.st_uid,
                gid=found.st_gid,
                size=found.st_size,
                mtime=datetime.fromtimestamp(found.st_mtime, UTC),
                inode=found.st_ino,
            )

    def stamp(self, paths: Iterable[str]) -> int:
        return stamps.stamp(paths)

    def listdir(self, path: str) -> tuple[str, ...]:
        with telling("list", path):
            try:
                return tuple(sorted(os.listdir(path)))
            except (FileNotFoundError, NotADirectoryError):
                return ()

    def resolve(self, path: str) -> str:
        with telling("resolve", path):
            try:
                return os.path.realpath(path, strict=True)
            except FileNotFoundError:
                return os.path.realpath(path)

    def create(self, path: str, content: bytes, *, mode: int, owner: Owner | None = None) -> None:
        with telling("create", path), parent_of(path) as (directory, name):
            _born(directory, name, content, mode, owner)
            sync_directory(directory)

    def replace(self, path: str, content: bytes, *, mode: int, owner: Owner | None = None) -> None:
        with telling("write", path), parent_of(path) as (directory, name):
            temporary = _neighbour(name)
            _born(directory, temporary, content, mode, owner)
            _take_place(directory, temporary, name)

    def append(self, path: str, content: bytes, *, mode: int = 0o600) -> None:
        with telling("append to", path), parent_of(path) as (directory, name):
            flags = os.O_WRONLY | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
            try:
                file = os.open(name, flags, dir_fd=directory)
            except FileNotFoundError:
                _born(directory, name, content, mode, None)
                sync_directory(directory)
                return
            try:
                own_regular(file, path)
                _write_all_or_nothing(file, content)
            finally:
                os.close(file)

    def symlink(self, path: str, target: str, *, durable: bool = True) -> None:
        with telling("link", path), parent_of(path) as (directory, name):
            if not _stands(directory, name):
                os.symlink(target, name, dir_fd=directory)  # appears whole by itself
                if durable:
                    sync_directory(directory)
                return
            temporary = _neighbour(name)
            os.symlink(target, temporary, dir_fd=directory)
            _take_place(directory, temporary, name, durable=durable)

    def mkdir(
        self,
        path: str,
        *,
        mode: int,
        owner: Owner | None = None,
        exist_ok: bool = False,
        durable: bool = True,
    ) -> None:
        with telling("make", path), parent_of(path) as (directory, name):
            try:
                os.mkdir(name, 0o700, dir_fd=directory)
            except FileExistsError:
                if exist_ok and stat.S_ISDIR(os.lstat(name, dir_fd=directory).st_mode):
                    return
                raise
            try:
                made = os.open(name, DIRECTORY, dir_fd=directory)
                try:
                    settle(made, mode, owner)
                    if durable:
                        sync_directory(made)
                finally:
                    os.close(made)
            except BaseException:
                os.rmdir(name, dir_fd=directory)
                raise
            if durable:
                sync_directory(directory)

    def sync(self, directories: Iterable[str]) -> None:
        from mailseal.system import trees

        trees.sync_directories(sorted(set(directories)))

    def create_tree(self, path: str, contents: Mapping[str, bytes], *, mode: int) -> None:
        from mailseal.system import trees

        with telling("create", path), parent_of(path) as (directory, name):
            if _stands(directory, name):
                raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST))
            temporary = _neighbour(name)
            trees.born(directory, temporary, contents, mode)
            try:
                os.rename(temporary, name, src_dir_fd=directory, dst_dir_fd=directory)
            except BaseException:
                remove_below(directory, temporary)
                raise
            sync_directory(directory)

    async def aside(self, work: Callable[[], T]) -> T:
        import asyncio

        running = asyncio.get_running_loop().run_in_executor(None, work)
        try:
            return await asyncio.shield(running)
        except asyncio.CancelledError:
            await asyncio.wait([running])
            raise

    def rename(self, source: str, destination: str) -> None:
        with (
            telling("rename", f"{source} to {destination}", mend_at=destination),
            parent_of(source) as (source_directory, source_name),
            parent_of(destination) as (directory, name),
        ):
            os.rename(source_name, name, src_dir_fd=source_directory, dst_dir_fd=directory)
            sync_directory(directory)
            if not os.path.sameopenfile(source_directory, directory):
                sync_directory(source_directory)

    def remove(self, path: str, *, durable: bool = True) -> None:
        with (
            telling("remove", path),
            suppress(FileNotFoundError),
            parent_of(path, removing=True) as (directory, name),
        ):
            os.unlink(name, dir_fd=directory)
            if durable:
                sync_directory(directory)

    def rmdir(self, path: str) -> None:
        with telling("remove", path), parent_of(path, removing=True) as (directory, name):
            os.rmdir(name, dir_fd=directory)
            sync_directory(directory)

    def remove_tree(self, path: str, *, durable: bool = True) -> None:
        with (
            telling("remove", path),
            suppress(FileNotFoundError),
            parent_of(path, removing=True) as (directory, name),
        ):
            remove_below(directory, name)
            if durable:
                sync_directory(directory)

    def plant(self, root: str, below: Sequence[str], content: bytes, *, whole: bool = False) -> int:
        return as_owner.plant(root, below, content, whole=whole)

    def uproot(self, root: str, below: Sequence[str], *, directories: int = 0) -> None:
        as_owner.uproot(root, below, directories=directories)

    def free_bytes(self, path: str) -> int:
        with telling("look at", path):
            place = path
            while True:
                try:
                    found = os.statvfs(place)
                    return found.f_bavail * found.f_frsize
                except FileNotFoundError:
                    if place == "/":
                        raise
                    place = os.path.dirname(place)


def kind_of(mode: int) -> Kind:
    """The word for a file's type, as in `FileState`."""
    if stat.S_ISREG(mode):
        return "file"
    if stat.S_ISLNK(mode):
        return "link"
    return "directory" if stat.S_ISDIR(mode) else "other"


def own_regular(file: int, path: str) -> None:
    """Refuses an open file that is not a regular one, or that somebody else put there."""
    found = os.fstat(file)
    if not stat.S_ISREG(found.st_mode):
        raise SystemFault(f"Will not write to {path}", reason="it is not a regular file", errno=errno.EINVAL)
    if not trusted(found.st_uid):
        raise SystemFault(
            f"Will not write to {path}",
            reason=f"it belongs to user {found.st_uid}",
            errno=errno.EPERM,
            next_command=f"ls -l {path}",
        )


class telling:  # noqa: N801 - a context manager, as contextlib names its own
    """Turns the kernel's refusals into `SystemFault`. A class, as it is entered at every touch of a file."""

    __slots__ = ("_action", "_mend_at", "_path")

    def __init__(self, action: str, path: str, *, mend_at: str = "") -> None:
        self._action, self._path, self._mend_at = action, path, mend_at

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: object) -> None:
        if isinstance(error, OSError):
            raise file_fault(self._action, self._path, error, mend_at=self._mend_at) from error
        if isinstance(error, ValueError):  # a NUL in a path
            told = f"Cannot {self._action} {self._path!r}"
            raise SystemFault(told, reason=str(error), errno=errno.EINVAL) from error


def _content(file: int, path: str, limit: int) -> tuple[bytes, os.stat_result]:
    """All of an open file, and its metadata; closes it."""
    try:
        found = os.fstat(file)
        if stat.S_ISDIR(found.st_mode):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        if not stat.S_ISREG(found.st_mode):
            raise SystemFault(f"Will not read {path}", reason="it is not a regular file", errno=errno.EINVAL)
        pieces: list[bytes] = []
        left = limit + 1
        while left > 0 and (piece := os.read(file, min(left, _CHUNK))):
            pieces.append(piece)
            left -= len(piece)
        if left <= 0:
            raise SystemFault(
                f"Will not read {path}", reason=f"it has more than {limit} bytes", errno=errno.EFBIG
            )
        return b"".join(pieces), found
    finally:
        os.close(file)


def _neighbour(name: str) -> str:
    return f".{name[:200]}.mailseal-{os.urandom(8).hex()}"


def _born(directory: int, name: str, content: bytes, mode: int, owner: Owner | None) -> None:
    """A new file, whole and synced, or none."""
    file = os.open(name, NEW, 0o600, dir_fd=directory)
    try:
        try:
            write(file, content)
            settle(file, mode, owner)
            os.fsync(file)
        finally:
            os.close(file)
    except BaseException:
        _forget(directory, name)
        raise


def settle(file: int, mode: int, owner: Owner | None) -> None:
    """Owner first: whoever gets the file must not have had it wider, and chown(2) clears set-id bits."""
    found = os.fstat(file)
    if owner is not None and owner != (found.st_uid, found.st_gid):
        os.fchown(file, *owner)
    if stat.S_IMODE(found.st_mode) != mode or owner is not None:
        os.fchmod(file, mode)


def write(file: int, content: bytes) -> None:
    rest = memoryview(content)
    while rest:
        rest = rest[os.write(file, rest) :]


def _write_all_or_nothing(file: int, content: bytes) -> None:
    """Appends and syncs; a part that was written before a failure is cut off again."""
    before = os.fstat(file).st_size
    try:
        write(file, content)
        os.fsync(file)
    except BaseException:
        os.ftruncate(file, before)
        raise


def _stands(directory: int, name: str) -> bool:
    try:
        os.lstat(name, dir_fd=directory)
    except FileNotFoundError:
        return False
    return True


def _take_place(directory: int, temporary: str, name: str, *, durable: bool = True) -> None:
    try:
        os.rename(temporary, name, src_dir_fd=directory, dst_dir_fd=directory)
    except BaseException:
        _forget(directory, temporary)
        raise
    if durable:
        sync_directory(directory)


def _forget(directory: int, name: str) -> None:
    try:
        os.unlink(name, dir_fd=directory)
    except OSError:
        return  # the failure that led here is the one to tell


def sync_directory(directory: int) -> None:
    try:
        os.fsync(directory)
    except OSError as error:
        if error.errno != errno.EINVAL:  # a file system that knows no fsync of directories
            raise


def remove_below(directory: int, name: str) -> None:
    here = os.open(name, DIRECTORY, dir_fd=directory)
    try:
        with os.scandir(here) as entries:
            found = [(entry.name, entry.is_dir(follow_symlinks=False)) for entry in entries]
        for below, is_directory in found:
            if is_directory:
                remove_below(here, below)
            else:
                os.unlink(below, dir_fd=here)
    finally:
        os.close(here)
    os.rmdir(name, dir_fd=directory)

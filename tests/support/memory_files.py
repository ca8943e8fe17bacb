"""The port `Files` on a disk in memory, call by call as `mailseal.system.files` does it on a real one."""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import datetime
from typing import Protocol, TypeVar
from zlib import crc32

from mailseal.errors import SystemFault
from mailseal.model import FileState
from mailseal.system import Stat
from mailseal.system.faults import file_fault
from tests.support.memory_disk import Disk, Inode, Metadata, error
from tests.support.memory_effects import Fault
from tests.support.memory_walk import down, parent_of, require_own, web_root

T = TypeVar("T")
Owner = tuple[int, int]


class Body(Protocol):
    """The process that the files are seen by."""

    uid: int

    @property
    def disk(self) -> Disk: ...

    def alive(self) -> None:
        """Raises `Dead` if it is not."""
        ...

    def effect(self, kind: str, subject: str) -> Fault | None:
        """Writes the effect down; raises what goes wrong, but returns a fault that tears a write."""
        ...

    def now(self) -> datetime: ...

    def token(self) -> str: ...


class MemoryFiles:
    """The port `Files` in memory."""

    def __init__(self, body: Body) -> None:
        self._body = body

    def read(self, path: str, limit: int = 16_777_216) -> bytes:
        with self._telling("read", path):
            inode = self._find(path, follow=True)
            if inode.kind == "directory":
                raise error(errno.EISDIR)
            return _within(inode.content, path, limit)

    def state(self, path: str, limit: int = 16_777_216) -> FileState:
        with self._telling("read", path):
            try:
                inode = self._find(path, follow=False)
            except (FileNotFoundError, NotADirectoryError):
                return FileState("absent")
            data = inode.metadata
            content = _within(inode.content, path, limit)
            mode = 0o777 if inode.kind == "link" else data.mode
            return FileState(inode.kind, content, inode.target, mode, data.uid, data.gid)

    def stat(self, path: str, *, follow: bool = False) -> Stat | None:
        with self._telling("look at", path):
            try:
                inode = self._find(path, follow=follow)
            except (FileNotFoundError, NotADirectoryError):
                return None
            data = inode.metadata
            size = len(inode.content) or len(inode.target)
            return Stat(inode.kind, data.mode, data.uid, data.gid, size, inode.modified, inode.number)

    def stamp(self, paths: Iterable[str]) -> int:
        found = []
        for path in paths:
            state = self.state(path)
            inode = self._find(path, follow=False) if state.kind != "absent" else None
            found.append((state, state.content, inode and (inode.number, sorted(inode.entries.items()))))
        return 1 + crc32(repr(found).encode())

    def listdir(self, path: str) -> tuple[str, ...]:
        with self._telling("list", path):
            try:
                inode = self._find(path, follow=True)
            except (FileNotFoundError, NotADirectoryError):
                return ()
            return tuple(sorted(inode.entries))

    def resolve(self, path: str) -> str:
        with self._telling("resolve", path):
            self._body.alive()
            missing: list[str] = []
            while True:
                try:
                    found = self._body.disk.trace(path, follow=True)[0]
                    return "/".join([found.rstrip("/"), *reversed(missing)]) or "/"
                except FileNotFoundError:
                    path, _, name = path.rstrip("/").rpartition("/")
                    missing.append(name)

    def create(self, path: str, content: bytes, *, mode: int, owner: Owner | None = None) -> None:
        with self._telling("create", path):
            directory, name = self._parent(path)
            self._born(directory, name, path, content, mode, owner)
            self._sync(directory, _above(path))

    def replace(self, path: str, content: bytes, *, mode: int, owner: Owner | None = None) -> None:
        with self._telling("write", path):
            directory, _ = self._parent(path)
            temporary = self._neighbour(path)
            self._born(directory, _last(temporary), temporary, content, mode, owner)
            self._take_place(directory, temporary, path)

    def append(self, path: str, content: bytes, *, mode: int = 0o600) -> None:
        with self._telling("append to", path):
            directory, name = self._parent(path)
            if name not in directory.entries:
                self._born(directory, name, path, content, mode, None)
                self._sync(directory, _above(path))
                return
            inode = self._body.disk.below(directory, name)
            require_own(inode, self._body.uid, path)
            before = inode.content
            try:
                self._write(inode, path, before + content)
                self._sync(inode, path)
            except OSError:
                inode.write(before)
                raise

    def symlink(self, path: str, target: str, *, durable: bool = True) -> None:
        with self._telling("link", path):
            directory, name = self._parent(path)
            stands = name in directory.entries
            born = self._neighbour(path) if stands else path
            self._body.effect("symlink", born)
            self._body.disk.new(directory, _last(born), "link", self._mine(0o777), target=target)
            if stands:
                self._take_place(directory, born, path, durable=durable)
            elif durable:
                self._sync(directory, _above(path))

    def mkdir(
        self,
        path: str,
        *,
        mode: int,
        owner: Owner | None = None,
        exist_ok: bool = False,
        durable: bool = True,
    ) -> None:
        with self._telling("make", path):
            directory, name = self._parent(path)
            there = directory.entries.get(name)
            if there is not None and exist_ok and self._body.disk.inodes[there].kind == "directory":
                return
            self._body.effect("mkdir", path)
            made = self._body.disk.new(directory, name, "directory", self._mine(0o700))
            made.modified = self._body.now()
            try:
                self._settle(made, path, mode, owner)
                if durable:
                    self._sync(made, path)
            except OSError:
                self._forget(directory, path, self._body.disk, directory_too=True)
                raise
            if durable:
                self._sync(directory, _above(path))

    def sync(self, directories: Iterable[str]) -> None:
        for path in sorted(set(directories)):
            with self._telling("write", path):
                found = self._find(path, follow=False)
                if found.kind != "directory":
                    raise error(errno.ENOTDIR)
                self._sync(found, path)

    def create_tree(self, path: str, contents: Mapping[str, bytes], *, mode: int) -> None:
        with self._telling("create", path):
            directory, name = self._parent(path)
            if name in directory.entries:
                raise error(errno.EEXIST)
            temporary = self._neighbour(path)
            self._tree(directory, temporary, contents, mode)
            try:
                self._body.effect("rename", f"{temporary} -> {path}")
                self._body.disk.move(directory, _last(temporary), directory, name)
            except OSError:
                self._remove_below(directory, _last(temporary), temporary)
                raise
            self._sync(directory, _above(path))

    def _tree(self, directory: Inode, path: str, contents: Mapping[str, bytes], mode: int) -> None:
        disk = self._body.disk
        self._body.effect("mkdir", path)
        folders = {"": (disk.new(directory, _last(path), "directory", self._mine(0o700)), path)}
        files = []
        try:
            for below, content in contents.items():
                folder, _, last = below.rpartition("/")
                here, place = self._folder(folders, folder)
                self._body.effect("create", f"{place}/{last}")
                made = disk.new(here, last, "file", self._mine(0o600))
                self._write(made, f"{place}/{last}", content)
                self._settle(made, f"{place}/{last}", mode, None)
                files.append((made, f"{place}/{last}"))
            for inode, place in (*files, *folders.values()):
                self._sync(inode, place)
        except OSError:
            self._remove_below(directory, _last(path), path)
            raise

    def _folder(self, folders: dict[str, tuple[Inode, str]], folder: str) -> tuple[Inode, str]:
        if folder not in folders:
            above, _, last = folder.rpartition("/")
            here, place = self._folder(folders, above)
            self._body.effect("mkdir", f"{place}/{last}")
            made = self._body.disk.new(here, last, "directory", self._mine(0o700))
            folders[folder] = (made, f"{place}/{last}")
        return folders[folder]

    async def aside(self, work: Callable[[], T]) -> T:
        return work()

    def rename(self, source: str, destination: str) -> None:
        with self._telling("rename", f"{source} to {destination}", mend_at=destination):
            old, name = self._parent(source)
            new, new_name = self._parent(destination)
            if name not in old.entries:
                raise error(errno.ENOENT)
            self._body.effect("rename", f"{source} -> {destination}")
            self._body.disk.move(old, name, new, new_name)
            self._sync(new, _above(destination))
            if old is not new:
                self._sync(old, _above(source))

    def remove(self, path: str, *, durable: bool = True) -> None:
        with self._telling("remove", path), _nothing_is_fine():
            directory, name = self._parent(path, removing=True)
            self._body.disk.below(directory, name)
            self._body.effect("unlink", path)
            self._body.disk.drop(directory, name)
            if durable:
                self._sync(directory, _above(path))

    def rmdir(self, path: str) -> None:
        with self._telling("remove", path):
            directory, name = self._parent(path, removing=True)
            self._body.disk.below(directory, name)
            self._body.effect("rmdir", path)
            self._body.disk.drop(directory, name, "directory")
            self._sync(directory, _above(path))

    def remove_tree(self, path: str, *, durable: bool = True) -> None:
        with self._telling("remove", path), _nothing_is_fine():
            directory, name = self._parent(path, removing=True)
            self._remove_below(directory, name, path)
            if durable:
                self._sync(directory, _above(path))

    def plant(self, root: str, below: Sequence[str], content: bytes, *, whole: bool = False) -> int:
        shown = "/".join((root.rstrip("/"), *below))
        with self._telling("write", shown):
            here, made = self._web_root(root, below), 0
            disk = self._body.disk
            for depth, part in enumerate(below[:-1], 1):
                if part not in here.entries:
                    self._body.effect("mkdir", "/".join((root.rstrip("/"), *below[:depth])))
                    disk.new(here, part, "directory", replace(here.metadata, mode=0o755))
                    made += 1
                here = down(self._body.disk, here, part, shown)
            if below[-1] in here.entries and not whole:
                self._body.effect("unlink", shown)
                disk.drop(here, below[-1])
            self._body.effect("create", shown)
            if whole and below[-1] in here.entries:
                disk.drop(here, below[-1])
            new = disk.new(here, below[-1], "file", replace(here.metadata, mode=0o644))
            self._write(new, shown, content)
            return made

    def uproot(self, root: str, below: Sequence[str], *, directories: int = 0) -> None:
        shown = "/".join((root.rstrip("/"), *below))
        with self._telling("remove", shown), _nothing_is_fine():
            way = [self._web_root(root, below)]
            for part in below[:-1]:
                way.append(down(self._body.disk, way[-1], part, shown))
            if below[-1] in way[-1].entries:
                self._body.effect("unlink", shown)
                self._body.disk.drop(way[-1], below[-1])
            for depth in range(len(below) - 2, len(below) - 2 - directories, -1):
                if way[depth + 1].entries:
                    return
                self._body.effect("rmdir", "/".join((root.rstrip("/"), *below[: depth + 1])))
                self._body.disk.drop(way[depth], below[depth], "directory")

    def free_bytes(self, path: str) -> int:
        self._body.alive()
        return self._body.disk.capacity - self._body.disk.used()

    # The calls.

    def _find(self, path: str, *, follow: bool) -> Inode:
        self._body.alive()
        if not path.startswith("/"):
            raise SystemFault(f"{path!r} is not an absolute path", errno=errno.EINVAL)
        return self._body.disk.find(path, follow=follow)

    def _born(
        self, directory: Inode, name: str, path: str, content: bytes, mode: int, owner: Owner | None
    ) -> None:
        self._body.effect("create", path)
        inode = self._body.disk.new(directory, name, "file", self._mine(0o600))
        try:
            self._write(inode, path, content)
            self._settle(inode, path, mode, owner)
            self._sync(inode, path)
        except OSError:
            self._forget(directory, path, self._body.disk)
            raise

    def _write(self, inode: Inode, path: str, content: bytes) -> None:
        torn = self._body.effect("write", path)
        inode.modified = self._body.now()
        if torn is not None:
            self._body.disk.write(inode, content[: (len(inode.content) + len(content)) // 2])
            raise torn.error
        self._body.disk.write(inode, content)

    def _settle(self, inode: Inode, path: str, mode: int, owner: Owner | None) -> None:
        if owner is not None and owner != (inode.metadata.uid, inode.metadata.gid):
            self._body.effect("chown", path)
            inode.change(replace(inode.metadata, uid=owner[0], gid=owner[1]))
        if inode.metadata.mode != mode:
            self._body.effect("chmod", path)
            inode.change(replace(inode.metadata, mode=mode))

    def _sync(self, inode: Inode, path: str) -> None:
        self._body.effect("fsync", path)
        self._body.disk.sync(inode)

    def _take_place(self, directory: Inode, temporary: str, path: str, *, durable: bool = True) -> None:
        try:
            self._body.effect("rename", f"{temporary} -> {path}")
            self._body.disk.move(directory, _last(temporary), directory, _last(path))
        except OSError:
            self._forget(directory, temporary, self._body.disk)
            raise
        if durable:
            self._sync(directory, _above(path))

    def _forget(self, directory: Inode, path: str, disk: Disk, *, directory_too: bool = False) -> None:
        with suppress(OSError):
            self._body.effect("rmdir" if directory_too else "unlink", path)
            disk.drop(directory, _last(path), "directory" if directory_too else None)

    def _remove_below(self, directory: Inode, name: str, path: str) -> None:
        disk = self._body.disk
        here = disk.below(directory, name)
        if here.kind != "directory":
            raise error(errno.ENOTDIR)
        for below in sorted(here.entries):
            if disk.below(here, below).kind == "directory":
                self._remove_below(here, below, f"{path}/{below}")
            else:
                self._body.effect("unlink", f"{path}/{below}")
                disk.drop(here, below)
        self._body.effect("rmdir", path)
        disk.drop(directory, name, "directory")

    def _neighbour(self, path: str) -> str:
        return f"{_above(path).rstrip('/')}/.{_last(path)[:200]}.mailseal-{self._body.token()}"

    def _mine(self, mode: int) -> Metadata:
        return Metadata(mode, self._body.uid, self._body.uid)

    def _parent(self, path: str, *, removing: bool = False) -> tuple[Inode, str]:
        self._body.alive()
        return parent_of(self._body.disk, self._body.uid, path, removing=removing)

    def _web_root(self, root: str, below: Sequence[str]) -> Inode:
        self._body.alive()
        return web_root(self._body.disk, root, below)

    @contextmanager
    def _telling(self, action: str, path: str, *, mend_at: str = "") -> Iterator[None]:
        try:
            yield
        except OSError as refused:
            raise file_fault(action, path, refused, mend_at=mend_at) from refused


@contextmanager
def _nothing_is_fine() -> Iterator[None]:
    try:
        yield
    except FileNotFoundError:
        return


def _within(content: bytes, path: str, limit: int) -> bytes:
    if len(content) > limit:
        raise SystemFault(
            f"Will not read {path}", reason=f"it has more than {limit} bytes", errno=errno.EFBIG
        )
    return content


def _above(path: str) -> str:
    return path.rstrip("/").rpartition("/")[0] or "/"


def _last(path: str) -> str:
    return path.rstrip("/").rpartition("/")[2]

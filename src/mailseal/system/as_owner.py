"""Public files below directories that belong to somebody else (`Files.plant` and `Files.uproot`).

A web root is often owned by the web server's user, who could put a symbolic
link in the place of any component while root walks past it (CWE-59, CWE-367).
Two defences, each sufficient on its own against what the other might miss:

- The path is walked by descriptors (openat(2) with O_NOFOLLOW), never by its
  text again. A link is followed only if root owns every directory that led to
  it and nobody else may write there: then only root can have made it.
- What is created or removed is so with the file-system identity of the
  directory's owner (setfsuid(2), which also takes root's override of
  permissions away for this thread), so a trick gains its author nothing that
  was not theirs already.

Files are made with O_EXCL and 0644 (what stood there is unlinked, never opened), directories
with 0755. Nothing is synced: what is planted here is worth nothing after a crash.
"""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterator, Sequence

from mailseal.errors import SystemFault

MOST_LINKS = 16
_WALK = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC


def plant(root: str, below: Sequence[str], content: bytes, *, whole: bool = False) -> int:
    """Makes the file, with `whole` beside its place and then moved there in one rename.

    Returns how many directories had to be made for it. Raises `SystemFault`.
    """
    *directories, name = _checked(below)
    shown = "/".join((root.rstrip("/"), *below))
    made = 0
    with _faults("write", shown), contextlib.ExitStack() as stack:
        fd = _opened_root(root, stack)
        for component in directories:
            made += _make_directory(fd, component)
            fd = _down(fd, component, shown, stack)
        if not whole:
            _filled(fd, name, content)
            return made
        beside = f".{name[:200]}.mailseal-{os.urandom(8).hex()}"
        try:
            _filled(fd, beside, content)
            with _as_owner(fd):
                os.rename(beside, name, src_dir_fd=fd, dst_dir_fd=fd)
        except BaseException:
            with _as_owner(fd), contextlib.suppress(OSError):
                os.unlink(beside, dir_fd=fd)
            raise
    return made


def _filled(fd: int, name: str, content: bytes) -> None:
    with _as_owner(fd):
        new = _new_file(fd, name)
    try:
        os.fchmod(new, 0o644)  # whatever the umask
        view = memoryview(content)
        while view:
            view = view[os.write(new, view) :]
    finally:
        os.close(new)


def _new_file(fd: int, name: str) -> int:
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        return os.open(name, flags, 0o644, dir_fd=fd)
    except FileExistsError:
        # Left behind by a run that was killed. Never written into: it may be a link by now.
        os.unlink(name, dir_fd=fd)
        return os.open(name, flags, 0o644, dir_fd=fd)


def uproot(root: str, below: Sequence[str], *, directories: int = 0) -> None:
    """Takes the file away, and the innermost `directories` as far as they are empty. Raises `SystemFault`."""
    *parents, name = _checked(below)
    shown = "/".join((root.rstrip("/"), *below))
    with _faults("remove", shown), contextlib.ExitStack() as stack:
        try:
            chain = [_opened_root(root, stack)]
            for component in parents:
                chain.append(_down(chain[-1], component, shown, stack))
        except FileNotFoundError:
            return
        with _as_owner(chain[-1]), contextlib.suppress(FileNotFoundError):
            os.unlink(name, dir_fd=chain[-1])
        for depth in range(len(parents) - 1, len(parents) - 1 - directories, -1):
            try:
                with _as_owner(chain[depth]):
                    os.rmdir(parents[depth], dir_fd=chain[depth])
            except OSError:  # not empty: somebody else uses it too
                break


def _checked(below: Sequence[str]) -> list[str]:
    for component in below:
        if component in ("", ".", "..") or "/" in component or "\0" in component:
            raise SystemFault(f"{component!r} is not a file name")
    if not below:
        raise SystemFault("A file needs a name")
    return list(below)


@contextlib.contextmanager
def _faults(verb: str, shown: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise SystemFault(
            f"Cannot {verb} {shown}", reason=error.strerror or str(error), errno=error.errno
        ) from error


def _only_root_writes(fd: int) -> bool:
    seen = os.fstat(fd)
    return seen.st_uid == 0 and not seen.st_mode & 0o022


def _opened_root(root: str, stack: contextlib.ExitStack) -> int:
    """The directory at an absolute path, each component opened from the one before."""
    if not root.startswith("/"):
        raise SystemFault(f"{root!r} is not an absolute path")
    parts = [part for part in reversed(root.split("/")) if part not in ("", ".")]
    fd, trusted, links = _slash(stack), True, 0
    while parts:
        component = parts.pop()
        trusted = trusted and _only_root_writes(fd)
        following = os.open(component, _WALK, dir_fd=fd)
        stack.callback(os.close, following)
        if not stat.S_ISLNK(os.fstat(following).st_mode):
            fd = following
            continue
        links += 1
        if not trusted:
            raise _refused(root, component)
        if links > MOST_LINKS:
            raise SystemFault(f"Too many symbolic links on the way to {root}")
        target = os.readlink("", dir_fd=following)
        parts.extend(part for part in reversed(target.split("/")) if part not in ("", "."))
        if target.startswith("/"):
            fd = _slash(stack)
    return fd


def _slash(stack: contextlib.ExitStack) -> int:
    fd = os.open("/", _WALK | os.O_DIRECTORY)
    stack.callback(os.close, fd)
    return fd


def _down(fd: int, component: str, shown: str, stack: contextlib.ExitStack) -> int:
    following = os.open(component, _WALK, dir_fd=fd)
    stack.callback(os.close, following)
    mode = os.fstat(following).st_mode
    if stat.S_ISLNK(mode):
        raise _refused(shown, component)
    if not stat.S_ISDIR(mode):
        raise SystemFault(f"Cannot use {shown}", reason=f"{component!r} is not a directory")
    return following


def _refused(path: str, component: str) -> SystemFault:
    return SystemFault(
        f"Will not follow the symbolic link {component!r} on the way to {path}",
        reason="it stands where somebody other than root can write, and could be turned elsewhere at any moment",
        next_command="Name the directory that the link points to, or use the way over Apache",
    )


def _make_directory(fd: int, component: str) -> int:
    """Makes a directory if nothing stands there; 1 if it was made."""
    with _as_owner(fd):
        try:
            os.mkdir(component, 0o755, dir_fd=fd)
        except FileExistsError:
            return 0
        made = os.open(component, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=fd)
        try:
            # A strict umask would hide it from the web server. Only what is surely the one just made:
            # empty and its maker's own.
            if os.fstat(made).st_uid == _identity(fd)[0] and not os.listdir(made):
                os.fchmod(made, 0o755)
        finally:
            os.close(made)
    return 1


def _identity(fd: int) -> tuple[int, int]:
    """With whose rights this process will write into the directory: its owner's if it may take them."""
    if os.geteuid() != 0:
        return os.geteuid(), os.getegid()
    seen = os.fstat(fd)
    return seen.st_uid, seen.st_gid


@contextlib.contextmanager
def _as_owner(fd: int) -> Iterator[None]:
    """File access of this thread with the identity of the directory's owner, until the block ends."""
    uid, gid = _identity(fd)
    if uid == os.geteuid():
        yield
        return
    import ctypes

    libc = ctypes.CDLL(None)
    unchanged = ctypes.c_uint(0xFFFFFFFF)
    libc.setfsgid(ctypes.c_uint(gid))
    libc.setfsuid(ctypes.c_uint(uid))
    try:
        if libc.setfsuid(unchanged) != uid or libc.setfsgid(unchanged) != gid:
            raise SystemFault(f"Cannot take the rights of user {uid}, who owns the directory")
        yield
    finally:
        libc.setfsuid(ctypes.c_uint(0))
        libc.setfsgid(ctypes.c_uint(0))

"""The lock that keeps two mailseals apart: flock(2) on a file.

The kernel lets go of it when the holder ends, however it ends, so no lock is
ever stale. The file stays where it is; its text (pid, since when, command) is
only for the message to whoever comes second, and is believed only as that.
The lock is for those who take it: it keeps nobody from editing files.
"""

from __future__ import annotations

import fcntl
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from shlex import join, quote

from mailseal.errors import UNCHANGED, Locked
from mailseal.system.faults import file_fault
from mailseal.system.files import own_regular
from mailseal.system.walk import parent_of

_FLAGS = os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
_PAUSE = 0.05  # seconds between two looks at a lock that is held


@contextmanager
def locked(path: str, *, wait: float = 0.0) -> Iterator[None]:
    """Holds the lock; raises `Locked` when another still has it after `wait` seconds, `SystemFault` for the rest."""
    file = _acquire(path, time.monotonic() + wait)
    try:
        yield
    finally:
        os.ftruncate(file, 0)
        os.close(file)


def _acquire(path: str, deadline: float) -> int:
    while True:
        try:
            with parent_of(path) as (directory, name):
                file = _open(directory, name, path)
                try:
                    got = _try(file) and _is_still(directory, name, file)
                    if got:
                        _sign(file)
                        return file
                    holder = _holder(file)
                except BaseException:
                    os.close(file)
                    raise
                os.close(file)
        except OSError as error:
            raise file_fault("lock", path, error) from error
        if time.monotonic() >= deadline:
            raise held_by_another(path, *holder)
        time.sleep(_PAUSE)


def _open(directory: int, name: str, path: str) -> int:
    """Made anew, or opened where it stands.

    Apart, because the kernel refuses O_CREAT on another's file in a sticky
    directory (fs.protected_regular), and we want to say whose it is.
    """
    try:
        return os.open(name, _FLAGS | os.O_CREAT | os.O_EXCL, 0o600, dir_fd=directory)
    except FileExistsError:
        file = os.open(name, _FLAGS, dir_fd=directory)
    try:
        own_regular(file, path)
    except BaseException:
        os.close(file)
        raise
    return file


def _try(file: int) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _is_still(directory: int, name: str, file: int) -> bool:
    """Whether the file that we locked is the one that stands at the path: somebody may have cleaned up."""
    try:
        return os.path.samestat(os.stat(name, dir_fd=directory, follow_symlinks=False), os.fstat(file))
    except FileNotFoundError:
        return False


def _sign(file: int) -> None:
    command = join([os.path.basename(sys.argv[0] or "mailseal"), *sys.argv[1:]])
    since = datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    os.ftruncate(file, 0)
    os.pwrite(file, f"{os.getpid()}\n{since}\n{command}\n".encode("utf-8", "replace"), 0)


def _holder(file: int) -> tuple[str, str, str]:
    """Pid, since when, command, as the holder wrote them; empty where it has not yet."""
    lines = os.pread(file, 4096, 0).decode("utf-8", "replace").splitlines()
    pid, since, command = (*lines, "", "", "")[:3]
    return (pid if pid.isdigit() else "", since, command)


def held_by_another(path: str, pid: str, since: str, command: str) -> Locked:
    """The error for whoever comes second; `pid` is empty while the holder has not signed yet."""
    if not pid:
        return Locked(
            "Another mailseal is at work",
            reason=f"{path} is locked",
            state=UNCHANGED,
            next_command=f"see who it is: fuser -v {quote(path)}",
        )
    return Locked(
        f"Another mailseal is at work: pid {pid} ({command})",
        reason=f"it holds {path} since {since}",
        state=UNCHANGED,
        next_command=f"try again when it has ended; look at it with: ps -fp {pid}",
    )

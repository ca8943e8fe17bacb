"""Run inside a lab host: mailseal with every effect it has on the real machine counted, and stopped at one of them.

An effect is one call that changes something, as the machine in memory counts
them (`tests.support.memory_effects`): a system call on a file, a process
started, a request to the CA, a socket that listens. Looking is none: processes
that only read (postconf, a daemon's checker) are not counted, GET and HEAD
requests neither. The calls are counted below the port, in the modules of
`mailseal.system`, so that whatever mailseal does is met, also what was written
since.

A run is a process of its own, forked from one that has mailseal loaded, which
saves the loading. `Strike` says what happens at an effect: nothing, SIGKILL
before it, SIGKILL when it is done and its answer unread, or a failure in its
place.
"""

from __future__ import annotations

import ctypes
import errno
import os
import pickle
import re
import resource
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any

from mailseal.cli.main import main
from mailseal.errors import NetworkFault
from mailseal.system import Completed, aiohttp_client, as_owner, files, listen, lock, processes, trees

_PR_CAPBSET_DROP, _CAP_SYS_ADMIN = 24, 21  # capabilities(7), linux/prctl.h, linux/capability.h
LONGEST = 240.0  # seconds that a run may take

# What only looks. Everything else that is started counts.
_READERS = re.compile(
    r"/postconf -c \S+ (-x|-n|-M|-P|-h)|/postmap -c \S+ -q|/postfix -c \S+ (check|status)|/postfix status|/postmulti|"
    r"/doveconf|--version|/apache2 -v|/apache2 .*-[tDS]|configtest|/nginx -[vVT]|/ip -j|/systemctl (show|is-|cat|list)"
)
_RANDOM = (
    (re.compile(r"\.mailseal-[0-9a-f]+"), ".mailseal-*"),
    (re.compile(r"/challenges/[\w-]+"), "/challenges/*"),
    (re.compile(r"[0-9]{8}T[0-9]{6}Z-[0-9a-f]+"), "RECORD"),
    (re.compile(r"\b[0-9]{4}\b"), "NNNN"),
    (re.compile(r"(https?://[^/]+/[\w-]+)/.*"), r"\1/*"),
)


@dataclass(frozen=True)
class Effect:
    """`kind` and `subject` as in memory, what is random in it left out; `number` tells like ones of a run apart."""

    kind: str
    subject: str
    number: int = 0

    def __str__(self) -> str:
        return f"{self.kind} {self.subject}" + (f" ({self.number + 1})" if self.number else "")


@dataclass(frozen=True)
class Strike:
    """At an effect: `how` is "before" or "after" (SIGKILL), an errno's name, "status", "hangs" or "timeout"."""

    how: str


Decide = Callable[[Effect], Strike | None]
Asked = tuple[tuple[str, ...], bytes]


@dataclass(frozen=True)
class Ran:
    """A run that ended: its exit status, or the signal that ended it, what it said, and its effects in order."""

    status: int
    killed: bool
    stdout: str
    stderr: str
    effects: tuple[str, ...]
    struck: str
    cpu: float  # seconds, with what it started and waited for


def run(
    command: Sequence[str],
    decide: Decide | None = None,
    *,
    rehearsed: bool = True,
    known: dict[Asked, Completed] | None = None,
    looks: bool = False,
) -> Ran:
    """Runs `mailseal COMMAND…`; without `decide` as it is, else counted.

    Unless `rehearsed`, it may make no namespaces, as in many a container, and so rehearses nothing: that takes
    most of a run's time, and lies before any change. `known` are answers of processes that only look: those are
    not asked again. The caller knows that they would answer the same. `looks`: they count as effects, too.
    """
    before = _cpu()
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err, tempfile.TemporaryFile() as log:
        sys.stdout.flush()
        sys.stderr.flush()
        child = os.fork()
        if child == 0:
            _be_mailseal(command, decide, rehearsed, known, looks, out.fileno(), err.fileno(), log.fileno())
        ended = _wait(child)
        said = []
        for file in (out, err, log):
            file.seek(0)
            said.append(file.read().decode("utf-8", "replace"))
    lines = said[2].splitlines()
    struck = next((line.removeprefix("struck ") for line in lines if line.startswith("struck ")), "")
    effects = tuple(line for line in lines if not line.startswith("struck "))
    killed = os.WIFSIGNALED(ended)
    status = os.WTERMSIG(ended) if killed else os.WEXITSTATUS(ended)
    return Ran(status, killed, said[0], said[1], effects, struck, _cpu() - before)


def _cpu() -> float:
    spent = resource.getrusage(resource.RUSAGE_CHILDREN)
    return spent.ru_utime + spent.ru_stime


def _wait(child: int) -> int:
    end = time.monotonic() + LONGEST
    while True:
        pid, ended = os.waitpid(child, os.WNOHANG)
        if pid:
            return ended
        if time.monotonic() > end:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            raise TimeoutError(f"mailseal did not end within {LONGEST:g} s")
        time.sleep(0.005)


def _be_mailseal(
    command: Sequence[str],
    decide: Decide | None,
    rehearsed: bool,
    known: dict[Asked, Completed] | None,
    looks: bool,
    out: int,
    err: int,
    log: int,
) -> None:
    """In the child; never returns."""
    status = 99
    try:
        os.setsid()
        if not rehearsed:
            ctypes.CDLL(None).prctl(_PR_CAPBSET_DROP, _CAP_SYS_ADMIN, 0, 0, 0)
        os.dup2(out, 1)
        os.dup2(err, 2)
        if decide is not None:
            _install(_Counter(decide, log, looks))
        if known is not None:
            _remember(known)
        sys.argv = ["mailseal", *command]
        status = main()
        sys.stdout.flush()
        sys.stderr.flush()
    except BaseException:
        import traceback

        traceback.print_exc()
        sys.stderr.flush()
    finally:
        os._exit(status)


class _Counter:
    """Tells each effect to the log before it happens, and strikes."""

    def __init__(self, decide: Decide, log: int, looks: bool) -> None:
        self.looks = looks  # whether processes that only look are counted as well
        self.hangs = False
        self._decide = decide
        self._log = log
        self._counts: dict[tuple[str, str], int] = {}

    def meets(self, kind: str, subject: str) -> Strike | None:
        """What is to happen in place of this effect, or after it; the process may be dead before it returns."""
        for pattern, instead in _RANDOM:
            subject = pattern.sub(instead, subject)
        # How often a CA is asked again depends on how fast it is; like requests are one effect.
        number = 0 if kind == "http" else self._counts.get((kind, subject), 0)
        self._counts[kind, subject] = number + 1
        effect = Effect(kind, subject, number)
        strike = self._decide(effect)
        os.write(self._log, f"{effect}\n".encode())
        if strike is not None:
            os.write(self._log, f"struck {strike.how} {effect}\n".encode())
            if strike.how == "before":
                die()
        return strike

    def file(self, kind: str, path: str) -> None:
        """An effect on a file, for which a failure has an errno."""
        strike = self.meets(kind, path)
        if strike is not None:
            number = getattr(errno, strike.how, None)
            if number is not None:
                raise OSError(number, os.strerror(number))


def die() -> None:
    """As by kill -9; the daemons that we started go on."""
    os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(60)


class _Os:
    """The module `os`, as those of mailseal.system see it while they are counted."""

    def __init__(self, counter: _Counter) -> None:
        self._counter = counter

    def __getattr__(self, name: str) -> Any:
        return getattr(os, name)

    def open(self, path: str, flags: int, mode: int = 0o777, *, dir_fd: int | None = None) -> int:
        if flags & os.O_CREAT:
            self._counter.file("create", _at(path, dir_fd))
        return os.open(path, flags, mode, dir_fd=dir_fd)

    def rename(self, source: str, target: str, *, src_dir_fd: int | None, dst_dir_fd: int | None) -> None:
        self._counter.file("rename", _at(target, dst_dir_fd))
        os.rename(source, target, src_dir_fd=src_dir_fd, dst_dir_fd=dst_dir_fd)

    def symlink(self, target: str, path: str, *, dir_fd: int | None = None) -> None:
        self._counter.file("symlink", _at(path, dir_fd))
        os.symlink(target, path, dir_fd=dir_fd)

    def mkdir(self, path: str, mode: int = 0o777, *, dir_fd: int | None = None) -> None:
        if not _is_there(path, dir_fd):  # asked for again and again: no effect
            self._counter.file("mkdir", _at(path, dir_fd))
        os.mkdir(path, mode, dir_fd=dir_fd)

    def unlink(self, path: str, *, dir_fd: int | None = None) -> None:
        self._counter.file("unlink", _at(path, dir_fd))
        os.unlink(path, dir_fd=dir_fd)

    def rmdir(self, path: str, *, dir_fd: int | None = None) -> None:
        self._counter.file("rmdir", _at(path, dir_fd))
        os.rmdir(path, dir_fd=dir_fd)

    def fsync(self, file: int) -> None:
        self._counter.file("fsync", _of(file))
        os.fsync(file)

    def write(self, file: int, content: bytes) -> int:
        if _of(file).startswith("/"):  # a pipe to a process is part of that
            self._counter.file("write", _of(file))
        return os.write(file, content)

    def pwrite(self, file: int, content: bytes, offset: int) -> int:
        self._counter.file("write", _of(file))
        return os.pwrite(file, content, offset)

    def fchmod(self, file: int, mode: int) -> None:
        self._counter.file("chmod", _of(file))
        os.fchmod(file, mode)

    def fchown(self, file: int, uid: int, gid: int) -> None:
        self._counter.file("chown", _of(file))
        os.fchown(file, uid, gid)

    def ftruncate(self, file: int, length: int) -> None:
        if os.fstat(file).st_size != length:
            self._counter.file("truncate", _of(file))
        os.ftruncate(file, length)


class _Subprocess:
    """The module `subprocess`, likewise."""

    def __init__(self, counter: _Counter) -> None:
        self._counter = counter

    def __getattr__(self, name: str) -> Any:
        return getattr(subprocess, name)

    def Popen(self, argv: list[str], **rest: Any) -> subprocess.Popen[bytes]:  # noqa: N802 - its name there
        shown = " ".join([str(rest.get("executable", argv[0])), *argv[1:]])[:120]
        looks = bool(_READERS.search(shown))
        strike = (
            self._counter.meets("look" if looks else "run", shown)
            if self._counter.looks or not looks
            else None
        )
        if strike is not None and strike.how == "status":
            rest["executable"], argv = "/bin/sh", ["sh", "-c", "echo made to fail >&2; exit 1"]
        elif strike is not None and strike.how == "hangs":
            self._counter.hangs = True
            rest["executable"], argv = "/bin/sh", ["sh", "-c", "exec sleep 600"]
        elif strike is not None and strike.how != "after":
            number = getattr(errno, strike.how)
            raise OSError(number, os.strerror(number))
        started = subprocess.Popen(argv, **rest)
        if strike is not None and strike.how == "after":
            die()
        return started


def _install(counter: _Counter) -> None:
    """Puts the counter below the port, in this process."""
    counted, started = _Os(counter), _Subprocess(counter)
    for module in (files, trees, as_owner, lock, processes):
        module.os = counted  # type: ignore[attr-defined]
    processes.subprocess = started  # type: ignore[attr-defined, assignment]
    _shorten(counter)
    aiohttp_client.AiohttpClient.request = _counted_request(counter)  # type: ignore[method-assign, assignment]
    listen.serve = _counted_serve(counter)  # type: ignore[assignment]


def _shorten(counter: _Counter) -> None:
    """What hangs is waited for a second: a whole time limit proves no more."""
    whole = processes._Talk.until

    def until(self: processes._Talk, deadline: float) -> bool:
        return whole(self, min(deadline, time.monotonic() + 1.0) if counter.hangs else deadline)

    processes._Talk.until = until  # type: ignore[method-assign]


def answers() -> dict[Asked, Completed]:
    """What the processes that only look answer in a run of `mailseal renew`, which is carried out for that."""
    out, into = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(out)
        found: dict[Asked, Completed] = {}
        status = 1
        try:
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
            os.dup2(1, 2)
            _remember(found)
            sys.argv = ["mailseal", "renew"]
            status = main()
        finally:
            with os.fdopen(into, "wb") as pipe:
                pickle.dump(found, pipe)
            os._exit(status)
    os.close(into)
    with os.fdopen(out, "rb") as pipe:
        told: dict[Asked, Completed] = pickle.load(pipe)
    os.waitpid(child, 0)
    return told


def _remember(known: dict[Asked, Completed]) -> None:
    """Has this process ask no process twice that only looks."""
    whole = processes.LocalProcesses.run

    def run(
        self: processes.LocalProcesses, argv: Sequence[str], *, stdin: bytes = b"", **rest: Any
    ) -> Completed:
        asked = (tuple(argv), stdin)
        if asked in known:
            return known[asked]
        done = whole(self, argv, stdin=stdin, **rest)
        program = self.which(argv[0]) or argv[0]
        if _READERS.search(" ".join([program, *argv[1:]])):
            known[asked] = done
        return done

    processes.LocalProcesses.run = run  # type: ignore[method-assign]


def _counted_request(counter: _Counter) -> Callable[..., Awaitable[Any]]:
    whole = aiohttp_client.AiohttpClient.request

    async def request(self: aiohttp_client.AiohttpClient, method: str, url: str, **rest: Any) -> Any:
        strike = counter.meets("http", f"{method} {url}") if method not in ("GET", "HEAD") else None
        if strike is not None and strike.how != "after":
            raise NetworkFault("The exchange failed", reason="made to fail")
        answer = await whole(self, method, url, **rest)
        if strike is not None:
            die()
        return answer

    return request


def _counted_serve(counter: _Counter) -> Callable[..., Awaitable[Any]]:
    whole = listen.serve

    async def serve(address: str, port: int, handler: Any) -> Any:
        counter.meets("listen", f"{address} {port}")
        return await whole(address, port, handler)

    return serve


def _at(path: str, directory: int | None) -> str:
    return path if directory is None else f"{_of(directory)}/{path}"


def _of(file: int) -> str:
    return os.readlink(f"/proc/self/fd/{file}")


def _is_there(path: str, directory: int | None) -> bool:
    try:
        os.lstat(path, dir_fd=directory)
    except FileNotFoundError:
        return False
    return True

"""Processes of this machine, as the port `Processes` promises them.

Each is started by argv in a session of its own (setsid(2)), so that it has no
terminal to ask at and can be ended with everything it started. It gets a
small environment, the umask that daemons expect (022, ours is not theirs), no
descriptor of ours, and `/` to stand in.

A control command such as `apache2ctl start` leaves a daemon behind that may
hold its output open for ever. So the end is the end of the process
(pidfd_open(2)), not the end of its output; what the daemon prints later is
lost. A process that makes a session of its own escapes the ending of the group.
"""

from __future__ import annotations

import errno
import os
import selectors
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from shlex import join

from mailseal.errors import CommandTimeout, SystemFault
from mailseal.system import Completed
from mailseal.system.faults import reason_of

MOST_OUTPUT = 16_777_216
_DIRECTORIES = ("/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin")
_GRACE = 2.0  # seconds between SIGTERM and SIGKILL when the time is up
_LOOK_AGAIN = 0.01  # seconds between two looks whether it has ended, where the kernel does not tell
_CHUNK = 1 << 16


class LocalProcesses:
    """The port `Processes` on this machine."""

    def run(
        self,
        argv: Sequence[str],
        *,
        timeout: float = 60.0,
        stdin: bytes = b"",
        env: Mapping[str, str] | None = None,
    ) -> Completed:
        process = self._start(
            argv, env, stdin=subprocess.PIPE if stdin else subprocess.DEVNULL, output=subprocess.PIPE
        )
        talk = _Talk(process, stdin)
        try:
            if not talk.until(time.monotonic() + timeout):
                raise CommandTimeout(
                    f"{join(argv)} did not end within {timeout:g} s and was stopped",
                    reason=talk.last_words(),
                    errno=errno.ETIMEDOUT,
                )
            if talk.too_much:
                raise SystemFault(
                    f"{join(argv)} was stopped",
                    reason=f"it printed more than {MOST_OUTPUT} bytes",
                    errno=errno.EFBIG,
                )
            process.wait()
        finally:
            if process.returncode is None:
                end_group(process, _GRACE)
            talk.close()
        return Completed(tuple(argv), process.returncode, talk.text(1), talk.text(2))

    def spawn(self, argv: Sequence[str], *, env: Mapping[str, str] | None = None) -> LocalProcess:
        return LocalProcess(self._start(argv, env, stdin=subprocess.DEVNULL, output=subprocess.DEVNULL))

    def which(self, program: str) -> str | None:
        if "/" in program:
            return program if _runnable(program) else None
        for directory in search_path():
            candidate = f"{directory}/{program}"
            if _runnable(candidate):
                return candidate
        return None

    def _start(
        self, argv: Sequence[str], env: Mapping[str, str] | None, *, stdin: int, output: int
    ) -> subprocess.Popen[bytes]:
        program = self.which(argv[0])
        if program is None:
            raise SystemFault(
                f"Cannot run {argv[0]}",
                reason="there is no such program, in PATH or the sbin directories",
                errno=errno.ENOENT,
            )
        environment = {"PATH": ":".join(search_path()), "LANG": "C.UTF-8", **(env or {})}
        try:
            return subprocess.Popen(
                list(argv),
                executable=program,
                stdin=stdin,
                stdout=output,
                stderr=output,
                cwd="/",
                env=environment,
                start_new_session=True,
                umask=0o022,
            )
        except OSError as error:
            raise SystemFault(
                f"Cannot run {join(argv)}", reason=reason_of(error), errno=error.errno
            ) from error
        except ValueError as error:  # a NUL in an argument
            raise SystemFault(f"Cannot run {argv[0]}", reason=str(error), errno=errno.EINVAL) from error


class LocalProcess:
    """The port `Process`: a process that runs, leader of its own group."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process
        self.pid = process.pid

    def poll(self) -> int | None:
        return self._process.poll()

    def terminate(self, timeout: float = 5.0) -> None:
        if self._process.returncode is None:
            end_group(self._process, timeout)


def end_group(process: subprocess.Popen[bytes], grace: float) -> None:
    """SIGTERM to the whole group, after `grace` seconds or the leader's end SIGKILL to what is left; then reaps.

    The leader is reaped last: until then its number, and so the group's,
    cannot be given to another process.
    """
    _signal_group(process.pid, signal.SIGTERM)
    deadline = time.monotonic() + grace
    pause = 0.001
    while time.monotonic() < deadline and not _has_ended(process.pid):
        time.sleep(pause)
        pause = min(pause * 2, 0.05)
    _signal_group(process.pid, signal.SIGKILL)
    process.wait()


def search_path() -> tuple[str, ...]:
    """The directories of PATH that are absolute, then Debian's own, sbin among them."""
    given = [entry for entry in os.environ.get("PATH", "").split(":") if entry.startswith("/")]
    return tuple(dict.fromkeys([*given, *_DIRECTORIES]))


def _runnable(path: str) -> bool:
    return os.path.isfile(path) and os.access(path, os.X_OK)


def _signal_group(group: int, number: int) -> None:
    try:
        os.killpg(group, number)
    except ProcessLookupError:
        return


def _has_ended(pid: int) -> bool:
    return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None


def _end_of(pid: int) -> int | None:
    """A descriptor that can be read when the process has ended; None where a container forbids such."""
    try:
        return os.pidfd_open(pid)
    except OSError:
        return None


class _Talk:
    """Feeds a process and listens to it, until it ends."""

    def __init__(self, process: subprocess.Popen[bytes], stdin: bytes) -> None:
        self.process = process
        self.rest = memoryview(stdin)
        self.said: dict[int, bytearray] = {1: bytearray(), 2: bytearray()}
        self.too_much = False
        self.selector = selectors.DefaultSelector()
        self.ended = _end_of(process.pid)
        if self.ended is not None:
            self.selector.register(self.ended, selectors.EVENT_READ, 0)
        for number, pipe in ((1, process.stdout), (2, process.stderr)):
            if pipe is not None:
                os.set_blocking(pipe.fileno(), False)
                self.selector.register(pipe, selectors.EVENT_READ, number)
        if process.stdin is not None:
            os.set_blocking(process.stdin.fileno(), False)
            self.selector.register(process.stdin, selectors.EVENT_WRITE, -1)

    def until(self, deadline: float) -> bool:
        """Whether the process ended (or said too much) before the deadline, a time of `time.monotonic`."""
        while not self.too_much:
            left = deadline - time.monotonic()
            if left <= 0:
                return False
            ended = self.ended is None and _has_ended(self.process.pid)
            for key, _ in self.selector.select(left if self.ended is not None else min(left, _LOOK_AGAIN)):
                if key.data == 0:
                    ended = True
                elif key.data == -1:
                    self._feed(key.fd)
                else:
                    self._hear(key.fd, key.data)
            if ended:
                self._hear_the_rest()
                return True
        return True

    def _feed(self, pipe: int) -> None:
        try:
            self.rest = self.rest[os.write(pipe, self.rest[:_CHUNK]) :]
        except BlockingIOError:
            return
        except BrokenPipeError:
            self.rest = self.rest[:0]  # it does not want the rest
        if not self.rest and self.process.stdin is not None:
            self.selector.unregister(self.process.stdin)
            self.process.stdin.close()

    def _hear(self, pipe: int, number: int) -> bool:
        """Whether there was something."""
        try:
            piece = os.read(pipe, _CHUNK)
        except BlockingIOError:
            return False
        if not piece:
            self.selector.unregister(pipe)
            return False
        self.said[number] += piece
        self.too_much = sum(map(len, self.said.values())) > MOST_OUTPUT
        return not self.too_much

    def _hear_the_rest(self) -> None:
        for key in list(self.selector.get_map().values()):
            if key.data > 0:
                while self._hear(key.fd, key.data):
                    pass

    def text(self, number: int) -> str:
        return self.said[number].decode("utf-8", "replace")

    def last_words(self) -> str:
        return "\n".join((self.text(2).strip() or self.text(1).strip()).splitlines()[-12:])

    def close(self) -> None:
        self.selector.close()
        if self.ended is not None:
            os.close(self.ended)
        for pipe in (self.process.stdin, self.process.stdout, self.process.stderr):
            if pipe is not None:
                pipe.close()

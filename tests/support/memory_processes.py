"""The port `Processes` in memory: a table from the beginning of an argv to a function that plays the program.

A program that is not in the table is not installed. One that is, asked for
something that the table does not have, is an error of the test, not of the
machine: no fake succeeds by default.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from shlex import join
from typing import TYPE_CHECKING

from mailseal.errors import CommandTimeout, SystemFault
from mailseal.system import Completed

if TYPE_CHECKING:
    from tests.support.memory import MemorySystem

Script = Callable[["MemorySystem", tuple[str, ...], bytes], "Completed | str | int | None"]
_PATH = ("/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin")


class Hangs(Exception):
    """Raised by a script whose program never ends by itself."""


@dataclass(frozen=True)
class Ran:
    """What was started."""

    argv: tuple[str, ...]
    stdin: bytes = b""
    env: tuple[tuple[str, str], ...] = ()


def said(argv: Sequence[str], stdout: str = "", *, stderr: str = "", status: int = 0) -> Completed:
    return Completed(tuple(argv), status, stdout, stderr)


class Programs:
    """What is installed on a machine, what ran there and what runs: `spawned` outlives the process that started it."""

    def __init__(self) -> None:
        self.table: dict[tuple[str, ...], Script] = {}
        self.ran: list[Ran] = []
        self.spawned: list[MemoryProcess] = []
        self.next_pid = 1000

    def on(self, *prefix: str) -> Callable[[Script], Script]:
        """Decorator: plays every argv that begins so; the longest prefix wins."""

        def register(script: Script) -> Script:
            self.table[prefix] = script
            return script

        return register

    def says(self, *prefix: str, stdout: str = "", stderr: str = "", status: int = 0) -> None:
        """Every argv that begins so prints this."""
        self.table[prefix] = lambda system, argv, stdin: Completed(argv, status, stdout, stderr)

    def argvs(self) -> list[tuple[str, ...]]:
        return [ran.argv for ran in self.ran]

    def has(self, program: str) -> bool:
        return any(_name(prefix[0]) == _name(program) for prefix in self.table)

    def script(self, argv: tuple[str, ...]) -> Script:
        called = (_name(argv[0]), *argv[1:])
        fitting = [
            prefix for prefix in self.table if called[: len(prefix)] == (_name(prefix[0]), *prefix[1:])
        ]
        if not fitting:
            raise AssertionError(f"the test has no script for: {join(argv)}")
        return self.table[max(fitting, key=len)]


class MemoryProcess:
    """The port `Process`: runs until it is ended, by `terminate` or by `end`."""

    def __init__(self, pid: int, argv: tuple[str, ...], system: MemorySystem) -> None:
        self.pid = pid
        self.argv = argv
        self._system = system
        self._status: int | None = None

    def poll(self) -> int | None:
        self._system.alive()
        return self._status

    def end(self, status: int) -> None:
        """It ends by itself."""
        self._status = status

    def terminate(self, timeout: float = 5.0) -> None:
        if self._status is None:
            self._system.effect("signal", f"TERM {self.pid}")
            self._status = -15


class MemoryProcesses:
    """The port `Processes` in memory."""

    def __init__(self, system: MemorySystem) -> None:
        self._system = system

    @property
    def _programs(self) -> Programs:
        return self._system.machine.programs

    def run(
        self,
        argv: Sequence[str],
        *,
        timeout: float = 60.0,
        stdin: bytes = b"",
        env: Mapping[str, str] | None = None,
    ) -> Completed:
        command = self._started("run", argv, stdin, env)
        try:
            answer = self._programs.script(command)(self._system, command, stdin)
        except Hangs:
            self._system.clock.sleep(timeout)
            raise CommandTimeout(
                f"{join(command)} did not end within {timeout:g} s and was stopped", errno=errno.ETIMEDOUT
            ) from None
        if isinstance(answer, Completed):
            return answer
        return Completed(
            command, answer if isinstance(answer, int) else 0, answer if isinstance(answer, str) else "", ""
        )

    def spawn(self, argv: Sequence[str], *, env: Mapping[str, str] | None = None) -> MemoryProcess:
        command = self._started("spawn", argv, b"", env)
        programs = self._programs
        programs.next_pid += 1
        process = MemoryProcess(programs.next_pid, command, self._system)
        answer = programs.script(command)(self._system, command, b"")
        status = answer.status if isinstance(answer, Completed) else answer
        if isinstance(status, int):
            process.end(status)  # a script that answers None runs on
        programs.spawned.append(process)
        return process

    def which(self, program: str) -> str | None:
        self._system.alive()
        candidates = [program] if "/" in program else [f"{directory}/{program}" for directory in _PATH]
        for candidate in candidates:
            found = self._system.files.stat(candidate, follow=True)
            if found is not None and found.kind == "file" and found.mode & 0o111:
                return candidate
        if self._programs.has(program):
            return program if "/" in program else f"/usr/sbin/{program}"
        return None

    def _started(
        self, kind: str, argv: Sequence[str], stdin: bytes, env: Mapping[str, str] | None
    ) -> tuple[str, ...]:
        command = tuple(argv)
        if self.which(command[0]) is None:
            raise SystemFault(
                f"Cannot run {command[0]}",
                reason="there is no such program, in PATH or the sbin directories",
                errno=errno.ENOENT,
            )
        if any("\0" in argument for argument in command):
            raise SystemFault(f"Cannot run {command[0]}", reason="embedded null byte", errno=errno.EINVAL)
        try:
            self._system.effect(kind, join(command))
        except OSError as error:
            raise SystemFault(
                f"Cannot run {join(command)}", reason=error.strerror or "", errno=error.errno
            ) from error
        self._programs.ran.append(Ran(command, stdin, tuple((env or {}).items())))
        return command


def _name(program: str) -> str:
    return program.rpartition("/")[2]

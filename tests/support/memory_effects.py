"""What a process does to the machine, written down in order, and what goes wrong at which of it.

An effect is one system call's worth: `replace` of a file is create, write,
(chown, chmod,) fsync, rename, fsync of the directory. A fault takes the place
of the effect: the call fails, or the process is killed, or the power goes.
Whoever is dead has no effects any more, whatever its `finally` blocks try.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass


class Dead(BaseException):
    """Not an Exception: no code of ours may catch it and go on, as none survives SIGKILL."""


class Killed(Dead):
    """The process was ended by SIGKILL; the machine goes on."""


class PowerLoss(Dead):
    """The machine went off; what was not synced may be lost."""


@dataclass(frozen=True)
class Effect:
    """`kind` is the call (create, write, chown, chmod, fsync, rename, unlink, mkdir, symlink, rmdir, lock,
    run, spawn, signal, connect, listen, http), `subject` the path, command or address."""

    kind: str
    subject: str

    def __str__(self) -> str:
        return f"{self.kind} {self.subject}"


@dataclass
class Fault:
    """Raises `error` in place of the first matching effect after `skip` others; once, unless it is `lasting`.

    `torn`: of a write, half of it is done before.
    """

    error: BaseException
    matches: Callable[[Effect], bool] = lambda effect: True
    skip: int = 0
    torn: bool = False
    lasting: bool = False
    spent: bool = False

    def strikes(self, effect: Effect) -> bool:
        if self.spent or not self.matches(effect):
            return False
        if self.skip:
            self.skip -= 1
            return False
        self.spent = not self.lasting
        return True


def refusal(number: int) -> OSError:
    """What the kernel's refusal looks like to the caller."""
    return OSError(number, os.strerror(number))


def find_death(error: BaseException) -> Dead | None:
    """The `Dead` in an exception, also within the groups that task groups make."""
    if isinstance(error, Dead):
        return error
    if isinstance(error, BaseExceptionGroup):
        for inner in error.exceptions:
            if (found := find_death(inner)) is not None:
                return found
    return None

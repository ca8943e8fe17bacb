"""The errors that stop the work.

Each error carries its own diagnosis: what failed, why, in what state the
machine is, and the next command to type. The command line is the only place
that catches them (`mailseal.cli.main`); everything else raises or lets pass.
A thing that was found wrong on the machine but does not stop the work is a
`Finding` (`mailseal.model`), never an exception.
"""

from __future__ import annotations

from enum import IntEnum


class ExitCode(IntEnum):
    """What a command's exit status says; documented in docs/reference/exit-codes.md."""

    OK = 0
    FINDINGS = 1
    USAGE = 2
    FAILED = 3
    WAITING = 4


UNCHANGED = "Nothing was changed."


class MailsealError(Exception):
    """What stops the work, told so that an admin can act on it.

    `message` says what failed, naming the file, line, host or name; `reason`
    why, as far as it is known; `state` in what state the machine is now;
    `next_command` what to type or do next.
    """

    exit_code: ExitCode = ExitCode.FAILED

    def __init__(
        self,
        message: str,
        *,
        reason: str = "",
        state: str = "",
        next_command: str = "",
    ) -> None:
        super().__init__(message)
        self.message = message
        self.reason = reason
        self.state = state
        self.next_command = next_command

    def __str__(self) -> str:
        return f"{self.message}: {self.reason}" if self.reason else self.message

    def lines(self) -> list[str]:
        """The diagnosis, a line each: what, why, state, next."""
        told = [self.message]
        if self.reason:
            told.append(f"Why: {self.reason}")
        if self.state:
            told.append(f"State: {self.state}")
        if self.next_command:
            told.append(f"Next: {self.next_command}")
        return told


class UsageError(MailsealError):
    """The command line asks for something that cannot be asked for."""

    exit_code = ExitCode.USAGE


class ConfigError(MailsealError):
    """The configuration has faults; all of them are in `faults`, a line each."""

    exit_code = ExitCode.USAGE

    def __init__(self, message: str, *, faults: tuple[str, ...] = (), next_command: str = "") -> None:
        super().__init__(message, state=UNCHANGED, next_command=next_command)
        self.faults = faults

    def lines(self) -> list[str]:
        first, *rest = super().lines()
        return [first, *(f"  {fault}" for fault in self.faults), *rest]


class SystemFault(MailsealError):
    """The machine refused an effect: a file, a process, a socket (`errno` where there is one)."""

    def __init__(
        self, message: str, *, reason: str = "", errno: int | None = None, next_command: str = ""
    ) -> None:
        super().__init__(message, reason=reason, next_command=next_command)
        self.errno = errno


class CommandTimeout(SystemFault):
    """A process did not end within its time and was killed."""


class NetworkFault(SystemFault):
    """A connection could not be made, broke off, or sent what its protocol does not allow."""


class Locked(MailsealError):
    """Another mailseal is at work; what was asked for must wait until it has ended."""

    exit_code = ExitCode.WAITING


class KeyMaterialError(MailsealError):
    """A key, certificate or chain that must not go live: it does not load, fit or chain."""


class NotYetValid(KeyMaterialError):
    """Only the clock is against it: it is valid from a later time on. Waiting mends it, another certificate not."""


class ChallengeError(MailsealError):
    """Control of an identifier could not be, or will not be, shown."""


class IssueError(MailsealError):
    """A certificate could not be obtained."""


class ApplyFailed(MailsealError):
    """A change failed and was taken back."""


class TakenBack(ApplyFailed):
    """A change was made, failed, and was undone; the message says if only in part."""


class HookFailed(MailsealError):
    """A hook before the change failed, and so forbids it."""


class BrokenBefore(ApplyFailed):
    """A daemon refuses its configuration as it stands, before any change of ours; so nothing was changed."""


class Waiting(MailsealError):
    """Nothing is wrong, but what is left must wait; `state` says until when."""

    exit_code = ExitCode.WAITING

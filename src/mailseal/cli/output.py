"""Results on stdout; progress, log and errors on stderr.

On a terminal there is colour (unless NO_COLOR is set, no-color.org, or TERM is
dumb) and the text is folded at its width, at most 100 columns; elsewhere it is
plain and folded at 80. Errors are folded on a terminal only: in a journal one
searches for lines. Control characters that came from a file or the network are
never passed on to a terminal.

Where systemd leads a stream to the journal (JOURNAL_STREAM, systemd.exec(5)),
each of its lines begins with a priority (sd-daemon(3)): errors 3, warnings 4,
the rest 6. So `journalctl -u mailseal -p warning` shows what is wrong.
"""

from __future__ import annotations

import os
import re
import sys
from dataclasses import dataclass
from enum import IntEnum, StrEnum
from typing import IO, Any

PLAIN_WIDTH = 80
WIDEST = 100


class Ink(StrEnum):
    """The few colours used, as SGR parameters (ECMA-48 section 8.3.117)."""

    BOLD = "1"
    DIM = "2"
    RED = "1;31"
    GREEN = "32"
    YELLOW = "33"
    BLUE = "34"


class Priority(IntEnum):
    """How much a line matters, as syslog(3) has it."""

    ERROR = 3
    WARNING = 4
    INFO = 6
    DEBUG = 7


_PAINTED = re.compile("(\x1b\\[(?:0|" + "|".join(ink.value for ink in Ink) + ")m)")


def clean(text: str) -> str:
    """The text without control characters other than newlines and tabs."""
    return "".join(c if c in "\n\t" or c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)


@dataclass
class Output:
    """Where a command says what it has to say. `stdout` and `stderr` None: the process's own."""

    stdout: IO[str] | None = None
    stderr: IO[str] | None = None
    json_mode: bool = False
    quiet: bool = False
    verbose: bool = False

    @property
    def width(self) -> int:
        """Columns of a line of the result."""
        return _columns() if _terminal(self._out) else PLAIN_WIDTH

    @property
    def interactive(self) -> bool:
        """Whether a person can be asked: both ends are a terminal and no JSON is wanted."""
        return not self.json_mode and sys.stdin.isatty() and _terminal(self._err)

    def paint(self, text: str, ink: Ink, *, on_stderr: bool = False) -> str:
        """The text in a colour, where the stream takes colours."""
        stream = self._err if on_stderr else self._out
        if not _terminal(stream) or os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb":
            return text
        return f"\x1b[{ink.value}m{text}\x1b[0m"

    def result(self, text: str = "", priority: Priority = Priority.INFO) -> None:
        """A line (or lines) of the result, cleaned but for what `paint` put there; nothing when JSON is asked for."""
        if not self.json_mode:
            parts = re.split(_PAINTED, text)
            cleaned = "".join(part if number % 2 else clean(part) for number, part in enumerate(parts))
            print(_ranked(cleaned, self._out, priority), file=self._out)

    def document(self, value: Any) -> None:
        """The result as JSON; nothing when it is not asked for. Dates are RFC 3339, enumerations their values."""
        if self.json_mode:
            import msgspec

            text = msgspec.json.format(msgspec.json.encode(value), indent=2).decode()
            print(text, file=self._out, flush=True)

    def progress(self, text: str) -> None:
        """What is being done now."""
        if not self.quiet:
            self._say(text, Priority.INFO)

    def note(self, text: str, priority: Priority = Priority.DEBUG) -> None:
        """A line of the log, shown with --verbose; the journal gets it also without, unless it is of debugging."""
        if self.verbose or (self.in_journal and priority < Priority.DEBUG):
            self._say(text, priority)

    def error(self, lines: list[str]) -> None:
        """Why the work stopped: the first line is what failed."""
        lines = [clean(line) for line in (f"mailseal: {lines[0]}", *lines[1:])]
        if _terminal(self._err):
            from mailseal.cli.folding import folded

            lines = folded(lines, _columns())
        head = self.paint("mailseal:", Ink.RED, on_stderr=True)
        lines[0] = head + lines[0].removeprefix("mailseal:")
        print(_ranked("\n".join(lines), self._err, Priority.ERROR), file=self._err, flush=True)

    def trace(self, text: str) -> None:
        """A traceback, for whoever mends the program."""
        print(_ranked(text.rstrip(), self._err, Priority.DEBUG), file=self._err, flush=True)

    @property
    def in_journal(self) -> bool:
        """Whether what is said on stderr is read by the journal."""
        return _journalled(self._err)

    def _say(self, text: str, priority: Priority) -> None:
        told = self.paint(clean(text), Ink.DIM, on_stderr=True)
        print(_ranked(told, self._err, priority), file=self._err, flush=True)

    @property
    def _out(self) -> IO[str]:
        return self.stdout or sys.stdout

    @property
    def _err(self) -> IO[str]:
        return self.stderr or sys.stderr


def _columns() -> int:
    """The terminal's, within what reads well."""
    import shutil  # loads five modules for compression, which --version can do without

    return max(40, min(shutil.get_terminal_size((PLAIN_WIDTH, 24)).columns, WIDEST))


def _journalled(stream: IO[str]) -> bool:
    """Whether the stream is the one that systemd told us of: by device and inode, since it may be led elsewhere."""
    told = os.environ.get("JOURNAL_STREAM")
    if not told:
        return False
    try:
        found = os.fstat(stream.fileno())
    except (OSError, ValueError):
        return False
    return told == f"{found.st_dev}:{found.st_ino}"


def _ranked(text: str, stream: IO[str], priority: Priority) -> str:
    """Every line with its priority, where the journal reads them."""
    if not _journalled(stream):
        return text
    return "\n".join(f"<{priority.value}>{line}" for line in text.split("\n"))


def _terminal(stream: IO[str]) -> bool:
    try:
        return stream.isatty()
    except ValueError:  # closed
        return False

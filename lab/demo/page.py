"""What the demo prints: headings, tables, quoted output, claims; 80 columns, a little colour on a terminal.

A claim is a sentence with the outcome of its check. `Page` counts those that
did not hold, so that no run that printed a failure can end well.
"""

from __future__ import annotations

import os
import sys
import textwrap
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

WIDTH = 80
BOLD, DIM, RED, GREEN, YELLOW = "1", "2", "1;31", "32", "33"


@dataclass
class Page:
    """One run's output on stdout; `began` is when it did (monotonic seconds)."""

    began: float = field(default_factory=time.monotonic)
    claims: int = 0
    failed: list[str] = field(default_factory=list)
    _colour: bool = field(
        default_factory=lambda: (
            sys.stdout.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
        )
    )
    _passing: bool = False

    def heading(self, text: str) -> None:
        """Opens an act."""
        self.line()
        self.line(self._paint(text, BOLD))

    def line(self, text: str = "") -> None:
        """One line as it is."""
        self._wipe()
        print(text, flush=True)

    def say(self, text: str) -> None:
        """A sentence, folded."""
        for folded in textwrap.wrap(text, WIDTH - 2, break_on_hyphens=False):
            self.line(folded)

    def quote(self, text: str) -> None:
        """What a program said, marked as its own words and folded."""
        for written in text.rstrip().splitlines():
            indent = " " * (len(written) - len(written.lstrip()))
            folded = textwrap.wrap(
                written, WIDTH - 4, subsequent_indent=f"{indent}  ", break_on_hyphens=False
            ) or [""]
            for part in folded:
                self.line(f"{self._paint('  | ', DIM)}{part}".rstrip())

    def command(self, text: str) -> None:
        """The command whose words follow."""
        folded = textwrap.wrap(text, WIDTH - 8, break_on_hyphens=False, break_long_words=False)
        for number, part in enumerate(folded):
            more = " \\" if number < len(folded) - 1 else ""
            self.line(
                self._paint(
                    f"  {'#' if number == 0 else ' '} {'' if number == 0 else '  '}{part}{more}", BOLD
                )
            )

    def table(
        self, head: Sequence[str], rows: Iterable[Sequence[str]], *, right: Sequence[int] = (0,)
    ) -> None:
        """Columns as wide as they need to be; those in `right` are aligned to the right. Close together if many."""
        rows = list(rows)
        gap = "  " if len(head) < 8 else " "
        widths = [max(len(row[n]) for row in (head, *rows)) for n in range(len(head))]
        for row in (head, *rows):
            cells = [
                cell.rjust(width) if n in right else cell.ljust(width)
                for n, (cell, width) in enumerate(zip(row, widths, strict=True))
            ]
            text = f"  {gap.join(cells)}".rstrip()
            self.line(self._paint(text, DIM) if row is head else text)

    def claim(self, held: bool, text: str, why: str = "") -> bool:
        """A sentence that was checked; `why` tells more where it did not hold."""
        self.claims += 1
        mark = self._paint("  ok  ", GREEN) if held else self._paint("  NO  ", RED)
        if not held:
            self.failed.append(text)
        for number, folded in enumerate(textwrap.wrap(text, WIDTH - 8, break_on_hyphens=False)):
            self.line(f"{mark if number == 0 else '      '}{folded}")
        if not held and why:
            self.quote(why)
        return held

    def passing(self, text: str) -> None:
        """What is being done now: on a terminal, until the next line; elsewhere nothing."""
        if not sys.stdout.isatty():
            return
        self._wipe()
        print(self._paint(f"  … {text}"[: WIDTH - 1], DIM), end="", flush=True)
        self._passing = True

    @property
    def seconds(self) -> float:
        return time.monotonic() - self.began

    def _wipe(self) -> None:
        if self._passing:
            print("\r\x1b[K", end="")
            self._passing = False

    def _paint(self, text: str, ink: str) -> str:
        return f"\x1b[{ink}m{text}\x1b[0m" if self._colour else text

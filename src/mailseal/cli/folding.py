"""Lines of an error folded for a terminal; imported only when one is told there."""

from __future__ import annotations

import re
import textwrap

_LABEL = re.compile(r"(?:Why|State|Next): |  (?=\S)")
_PROSE = re.compile(r"[,;:.)] |[.)]$")  # what sentences have and a command seldom does


def folded(lines: list[str], width: int) -> list[str]:
    """Each line folded behind its label; one that holds nothing but a command to type stays whole."""
    return [piece for line in lines for part in line.split("\n") for piece in _folded(part, width)]


def _folded(line: str, width: int) -> list[str]:
    label = _LABEL.match(line)
    if len(line) <= width or (line.startswith("Next: ") and not _PROSE.search(line[6:])):
        return [line]
    indent = " " * len(label[0]) if label else "  "
    return textwrap.wrap(
        line, width, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False
    )

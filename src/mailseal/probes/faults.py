"""How a probe's conversation ends early: the one exception of this layer, which never leaves it."""

from __future__ import annotations

_SHOWN = 200  # characters of a server's words that a message repeats


class ProbeFault(Exception):
    """The server did not do what the protocol says; the text says what it did instead."""


def shown(text: str) -> str:
    """A server's words, safe to print: one line, no control characters, not long."""
    plain = "".join(letter if letter.isprintable() else "?" for letter in text.strip())
    return plain if len(plain) <= _SHOWN else plain[: _SHOWN - 1] + "…"

"""What reaches a terminal: colours of ours, and nothing that a file or the network put there."""

from __future__ import annotations

import io

import pytest

from mailseal.cli.output import Ink, Output, clean


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a\tb\nc", "a\tb\nc"),
        ("\x1b]0;title\x07", "\N{REPLACEMENT CHARACTER}]0;title\N{REPLACEMENT CHARACTER}"),
        ("\x1b[2J", "\N{REPLACEMENT CHARACTER}[2J"),
        ("left\N{RIGHT-TO-LEFT OVERRIDE}right", "left\N{REPLACEMENT CHARACTER}right"),
        ("\r\x9b", "\N{REPLACEMENT CHARACTER}" * 2),
        ("Größe → ok", "Größe → ok"),
    ],
)
def test_no_control_reaches_a_terminal(text: str, shown: str) -> None:
    out = Output(Terminal(), Terminal())
    out.result(text)
    out.progress(text)
    assert clean(text) == shown
    assert out.stdout.getvalue() == f"{shown}\n"  # type: ignore[union-attr]
    assert shown in out.stderr.getvalue()  # type: ignore[union-attr]


def test_our_own_colours_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    out = Output(Terminal(), Terminal())
    out.result(f"{out.paint('well', Ink.GREEN)} and \x1b[8mhidden")
    assert out.stdout.getvalue() == "\x1b[32mwell\x1b[0m and \N{REPLACEMENT CHARACTER}[8mhidden\n"  # type: ignore

"""What reaches a terminal: colours of ours, and nothing that a file or the network put there."""

from __future__ import annotations

import io
import os
from pathlib import Path

import pytest

from mailseal.cli.findings import show
from mailseal.cli.main import main
from mailseal.cli.output import Ink, Output, Priority, clean
from mailseal.model import Finding, Severity


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


@pytest.fixture
def journal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file that systemd tells us is the journal."""
    path = tmp_path / "journal"
    path.touch()
    found = os.stat(path)
    monkeypatch.setenv("JOURNAL_STREAM", f"{found.st_dev}:{found.st_ino}")
    return path


def test_the_journal_can_filter_by_priority(journal: Path) -> None:
    with journal.open("w") as stream:
        out = Output(stream, stream)
        out.progress("<0>looking")  # what we tell of cannot take a priority of its own
        out.note("a detail")
        out.note("a hook said", Priority.INFO)
        show([Finding("expired", Severity.ERROR, "a port", "it has\nexpired")], out)
        show([Finding("expiring", Severity.WARNING, "another", "soon")], out)
        out.error(["it broke", "Why: nobody knows"])
    lines = journal.read_text().splitlines()
    assert [line for line in lines if line.startswith("<6>")] == [
        "<6><0>looking",
        "<6>a hook said",
        "<6>1 error.",
        "<6>1 warning.",
    ]
    assert lines[-2:] == ["<3>mailseal: it broke", "<3>Why: nobody knows"]
    wrong = [line for line in lines if not line.startswith("<6>")][:-2]
    assert {line[:3] for line in wrong[: len(wrong) // 2]} == {"<3>"}
    assert {line[:3] for line in wrong} == {"<3>", "<4>"}


def test_a_stream_that_leads_elsewhere_has_no_priorities(journal: Path, tmp_path: Path) -> None:
    with (tmp_path / "elsewhere").open("w+") as stream:
        out = Output(stream, stream)
        out.progress("looking")
        out.result("found")
        out.note("a hook said", Priority.INFO)
        stream.seek(0)
        assert stream.read() == "looking\nfound\n"


def test_an_error_of_a_command_reaches_the_journal_as_one(journal: Path) -> None:
    with journal.open("w") as stream:
        assert main(["no-such-command"], out=Output(stream, stream)) == 2
    assert all(line.startswith("<3>") for line in journal.read_text().splitlines())

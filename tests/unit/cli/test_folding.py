"""What an error looks like on a terminal of 80 columns."""

from __future__ import annotations

import io

import pytest

from mailseal.cli.output import Output
from mailseal.errors import MailsealError


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


ERROR = MailsealError(
    "The CA would not find the challenge of mail.example.org",
    reason="10.77.0.1 answered 404, Server: SimpleHTTP/0.6 Python/3.13.5, beginning with what somebody else serves",
    state="Nothing was ordered. Every file is as it was before.",
    next_command="Correct the A record of mail.example.org, or let that server forward the challenge's path here.",
)


def _told(error: MailsealError, terminal: io.StringIO, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("NO_COLOR", "1")
    Output(stderr=terminal).error(error.lines())
    return terminal.getvalue()


def test_folded_behind_its_labels(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = _told(ERROR, Terminal(), monkeypatch).splitlines()
    assert all(len(line) <= 80 for line in lines)
    assert lines[0] == "mailseal: The CA would not find the challenge of mail.example.org"
    assert lines[1].startswith("Why: 10.77.0.1 answered 404") and lines[2].startswith("     ")
    assert [line.split(":")[0] for line in lines if not line.startswith(" ")] == [
        "mailseal",
        "Why",
        "State",
        "Next",
    ]


def test_several_lines_of_a_daemon_stay_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    error = MailsealError("Dovecot refuses it", reason="doveconf: Fatal: one\ndoveconf: Error: two")
    lines = _told(error, Terminal(), monkeypatch).splitlines()
    assert lines[1:] == ["Why: doveconf: Fatal: one", "doveconf: Error: two"]


def test_a_command_is_never_folded(monkeypatch: pytest.MonkeyPatch) -> None:
    command = f"openssl x509 -noout -subject -in /{'a' * 40}/{'b' * 40}.pem -fingerprint"
    told = _told(MailsealError("No.", next_command=command), Terminal(), monkeypatch)
    assert f"Next: {command}\n" in told


def test_elsewhere_a_line_is_a_line(monkeypatch: pytest.MonkeyPatch) -> None:
    assert _told(ERROR, io.StringIO(), monkeypatch).splitlines()[1] == f"Why: {ERROR.reason}"

"""Findings as they are read on 80 columns, on a terminal and as JSON."""

from __future__ import annotations

import io

import pytest

from mailseal.cli.findings import as_json, exit_code, show, summary
from mailseal.cli.output import Output
from mailseal.errors import ExitCode
from mailseal.model import Finding, Severity

STALE = Finding(
    code="served.stale",
    severity=Severity.ERROR,
    subject="[::1]:993 imap",
    seen="a leaf that is not on disk: CN=mail.example.org, until 2026-12-01",
    expected="the leaf of generation 0007",
    why="Dovecot was not reloaded since the files changed; it serves the old certificate until it expires.",
    mend="systemctl reload dovecot && openssl s_client -connect '[::1]:993' -servername mail.example.org",
)
SHADOWED = Finding(
    "postfix.shadowed", Severity.WARNING, "/etc/postfix/main.cf", "smtpd_tls_cert_file has no effect"
)
WELL = Finding(
    "served.well", Severity.OK, "127.0.0.1:465 submission", "the leaf on disk, chain complete, TLS 1.3"
)
TOLD = Finding("proof.outside", Severity.INFO, "port 25", "not looked at from outside")


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def printed(*findings: Finding, verbose: bool = False, stream: io.StringIO | None = None) -> str:
    stream = stream or io.StringIO()
    show(findings, Output(stdout=stream, verbose=verbose))
    return stream.getvalue()


def test_a_paragraph() -> None:
    assert printed(STALE) == (
        "ERROR    [::1]:993 imap  [served.stale]\n"
        "         seen      a leaf that is not on disk: CN=mail.example.org, until\n"
        "                   2026-12-01\n"
        "         expected  the leaf of generation 0007\n"
        "         why       Dovecot was not reloaded since the files changed; it serves\n"
        "                   the old certificate until it expires.\n"
        "         mend      systemctl reload dovecot && openssl s_client -connect"
        " '[::1]:993' -servername mail.example.org\n"
        "\n"
        "1 error.\n"
    )


def test_the_gravest_stands_last_and_what_is_well_is_silent() -> None:
    text = printed(STALE, WELL, TOLD, SHADOWED)
    assert text.index("info") < text.index("WARNING") < text.index("ERROR")
    assert "465" not in text
    assert text.endswith("1 error, 1 warning; 1 check passed.\n")
    assert "ok       127.0.0.1:465 submission  the leaf on disk" in printed(WELL, verbose=True)


def test_no_line_but_a_command_is_longer_than_80_columns() -> None:
    for line in printed(STALE, SHADOWED, WELL, TOLD, verbose=True).splitlines():
        assert len(line) <= 80 or "mend" in line


def test_colour_only_on_a_terminal_that_wants_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    assert "\x1b[1;31mERROR" in printed(STALE, stream=Terminal())
    monkeypatch.setenv("NO_COLOR", "1")
    assert "\x1b" not in printed(STALE, stream=Terminal())
    monkeypatch.delenv("NO_COLOR")
    monkeypatch.setenv("TERM", "dumb")
    assert "\x1b" not in printed(STALE, stream=Terminal())


def test_what_the_network_sent_cannot_steer_the_terminal() -> None:
    hostile = Finding("x", Severity.ERROR, "host\x1b]0;owned\x07", "banner \x1b[2J\rgone\nmore")
    assert "\x1b" not in printed(hostile)
    assert "\r" not in printed(hostile)


@pytest.mark.parametrize(
    ("findings", "told", "status"),
    [
        ((), "Nothing was found wrong.", ExitCode.OK),
        ((WELL, WELL), "All well: 2 checks passed.", ExitCode.OK),
        ((TOLD, WELL), "All well: 1 check passed.", ExitCode.OK),
        ((SHADOWED,), "1 warning.", ExitCode.FINDINGS),
        ((STALE, STALE, WELL), "2 errors; 1 check passed.", ExitCode.FINDINGS),
    ],
)
def test_the_summary_and_the_status(findings: tuple[Finding, ...], told: str, status: ExitCode) -> None:
    assert summary(findings) == told
    assert exit_code(findings) is status


def test_json_says_the_severity_in_a_word() -> None:
    (told,) = as_json([STALE])
    assert told["severity"] == "error"
    assert set(told) == {"code", "severity", "subject", "seen", "expected", "why", "mend"}

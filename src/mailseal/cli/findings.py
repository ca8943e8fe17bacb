"""Findings as a person reads them, and as JSON.

What is well or merely told takes one line (what is well only with --verbose);
what is wrong takes a paragraph: what was seen and expected, why it matters,
the command that mends it. Commands are never folded, so that they can be
copied; sentences are.
"""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

from mailseal.cli.output import Ink, Output, Priority, clean
from mailseal.errors import ExitCode
from mailseal.model import Finding, Severity, worst

_INKS = {
    Severity.OK: Ink.GREEN,
    Severity.INFO: Ink.BLUE,
    Severity.WARNING: Ink.YELLOW,
    Severity.ERROR: Ink.RED,
}
_PRIORITIES = {Severity.WARNING: Priority.WARNING, Severity.ERROR: Priority.ERROR}
_LABEL = 10  # columns of "expected" and the room after it
_HEAD = 9  # columns of "WARNING" and the room after it


def show(findings: Sequence[Finding], out: Output) -> None:
    """Prints findings, the gravest last, where the eye is when the command ends."""
    for finding in sorted(findings, key=lambda f: f.severity):
        if finding.severity > Severity.OK or out.verbose:
            for line in paragraph(finding, out):
                out.result(line, _PRIORITIES.get(finding.severity, Priority.INFO))
    out.result(summary(findings))


def paragraph(finding: Finding, out: Output) -> list[str]:
    """One finding, in the lines that it takes."""
    word = finding.severity.word.upper() if finding.severity >= Severity.WARNING else finding.severity.word
    head = out.paint(word.ljust(_HEAD - 1), _INKS[finding.severity]) + " "
    if finding.severity <= Severity.INFO and not finding.mend and not finding.why:
        folded = _fold(f"{finding.subject}  {finding.seen}".rstrip(), out.width - _HEAD)
        return [head + folded[0], *(" " * _HEAD + line for line in folded[1:])]
    *rest, last = _fold(f"{finding.subject}  [{finding.code}]", out.width - _HEAD)
    subject, _, code = last.rpartition("[")
    lines = [out.paint(line, Ink.BOLD) for line in rest]
    lines.append(f"{out.paint(subject, Ink.BOLD)}{out.paint(f'[{code}', Ink.DIM)}")
    lines = [head + lines[0], *(" " * _HEAD + line for line in lines[1:])]
    for label, text in (
        ("seen", finding.seen),
        ("expected", finding.expected),
        ("why", finding.why),
        ("mend", finding.mend),
    ):
        if text:
            lines += _labelled(label, text, out)
    return [*lines, ""]


def summary(findings: Sequence[Finding]) -> str:
    """All findings counted, in a line."""
    counts = {severity: sum(f.severity is severity for f in findings) for severity in Severity}
    told = [
        f"{counts[severity]} {severity.word}{'s' if counts[severity] > 1 else ''}"
        for severity in (Severity.ERROR, Severity.WARNING)
        if counts[severity]
    ]
    good = counts[Severity.OK]
    if not told:
        return (
            f"All well: {good} {'check' if good == 1 else 'checks'} passed."
            if good
            else "Nothing was found wrong."
        )
    return ", ".join(told) + (f"; {good} {'check' if good == 1 else 'checks'} passed." if good else ".")


def as_json(findings: Sequence[Finding]) -> list[dict[str, str]]:
    """Findings for a JSON document: each with code, severity (a word), subject, seen, expected, why, mend."""
    return [
        {
            "code": finding.code,
            "severity": finding.severity.word,
            "subject": finding.subject,
            "seen": finding.seen,
            "expected": finding.expected,
            "why": finding.why,
            "mend": finding.mend,
        }
        for finding in findings
    ]


def exit_code(findings: Sequence[Finding]) -> ExitCode:
    """OK, or FINDINGS where anything is a warning or worse."""
    return ExitCode.FINDINGS if worst(findings) >= Severity.WARNING else ExitCode.OK


def _labelled(label: str, text: str, out: Output) -> list[str]:
    indent = " " * _HEAD + " " * _LABEL
    width = out.width - len(indent)
    lines: list[str] = []
    for line in clean(text).split("\n"):
        lines += [line] if label == "mend" and _is_command(line) else _fold(line, width)
    first = " " * _HEAD + out.paint(label.ljust(_LABEL), Ink.DIM) + (lines[0] if lines else "")
    return [first, *(indent + line for line in lines[1:])]


def _is_command(text: str) -> bool:
    """Whether a text is something to type: commands begin in lower case or with a path, sentences do not."""
    return text[:1].islower() or text[:1] == "/"


def _fold(text: str, width: int) -> list[str]:
    return textwrap.wrap(clean(text), width, break_long_words=False, break_on_hyphens=False) or [""]

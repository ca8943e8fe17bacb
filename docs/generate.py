"""Writes docs/reference/ and examples/ from the code; `script/docs` runs it, and a test holds both to be equal.

Each page is a pure function here or beside what it documents. Nothing in
docs/reference/ is edited by hand.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import click

from mailseal.acme import problems
from mailseal.cli.group import COMMANDS, EXIT_MEANINGS, group
from mailseal.cli.main import INTERRUPTED
from mailseal.config import reference
from mailseal.errors import MailsealError
from mailseal.findings import CODES

ROOT = Path(__file__).parents[1]


def pages() -> dict[str, str]:
    """Every generated file, by its path in the repository."""
    return {
        "docs/reference/commands.md": commands(),
        "docs/reference/configuration.md": reference.page(),
        "docs/reference/errors.md": errors(),
        "docs/reference/exit-codes.md": exit_codes(),
        "docs/reference/findings.md": findings(),
        "examples/mailseal.toml": reference.sample(),
        "examples/smallest.toml": reference.SMALLEST,
    }


def commands() -> str:
    """What `--help` prints, of the program and of every command."""
    context = click.Context(group, info_name="mailseal", max_content_width=80, terminal_width=80)
    parts = ["# Commands", f"```\n{group.get_help(context).rstrip()}\n```"]
    for name in COMMANDS:
        command = group.get_command(context, name)
        assert command is not None
        inner = click.Context(command, info_name=name, parent=context, terminal_width=80)
        parts.append(f"## mailseal {name}\n\n```\n{command.get_help(inner).rstrip()}\n```")
    return "\n\n".join(parts) + "\n"


def exit_codes() -> str:
    """What each exit status says."""
    rows = [f"| {code.value} | {code.name} | {meaning} |" for code, meaning in EXIT_MEANINGS.items()]
    rows.append(f"| {INTERRUPTED} | | Ctrl-C; the next run finishes or takes back what was begun |")
    return "# Exit status\n\n| status | name | meaning |\n| --- | --- | --- |\n" + "\n".join(rows) + "\n"


def findings() -> str:
    """Every code that a finding can carry."""
    parts = [
        "# Findings",
        (
            "What `check`, `plan` and `apply` can find, by its stable code. Each is told with what was seen and "
            "expected, why it matters, and what mends it; this page says what a code stands for."
        ),
    ]
    for code, about in sorted(CODES.items()):
        parts.append(f"## `{code}`\n\n**{about.title}.** {about.meaning}")
    return "\n\n".join(parts) + "\n"


def errors() -> str:
    """Every error that stops the work."""
    rows = [
        f"| `{kind.__name__}` | {' '.join((kind.__doc__ or '').split())} | {kind.exit_code.value} |"
        for kind in sorted(set(_below(MailsealError)), key=lambda kind: kind.__name__)
        if kind.__module__ in (MailsealError.__module__, problems.__name__)
    ]
    return (
        "# Errors\n\nWhat stops the work, by the word that `--json` gives as `error.kind`. Each is told with what "
        "failed, why, the state of the machine, and the next command.\n\n"
        "| kind | meaning | exit status |\n| --- | --- | --- |\n" + "\n".join(rows) + "\n"
    )


def _below(kind: type[MailsealError]) -> Iterator[type[MailsealError]]:
    for one in kind.__subclasses__():
        yield one
        yield from _below(one)


def main() -> int:
    """Writes what differs, and says so."""
    for name, text in pages().items():
        path = ROOT / name
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
            print(name)
    return 0


if __name__ == "__main__":
    sys.exit(main())

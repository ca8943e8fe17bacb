"""The table of commands. Each is a module of its own, imported when it is used.

The one-line help stands here and not in the module, so that `mailseal --help`
imports none of them.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from typing import Any

import click

from mailseal import __version__
from mailseal.cli.options import common
from mailseal.errors import ExitCode


@dataclass(frozen=True, slots=True)
class Entry:
    """One command: how it is typed in an example, what it does in a line, and where its code is."""

    example: str
    summary: str
    target: str


COMMANDS: dict[str, Entry] = {
    "check": Entry("mailseal check [HOST]", "look, change nothing", "mailseal.cli.check:check"),
    "setup": Entry(
        "mailseal setup",
        "ask a few questions, write the configuration, apply it, prove it",
        "mailseal.cli.setup:setup",
    ),
    "plan": Entry(
        "mailseal plan",
        "what apply would do: orders, changed files with their diffs",
        "mailseal.cli.plan:plan",
    ),
    "apply": Entry(
        "mailseal apply",
        "do it and prove it, or take it back",
        "mailseal.cli.apply:apply",
    ),
    "renew": Entry(
        "mailseal renew",
        "what the timer runs: apply what is due",
        "mailseal.cli.apply:renew",
    ),
    "status": Entry(
        "mailseal status",
        "the certificates, when each renews, where each is served",
        "mailseal.cli.status:status",
    ),
    "detach": Entry(
        "mailseal detach",
        "hand the machine back as it was found",
        "mailseal.cli.detach:detach",
    ),
}

EXIT_MEANINGS = {
    ExitCode.OK: "all well: what was asked for is done, and proven where it can be",
    ExitCode.FINDINGS: "something was found that should be looked at; what was asked for is done",
    ExitCode.USAGE: "the command line or the configuration cannot be followed; nothing was changed",
    ExitCode.FAILED: "it could not be done; what was begun was taken back, or the message says what stands",
    ExitCode.WAITING: "nothing is wrong, but what is left must wait; the message says until when",
}


class Commands(click.Group):
    """A group whose commands come from `COMMANDS`."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        entry = COMMANDS.get(cmd_name)
        if entry is None:
            return None
        module, _, attribute = entry.target.partition(":")
        command = getattr(import_module(module), attribute)
        assert isinstance(command, click.Command)
        return command

    def resolve_command(self, ctx: click.Context, args: list[str]) -> Any:
        name = args[0]
        if name in COMMANDS or name.startswith("-"):
            return super().resolve_command(ctx, args)
        import difflib

        guess = difflib.get_close_matches(name, COMMANDS, n=1)
        hint = f" Did you mean: mailseal {guess[0]}?" if guess else ""
        raise click.UsageError(f"There is no command {name!r}.{hint}", ctx)

    def format_help(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Help made of examples."""
        formatter.write(
            "mailseal keeps the TLS certificates of a mail server right: it obtains them,\n"
            "serves them on every port, proves it by real handshakes, and takes back what\n"
            "fails the proof.\n\n"
        )
        if COMMANDS:
            with formatter.indentation():
                formatter.write_dl(
                    [(entry.example, entry.summary) for entry in COMMANDS.values()], col_max=34
                )
            formatter.write_paragraph()
        with formatter.section("Every command takes"):
            records = [parameter.get_help_record(ctx) for parameter in self.get_params(ctx)]
            formatter.write_dl([record for record in records if record is not None])
        formatter.write_paragraph()
        formatter.write(
            "Exit status: 0 all well, 1 findings, 2 usage or configuration, 3 could not be\n"
            "done and was taken back, 4 waiting.   More: mailseal COMMAND --help\n"
        )


@click.group(
    cls=Commands,
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 80},
)
@common
@click.version_option(__version__, "--version", message="mailseal %(version)s", help="Show the version.")
@click.pass_context
def group(context: click.Context) -> None:
    """Keeps the TLS certificates of a mail server right."""
    if context.invoked_subcommand is None:
        click.echo(context.get_help())

"""The table of commands. Each is a module of its own, imported when it is used.

The one-line help stands here and not in the module, so that `mailseal --help`
imports none of them.
"""

from __future__ import annotations

from collections.abc import Callable
from copy import copy
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import click

from mailseal import __version__
from mailseal.cli.options import App, common
from mailseal.errors import ExitCode


@dataclass(frozen=True, slots=True)
class Entry:
    """One command: what it does in a line, where its code is, and examples: what to type, and what that does.

    `needs_root`: it reads or writes what only root may, so anybody else is told so before it starts.
    """

    summary: str
    target: str
    examples: tuple[tuple[str, str], ...] = ()
    needs_root: bool = True


COMMANDS: dict[str, Entry] = {
    "check": Entry(
        "look at every port, change nothing; with HOST, from outside",
        "mailseal.cli.check:check",
        (
            ("mailseal check", "this machine, by its own configuration"),
            ("mailseal check -v", "also what is well"),
            ("mailseal check mail.example.org", "from outside: the usual ports of a host"),
        ),
        needs_root=False,
    ),
    "setup": Entry(
        "ask a few questions, write the configuration, apply it, prove it",
        "mailseal.cli.setup:setup",
        (
            ("mailseal setup", "look, propose, ask"),
            ("mailseal setup --yes --agree-tos --contact postmaster@example.org", "take what is proposed"),
            ("mailseal setup --yes --agree-tos --name mail.example.org", "only this name"),
        ),
    ),
    "plan": Entry(
        "what apply would do: orders, changed files with their diffs",
        "mailseal.cli.plan:plan",
        (("mailseal plan", "in order, with every diff"), ("mailseal plan --json", "for a program")),
    ),
    "apply": Entry(
        "do it and prove it, or take it back",
        "mailseal.cli.apply:apply",
        (("mailseal plan && mailseal apply", "see it first"), ("mailseal apply --quiet", "only the result")),
    ),
    "renew": Entry(
        "apply what is due: for cron or a timer",
        "mailseal.cli.apply:renew",
        (("mailseal renew", "nothing happens where nothing is due"),),
    ),
    "status": Entry(
        "the certificates, when each renews, where each is served",
        "mailseal.cli.status:status",
        (("mailseal status", "for a person"), ("mailseal status --json", "for a program")),
    ),
    "rollback": Entry(
        "serve an earlier generation again, prove it, and have it stay",
        "mailseal.cli.rollback:rollback",
        (
            ("mailseal rollback", "the default certificate, one back"),
            ("mailseal rollback mail 7", "this generation of this certificate"),
        ),
    ),
    "revoke": Entry(
        "replace a certificate, prove it, then revoke the old one",
        "mailseal.cli.revoke:revoke",
        (
            ("mailseal revoke mail --reason keyCompromise", "its key is in other hands"),
            ("mailseal revoke mail --generation 7", "one that serves no more"),
        ),
    ),
    "notify": Entry(
        "who is told of trouble, and a test of every way",
        "mailseal.cli.notify:notify",
        (
            ("mailseal notify", "by which ways, and what trouble is open"),
            ("mailseal notify --test", "send a test by every way"),
        ),
    ),
    "detach": Entry(
        "hand the machine back as it was found",
        "mailseal.cli.detach:detach",
        (
            ("mailseal detach", "shows what would be undone, and asks"),
            ("mailseal detach --yes", "does not ask"),
        ),
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
        shown = copy(command)
        shown.epilog = "\n\n".join(part for part in (_examples(entry), command.epilog or "") if part)
        if entry.needs_root:
            shown.callback = _as_root(cmd_name, command.callback)
        return shown

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
                formatter.write_dl([(f"mailseal {name}", entry.summary) for name, entry in COMMANDS.items()])
            formatter.write_paragraph()
        with formatter.section("Every command takes"):
            records = [parameter.get_help_record(ctx) for parameter in self.get_params(ctx)]
            formatter.write_dl([record for record in records if record is not None])
        formatter.write_paragraph()
        formatter.write(
            "Exit status: 0 all well, 1 findings, 2 usage or configuration, 3 could not be\n"
            "done and was taken back, 4 waiting.   More: mailseal COMMAND --help\n"
        )


def _as_root(name: str, callback: Callable[..., Any] | None) -> Callable[..., Any]:
    @click.pass_obj
    def checked(app: App, /, *positional: Any, **named: Any) -> Any:
        app.require_root(name)
        return callback(*positional, **named) if callback else None

    return checked


def _examples(entry: Entry) -> str:
    """A block that click does not fold: what to type, and beside or below it what that does."""
    lines = []
    for typed, does in entry.examples:
        lines += [f"{typed:36}{does}"] if len(typed) < 36 else [typed, f"{'':36}{does}"]
    return "\b\n" + "\n".join(lines) if lines else ""


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

"""The way in, and the one place where errors are caught.

Whatever stops the work ends here as a few lines on stderr (with --json also as
a document on stdout) and an exit status. A fault of the program itself is told
in a sentence; its traceback goes where somebody can use it: to the terminal
with --debug, or to the journal when systemd runs us (systemd.exec(5),
JOURNAL_STREAM).
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from mailseal.cli.group import group
from mailseal.cli.options import App
from mailseal.cli.output import Output
from mailseal.errors import ExitCode, MailsealError, UsageError

if TYPE_CHECKING:
    from mailseal.system import System

INTERRUPTED = 130  # 128 + SIGINT, as a shell reports it


def main(
    argv: Sequence[str] | None = None, *, system: System | None = None, out: Output | None = None
) -> int:
    """Runs one command line and returns its exit status. `system` and `out` are for tests."""
    if argv is None:
        _end_in_order()
    app = App(out or Output(), given_system=system)
    arguments = list(sys.argv[1:] if argv is None else argv)
    if app.out.in_journal:
        app.start_log()
    try:
        return _run(app, arguments)
    except BrokenPipeError:  # whoever read our output has seen enough
        _close_stdout()
        return ExitCode.OK


def _run(app: App, arguments: list[str]) -> int:
    try:
        status = group.main(arguments, prog_name="mailseal", standalone_mode=False, obj=app)
        sys.stdout.flush()
        return int(status) if isinstance(status, int) else ExitCode.OK
    except click.exceptions.Exit as ended:
        return ended.exit_code
    except click.UsageError as error:
        return _tell(app, _usage(error))
    except (KeyboardInterrupt, click.Abort):
        app.out.error(
            [
                "Interrupted.",
                "State: What was begun was taken back, or is by the next run.",
                "Next: the same command again, or mailseal status (shows what stands)",
            ]
        )
        return INTERRUPTED
    except MailsealError as error:
        if app.debug:
            _trace(app)
        return _tell(app, error)
    except BrokenPipeError:
        raise
    except Exception as error:
        return _unexpected(app, error)


def _end_in_order() -> None:
    """Makes a lost connection (SIGHUP) and a stop by systemd (SIGTERM) like Ctrl-C: what was begun is taken back."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is signal.SIG_DFL:  # nohup(1) has SIGHUP ignored, and means it
            signal.signal(number, signal.default_int_handler)


def _usage(error: click.UsageError) -> UsageError:
    command = error.ctx.command_path if error.ctx else "mailseal"
    return UsageError(error.format_message(), next_command=f"{command} --help")


def _tell(app: App, error: MailsealError) -> int:
    app.out.error(error.lines())
    app.out.document(
        {
            "error": {
                "kind": type(error).__name__,
                "message": error.message,
                "faults": getattr(error, "faults", ()),
                "reason": error.reason,
                "state": error.state,
                "next": error.next_command,
            },
            "exit_status": int(error.exit_code),
        }
    )
    return error.exit_code


def _unexpected(app: App, error: Exception) -> int:
    if app.debug or os.environ.get("JOURNAL_STREAM"):
        _trace(app)
    return _tell(
        app,
        MailsealError(
            f"A fault of mailseal itself: {type(error).__name__}: {error}",
            state="What was begun is taken back, or finished, by the next run.",
            next_command="the same command with --debug, and report what it prints",
        ),
    )


def _trace(app: App) -> None:
    import traceback

    app.out.trace(traceback.format_exc())


def _close_stdout() -> None:
    """Points stdout at nothing, so that the interpreter's flush at its end does not complain again."""
    nothing = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nothing, sys.stdout.fileno())
    os.close(nothing)

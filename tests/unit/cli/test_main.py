"""The one catcher of errors: what is told, where, and with which status."""

from __future__ import annotations

import io
import json
import logging
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from types import ModuleType

import click
import pytest

from mailseal.cli.group import COMMANDS, Entry
from mailseal.cli.main import main
from mailseal.cli.options import App, common
from mailseal.cli.output import Output
from mailseal.errors import ConfigError, ExitCode, MailsealError, Waiting

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs a command line in which `try` is a command that does what is handed in."""

    def one(*arguments: str, does: Callable[[App], int | None] = lambda _: None) -> tuple[int, str, str]:
        @click.command("try")
        @common
        @click.pass_obj
        def command(app: App) -> int | None:
            return does(app)

        module = ModuleType("tried_command")
        module.command = command  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, "tried_command", module)
        monkeypatch.setitem(COMMANDS, "try", Entry("tries", "tried_command:command"))
        stdout, stderr = io.StringIO(), io.StringIO()
        status = main(arguments, out=Output(stdout, stderr))
        return status, stdout.getvalue(), stderr.getvalue()

    return one


def fail(error: BaseException) -> Callable[[App], int | None]:
    def does(_: App) -> int | None:
        raise error

    return does


def test_a_status_is_handed_through(run: Run) -> None:
    assert run("try", does=lambda _: ExitCode.WAITING)[0] == 4
    assert run("try")[0] == 0


def test_an_error_says_what_why_state_and_next(run: Run) -> None:
    error = MailsealError("It broke.", reason="wear", state="As before.", next_command="mailseal plan")
    status, stdout, stderr = run("try", does=fail(error))
    assert (status, stdout) == (3, "")
    assert stderr == "mailseal: It broke.\nWhy: wear\nState: As before.\nNext: mailseal plan\n"


def test_an_error_as_json(run: Run) -> None:
    error = ConfigError("Two faults:", faults=("one", "two"), next_command="mend it")
    status, stdout, stderr = run("try", "--json", does=fail(error))
    told = json.loads(stdout)
    assert status == told["exit_status"] == 2
    assert told["error"]["kind"] == "ConfigError"
    assert told["error"]["faults"] == ["one", "two"]
    assert "Two faults:\n  one\n  two\n" in stderr


def test_waiting_is_a_status_of_its_own(run: Run) -> None:
    assert run("try", does=fail(Waiting("Nothing to do.", state="until tomorrow")))[0] == 4


def test_a_fault_of_the_program_is_told_in_a_sentence(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("JOURNAL_STREAM", raising=False)
    status, _, stderr = run("try", does=fail(ZeroDivisionError("division by zero")))
    assert status == 3
    assert "A fault of mailseal itself: ZeroDivisionError: division by zero" in stderr
    assert "Traceback" not in stderr


def test_its_traceback_is_for_debug_and_for_the_journal(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("JOURNAL_STREAM", raising=False)
    assert "Traceback" in run("try", "--debug", does=fail(ZeroDivisionError()))[2]
    monkeypatch.setenv("JOURNAL_STREAM", "8:1234")
    assert "Traceback" in run("try", does=fail(ZeroDivisionError()))[2]


def test_control_c(run: Run) -> None:
    status, _, stderr = run("try", does=fail(KeyboardInterrupt()))
    assert status == 130
    assert "Interrupted." in stderr


def test_it_says_that_it_needs_root(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    status, _, stderr = run("try")
    assert status == 2
    assert stderr == "mailseal: mailseal try needs root.\nNext: sudo mailseal try\n"
    assert run("try", "--help")[0] == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_stop_from_outside_is_like_control_c(number: signal.Signals) -> None:
    script = (
        "import os, signal, sys, types, click\n"
        # Whoever runs the tests may have it ignored (nohup), and what is ignored stays so for children.
        f"signal.signal({int(number)}, signal.SIG_DFL)\n"
        "from mailseal.cli.group import COMMANDS, Entry\n"
        "from mailseal.cli.main import main\n"
        "module = types.ModuleType('stopped')\n"
        f"module.it = click.Command('stop', callback=lambda: os.kill(os.getpid(), {int(number)}))\n"
        "sys.modules['stopped'] = module\n"
        "COMMANDS['stop'] = Entry('stops', 'stopped:it', needs_root=False)\n"
        "sys.argv = ['mailseal', 'stop']\n"
        "sys.exit(main())\n"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    arguments = [sys.executable, "-c", script]
    done = subprocess.run(arguments, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 130
    assert "mailseal: Interrupted." in done.stderr


def test_verbose_shows_the_log(run: Run) -> None:
    def does(_: App) -> None:
        logging.getLogger("mailseal.acme").info("polled %d times", 3)

    assert run("try", "-v", does=does)[2] == "polled 3 times\n"


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("tyr",), "Did you mean: mailseal try?"),
        (("nonsense",), "There is no command 'nonsense'."),
        (("try", "--jsn"), "--jsn"),
        (("try", "more"), "more"),
        (("--config",), "--config"),
    ],
)
def test_a_wrong_command_line(run: Run, arguments: tuple[str, ...], told: str) -> None:
    status, stdout, stderr = run(*arguments)
    assert (status, stdout) == (2, "")
    assert told in stderr
    assert "--help" in stderr.splitlines()[-1]


@pytest.mark.parametrize(
    "arguments", [("--config", "/x", "--json", "try"), ("try", "--json", "--config", "/x")]
)
def test_common_options_stand_before_or_after_the_command(run: Run, arguments: tuple[str, ...]) -> None:
    seen: list[tuple[str, bool]] = []

    def does(app: App) -> None:
        seen.append((app.config_path, app.out.json_mode))

    assert run(*arguments, does=does)[0] == 0
    assert seen == [("/x", True)]


def test_a_relative_path_is_meant_from_here(run: Run) -> None:
    seen: list[str] = []
    assert run("try", "--config", "m.toml", does=lambda app: seen.append(app.config_path))[0] == 0
    assert seen == [f"{os.getcwd()}/m.toml"]


def test_a_reader_that_has_seen_enough() -> None:
    script = (
        "import sys, mailseal.cli.group as g\n"
        "from mailseal.cli.main import main\n"
        "sys.exit(main(['--help']))\n"
    )
    done = subprocess.run(
        ["sh", "-c", '"$0" -c "$1" | true; exec "$0" -c "$1" >&-', sys.executable, script],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("name", list(COMMANDS))
def test_every_entry_of_the_table_is_there(name: str) -> None:
    quiet = Output(io.StringIO(), io.StringIO())
    assert main([name, "--config", "/nonexistent", "--unknown-option"], out=quiet) == 2


@pytest.mark.parametrize("name", list(COMMANDS))
def test_help_shows_examples_and_fits_into_80_columns(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([name, "--help"]) == 0
    text = capsys.readouterr().out
    assert max(len(line) for line in text.splitlines()) <= 80
    assert COMMANDS[name].examples
    for typed, does in COMMANDS[name].examples:
        assert f"mailseal {name}" in typed
        assert typed in text
        assert does in text

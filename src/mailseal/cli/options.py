"""What every command takes, and what it is handed: an `App`.

The options stand before or after the command's name; the last one wins.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

import click

from mailseal.cli.output import Output, Priority
from mailseal.errors import UsageError

if TYPE_CHECKING:
    from mailseal.config import Config
    from mailseal.system import System

DEFAULT_CONFIG = "/etc/mailseal/mailseal.toml"  # a test holds it equal to mailseal.config's
Decorated = TypeVar("Decorated", bound=Callable[..., Any])


@dataclass
class App:
    """What a command is handed: the options, the output, and on first use the machine and the configuration."""

    out: Output = field(default_factory=Output)
    config_path: str = DEFAULT_CONFIG
    debug: bool = False
    given_system: System | None = None

    @property
    def system(self) -> System:
        """The machine; a test hands in its own."""
        if self.given_system is None:
            from mailseal.system.local import LocalSystem

            self.given_system = LocalSystem()
        return self.given_system

    def require_root(self, command: str) -> None:
        """Raises `UsageError` where this machine is the real one and we are not root."""
        if self.given_system is None and os.geteuid() != 0:
            raise UsageError(f"mailseal {command} needs root.", next_command=f"sudo mailseal {command}")

    def start_log(self) -> None:
        """Shows what the parts write to the log on stderr; the journal gets no lines of debugging."""
        import logging

        def emit(record: logging.LogRecord) -> None:
            warns = record.levelno >= logging.WARNING
            informs = record.levelno >= logging.INFO
            priority = Priority.WARNING if warns else Priority.INFO if informs else Priority.DEBUG
            self.out.note(record.getMessage(), priority)

        handler = logging.Handler()
        handler.emit = emit  # type: ignore[method-assign]
        logger = logging.getLogger("mailseal")
        logger.handlers = [handler]
        logger.setLevel(logging.DEBUG)

    def config(self) -> Config:
        """The configuration. Raises `ConfigError` with every fault in it, or that there is none."""
        from mailseal.config import read

        return read(self.system, self.config_path)

    def config_if_any(self) -> Config | None:
        """The configuration, or None where none was named and there is none."""
        from mailseal.config import find

        return self.config() if self.config_path != DEFAULT_CONFIG else find(self.system)


def _config(context: click.Context, _: click.Parameter, value: str | None) -> None:
    if value is not None:
        app = context.find_object(App)
        assert app is not None
        app.config_path = os.path.abspath(value)


def _flag(context: click.Context, parameter: click.Parameter, value: bool) -> None:
    if not value:
        return
    app = context.find_object(App)
    assert app is not None
    match parameter.name:
        case "json":
            app.out.json_mode = True
        case "quiet":
            app.out.quiet = True
        case "verbose":
            app.out.verbose = True
            app.start_log()
        case "debug":
            app.debug = True


def common(function: Decorated) -> Decorated:
    """Adds the options that every command has."""
    options = [
        click.option(
            "--config",
            metavar="FILE",
            callback=_config,
            expose_value=False,
            help=f"The configuration (else {DEFAULT_CONFIG}).",
        ),
        click.option(
            "--json", is_flag=True, callback=_flag, expose_value=False, help="Print the result as JSON."
        ),
        click.option("-q", "--quiet", is_flag=True, callback=_flag, expose_value=False, help="No progress."),
        click.option(
            "-v",
            "--verbose",
            is_flag=True,
            callback=_flag,
            expose_value=False,
            help="Also what is well, and the log.",
        ),
        click.option(
            "--debug",
            is_flag=True,
            callback=_flag,
            expose_value=False,
            help="Show where an error arose (traceback).",
        ),
    ]
    for option in reversed(options):
        function = option(function)
    return function

"""The last configuration that could be followed, kept for telling that the present one cannot.

    <state>/last-configuration.json    0600, written when it differs; of the certificates only the first

A timer that finds a configuration it cannot read does nothing, for as long as
nobody notices. Whom to tell stands in that very file; so what it last said is
kept, and somebody is told of its faults as of every other failure. It is read
for nothing else, and only where the state directory is the usual one.
"""

from __future__ import annotations

import msgspec

from mailseal.config.schema import Config, State
from mailseal.errors import ConfigError, MailsealError
from mailseal.model import Finding
from mailseal.runs import Run
from mailseal.system import System

_READ = 1_048_576


def tell(system: System, config: Config, run: Run) -> tuple[Finding, ...]:
    """Keeps the configuration of a run. A machine that has no state directory (yet) keeps none."""
    folder = config.state.directory
    if (
        any(isinstance(error, ConfigError) for error in run.report.errors)
        or system.files.stat(folder) is None
    ):
        return ()
    kept = msgspec.structs.replace(config, certificate=config.certificate[:1])
    if load(system, folder) != kept:
        system.files.replace(_path(folder), msgspec.json.format(msgspec.json.encode(kept)), mode=0o600)
    return ()


def load(system: System, folder: str = State().directory) -> Config | None:
    """The configuration that was kept; None where there is none that can be read, or that only root could write."""
    try:
        stat = system.files.stat(_path(folder))
        if stat is None or stat.kind != "file" or stat.uid != 0 or stat.mode & 0o077:
            return None
        return msgspec.json.decode(system.files.read(_path(folder), _READ), type=Config)
    except (msgspec.DecodeError, MailsealError):
        return None


def _path(folder: str) -> str:
    return f"{folder}/last-configuration.json"

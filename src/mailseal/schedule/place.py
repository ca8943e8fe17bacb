"""What of a schedule can be had on this machine, what stands of it, and when it runs next. Looks, changes nothing."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from mailseal.errors import MailsealError
from mailseal.schedule import cron, units
from mailseal.services.control import systemd_is_init
from mailseal.system import System

# Where a timer's program is looked for, whoever asks: not in PATH, which differs between a shell and a unit.
PROGRAMS = tuple(f"/usr/{folder}/mailseal" for folder in ("local/sbin", "local/bin", "sbin", "bin"))
_CRONS = ("cron", "crond")
_SHOWN = "ActiveState,SubState,LastTriggerUSec,NextElapseUSecRealtime"


@dataclass(frozen=True, slots=True)
class Place:
    """What is here: the program that a schedule may start (empty: none), and who may start it.

    `cron` is whether a cron reads /etc/cron.d, `seed` a number of this machine's own.
    """

    program: str
    systemd: bool
    cron: bool
    seed: int

    @property
    def able(self) -> bool:
        """Whether anything can look for us."""
        return bool(self.program) and (self.systemd or self.cron)

    @property
    def lacking(self) -> str:
        """Why nothing can; empty where something can."""
        if self.able:
            return ""
        if not self.program:
            return "there is no mailseal in /usr/bin or /usr/local/bin that a timer could start"
        return "neither systemd nor cron runs here"


@dataclass(frozen=True, slots=True)
class Timing:
    """How the schedule stands: who starts mailseal ("systemd", "cron", "" for nobody), last and next time (UTC).

    What nobody tells is None: cron keeps no record, and systemd has no next time while a run is at work.
    """

    by: str = ""
    last: datetime | None = None
    next: datetime | None = None
    at_work: bool = False


def look(system: System) -> Place:
    """What this machine has."""
    program = next((path for path in PROGRAMS if system.processes.which(path)), "")
    folder = system.files.stat(cron.FOLDER)
    crons = any(system.processes.which(name) for name in _CRONS)
    return Place(
        program,
        systemd_is_init(system),
        folder is not None and folder.kind == "directory" and crons,
        _seed(system),
    )


def timer_runs(system: System) -> bool:
    """Whether systemd has the timer under way."""
    argv = ("systemctl", "is-active", "--quiet", units.TIMER)
    return system.processes.run(argv, timeout=30.0).ok


def timing(system: System) -> Timing:
    """How the schedule stands now."""
    if systemd_is_init(system):
        shown = _shown(system)
        if shown.get("ActiveState") == "active":
            last, following = shown.get("LastTriggerUSec", ""), shown.get("NextElapseUSecRealtime", "")
            at_work = shown.get("SubState") == "running"
            return Timing("systemd", _moment(last), _moment(following), at_work)
        return Timing()
    return Timing("cron" if system.files.stat(cron.PATH) is not None else "")


def _shown(system: System) -> Mapping[str, str]:
    argv = ("systemctl", "show", units.TIMER, f"--property={_SHOWN}")
    try:
        done = system.processes.run(argv, timeout=30.0, env={"TZ": "UTC"})
    except MailsealError:
        return {}
    lines = (line.partition("=") for line in done.stdout.splitlines())
    return {name: value for name, sign, value in lines if sign}


def _moment(text: str) -> datetime | None:
    """A time as systemctl prints it, `Mon 2026-11-23 19:35:21 UTC`; None where it prints none (or `n/a`).

    `--timestamp=unix` would be easier to read, and is not heeded for a timer's properties.
    """
    match = re.fullmatch(r"\S+ (\d{4}-\d\d-\d\d \d\d:\d\d:\d\d) UTC", text)
    return datetime.strptime(match[1], "%Y-%m-%d %H:%M:%S").replace(tzinfo=UTC) if match else None


def _seed(system: System) -> int:
    """The same at every look on one machine, another on each (machine-id(5); nothing secret is told by it)."""
    try:
        identity = system.files.read("/etc/machine-id").strip()
    except MailsealError:
        identity = b"".join(address.encode() for address in system.network.own_addresses())
    return int.from_bytes(hashlib.sha256(b"mailseal timer " + identity).digest()[:4], "big")

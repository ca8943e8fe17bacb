"""A program in a transient unit of systemd's, beside the unit that mailseal runs in (systemd-run(1)).

mailseal's own unit has a sandbox that is made for its work. A program of the
admin's, which may need anything, is therefore asked of systemd, as a service of
its own that ends with the program: Type=oneshot, so that systemd-run returns
when it has ended, which needs no D-Bus (`--wait` and `--pipe` would). Its input
is a file below /run, readable by root alone and gone afterwards; what it
prints goes to the journal under its unit. When its time is over
(TimeoutStartSec) or the program has ended, systemd ends everything that it
started, also what made a session of its own.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Mapping, Sequence
from shlex import join

from mailseal.errors import CommandTimeout, MailsealError, SystemFault
from mailseal.system import Completed, System

IDENTIFIER = "mailseal-hook"
_OUR_UNIT = re.compile(r"/mailseal[A-Za-z0-9_@.-]*\.service$", re.M)
_STOP = 5  # seconds between SIGTERM and SIGKILL
_GRACE = 20  # seconds more for systemd to answer
_LINES = 12


def in_own_unit(system: System) -> bool:
    """Whether we run in a unit of mailseal's own, and systemd can be asked for another."""
    if system.files.stat("/run/systemd/system") is None:
        return False
    try:
        cgroup = system.files.read("/proc/self/cgroup", 65_536).decode("utf-8", "replace")
    except MailsealError:
        return False
    return _OUR_UNIT.search(cgroup) is not None and system.processes.which("systemd-run") is not None


def run(
    system: System,
    argv: Sequence[str],
    *,
    timeout: float,
    stdin: bytes,
    env: Mapping[str, str],
    daemon: bool = False,
) -> Completed:
    """Runs it to its end, as `Processes.run` does; `stdout` holds its last lines where it failed, else nothing.

    What it leaves behind is ended with it, except of a `daemon`: then it goes on.
    Raises `SystemFault` if it cannot be started, `CommandTimeout` after `timeout` seconds.
    """
    token = system.random.token(6)
    unit, given = f"{IDENTIFIER}-{token}.service", f"/run/{IDENTIFIER}-{token}.input"
    system.files.create(given, stdin, mode=0o600)
    asked = False
    try:
        command = _command(argv, unit, given, timeout, env, daemon)
        # systemd keeps the limit; ours is for a systemd that does not answer.
        done = system.processes.run(command, timeout=timeout + _STOP + _GRACE)
        asked = True
        return Completed(tuple(argv), 0, "", "") if done.ok else _failure(system, argv, unit, timeout, done)
    finally:
        if not asked:
            _quietly(system, "systemctl", "stop", "--no-block", unit)
        with contextlib.suppress(MailsealError):
            system.files.remove(given)


def _command(
    argv: Sequence[str], unit: str, given: str, timeout: float, env: Mapping[str, str], daemon: bool
) -> list[str]:
    return [
        "systemd-run",
        "--quiet",
        f"--unit={unit}",
        f"--description=Hook of mailseal: {argv[0]}",
        "--service-type=oneshot",
        f"--property=TimeoutStartSec={timeout:g}",
        f"--property=TimeoutStopSec={_STOP}",
        *(("--property=KillMode=process",) if daemon else ()),
        f"--property=StandardInput=file:{given}",
        "--property=StandardOutput=journal",
        "--property=StandardError=journal",
        f"--property=SyslogIdentifier={IDENTIFIER}",
        *(f"--setenv={name}={value}" for name, value in env.items()),
        "--",
        *argv,
    ]


def _failure(system: System, argv: Sequence[str], unit: str, timeout: float, done: Completed) -> Completed:
    """How it ended. A unit that failed stays until it is forgotten, which is done here."""
    told = _quietly(
        system, "systemctl", "show", unit, "--property=LoadState,Result,ExecMainCode,ExecMainStatus"
    )
    state = dict(line.split("=", 1) for line in told.splitlines() if "=" in line)
    if state.get("LoadState") != "loaded":
        raise SystemFault(f"Cannot run {join(argv)}", reason=done.said)
    _quietly(system, "journalctl", "--sync")
    said = _quietly(
        system, "journalctl", "--quiet", "--no-pager", "--output=cat", f"--lines={_LINES}",
        f"_SYSTEMD_UNIT={unit}", f"SYSLOG_IDENTIFIER={IDENTIFIER}",
    )  # fmt: skip
    _quietly(system, "systemctl", "reset-failed", unit)
    if state.get("Result") == "timeout":
        raise CommandTimeout(f"{join(argv)} did not end within {timeout:g} s and was stopped", reason=said)
    number = int(state.get("ExecMainStatus") or 1)
    status = number if state.get("ExecMainCode") == "1" else -number  # CLD_EXITED, waitid(2)
    return Completed(tuple(argv), status or 1, said, "")


def _quietly(system: System, *argv: str) -> str:
    """What a helper prints; nothing where it fails."""
    try:
        return system.processes.run(argv, timeout=_GRACE).stdout
    except MailsealError:
        return ""

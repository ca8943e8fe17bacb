"""Hooks: programs of the admin's own that run before the first change of a run, and after the last.

They come from two directories and from the configuration, in this order:

    <[hooks] directory>/before.d/*, <[hooks] directory>/after.d/*      executables, by name as run-parts(8) takes them
    [hooks] before = [["program", "argument"]], after = [[…]]          commands, in the order of the file

A hook runs as root, so only root may have written it: the file itself, every
directory and every symbolic link on the way to it belongs to root and is
writable by nobody else, or it is not run and a finding tells why. (In a sticky
directory such as /tmp others cannot replace what is root's.)

Each is told what happens by environment variables (MAILSEAL_…) and by a JSON
document on its input; neither holds key material. It has a time limit, after
which it is ended with everything that it started, and what it prints is kept
within bounds: the log has it, a failure's finding its last lines.

Where mailseal itself runs in its own unit of systemd, whose sandbox is not
made for other programs, a hook runs in a unit beside it (`mailseal.transient`),
else as a child. A child that makes a session of its own outlives the time
limit; in a unit nothing does.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from shlex import join, quote
from typing import Literal

import msgspec

from mailseal import transient
from mailseal.config.telling import Hooks
from mailseal.errors import CommandTimeout, MailsealError
from mailseal.model import Finding, Severity
from mailseal.system import Completed, Files, System

log = logging.getLogger("mailseal.hooks")

When = Literal["before", "after"]

MOST_VARIABLE = 32_768  # octets; the kernel takes 131,072 for one, execve(2)
_MOST_LINES = 200
_MOST_SAID = 1_000
_NAME = re.compile(r"[A-Za-z0-9_-]+")
_LEFTOVER = re.compile(r"\..*|.*~|.*\.(dpkg|ucf)-[a-z]+")
_MOST_LINKS = 40


class Lineage(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a hook is told of one lineage. `done` are words as in the history; `failed` is a sentence.

    `directory` holds its files by the paths that stay (`<keytype>/fullchain.pem` and others).
    """

    name: str
    generation: int = 0
    directory: str = ""
    identifiers: tuple[str, ...] = ()
    expires: datetime | None = None
    done: tuple[str, ...] = ()
    failed: str = ""


class Told(msgspec.Struct, frozen=True):
    """The JSON document that a hook reads. Before the change `ended` and `exit_status` are null."""

    event: str
    command: str
    run: str
    began: datetime
    lineages: tuple[Lineage, ...] = ()
    steps: tuple[str, ...] = ()
    ended: datetime | None = None
    exit_status: int | None = None
    waits: tuple[str, ...] = ()
    errors: tuple[str, ...] = ()
    findings: tuple[Mapping[str, str], ...] = ()

    def environment(self) -> dict[str, str]:
        """The same, as far as it fits into variables; a list of names that does not is cut, and counted."""
        changed = [one.name for one in self.lineages if one.done]
        failed = [one.name for one in self.lineages if one.failed]
        found = {
            "MAILSEAL_EVENT": self.event,
            "MAILSEAL_COMMAND": self.command,
            "MAILSEAL_RUN": self.run,
            "MAILSEAL_EXIT_STATUS": "" if self.exit_status is None else str(self.exit_status),
        }
        lists = {
            "MAILSEAL_LINEAGES": [one.name for one in self.lineages],
            "MAILSEAL_CHANGED": changed,
            "MAILSEAL_FAILED": failed,
        }
        for name, words in lists.items():
            found[name] = _fitting(words)
        left_out = len(self.lineages) - len(found["MAILSEAL_LINEAGES"].split())
        return {**found, "MAILSEAL_LEFT_OUT": str(left_out)}


@dataclass(frozen=True, slots=True)
class Ran:
    """What came of the hooks: findings, and how many of them failed or could not be run."""

    findings: tuple[Finding, ...] = ()
    failed: int = 0


def run_all(system: System, hooks: Hooks, told: Callable[[], Told], when: When) -> Ran:
    """Runs the hooks of one kind, one after another. Before a change the first that fails keeps the rest from running.

    `told` is asked only where there is a hook to tell.
    """
    argvs, findings, failed = _collected(system.files, hooks, when)
    if argvs and not (failed and when == "before"):
        telling = told()
        content, environment = msgspec.json.encode(telling) + b"\n", telling.environment()
        for argv in argvs:
            finding = _run(system, hooks, argv, when, content, environment)
            if finding is not None:
                findings.append(finding)
                failed += 1
                if when == "before":
                    break
    return Ran(tuple(findings), failed)


def distrust(files: Files, path: str) -> str:
    """Why a program must not be run as root: somebody else could have written it. Empty where only root could.

    Symbolic links are followed here as the kernel follows them, each held to the same rule.
    """
    ahead = [part for part in path.split("/") if part not in ("", ".")][::-1]
    way, links = "", 0
    while ahead:
        part = ahead.pop()
        if part == "..":
            way = way.rpartition("/")[0]
            continue
        here = f"{way}/{part}"
        found = files.stat(here)
        if found is None:
            return f"{here} is not there"
        if found.uid != 0:
            return f"{here} belongs to user {found.uid}, not to root"
        if found.kind == "link":
            links += 1
            if links > _MOST_LINKS:
                return f"too many symbolic links on the way to {path}"
            target = files.state(here).target
            ahead += [part for part in target.split("/") if part not in ("", ".")][::-1]
            way = "" if target.startswith("/") else way
            continue
        sticky = found.kind == "directory" and found.mode & 0o1000
        if not sticky and (found.mode & 0o002 or (found.mode & 0o020 and found.gid != 0)):
            return f"{here} can be written by others than root (mode {found.mode & 0o7777:04o})"
        way = here
    return ""


def _collected(files: Files, hooks: Hooks, when: When) -> tuple[list[tuple[str, ...]], list[Finding], int]:
    """The argvs to run, what was found wrong with others, and how many of them should have run."""
    argvs: list[tuple[str, ...]] = []
    findings: list[Finding] = []
    folder, refused = f"{hooks.directory}/{when}.d", 0
    commands = [(f"{folder}/{name}",) for name in _names(files, folder)]
    for argv in (*commands, *(hooks.before if when == "before" else hooks.after)):
        finding = _objection(files, argv[0], in_folder=argv in commands)
        if finding is None:
            argvs.append(argv)
        else:
            findings.append(finding)
            refused += finding.severity >= Severity.WARNING
    return argvs, findings, refused


def _names(files: Files, folder: str) -> list[str]:
    """What stands in a directory of hooks, but for what editors and packages leave behind."""
    if files.stat(folder, follow=True) is None:
        return []
    return [name for name in files.listdir(folder) if not _LEFTOVER.fullmatch(name)]


def _objection(files: Files, path: str, *, in_folder: bool) -> Finding | None:
    """Why a program is not run as a hook."""
    try:
        if in_folder:
            stat = files.stat(path, follow=True)
            if stat is None or stat.kind != "file":
                return _skipped(path, "it is no file")
            if not _NAME.fullmatch(path.rpartition("/")[2]):
                return _skipped(path, "its name has other characters than letters, digits, '_' and '-'")
            if not stat.mode & 0o111:
                return _skipped(path, "it is not executable")
        reason = distrust(files, path) if path.startswith("/") else ""
    except MailsealError as error:
        reason = str(error)
    return _refused(path, reason) if reason else None


def _run(
    system: System,
    hooks: Hooks,
    argv: tuple[str, ...],
    when: When,
    content: bytes,
    environment: Mapping[str, str],
) -> Finding | None:
    """Runs one; a finding where it failed."""
    log.info("hook %s the change: %s", when, join(argv))
    try:
        run = transient.run if transient.in_own_unit(system) else _as_child
        done = run(system, argv, timeout=hooks.timeout, stdin=content, env=environment)
    except CommandTimeout as error:
        return _failed(argv, f"it did not end within {hooks.timeout:g} s and was ended", error.reason)
    except MailsealError as error:
        return _failed(argv, str(error), "")
    for line in (done.stdout + done.stderr).splitlines()[-_MOST_LINES:]:
        log.info("%s: %s", argv[0].rpartition("/")[2], line)
    if done.ok:
        return None
    ended = f"ended by signal {-done.status}" if done.status < 0 else f"ended with status {done.status}"
    return _failed(argv, f"it {'was ' if done.status < 0 else ''}{ended}", done.said)


def _as_child(
    system: System, argv: Sequence[str], *, timeout: float, stdin: bytes, env: Mapping[str, str]
) -> Completed:
    return system.processes.run(argv, timeout=timeout, stdin=stdin, env=env)


def _fitting(words: Sequence[str]) -> str:
    """The words that fit into a variable, separated by blanks."""
    kept, room = [], MOST_VARIABLE
    for word in words:
        room -= len(word) + 1
        if room < 0:
            break
        kept.append(word)
    return " ".join(kept)


def _failed(argv: tuple[str, ...], seen: str, said: str) -> Finding:
    tail = said.strip()[-_MOST_SAID:]
    return Finding(
        "hook-failed",
        Severity.WARNING,
        join(argv),
        seen=f"{seen}: {tail}" if tail else seen,
        expected="a hook that ends with status 0 within its time",
        why="What it was to do was not done.",
        mend=f"mend it, and try it by hand: {join(argv)} </dev/null",
    )


def _refused(path: str, reason: str) -> Finding:
    return Finding(
        "hook-refused",
        Severity.WARNING,
        path,
        seen=f"it was not run: {reason}",
        expected="a program that only root can have written",
        why="It would run as root, and so could do whatever somebody else has written into it.",
        mend=f"chown root:root {quote(path)} && chmod go-w {quote(path)}, and the same of its directories",
    )


def _skipped(path: str, reason: str) -> Finding:
    return Finding(
        "hook-skipped",
        Severity.INFO,
        path,
        seen=f"it is not run as a hook: {reason}",
        expected="an executable whose name run-parts(8) would take, or no file there",
        why="Whoever put it there may think that it runs.",
        mend=f"rename it, or chmod +x {quote(path)}",
    )

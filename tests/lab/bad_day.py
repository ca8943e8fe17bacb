"""What the tests of bad input share: a machine's whole picture before and after, and what a command told."""

from __future__ import annotations

import json
import signal
import time
from dataclasses import dataclass

from lab.box import Box, Result
from lab.ca import AcmeServer
from lab.recipe import LAB_PYTHON
from lab.world import API_TRUST
from tests.lab.job import ROOTS

DAEMONS = ("master", "dovecot", "apache2")


@dataclass(frozen=True)
class Picture:
    """Every file of the machine's configuration and web roots with mode, owner and content; the daemons that run."""

    files: dict[str, str]
    daemons: dict[str, int]
    ports: frozenset[tuple[str, int]]

    def __sub__(self, before: Picture) -> dict[str, tuple[object, object]]:
        """What differs, for a message that can be read."""
        mine: dict[str, object] = {**self.files, **self.daemons, "ports": sorted(self.ports)}
        theirs: dict[str, object] = {**before.files, **before.daemons, "ports": sorted(before.ports)}
        return {
            key: (theirs.get(key), mine.get(key))
            for key in mine.keys() | theirs.keys()
            if mine.get(key) != theirs.get(key)
        }


def picture(mail: Box) -> Picture:
    """The machine as it is."""
    return Picture(
        mail.snapshot("/etc", "/var/www"),
        {name: next(iter(mail.pids("-o", "-x", name)), 0) for name in DAEMONS},
        frozenset(mail.listening()),
    )


def flags(ca: AcmeServer, **other: str | None) -> list[str]:
    """The flags of a setup that would go well, but for those named; None leaves one out."""
    usual: dict[str, str | None] = {
        "contact": "postmaster@example.test",
        "directory": ca.directory_url,
        "ca-file": API_TRUST,
        "trust": ROOTS,
    }
    given = {**usual, **{key.replace("_", "-"): value for key, value in other.items()}}
    return [part for key, value in given.items() if value is not None for part in (f"--{key}", value)]


@dataclass(frozen=True)
class Told:
    """What a command said: its parts of the error, each as one text."""

    status: int
    what: str
    why: str
    state: str
    next: str
    stdout: str
    stderr: str


def told(done: Result) -> Told:
    """Reads an error as a person does: what, why, state, next; each may go on in further lines."""
    parts: dict[str, list[str]] = {}
    label = ""
    for said in done.stderr.splitlines():
        line = said
        for start in ("mailseal: ", "Why: ", "State: ", "Next: "):
            if said.startswith(start):
                label, line = start, said.removeprefix(start)
                parts[label] = []
        if label:
            parts[label].append(line)
    what, why, state, following = (
        "\n".join(parts.get(key, [])) for key in ("mailseal: ", "Why: ", "State: ", "Next: ")
    )
    return Told(done.returncode, what, why, state, following, done.stdout, done.stderr)


def attempt(mail: Box, *arguments: str) -> Told:
    """`mailseal setup --yes --agree-tos` with these flags."""
    return told(mail.mailseal("setup", "--yes", "--agree-tos", *arguments, timeout=180))


def apply(mail: Box) -> Told:
    """`mailseal apply`."""
    return told(mail.mailseal("apply", timeout=180))


def report(mail: Box) -> tuple[int, dict[str, object]]:
    """`mailseal apply --json`."""
    done = mail.mailseal("apply", "--json", timeout=180)
    return done.returncode, json.loads(done.stdout)


def interrupted(mail: Box, when: str, *command: str) -> Told:
    """A mailseal command that gets Ctrl-C as soon as it has said `when`."""
    script = (
        "import subprocess, sys, signal\n"
        "when, argv = sys.argv[1], sys.argv[2:]\n"
        "p = subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,"
        " start_new_session=True)\n"
        "said = ''\n"
        "for line in p.stderr:\n"
        "    said += line\n"
        "    if when and when in line:\n"
        "        when = ''\n"
        "        import time; time.sleep(0.3)\n"
        f"        p.send_signal({int(signal.SIGINT)})\n"
        "sys.stderr.write(said)\n"
        "sys.exit(p.wait() & 255 if p.wait() >= 0 else 255)\n"
    )
    done = mail.run(
        [LAB_PYTHON, "-c", script, when, *mail.mailseal_command, *command], timeout=180, check=False
    )
    return told(done)


def wait_for(mail: Box, path: str, text: str, seconds: float = 60) -> None:
    """Until a file inside holds a text."""
    end = time.monotonic() + seconds
    while text not in mail.sh(f"cat {path} 2>/dev/null || true"):
        assert time.monotonic() < end, f"{path} never said {text!r}"
        time.sleep(0.05)

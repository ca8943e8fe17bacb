"""What the lab's tests of the main job share: a server set up by mailseal, and a stranger's view of its ports.

The view comes from outside mailseal: openssl s_client on the CA's host, over
the network between the two.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path

from lab.box import Box
from lab.ca import AcmeServer
from lab.host import Host
from lab.world import API_TRUST, World

ROOTS = "/etc/ssl/lab-roots.pem"
CONFIG = "/etc/mailseal/mailseal.toml"
SABOTAGE = Path("tests/lab/sabotage.py")

STARTTLS = {25: "smtp", 143: "imap", 110: "pop3", 4190: "sieve"}
MAIL_PORTS = (25, 143, 993, 110, 995, 4190, 443)


@dataclass(frozen=True, slots=True)
class Seen:
    """What a stranger got at a port: the leaf's serial number, or why there was none."""

    port: int
    serial: str
    trouble: str = ""


def setup(mail: Box, ca: AcmeServer, *extra: str, deadline: float | None = None) -> dict[str, object]:
    """`mailseal setup --yes` with the lab's CA; fails the test where it does not end proven."""
    mail.write(ROOTS, "".join(ca.roots()))
    done = mail.mailseal(
        "setup", "--yes", "--agree-tos", "--contact", "postmaster@example.test",
        "--directory", ca.directory_url, "--ca-file", API_TRUST, "--trust", ROOTS, "--json", *extra,
        timeout=180,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    if deadline is not None:
        text = mail.read(CONFIG)
        mail.write(CONFIG, text.replace("[proof]\n", f"[proof]\ndeadline = {deadline}\n"))
    found: dict[str, object] = json.loads(done.stdout)
    return found


def add_name(world: World, mail: Box, name: str = "webmail.example.test") -> None:
    """Makes the next apply order a new generation: one more name in the wish, and in the DNS."""
    world.name(mail, name)
    text = mail.read(CONFIG)
    changed = re.sub(r"identifiers = \[(.*)\]", rf'identifiers = [\1, "{name}"]', text)
    assert changed != text
    mail.write(CONFIG, changed)


def sabotaged(mail: Box, when: str, script: str, *command: str, timeout: float = 240) -> tuple[int, str, str]:
    """A mailseal command in the middle of which a shell script runs: (status, stdout, stderr)."""
    done = mail.python(SABOTAGE, when, script, *command, timeout=timeout, check=False)
    assert "[sabotage done]" in done.stderr, f"the sabotage never ran: {done.stdout}{done.stderr}"
    return done.returncode, done.stdout, done.stderr


def seen(world: World, port: int, name: str = "mail.example.test", *more: str) -> Seen:
    """One handshake from outside."""
    start = f"-starttls {STARTTLS[port]}" if port in STARTTLS else ""
    told = world.ca.sh(
        f"timeout 20 openssl s_client -connect {name}:{port} -servername {name} {start} {' '.join(more)}"
        " </dev/null 2>&1 | openssl x509 -noout -serial 2>&1 || true",
        timeout=30,
    )
    match = re.search(r"serial=([0-9A-F]+)", told)
    return Seen(port, match[1], "") if match else Seen(port, "", told.strip()[-200:])


def view(world: World, *ports: int) -> dict[int, str]:
    """The serial number at every port; empty where there was no handshake."""
    return {port: seen(world, port).serial for port in ports or MAIL_PORTS}


def reloads(mail: Host) -> int:
    """How many times a daemon said that it took up a configuration."""
    log = mail.log() + mail.sh("cat /var/log/apache2/error.log 2>/dev/null || true")
    return sum(
        log.count(sign) for sign in ("reload -- version", "SIGHUP received", "SIGUSR1 received", "Graceful")
    )

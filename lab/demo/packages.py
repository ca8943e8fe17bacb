"""The daemons' packages, for the demo on the machine itself; nothing that is there already may change.

Where all are installed, nothing is done. Where some are missing they are
installed only on a machine that has no mail or web server yet: Debian's
postfix removes every other MTA, an upgrade restarts what runs, a new Apache
wants port 80 at the next boot. apt-get(8) -s tells beforehand what it would
do; a removal is refused in any case.

While apt-get works, a policy-rc.d of ours answers 101 ("action forbidden"), so
that no package starts its daemon (invoke-rc.d(8)); the one that was there
comes back afterwards. What was installed stays, disabled, so that the next
demo is quick.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lab.box import ENVIRONMENT
from lab.demo.machine_state import taken_ports
from lab.guard import Unavailable

WANTED = (
    *("postfix", "dovecot-imapd", "dovecot-pop3d", "dovecot-managesieved", "apache2", "pebble"),
    *("openssl", "curl"),
)
UNITS = ("postfix", "dovecot", "apache2", "apache-htcacheclean", "pebble")
SERVER_PORTS = (25, 80, 110, 143, 443, 465, 587, 993, 995, 4190)
POLICY = Path("/usr/sbin/policy-rc.d")

_SERVERS = re.compile(
    r"postfix|exim4-daemon-.*|sendmail-bin|opensmtpd|courier-.*|qmail|nullmailer|msmtp-mta|ssmtp|dma|masqmail"
    r"|dovecot-core|cyrus-imapd|apache2|nginx(-.*)?|lighttpd|caddy|haproxy"
)
_ELSEWHERE = (
    "Next: script/demo without --here on a machine that allows namespaces (a privileged container, a virtual "
    "machine), or --here in a container without mail and web servers."
)


def install_missing() -> tuple[str, ...]:
    """What was installed; empty where everything was there. Raises Unavailable, with nothing changed."""
    missing = tuple(package for package in WANTED if not _installed(package))
    if not missing:
        return ()
    servers = _servers()
    if servers:
        raise Unavailable(
            f"--here needs {', '.join(missing)}, which would have to be installed beside {', '.join(servers)}. "
            f"A machine that has a mail or web server already is left as it is. {_ELSEWHERE}"
        )
    _refuse_removals(missing)
    print(f"Installing {' '.join(missing)}; none of them is started", file=sys.stderr, flush=True)
    with _nothing_starts():
        done = _apt("install", *missing, environment={"DEBIAN_FRONTEND": "noninteractive"})
    if done.returncode != 0:
        tail = "\n".join((done.stdout + done.stderr).splitlines()[-12:])
        raise Unavailable(f"apt-get could not install {', '.join(missing)}:\n{tail}")
    for unit in UNITS:  # so that none starts at the next boot, whichever init there is
        for argv in (["update-rc.d", unit, "disable"], ["systemctl", "--quiet", "disable", unit]):
            if shutil.which(argv[0]):
                subprocess.run(argv, capture_output=True, check=False)
    return missing


def _refuse_removals(missing: tuple[str, ...]) -> None:
    tried = _apt("-s", "install", *missing)
    if tried.returncode != 0:
        subprocess.run(["apt-get", "update", "-q"], stdin=subprocess.DEVNULL, stdout=sys.stderr, check=False)
        tried = _apt("-s", "install", *missing)
    if tried.returncode != 0:
        raise Unavailable(f"apt-get cannot install {', '.join(missing)}: {tried.stderr.strip()}")
    removed = re.findall(r"^Remv (\S+)", tried.stdout, re.MULTILINE)
    if removed:
        raise Unavailable(
            f"To install {', '.join(missing)}, apt would remove {', '.join(removed)}. Nothing was changed. {_ELSEWHERE}"
        )


def _servers() -> list[str]:
    """Mail and web servers that are installed, or that listen."""
    told = subprocess.run(
        ["dpkg-query", "-W", "-f", "${Package} ${db:Status-Status}\\n"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    packages = [
        name
        for name, _, status in (line.partition(" ") for line in told.splitlines())
        if status == "installed"
    ]
    found = [name for name in packages if _SERVERS.fullmatch(name)]
    return found or [f"whatever listens on port {port}" for port in SERVER_PORTS if port in taken_ports()]


def _installed(package: str) -> bool:
    argv = ["dpkg-query", "-W", "-f", "${db:Status-Status}", package]
    return subprocess.run(argv, capture_output=True, text=True, check=False).stdout == "installed"


def _apt(*arguments: str, environment: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    argv = [
        "apt-get",
        "-q",
        "-y",
        "--no-install-recommends",
        "-o",
        "Dpkg::Options::=--force-confold",
        *arguments,
    ]
    env = {**os.environ, "LC_ALL": ENVIRONMENT["LC_ALL"], **(environment or {})}
    return subprocess.run(
        argv, stdin=subprocess.DEVNULL, capture_output=True, text=True, env=env, check=False
    )


@contextmanager
def _nothing_starts() -> Iterator[None]:
    """A policy-rc.d that forbids every start; afterwards the one that was there, or none."""
    kept = POLICY.with_name("policy-rc.d.mailseal-demo")
    there = POLICY.exists() or POLICY.is_symlink()
    if there:
        POLICY.rename(kept)
    try:
        POLICY.write_text("#!/bin/sh\nexit 101\n", encoding="ascii")
        POLICY.chmod(0o755)
        yield
    finally:
        POLICY.unlink(missing_ok=True)
        if there:
            kept.rename(POLICY)

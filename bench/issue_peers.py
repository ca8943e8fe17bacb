"""How each peer is run in `script/bench issue`: as shipped, one process a certificate, by the web root of Apache.

Each is told where the CA is, whom to trust for its https, and the web root;
everything else is its default. Accounts are made before anything is measured.
"""

from __future__ import annotations

import re
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path

from bench.issue_names import ACCOUNT_NAME, WEBROOT
from lab.box import Box
from lab.world import API_TRUST

MAIL = "postmaster@example.test"


class Peer(ABC):
    """One client: what it is called, and its command lines."""

    name: str

    def __init__(self, box: Box, program: Path | str, directory: str) -> None:
        self.box = box
        self.program = str(program)
        self.directory = directory

    @abstractmethod
    def register(self) -> None:
        """Makes the account."""

    @abstractmethod
    def argv(self, name: str) -> list[str]:
        """Obtains a certificate for one name."""

    @property
    def env(self) -> Mapping[str, str]:
        return {}

    def version(self) -> str:
        """As the program tells it, or the package that it came in."""
        done = self.box.run([self.program, "--version"], check=False, env=self.env)
        found = re.search(r"\d+\.\d+(\.\d+)?", done.stdout + done.stderr)
        package = Path(self.program).parents[2] / f"{self.name}.version"
        return found[0] if found else package.read_text(encoding="utf-8")

    def obtain(self, name: str, timeout: float) -> float:
        """Seconds from the start of the process to its end."""
        began = time.perf_counter()
        self.box.run(self.argv(name), env=self.env, timeout=timeout)
        return time.perf_counter() - began


class Certbot(Peer):
    """The pinned release from its Python packages."""

    name = "certbot"

    def register(self) -> None:
        self.box.run(
            [
                self.program,
                "register",
                "--non-interactive",
                "--agree-tos",
                "-m",
                MAIL,
                "--server",
                self.directory,
            ],
            env=self.env,
        )

    def argv(self, name: str) -> list[str]:
        server = ["--server", self.directory]
        way = ["--webroot", "--webroot-path", WEBROOT]
        return [self.program, "certonly", "--non-interactive", *server, *way, "-d", name]

    @property
    def env(self) -> Mapping[str, str]:
        return {"REQUESTS_CA_BUNDLE": API_TRUST}


class Lego(Peer):
    """Debian's package."""

    name = "lego"

    def register(self) -> None:
        """Its account comes with its first certificate."""
        self.box.run(self.argv(ACCOUNT_NAME), env=self.env)

    def argv(self, name: str) -> list[str]:
        who = ["--accept-tos", "--email", MAIL, "--server", self.directory, "--path", "/var/lib/lego"]
        return [self.program, *who, "--http", "--http.webroot", WEBROOT, "--domains", name, "run"]

    @property
    def env(self) -> Mapping[str, str]:
        return {"LEGO_CA_CERTIFICATES": API_TRUST}


class Dehydrated(Peer):
    """Debian's package: a shell script that calls curl and openssl."""

    name = "dehydrated"
    _config = "/etc/dehydrated-bench.sh"

    def register(self) -> None:
        self.box.write(
            self._config,
            f'CA="{self.directory}"\nBASEDIR=/var/lib/dehydrated\nWELLKNOWN={WEBROOT}/.well-known/acme-challenge\n'
            f'CONTACT_EMAIL={MAIL}\nCURL_OPTS="--cacert {API_TRUST}"\n',
        )
        self.box.run(["mkdir", "-p", f"{WEBROOT}/.well-known/acme-challenge", "/var/lib/dehydrated"])
        self.box.run([self.program, "--config", self._config, "--register", "--accept-terms"])

    def argv(self, name: str) -> list[str]:
        return [self.program, "--config", self._config, "--cron", "--domain", name]


def peers(box: Box, certbot: Path, packages: Path, directory: str) -> list[Peer]:
    """All of them, for one CA."""
    return [
        Certbot(box, certbot, directory),
        Lego(box, packages / "usr/bin/lego", directory),
        Dehydrated(box, packages / "usr/bin/dehydrated", directory),
    ]

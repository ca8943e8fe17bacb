"""The stage in namespaces: a container with Debian's packages as they come, the CA and the clients on another host.

Nothing of it is on the machine that runs it: root file system, processes,
network and host name are the lab's own (`lab.host`), and end with the demo.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from contextlib import suppress

from lab.box import ENVIRONMENT, SOURCE, Box, Result, Spawned
from lab.ca import PebbleOptions
from lab.demo.stage import PORTS, Background, Port, Stage
from lab.recipe import LAB_PYTHON
from lab.world import API_TRUST, World

_ROOTS = "/usr/local/share/lab-roots.pem"


class Namespaces(Stage):
    """`release` is the Debian of every host here."""

    config = "/etc/mailseal/mailseal.toml"
    state = "/var/lib/mailseal"
    client_roots = _ROOTS
    client_python = LAB_PYTHON
    watcher = f"{SOURCE}/lab/demo/watch.py"
    watched = "/etc and /var/www"

    def __init__(self, release: str) -> None:
        self._world = World(release, ca_release=release)
        try:
            self._pebble = self._world.pebble(PebbleOptions(retry_authz=1, retry_order=1))
            self._mail = self._world.host(release, self.name)
            self._world.name(self._mail, self.second_name)
            if 2000 in (
                self.listening() or ()
            ):  # Dovecot 2.4 still has ManageSieve's port of before RFC 5804
                self.ports = tuple(
                    sorted((*PORTS, Port(2000, "sieve", "sieve")), key=lambda port: port.number)
                )
            self.address, self.address6 = self._mail.ipv4, self._mail.ipv6
            roots = "".join(self._pebble.roots())
            for box in (self._mail, self._world.ca):
                box.write(_ROOTS, roots)
        except BaseException:
            self._world.close()
            raise
        self._logs = 0
        self.told = (
            f"{_described(self._mail)}, {_versions(self._mail)} as their packages leave them; "
            "the CA is Pebble, on another host, and so are the clients. "
            "All of it in namespaces and root directories of its own."
        )

    def command(self, *args: str) -> tuple[list[str], Mapping[str, str]]:
        return [*self._mail.enter(), *self._mail.mailseal_command, *args], ENVIRONMENT

    def set_up(self) -> list[str]:
        return [
            *("setup", "--yes", "--agree-tos", "--contact", "postmaster@example.test"),
            *("--directory", self._pebble.directory_url, "--ca-file", API_TRUST, "--trust", _ROOTS),
        ]

    def run(self, argv: Sequence[str], *, check: bool = True) -> Result:
        return self._mail.run(argv, check=check)

    def client(self, argv: Sequence[str]) -> Result:
        return self._world.ca.run(argv, check=False)

    def resolving(self) -> list[str]:
        return []  # the lab's DNS knows them

    def read(self, path: str) -> str:
        return self._mail.read(path)

    def write(self, path: str, text: str) -> None:
        self._mail.write(path, text)

    def start(self, argv: Sequence[str], *, as_client: bool = False) -> Background:
        box = self._world.ca if as_client else self._mail
        self._logs += 1
        log = f"/run/lab-demo-{self._logs}.log"
        return _InBox(box, box.spawn(argv, log=log), log)

    def snapshot(self) -> dict[str, str]:
        found = self._mail.snapshot("/etc", "/var/www")
        return {path: told for path, told in found.items() if not f"{path}/".startswith("/etc/mailseal/")}

    def url(self, name: str, *, https: bool = False) -> str:
        return f"http{'s' if https else ''}://{name}/"

    def listening(self) -> set[int] | None:
        return {port for address, port in self._mail.listening() if not address.startswith(("127.", "::1"))}

    def __exit__(self, *_: object) -> None:
        self._world.close()


class _InBox(Background):
    def __init__(self, box: Box, process: Spawned, log: str) -> None:
        self._box = box
        self._process = process
        self._log = log

    def stop(self) -> None:
        if self._process.poll() is None:
            with suppress(ProcessLookupError):
                self._process.terminate()
            self._process.wait()
            time.sleep(
                0.3
            )  # what runs inside has the signal too, and ends a moment after the nsenter before it

    def told(self) -> str:
        return self._box.read(self._log)


def _described(box: Box) -> str:
    return box.sh('. /etc/os-release; echo "$PRETTY_NAME"').strip()


def _versions(box: Box) -> str:
    told = box.sh("dpkg-query -W -f '${Package} ${Version}\\n' postfix dovecot-core apache2 pebble")
    found = dict(line.split() for line in told.splitlines())
    words = {"postfix": "Postfix", "dovecot-core": "Dovecot", "apache2": "Apache"}
    return ", ".join(f"{word} {_upstream(found[package])}" for package, word in words.items())


def _upstream(version: str) -> str:
    return (
        version.partition(":")[2].partition("-")[0].partition("+")[0]
        if ":" in version
        else version.partition("-")[0]
    )

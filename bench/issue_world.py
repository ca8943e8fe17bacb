"""The lab of `script/bench issue`: a Pebble that can be replaced, a mail server whose state is on a disk, a bare host.

Three lab hosts: the CA's with Pebble and the DNS; `mail`, a Debian of the
host's own release with Apache as its package leaves it, where mailseal and the
peers work; and `bare`, where nothing listens on port 80 but the bare client.
Every name has an A and an AAAA record. mailseal's state lies in a directory of
the outside, so that its fsync(2) reaches a real disk; the peers' files lie in
the hosts' memory.

Pebble can deadlock when several orders are polled while others are created. So
every measurement is bounded in time, and repeated with a fresh Pebble when the
time is over.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Self, TypeVar

from bench.issue_names import ACCOUNT_NAME, PEERS, ROOTS, name_of
from bench.peers import cache, certbot, debian
from lab.box import Box
from lab.ca import Pebble
from lab.guard import CHECKOUT
from lab.sources import host_release
from lab.world import API_TRUST, World

T = TypeVar("T")
MOST_TRIES = 4
BARE_SUFFIX, MAIL_SUFFIX, PEER_SUFFIX = ".bare.example.test", ".mail.example.test", ".peer.example.test"
STATE = "/var/lib/mailseal"

_ADD = """
import json, sys, urllib.request
for name, kind, address in json.load(sys.stdin):
    body = json.dumps({"host": name, "addresses": [address]}).encode()
    urllib.request.urlopen(f"http://127.0.0.1:8055/add-{kind}", data=body).read()
"""


class Stuck(Exception):
    """A measurement did not end in time, again and again."""


class Bench:
    """The hosts. Use as a context manager."""

    def __init__(self, names: int) -> None:
        release = host_release()
        folder = cache()
        self.certbot = certbot()
        self.packages = debian(release)
        folder.mkdir(parents=True, exist_ok=True)
        self._disk = tempfile.TemporaryDirectory(prefix="state-", dir=folder)
        self.disk = Path(self._disk.name)
        self.disk.chmod(0o711)
        self.world = World(release)
        try:
            binds = {STATE: self.disk, str(folder): folder}
            self.mail = self.world.host(release, "mail.example.test", stack=False, binds=binds)
            self.bare = self.world.host(release, "bare.example.test", stack=False)
            self.mail.sh("apache2ctl start")
            self.mail.wait_listening(80)
            for box, suffix in ((self.mail, MAIL_SUFFIX), (self.bare, BARE_SUFFIX)):
                self._publish(box, [name_of(number, suffix) for number in range(names)])
            of_peers = [f"{name}.{name_of(n, PEER_SUFFIX)}" for name in PEERS for n in range(names)]
            self._publish(self.mail, [ACCOUNT_NAME, *of_peers])
            self.restarts = 0
            self._states = 0
            self.pebble = self._fresh()
        except BaseException:
            self.close()
            raise

    def fresh_state(self) -> str:
        """A folder for mailseal's state, on the disk, that nothing was in before."""
        self._states += 1
        path = f"{STATE}/{self._states}"
        self.mail.run(["install", "-d", "-m", "0711", path])
        return path

    def file_system(self) -> str:
        """What mailseal's state lies on, as stat(1) calls it."""
        told = subprocess.run(
            ["stat", "--file-system", "--format=%T", str(self.disk)],
            capture_output=True,
            text=True,
            check=True,
        )
        return told.stdout.strip()

    def bounded(self, what: str, measure: Callable[[float], T], *, limit: float) -> T:
        """What `measure` gives; a fresh Pebble and another try where it raises TimeoutExpired. Raises `Stuck`."""
        for _ in range(MOST_TRIES):
            try:
                return measure(limit)
            except subprocess.TimeoutExpired:
                print(f"{what}: no end within {limit:.0f} s; a fresh Pebble", file=sys.stderr, flush=True)
                self.pebble.stop()
                self.pebble = self._fresh()
                self.restarts += 1
        raise Stuck(f"{what} did not end in {MOST_TRIES} tries")

    def job(self, box: Box, script: str, *args: str, timeout: float) -> dict[str, float]:
        """Runs a program of bench/ inside and reads the JSON that it prints."""
        told = box.python(CHECKOUT / "bench" / script, *args, timeout=timeout).stdout
        found: dict[str, float] = json.loads(told)
        return found

    def _fresh(self) -> Pebble:
        pebble = self.world.pebble()
        self.mail.write(ROOTS, "".join(pebble.roots()))
        return pebble

    def _publish(self, box: Box, names: Sequence[str]) -> None:
        wanted = [(name, *pair) for name in names for pair in (("a", box.ipv4), ("aaaa", box.ipv6))]
        self.world.ca.run(["/usr/bin/python3", "-I", "-c", _ADD], input=json.dumps(wanted))

    def close(self) -> None:
        """Ends every host; the state on disk goes."""
        self.world.close()
        self._disk.cleanup()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


__all__ = ["API_TRUST", "BARE_SUFFIX", "MAIL_SUFFIX", "PEER_SUFFIX", "Bench", "Stuck"]

"""What the lab tests of the ACME core share: a host without daemons, and a way to run a scenario on it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from lab.box import Box
from lab.ca import DNS_MANAGEMENT, AcmeServer
from lab.world import World

JOB = Path(__file__).with_name("acme_job.py")


_TELL_DNS = f"""
while read -r told; do
    case $told in *fd??:*|*::*) kind=aaaa ;; *) kind=a ;; esac
    curl -fsS --data-binary "$told" http://127.0.0.1:{DNS_MANAGEMENT}/clear-$kind >/dev/null
    curl -fsS --data-binary "$told" http://127.0.0.1:{DNS_MANAGEMENT}/add-$kind >/dev/null
done
"""


class Asker:
    """A host whose port 80 the CA asks."""

    def __init__(self, world: World, box: Box) -> None:
        self.world = world
        self.box = box

    def names(self, *names: str) -> list[str]:
        """These names, pointed at the host, in one command however many they are."""
        told = [
            json.dumps({"host": name, "addresses": [address]})
            for name in names
            for address in (self.box.ipv4, self.box.ipv6)
        ]
        self.world.ca.run(["sh", "-c", _TELL_DNS], input="\n".join(told) + "\n")
        return list(names)

    def run(self, scenario: str, server: AcmeServer, names: list[str], **told: Any) -> dict[str, Any]:
        """Runs a scenario of acme_job.py; fails with what it says when it fails."""
        wish = json.dumps({"directory": server.directory_url, "names": names} | told)
        result = self.box.python(JOB, scenario, wish, timeout=180)
        said: dict[str, Any] = json.loads(result.stdout.splitlines()[-1])
        return said

    def verify(self, issued: dict[str, Any], root: str) -> None:
        """openssl agrees that the chain leads to `root`, and that the leaf is a server's."""
        self.box.write("/root/root.pem", root)
        chain = ["-untrusted", issued["file"], issued["file"]]
        self.box.run(["openssl", "verify", "-purpose", "sslserver", "-CAfile", "/root/root.pem", *chain])

"""An ACME server's bad days: a proxy before a real one, which refuses, stalls and lies on request.

Test servers know no rate limits and check no CAA, and seldom fail in the middle
of an order; a public CA does all of that. The proxy passes everything on with
its Host header as it came, so that the server writes URLs that lead through the
proxy again and signatures over them hold (RFC 8555 section 6.4). A `Fault` takes
the next requests that match it, as often as it says; every refusal carries a
fresh Replay-Nonce of the server's, as section 6.5 asks.

The program itself is `ca_proxy.py`, run on the CA host.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from lab.ca import DIRECTORY, AcmeServer
from lab.recipe import LAB_PYTHON

PROBLEM = "urn:ietf:params:acme:error:"


@dataclass(frozen=True)
class Fault:
    """What happens to the next `times` requests whose method and path match, in place of the server's answer.

    `status` with `problem` (a problem document, RFC 9457) or `body` (bytes as text, to lie with);
    `delay` seconds before anything; `drop` closes the connection without a word.
    With `after`, the server gets the request and only its answer is lost or replaced.
    """

    path: str
    method: str = "POST"
    times: int = 1
    status: int = 0
    problem: Mapping[str, Any] | None = None
    body: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    delay: float = 0
    drop: bool = False
    after: bool = False


def rate_limited(path: str, detail: str, *, retry_after: str = "3600", times: int = 1) -> Fault:
    """429 with the seconds or the HTTP date after which to come again."""
    problem = {"type": f"{PROBLEM}rateLimited", "detail": detail, "status": 429}
    return Fault(path, times=times, status=429, problem=problem, headers={"Retry-After": retry_after})


def busy(path: str, *, retry_after: str = "2", times: int = 1, method: str = "POST") -> Fault:
    """503, as Let's Encrypt's balancer answers when there is too much to do."""
    return Fault(path, method, times, status=503, body="busy", headers={"Retry-After": retry_after})


@dataclass(frozen=True)
class Seen:
    """One request: `at` in seconds since the epoch; `fault` if the proxy answered in place of the server."""

    at: float
    method: str
    path: str
    status: int
    fault: bool


class FaultyServer(AcmeServer):
    """A proxy before `server`; clients use this one's `directory_url`."""

    def __init__(self, server: AcmeServer, *, port: int) -> None:
        self.server = server
        self._folder = f"{DIRECTORY}/faults-{port}"
        box = server.api.box
        box.run(["mkdir", "-p", self._folder])
        box.write(f"{self._folder}/faults.json", "[]")
        program = [LAB_PYTHON, "-m", "lab.ca_proxy", str(port), str(server.port), self._folder]
        process = box.spawn(program, env={"PYTHONPATH": "/src/mailseal"}, log=f"{self._folder}/log")
        url = server.directory_url.replace(f":{server.port}/", f":{port}/")
        super().__init__(server.api, url, port, process)
        box.wait_listening(port)

    def roots(self) -> list[str]:
        return self.server.roots()

    def inject(self, *faults: Fault) -> None:
        """From now on these faults and no others; none makes the days good again."""
        told = json.dumps([asdict(fault) for fault in faults])
        self.api.box.write(f"{self._folder}/faults.new", told)
        self.api.box.run(["mv", f"{self._folder}/faults.new", f"{self._folder}/faults.json"])

    def seen(self) -> list[Seen]:
        """Every request so far."""
        if not self.api.box.exists(f"{self._folder}/seen"):
            return []
        lines = self.api.box.read(f"{self._folder}/seen").splitlines()
        return [Seen(**json.loads(line)) for line in lines]

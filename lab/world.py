"""A small internet in memory: one network, a CA host with the DNS, and mail servers.

The CA host is ca.example.test and always Debian 13, whose Pebble knows renewal
information and profiles. Every host made through `host()` or `machine()` looks
names up in the same DNS as the CA does, and its own name is put there, A and
AAAA. The certificate that its ACME clients must trust lies at `API_TRUST` in it.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Self

from lab import image
from lab.box import Box
from lab.ca import AcmeServer, Api, Caddy, ChallTestSrv, Pebble, PebbleOptions
from lab.ca_faults import FaultyServer
from lab.host import Host
from lab.machine import Machine
from lab.network import Network

CA_RELEASE = "trixie"
CA_NAME = "ca.example.test"
API_TRUST = "/opt/lab/acme-api.pem"


class World:
    """Everything a test needs beside the program; `close()` ends it all.

    Images of `releases` that are missing are made beside the CA's, to save time later.
    """

    def __init__(self, *releases: str, ca_release: str = CA_RELEASE) -> None:
        images = image.ensure_all(ca_release, *releases)
        self.network = Network()
        self._boxes: list[Box] = []
        self._pebbles = 0
        try:
            self.ca = Host(images[0], self.network, name=CA_NAME, nameserver="127.0.0.1")
            self._boxes.append(self.ca)
            self.dns = ChallTestSrv(self.ca)
            self.name(self.ca, CA_NAME)
            self.api = Api(self.ca)
        except BaseException:
            self.close()
            raise

    def pebble(self, options: PebbleOptions | None = None) -> Pebble:
        """One more Pebble, on the next free port."""
        self._pebbles += 1
        return Pebble(self.api, options, port=14000 + self._pebbles - 1)

    def caddy(self, *, lifetime: str = "24h") -> Caddy:
        """Caddy's CA; one at most."""
        return Caddy(self.api, lifetime=lifetime)

    def faulty(self, server: AcmeServer) -> FaultyServer:
        """A proxy before that server, for its bad days."""
        return FaultyServer(server, port=server.port + 2000)

    def host(
        self,
        release: str,
        name: str = "mail.example.test",
        *,
        stack: bool = True,
        binds: Mapping[str, Path] | None = None,
    ) -> Host:
        """A fresh container, with its mail stack running if asked, and its name in the DNS; gone with the world."""
        host = Host(image.ensure(release), self.network, name=name, nameserver=self.dns.address, binds=binds)
        self._adopt(host)
        if stack:
            host.start_mail_stack()
        return host

    def machine(self, release: str, name: str = "mail.example.test") -> Machine:
        """A fresh machine, booted, and its name in the DNS."""
        machine = Machine(image.ensure(release), self.network, name=name, nameserver=self.dns.address)
        self._adopt(machine)
        return machine

    def name(self, box: Box, *names: str) -> None:
        """Points names at a host, over IPv4 and IPv6."""
        for name in names:
            self.dns.set_addresses(name, [box.ipv4], [box.ipv6])

    def discard(self, box: Box) -> None:
        """Ends a host and takes its name out of the DNS."""
        box.stop()
        self._boxes.remove(box)
        self.dns.set_addresses(box.name)

    def trust_issuer(self, box: Box, server: AcmeServer) -> None:
        """Puts a CA's roots into the system's trust store of one host, as a public CA's would be."""
        for number, root in enumerate(server.roots()):
            box.write(f"/usr/local/share/ca-certificates/lab-{number}.crt", root)
        box.run(["update-ca-certificates"])

    def close(self) -> None:
        """Ends every host and the network."""
        for box in reversed(self._boxes):
            box.stop()
        self.network.close()

    def _adopt(self, box: Box) -> None:
        self._boxes.append(box)
        self.name(box, box.name)
        box.write(API_TRUST, self.api.trust)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

"""Pebble and its DNS as two processes on high ports of 127.0.0.1, for the demo without namespaces.

The DNS (pebble-challtestsrv) gives every name the address 127.0.0.1, and
Pebble validates http-01 at the private Apache's port in place of 80.
"""

from __future__ import annotations

import json
import socket
import ssl
import subprocess
import time
import urllib.request
from contextlib import suppress
from pathlib import Path

from lab.box import ENVIRONMENT, kill
from lab.demo.private import DidNotStart

ADDRESS = "127.0.0.1"


class PrivateCa:
    """One Pebble. `ports`: of the directory, of Pebble's management, of the DNS, of the DNS's management."""

    def __init__(
        self, folder: Path, ports: tuple[int, int, int, int], http_port: int, https_port: int
    ) -> None:
        self._folder = folder
        self._ports = ports
        self._running: list[subprocess.Popen[bytes]] = []
        self.directory_url = f"https://localhost:{ports[0]}/dir"
        self.nameserver = f"{ADDRESS}:{ports[2]}"
        self.trust = str(folder / "api-ca.pem")
        folder.mkdir()
        self._keys()
        self._config(http_port, https_port)

    def start(self) -> None:
        """Returns when both answer."""
        _, manage, dns, dns_manage = self._ports
        off = ["-http01", "", "-https01", "", "-tlsalpn01", ""]
        if "-doh" in subprocess.run(["pebble-challtestsrv", "-h"], capture_output=True, text=True).stderr:
            off += ["-doh", ""]
        zone = ["-defaultIPv4", ADDRESS, "-defaultIPv6", "", "-dns01", f"{ADDRESS}:{dns}"]
        self._spawn("pebble-challtestsrv", *zone, "-management", f"{ADDRESS}:{dns_manage}", *off)
        config = str(self._folder / "pebble.json")
        self._spawn("pebble", "-config", config, "-dnsserver", self.nameserver, "-strict=false")
        deadline = time.monotonic() + 20
        for port in (self._ports[0], manage, dns_manage):
            while not _answers(port):
                if time.monotonic() > deadline or any(one.poll() is not None for one in self._running):
                    log = (self._folder / "log").read_text(encoding="utf-8", errors="replace")
                    raise DidNotStart(f"Pebble did not start:\n{log[-2000:]}")
                time.sleep(0.05)

    def root(self) -> str:
        """The root of what it issues, PEM."""
        context = ssl.create_default_context(cafile=self.trust)
        url = f"https://localhost:{self._ports[1]}/roots/0"
        with urllib.request.urlopen(url, timeout=10, context=context) as answer:
            return bytes(answer.read()).decode()

    def stop(self) -> None:
        """Ends both."""
        for process in self._running:
            kill(process)

    def _keys(self) -> None:
        folder = self._folder
        new = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
        new += ["-days", "3650"]
        authority = [
            "-addext",
            "basicConstraints=critical,CA:TRUE",
            "-addext",
            "keyUsage=critical,keyCertSign",
        ]
        leaf = ["-addext", f"subjectAltName=DNS:localhost,IP:{ADDRESS}"]
        leaf += ["-addext", "basicConstraints=critical,CA:FALSE", "-addext", "extendedKeyUsage=serverAuth"]
        ca_key, ca = str(folder / "api-ca.key"), self.trust
        _openssl(*new, "-subj", "/CN=Demo API CA", "-keyout", ca_key, "-out", ca, *authority)
        out = ["-keyout", str(folder / "api.key"), "-out", str(folder / "api.pem")]
        _openssl(*new, "-subj", "/CN=localhost", *out, "-CA", ca, "-CAkey", ca_key, *leaf)

    def _config(self, http_port: int, https_port: int) -> None:
        listen, manage, _, _ = self._ports
        config = {
            "listenAddress": f"{ADDRESS}:{listen}",
            "managementListenAddress": f"{ADDRESS}:{manage}",
            "certificate": str(self._folder / "api.pem"),
            "privateKey": str(self._folder / "api.key"),
            "httpPort": http_port,
            "tlsPort": https_port,
            "ocspResponderURL": "",
            "externalAccountBindingRequired": False,
            "certificateValidityPeriod": 90 * 86400,
            "retryAfter": {"authz": 1, "order": 1},
        }
        (self._folder / "pebble.json").write_text(json.dumps({"pebble": config}), encoding="utf-8")

    def _spawn(self, *argv: str) -> None:
        with open(self._folder / "log", "ab") as log:
            env = {**ENVIRONMENT, "PEBBLE_VA_NOSLEEP": "1"}
            self._running.append(
                subprocess.Popen(
                    ["setpriv", "--pdeathsig=KILL", "--", *argv],  # ends with the demo, however that ends
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    env=env,
                )
            )


def _openssl(*argv: str) -> None:
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise DidNotStart(done.stderr)


def _answers(port: int) -> bool:
    with suppress(OSError), socket.create_connection((ADDRESS, port), 1):
        return True
    return False

"""A Debian container without systemd, up in a fraction of a second.

A mail server in a container has no service manager: daemons are started by
their own control commands (postfix(1), dovecot(1), apache2ctl(8)) and PID 1 is
something small. `Host` is such a one: an image overlaid with memory, in mount,
PID, network, UTS and IPC namespaces of its own. Each is fresh; what is written
in it is gone with it. The checkout is at /src/mailseal, read-only.

`init.sh` mounts the root and becomes `init.py`, PID 1. Its stdin is a pipe from
here, so that the host dies with the process that made it, however that ends.
"""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from pathlib import Path

from lab.box import ENVIRONMENT, Box, child_of, hosts_file, nsenter, resolv_conf
from lab.guard import CHECKOUT, UNSHARE
from lab.image import Image, cache_root
from lab.network import Network

_NAMESPACES = ("--mount", "--pid", "--net", "--uts", "--ipc", "--root", "--wd")

MAIL_PORTS = (25, 80, 110, 143, 993, 995, 4190)


class Host(Box):
    """One container on a lab network. Use as a context manager, or call `stop()`.

    Its root is in memory, where fsync(2) costs nothing. `binds` puts directories of the outside at paths
    inside, writable: for a benchmark that must meet a real disk.
    """

    def __init__(
        self,
        image: Image,
        network: Network,
        *,
        name: str = "mail.example.test",
        nameserver: str | None = None,
        binds: Mapping[str, Path] | None = None,
    ) -> None:
        super().__init__(name, image.release)
        self.image = image
        self.network = network
        scratch = cache_root() / "scratch"
        scratch.mkdir(parents=True, exist_ok=True)
        init = str(CHECKOUT / "lab" / "init.sh")
        bound = [str(path) for inside, outside in (binds or {}).items() for path in (outside, inside)]
        self._process = subprocess.Popen(
            [*UNSHARE, "sh", init, str(image.root), str(CHECKOUT), str(scratch), *bound],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**ENVIRONMENT},
        )
        assert self._process.stdout is not None
        if self._process.stdout.readline() != b"ready\n":
            _, said = self._process.communicate()
            raise RuntimeError(f"The lab host {name} did not start: {said.decode(errors='replace').strip()}")
        self.pid = child_of(self._process.pid)
        self.ipv4, self.ipv6 = network.attach(self.pid)
        self._name_it(nameserver)

    def enter(self) -> list[str]:
        return nsenter(self.pid, *_NAMESPACES)

    @property
    def root(self) -> str:
        """The root directory as the outside sees it. Absolute links in it lead outside: prefer `read` and `write`."""
        return f"/proc/{self.pid}/root"

    def start_mail_stack(self) -> None:
        """Postfix, Dovecot and Apache as their packages leave them; returns when all of their ports listen."""
        self.sh(
            """
            # Debian 12 copies resolv.conf and the like into Postfix's chroot before a start; 13 does so by itself.
            /usr/lib/postfix/configure-instance.sh - 2>/dev/null || true
            postfix start
            mkdir -p /run/dovecot
            dovecot
            apache2ctl start
            """
        )
        self.wait_listening(*MAIL_PORTS)

    def log(self) -> str:
        """What the daemons told syslog so far."""
        return self.read("/var/log/syslog")

    def _stop(self) -> None:
        if self._process.poll() is None:
            self._process.kill()
        self._process.communicate()

    def _name_it(self, nameserver: str | None) -> None:
        short = self.name.partition(".")[0]
        script = 'hostname "$1"; echo "$1" >/etc/hostname; printf %s "$2" >/etc/hosts; printf %s "$3" >/etc/resolv.conf'
        self.run(["sh", "-euc", script, "sh", short, hosts_file(self.name), resolv_conf(nameserver)])

"""A whole Debian with systemd, as a server boots it, in a second or two.

systemd-nspawn(1) boots an overlay of the image and memory, which lasts over a
reboot and leaves the image untouched; `--register=no --keep-unit` asks nothing
of the host's service manager, which a CI machine may not have. The network
namespace is one of the lab's. `lab.supervisor` stands above it, PID 1 of a
namespace with a pipe to the test process: a crash here ends the machine too.

systemd 256 and later refuse a cgroup v1 hierarchy, and the host may still mount
one; the machine is given the unified hierarchy (`SYSTEMD_NSPAWN_UNIFIED_HIERARCHY`).
The clock is the host's: nspawn takes CAP_SYS_TIME away, and so does `Box.run`.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
import uuid
from pathlib import Path

from lab.box import Box, child_of, hosts_file, nsenter, resolv_conf
from lab.guard import CHECKOUT, require
from lab.image import Image, cache_root
from lab.network import Network
from lab.supervisor import PREFIX, sweep, sweep_orphans

_NAMESPACES = ("--mount", "--pid", "--net", "--uts", "--ipc", "--cgroup", "--root", "--wd")


class BootFailed(Exception):
    """The machine did not come up; tells the units that failed or the end of the console."""


class Machine(Box):
    """One machine on a lab network, booted when the constructor returns. `stop()` pulls the plug."""

    def __init__(
        self,
        image: Image,
        network: Network,
        *,
        name: str = "mail.example.test",
        nameserver: str | None = None,
        timeout: float = 120,
    ) -> None:
        require("systemd-nspawn")
        super().__init__(name, image.release)
        self.image = image
        self.network = network
        self._timeout = timeout
        self._group = f"{PREFIX}{os.getpid()}-{uuid.uuid4().hex[:8]}"
        sweep_orphans()
        self._console = tempfile.TemporaryFile()  # noqa: SIM115 - closed by stop()
        scratch = cache_root() / "scratch"
        scratch.mkdir(parents=True, exist_ok=True)
        short = name.partition(".")[0]
        self._supervisor = subprocess.Popen(
            [
                *("unshare", "--mount", "--pid", "--net", "--ipc", "--fork", "--kill-child", "--mount-proc"),
                *("sh", str(CHECKOUT / "lab" / "machine.sh"), str(image.root), str(scratch), short),
                *(hosts_file(name), resolv_conf(nameserver)),
                *(sys.executable, "-m", "lab.supervisor", self._group, *_nspawn(scratch / "root", short)),
            ],
            cwd=CHECKOUT,
            stdin=subprocess.PIPE,
            stdout=self._console,
            stderr=self._console,
            env={**os.environ, "SYSTEMD_NSPAWN_UNIFIED_HIERARCHY": "1", "SYSTEMD_LOG_LEVEL": "warning"},
        )
        try:
            self._inner = child_of(self._supervisor.pid)
            self.ipv4, self.ipv6 = network.attach(self._inner)
            self._find_leader()
            self._wait_booted()
        except BaseException:
            self.stop()
            raise

    def enter(self) -> list[str]:
        return nsenter(self.pid, *_NAMESPACES)

    def failed_units(self) -> list[str]:
        """Units that systemd says failed."""
        listed = self.run(
            ["systemctl", "list-units", "--failed", "--plain", "--no-legend"], check=False
        ).stdout
        return [line.split()[0] for line in listed.splitlines() if line.strip()]

    def journal(self, unit: str | None = None) -> str:
        """The journal since boot, of one unit or all."""
        return self.run(
            ["journalctl", "--no-pager", "-b", *(("-u", unit) if unit else ())], check=False
        ).stdout

    def console(self) -> str:
        """What was said before there was a journal."""
        self._console.seek(0)
        return self._console.read().decode("utf-8", "replace")

    def poweroff(self, timeout: float = 60) -> None:
        """An orderly shutdown; the machine is gone afterwards."""
        self.run(["systemctl", "poweroff"], check=False)
        self._wait_gone(timeout)
        self.stop()

    def turn_off(self, timeout: float = 60) -> None:
        """An orderly shutdown; what was written stays for `turn_on`."""
        self.run(["systemctl", "poweroff"], check=False)
        self._wait_gone(timeout)

    def turn_on(self) -> None:
        """Boots it again from the root that it had when it was turned off; returns when booted."""
        assert self._supervisor.stdin is not None
        self._supervisor.stdin.write(b"\n")
        self._supervisor.stdin.flush()
        self._find_leader()
        self._wait_booted()

    def reboot(self) -> None:
        """Down in order and up again, with everything that was written; returns when booted."""
        self.run(["systemctl", "reboot"], check=False)
        self._wait_gone(self._timeout)
        self._find_leader()
        self._wait_booted()

    def _stop(self) -> None:
        if self._supervisor.poll() is None:
            self._supervisor.kill()
        self._supervisor.communicate()
        sweep(self._group, 2)
        self._console.close()

    def _wait_gone(self, timeout: float) -> None:
        deadline = time.monotonic() + timeout
        while Path(f"/proc/{self.pid}").exists() and time.monotonic() < deadline:
            time.sleep(0.02)

    def _find_leader(self) -> None:
        """The machine's systemd; after a reboot the nspawn of before may still be on its way out."""
        deadline = time.monotonic() + self._timeout
        while True:
            try:
                nspawn = child_of(self._inner, program="systemd-nspawn")
                self.pid = child_of(nspawn, program="systemd", init=True)
                return
            except ProcessLookupError:
                if time.monotonic() > deadline or self._supervisor.poll() is not None:
                    raise BootFailed(
                        f"{self.name} ({self.release}) has no systemd:\n{self.console()}"
                    ) from None
                time.sleep(0.02)

    def _wait_booted(self) -> None:
        deadline = time.monotonic() + self._timeout
        state = ""
        while time.monotonic() < deadline and Path(f"/proc/{self.pid}").exists():
            left = max(1.0, deadline - time.monotonic())
            try:
                state = self.run(
                    ["systemctl", "is-system-running", "--wait"], check=False, timeout=left
                ).stdout.strip()
            except subprocess.TimeoutExpired:
                state = "still starting"
            if state in ("running", "degraded"):
                break
            time.sleep(0.1)
        else:
            raise BootFailed(f"{self.name} ({self.release}) is {state or 'dead'}:\n{self.console()[-3000:]}")


def _nspawn(root: Path, hostname: str) -> list[str]:
    return [
        *("systemd-nspawn", "--boot", "--quiet", f"--directory={root}"),
        *(f"--machine=lab-{uuid.uuid4().hex[:10]}", f"--hostname={hostname}"),
        *("--register=no", "--keep-unit", "--network-namespace-path=/proc/self/ns/net"),
        "--capability=CAP_NET_ADMIN",  # which a machine has, and nspawn leaves out beside a network of ours
        *("--console=read-only", "--resolv-conf=off", "--timezone=off", "--link-journal=no", "--settings=no"),
        f"--bind-ro={CHECKOUT}:/src/mailseal",
    ]

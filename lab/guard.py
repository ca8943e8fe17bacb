"""What the lab needs of the host, asked before anything starts.

namespaces(7): a mount, PID, network, UTS and IPC namespace need CAP_SYS_ADMIN,
and containers often take `unshare(2)` or `mount(2)` away even from root. So it
is tried once for real; the answer is a sentence that an admin can act on.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from functools import cache
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parent.parent

UNSHARE = ("unshare", "--mount", "--pid", "--net", "--uts", "--ipc", "--fork", "--kill-child")

_PACKAGE_OF = {
    "debootstrap": "debootstrap",
    "ip": "iproute2",
    "nsenter": "util-linux",
    "openssl": "openssl",
    "setpriv": "util-linux",
    "systemd-nspawn": "systemd-container",
    "unshare": "util-linux",
}


class Unavailable(Exception):
    """This host cannot run the lab; the text says why and what would help."""


def require(*commands: str) -> None:
    """Returns if the lab can run here with these commands; else raises Unavailable."""
    if os.geteuid() != 0:
        raise Unavailable("The lab needs root to make namespaces. Next: run the same with sudo.")
    missing = [name for name in ("ip", "nsenter", "setpriv", "unshare", *commands) if not shutil.which(name)]
    if missing:
        packages = " ".join(sorted({_PACKAGE_OF.get(name, name) for name in missing}))
        raise Unavailable(f"The lab needs {', '.join(missing)}. Next: apt-get install {packages}")
    refusal = _refusal()
    if refusal:
        raise Unavailable(
            f"The lab needs namespaces of its own, and this system refuses them: {refusal}. "
            "In a container, run it privileged, or use a virtual machine."
        )


@cache
def _refusal() -> str:
    """Why a root of its own cannot be had here; empty if it can."""
    trial = (
        "set -e; mount -t tmpfs lab /mnt; mkdir /mnt/a /mnt/b /mnt/c /mnt/d;"
        "mount -t overlay lab -o lowerdir=/mnt/a,upperdir=/mnt/b,workdir=/mnt/c /mnt/d;"
        "mount -t proc proc /proc; ip link add lab0 type veth peer name lab1; ip link add lab2 type bridge"
    )
    tried = subprocess.run(
        [*UNSHARE, "sh", "-c", trial], stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )
    if tried.returncode == 0:
        return ""
    return tried.stderr.strip().replace("\n", "; ") or f"unshare ended with {tried.returncode}"

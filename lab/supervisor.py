"""The process above one machine: boots it, boots it again when it asks, and ends it when its maker goes.

`python -m lab.supervisor NAME COMMAND…` runs systemd-nspawn as COMMAND. With
`--keep-unit` nspawn makes its control groups below the one it stands in, always
under the same names (`payload`, `supervisor`); two machines of one parent would
share them, and the systemd of one would count, and kill, the processes of the
other (cgroups(7)). So every boot gets a control group of its own, NAME and a number,
in the unified hierarchy and in systemd's own of cgroup v1, whichever are mounted.

nspawn ends with 133 to say that the machine wants to boot again. One that ended
otherwise stays off until a line on stdin orders it to boot, from the same root.
The end of stdin is the order to exit, and with this process, PID 1 of its
namespace, goes everything below.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from pathlib import Path

BOOT_AGAIN = 133
PREFIX = "mailseal-lab-"


def own_groups() -> list[Path]:
    """The directories of the control groups that this process stands in, of the hierarchies systemd uses."""
    stands = {}
    for line in Path("/proc/self/cgroup").read_text(encoding="utf-8").splitlines():
        _, controllers, path = line.split(":", 2)
        stands[controllers] = path.lstrip("/")
    groups = []
    for line in Path("/proc/self/mounts").read_text(encoding="utf-8").splitlines():
        _, mounted_at, kind, options, *_ = line.split()
        if kind == "cgroup2" and "" in stands:
            groups.append(Path(mounted_at, stands[""]))
        elif kind == "cgroup" and "name=systemd" in options.split(",") and "name=systemd" in stands:
            groups.append(Path(mounted_at, stands["name=systemd"]))
    return [group for group in groups if (group / "cgroup.procs").exists()]


def sweep(name: str, patience: float = 0) -> None:
    """Removes the empty control groups whose name begins so; processes that just died may take `patience` seconds."""
    deadline = time.monotonic() + patience
    while True:
        left = [group for own in own_groups() for group in own.glob(f"{name}*") if not _removed(group)]
        if not left or time.monotonic() > deadline:
            return
        time.sleep(0.02)


def sweep_orphans() -> None:
    """Removes the control groups of makers that are gone; their process ID is in the name."""
    for own in own_groups():
        for group in own.glob(f"{PREFIX}*"):
            maker = group.name.removeprefix(PREFIX).partition("-")[0]
            if not Path(f"/proc/{maker}").exists():
                _removed(group)


def _removed(group: Path) -> bool:
    for folder, _, _ in os.walk(group, topdown=False):
        try:
            os.rmdir(folder)
        except OSError:
            return False
    return True


def _boot(name: str, command: list[str], ordered: threading.Semaphore) -> None:
    number = 0
    while True:
        number += 1
        groups = [own / f"{name}-{number}" for own in own_groups()]
        for group in groups:
            group.mkdir()
        enter = 'for group; do shift; [ "$group" != -- ] || break; echo $$ >"$group/cgroup.procs"; done; exec "$@"'
        argv = ["sh", "-c", enter, "sh", *(str(group) for group in groups), "--", *command]
        ended = subprocess.run(argv, stdin=subprocess.DEVNULL, check=False).returncode
        sweep(f"{name}-{number}", 2)
        if ended != BOOT_AGAIN:
            ordered.acquire()


if __name__ == "__main__":
    orders = threading.Semaphore(0)
    threading.Thread(target=_boot, args=(sys.argv[1], sys.argv[2:], orders), daemon=True).start()
    for _ in sys.stdin:
        orders.release()

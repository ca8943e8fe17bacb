"""Run inside a lab host: mailseal on the real machine, with something that happens in the middle.

`sabotage.py WHEN SCRIPT COMMAND…` runs `mailseal COMMAND…`. The shell script
runs once, at the first effect that WHEN names: `issued` (a generation was
written), `switched` (`current` moved), `reload` (just before the first reload).
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping, Sequence

from mailseal.cli.main import main
from mailseal.system import Completed
from mailseal.system.files import LocalFiles
from mailseal.system.local import LocalSystem
from mailseal.system.processes import LocalProcesses

WHEN, SCRIPT = sys.argv[1], sys.argv[2]
left = [WHEN]


def sabotage(when: str) -> None:
    """Runs the script if this is its moment and it has not run."""
    if when in left:
        left.remove(when)
        print("[sabotage done]", file=sys.stderr, flush=True)
        subprocess.run(["sh", "-euc", SCRIPT], check=True, timeout=300)


class Files(LocalFiles):
    """The real files; the moments lie behind two of the effects."""

    def create_tree(self, path: str, contents: Mapping[str, bytes], *, mode: int) -> None:
        super().create_tree(path, contents, mode=mode)
        if "/lineages/" in path:
            sabotage("issued")

    def symlink(self, path: str, target: str, *, durable: bool = True) -> None:
        super().symlink(path, target, durable=durable)
        if path.endswith("/current"):
            sabotage("switched")


class Processes(LocalProcesses):
    """The real processes; one moment lies before the first that reloads a daemon."""

    def run(
        self,
        argv: Sequence[str],
        *,
        timeout: float = 60.0,
        stdin: bytes = b"",
        env: Mapping[str, str] | None = None,
    ) -> Completed:
        if {"reload", "graceful"} & set(argv):
            sabotage("reload")
        return super().run(argv, timeout=timeout, stdin=stdin, env=env)


if __name__ == "__main__":
    system = LocalSystem()
    system.files = Files()
    system.processes = Processes()
    sys.argv = ["mailseal", *sys.argv[3:]]  # as typed, so that signals are taken as the command takes them
    sys.exit(main(system=system))

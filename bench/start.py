"""What it costs to start: CPU of `mailseal --version` beside certbot's, in turns, in one run.

    script/bench start [--rounds N] [--mailseal PROGRAM] [--json]

Each program is run once unmeasured (so that byte code and the page cache are
warm), then N times in turns; user and system time of the whole process are
taken from wait4(2), and the medians compared. Ends with 1 where mailseal needs
more than a quarter of certbot's.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
from pathlib import Path

from bench.peers import ROOT, certbot

GOAL = 0.25


def cpu(program: Path) -> float:
    """CPU milliseconds of one `PROGRAM --version`."""
    env = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    process = subprocess.Popen([program, "--version"], stdout=subprocess.DEVNULL, env=env)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        sys.exit(f"{program} --version ended with {process.returncode}")
    return 1000 * (usage.ru_utime + usage.ru_stime)


def main() -> int:
    """Measures and prints; the status says whether the goal was reached."""
    parser = argparse.ArgumentParser(
        prog="script/bench start", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--mailseal", type=Path, default=ROOT / ".venv" / "bin" / "mailseal")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    programs = {"mailseal": arguments.mailseal, "certbot": certbot()}
    taken: dict[str, list[float]] = {name: [] for name in programs}
    for program in programs.values():
        cpu(program)
    for _ in range(arguments.rounds):
        for name, program in programs.items():
            taken[name].append(cpu(program))
    medians = {name: statistics.median(values) for name, values in taken.items()}
    ratio = medians["mailseal"] / medians["certbot"]
    if arguments.json:
        print(json.dumps({"milliseconds": medians, "ratio": ratio, "goal": GOAL, "rounds": arguments.rounds}))
    else:
        for name, values in taken.items():
            print(f"{name:9} {medians[name]:7.1f} ms CPU   ({min(values):.1f} to {max(values):.1f})")
        print(f"ratio     {ratio:7.2f}         (goal: at most {GOAL})")
    return 0 if ratio <= GOAL else 1


if __name__ == "__main__":
    sys.exit(main())

"""mailseal's part of `script/bench issue`, run inside the lab host by its Python: one process, many certificates.

    issue_job.py DIRECTORY-URL COUNT AT-ONCE [--state FOLDER] [--suffix .example.test] [--profile FILE]

One run of the reconciler, which is what `mailseal apply` starts, over a
configuration with COUNT certificates, no more than AT-ONCE orders under way.
Before the clock starts: the process with its imports, the account, a first
certificate. While it runs, for every certificate: the look at what is there,
DNS and preflight over IPv4 and IPv6, key, order, challenge, chain, our own
checks of it, the generation on disk, and the journalled transaction that moves
its `current` link and makes those of live/. Prints one JSON object: count,
seconds, cpu (seconds of this process).
"""

from __future__ import annotations

import argparse
import cProfile
import gc
import json
import sys
import time

from bench.issue_names import configuration, name_of
from mailseal.config.reader import load
from mailseal.engine import reconciler
from mailseal.system.local import LocalSystem


def obtain(told: argparse.Namespace, numbers: range) -> None:
    """One run over these certificates; ends the program where one is missing after it."""
    names = [name_of(number, told.suffix) for number in numbers]
    config = load(configuration(told.directory, told.state, names, at_once=told.at_once))
    work = reconciler(LocalSystem(), config, lambda _: None)
    gc.freeze()  # as the command does
    report = work.run(insist=True)
    for error in report.errors:
        sys.exit("\n".join(error.lines()))
    current = [lineage.current for lineage in report.lineages]
    if len(report.issued) != len(names) or None in current:
        sys.exit(f"{len(report.issued)} certificates issued, current generations {current}")


def measure(told: argparse.Namespace) -> dict[str, object]:
    """The run, timed."""
    obtain(told, range(told.count, told.count + 1))
    began, cpu = time.perf_counter(), time.process_time()
    obtain(told, range(told.count))
    seconds, cpu = time.perf_counter() - began, time.process_time() - cpu
    return {"count": told.count, "seconds": seconds, "cpu": cpu}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("directory")
    parser.add_argument("count", type=int)
    parser.add_argument("at_once", type=int)
    parser.add_argument("--state", default="/var/lib/mailseal", help="the folder of mailseal's state")
    parser.add_argument("--suffix", default=".example.test", help="what every name ends in")
    parser.add_argument("--profile", help="write cProfile's figures there")
    told = parser.parse_args()
    if told.profile:
        with cProfile.Profile(time.process_time) as profile:
            result = measure(told)
        profile.dump_stats(told.profile)
    else:
        result = measure(told)
    print(json.dumps(result))


if __name__ == "__main__":
    main()

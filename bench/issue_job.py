"""mailseal's part of `script/bench issue`, run inside the lab host by its Python: one process, many certificates.

    issue_job.py DIRECTORY-URL WAY COUNT [--state FOLDER] [--suffix .example.test] [--profile FILE]

`one-by-one`: for each certificate a whole run of the reconciler, as `mailseal
apply` starts one, over a configuration that holds that certificate alone.
`side-by-side`: one run over a configuration that holds them all. The account is
made before the clock starts. Prints one JSON object: seconds of the whole, and
of each certificate.
"""

from __future__ import annotations

import argparse
import asyncio
import cProfile
import json
import sys
import time

from bench.issue_names import configuration, name_of
from mailseal.config.reader import load
from mailseal.config.schema import Config
from mailseal.engine import reconciler
from mailseal.issuers.accounts import open_client
from mailseal.system.local import LocalSystem


def config_of(told: argparse.Namespace, numbers: range) -> Config:
    """The configuration for these certificates, through mailseal's own reader."""
    return load(configuration(told.directory, told.state, [name_of(n, told.suffix) for n in numbers]))


def obtain(config: Config) -> None:
    """One run; ends the program where a certificate is missing after it."""
    system = LocalSystem()
    report = reconciler(system, config, lambda _: None).run(insist=True)
    for error in report.errors:
        sys.exit("\n".join(error.lines()))
    served = [lineage.current for lineage in report.lineages]
    if len(report.issued) != len(config.certificate) or None in served:
        sys.exit(f"{len(report.issued)} certificates issued, current generations {served}")


async def register(config: Config) -> None:
    """The account, and the folders that it is kept in."""
    system = LocalSystem()
    http = system.http(ca_file=config.acme.ca_file)
    try:
        await open_client(system, http, config.state.directory, config.acme)
    finally:
        await http.close()


def measure(told: argparse.Namespace) -> dict[str, object]:
    """The runs, timed."""
    every = range(told.count)
    system = LocalSystem()
    with reconciler(system, config_of(told, every), lambda _: None).lock():
        asyncio.run(register(config_of(told, every)))
    runs = [range(n, n + 1) for n in every] if told.way == "one-by-one" else [every]
    configs = [config_of(told, numbers) for numbers in runs]
    took = []
    began = time.perf_counter()
    for config in configs:
        started = time.perf_counter()
        obtain(config)
        took.append(time.perf_counter() - started)
    return {"count": told.count, "seconds": time.perf_counter() - began, "each": took}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("directory")
    parser.add_argument("way", choices=("one-by-one", "side-by-side"))
    parser.add_argument("count", type=int)
    parser.add_argument("--state", default="/var/lib/mailseal", help="the folder of mailseal's state")
    parser.add_argument("--suffix", default=".example.test", help="what every name ends in")
    parser.add_argument("--profile", help="write cProfile's figures there")
    told = parser.parse_args()
    if told.profile:
        with cProfile.Profile() as profile:
            result = measure(told)
        profile.dump_stats(told.profile)
    else:
        result = measure(told)
    print(json.dumps(result))


if __name__ == "__main__":
    main()

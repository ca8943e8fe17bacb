"""mailseal's part of `script/bench issue`, run inside the lab host by its Python: one process, many certificates.

    issue_job.py DIRECTORY-URL COUNT AT-ONCE [--state FOLDER] [--suffix .example.test] [--profile FILE]

One run of the reconciler, which is what `mailseal apply` starts, over a
configuration with COUNT certificates, no more than AT-ONCE orders under way.
Made before the clock starts: the process with its imports, the account. Inside
it, for every certificate: the look at what is there, DNS and preflight over
IPv4 and IPv6, key, order, challenge, chain, our own checks of it, the
generation on disk, and a transaction of its own, journalled, that moves its
`current` link. Prints one JSON object: count, seconds.
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


def config_of(told: argparse.Namespace) -> Config:
    """The configuration for these certificates, through mailseal's own reader."""
    names = [name_of(number, told.suffix) for number in range(told.count)]
    return load(configuration(told.directory, told.state, names, at_once=told.at_once))


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
    """The run, timed."""
    config = config_of(told)
    with reconciler(LocalSystem(), config, lambda _: None).lock():
        asyncio.run(register(config))
    began = time.perf_counter()
    obtain(config)
    return {"count": told.count, "seconds": time.perf_counter() - began}


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
        with cProfile.Profile() as profile:
            result = measure(told)
        profile.dump_stats(told.profile)
    else:
        result = measure(told)
    print(json.dumps(result))


if __name__ == "__main__":
    main()

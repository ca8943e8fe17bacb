"""`python -m lab.demo`: what script/demo runs once its own needs are there.

Exit status: 0 only if every claim held, 1 if one did not, 2 if this machine
cannot play it (the message says why, and what would help).
"""

from __future__ import annotations

import argparse
import sys

from lab.demo.namespaces import Namespaces
from lab.demo.page import Page
from lab.demo.stage import Stage
from lab.demo.story import Story
from lab.guard import Unavailable, require
from lab.image import RELEASES
from lab.sources import host_release


def main() -> int:
    """The exit status."""
    parser = argparse.ArgumentParser(prog="script/demo", description="The main job, on real daemons, proven.")
    parser.add_argument("--release", choices=RELEASES, help="the Debian to show it on (else this machine's)")
    asked = parser.parse_args()
    page = Page()
    try:
        with _stage(asked.release) as stage:
            Story(stage, page).tell()
    except Unavailable as why:
        print(why, file=sys.stderr)
        return 2
    page.line()
    if page.failed:
        page.say(f"{len(page.failed)} of {page.claims} claims did not hold, after {page.seconds:.0f} s:")
        page.quote("\n".join(page.failed))
        return 1
    page.say(f"All {page.claims} claims were checked and held. It took {page.seconds:.0f} s.")
    return 0


def _stage(release: str | None) -> Stage:
    require("debootstrap", "openssl")
    own = host_release()
    return Namespaces(release or (own if own in RELEASES else RELEASES[-1]))


if __name__ == "__main__":
    sys.exit(main())

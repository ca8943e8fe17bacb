"""`python -m lab.demo`: what script/demo runs once its own needs are there.

Exit status: 0 only if every claim held, 1 if one did not, 2 if this machine
cannot play it (the message says why, and what would help).
"""

from __future__ import annotations

import argparse
import signal
import sys

from lab.demo.here import Here
from lab.demo.namespaces import Namespaces
from lab.demo.page import Page
from lab.demo.stage import Stage
from lab.demo.story import Story
from lab.guard import Unavailable, require
from lab.image import RELEASES
from lab.sources import host_release

_ENDINGS = (signal.SIGTERM, signal.SIGHUP)


def main() -> int:
    """The exit status."""
    parser = argparse.ArgumentParser(prog="script/demo", description="The main job, on real daemons, proven.")
    parser.add_argument("--release", choices=RELEASES, help="the Debian to show it on (else this machine's)")
    parser.add_argument(
        "--here",
        action="store_true",
        help="no namespaces: private instances on high ports of this machine's loopback",
    )
    asked = parser.parse_args()
    for ending in _ENDINGS:
        signal.signal(ending, _ended)
    page = Page()
    try:
        with Here() if asked.here else _namespaces(asked.release) as stage:
            Story(stage, page).tell()
            if isinstance(stage, Here):
                _unchanged(stage, page)
    except Unavailable as why:
        print(why, file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("\nInterrupted; everything that was started has been ended.", file=sys.stderr)
        return 130
    page.line()
    if page.failed:
        page.say(f"{len(page.failed)} of {page.claims} claims did not hold, after {page.seconds:.0f} s:")
        page.quote("\n".join(page.failed))
        return 1
    page.say(f"All {page.claims} claims were checked and held. It took {page.seconds:.0f} s.")
    return 0


def _ended(number: int, _: object) -> None:
    """Leaves in the ordinary way, so that everything is taken down; asking again does not disturb that."""
    for ending in _ENDINGS:
        signal.signal(ending, lambda *_: None)
    sys.exit(128 + number)


def _unchanged(stage: Here, page: Page) -> None:
    """The last act of --here: the machine itself."""
    page.heading("7. This machine")
    changes, before = list(stage.changes()), stage.machine
    page.claim(
        not changes,
        f"Nothing of it changed: {len(before.packages)} packages, {len(before.files)} files of /etc, "
        f"{len(before.listening)} listening sockets are as before.",
        "\n".join(changes),
    )


def _namespaces(release: str | None) -> Stage:
    try:
        require("debootstrap", "openssl")
    except Unavailable as why:
        raise Unavailable(f"{why}\nOr, without namespaces: script/demo --here") from why
    own = host_release()
    return Namespaces(release or (own if own in RELEASES else RELEASES[-1]))


if __name__ == "__main__":
    sys.exit(main())

"""`python -m lab`: a look into the lab by hand.

image [RELEASE…]                       make the images, both without a release
host [--release R] [-- COMMAND…]       a container with the mail stack, Pebble and the DNS; bash without a command
machine [--release R] [-- COMMAND…]    the same as a whole Debian with systemd

Inside, `mailseal` is the checkout's, $LAB_DIRECTORY is Pebble's directory and
$LAB_TRUST the certificate to trust its https by. All is gone when the command ends.
"""

from __future__ import annotations

import argparse
import subprocess
import sys

from lab import image
from lab.box import ENVIRONMENT
from lab.guard import Unavailable, require
from lab.sources import host_release
from lab.world import API_TRUST, World


def main() -> int:
    """The exit status of the command that was run inside."""
    parser = argparse.ArgumentParser(
        prog="python -m lab", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=("image", "host", "machine"))
    parser.add_argument("--release", default=None, choices=image.RELEASES)
    parser.add_argument("--caddy", action="store_true", help="start Caddy's CA too: $LAB_CADDY")
    parser.add_argument("releases", nargs="*", help="for image")
    given = sys.argv[1:]
    end = given.index("--") if "--" in given else len(given)
    asked, command = parser.parse_args(given[:end]), given[end + 1 :]
    try:
        require()
        if asked.what == "image":
            for made in image.ensure_all(*(asked.releases or image.RELEASES)):
                print(made.root)
            return 0
        return _inside(asked.what, asked.release or host_release(), asked.caddy, command or ["bash"])
    except Unavailable as why:
        print(why, file=sys.stderr)
        return 2


def _inside(what: str, release: str, caddy: bool, command: list[str]) -> int:
    with World() as world:
        pebble = world.pebble()
        box = world.host(release) if what == "host" else world.machine(release)
        env = {**ENVIRONMENT, "LAB_DIRECTORY": pebble.directory_url, "LAB_TRUST": API_TRUST, "TERM": "xterm"}
        env["PATH"] = f"/opt/lab/bin:{env['PATH']}"
        if caddy:
            env["LAB_CADDY"] = world.caddy().directory_url
        return subprocess.run([*box.enter(), *command], env=env, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())

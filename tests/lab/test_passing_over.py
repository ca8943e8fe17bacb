"""On a real disk: a run with nothing due opens no file of what is as it was, and finds what was touched."""

from __future__ import annotations

import re

from bench.renew_job import SUFFIX
from lab.ca import Pebble
from lab.guard import CHECKOUT
from lab.host import Host
from lab.world import World

COUNT = 30
JOB = CHECKOUT / "bench" / "renew_job.py"
STATE, CONFIG = "/srv/state", "/srv/mailseal.toml"
WHATEVER_IT_IS = 3  # lineages that every run looks at


def _configuration(directory: str) -> str:
    names = [f"b{number}-0{SUFFIX}" for number in range(COUNT)]
    return f"""\
[acme]
directory = "{directory}"
contact = ["postmaster@example.test"]
agree_to_terms = true
[http01]
method = "webroot"
webroot = "/var/www/html"
[services]
postfix.enabled = false
dovecot.enabled = false
apache.enabled = false
[state]
directory = "{STATE}"
""" + "".join(f'[[certificate]]\nname = "{name}"\nidentifiers = ["{name}"]\n' for name in names)


def _renew(host: Host) -> tuple[str, set[str]]:
    """What `mailseal renew` says, and the lineages of which it opened a file."""
    argv = ["strace", "-f", "-qq", "-e", "trace=open,openat,openat2", "-o", "/tmp/opened"]
    done = host.run([*argv, *host.mailseal_command, "renew", "--config", CONFIG], check=False, timeout=300)
    opened = re.findall(rf'"{STATE}/(?:lineages|live|state)/(b\d+)-', host.read("/tmp/opened"))
    return done.stdout + done.stderr, set(opened)


def test_a_run_with_nothing_due_opens_no_file_of_what_is_as_it_was(
    world: World, pebble: Pebble, release: str
) -> None:
    host = world.host(release, "many.example.test", stack=False)
    try:
        host.run(["install", "-d", "-m", "0711", STATE])
        host.python(
            JOB, "lineages", "mailseal", str(COUNT), STATE, "--issuer", pebble.directory_url, timeout=300
        )
        host.write(CONFIG, _configuration(pebble.directory_url))

        said, opened = _renew(host)
        assert "Nothing was found wrong" in said and len(opened) == COUNT, said
        said, opened = _renew(host)
        assert "Nothing was found wrong" in said and len(opened) <= WHATEVER_IT_IS, said

        key = f"{STATE}/lineages/b9-0{SUFFIX}/0001/ecdsa-p256/privkey.pem"
        host.sh(
            f"touch -r {key} /tmp/times; echo >>{key}; touch -r /tmp/times {key}"
        )  # its times hide nothing
        said, opened = _renew(host)
        assert "b9" in opened and f"b9-0{SUFFIX}: generation 0001 is damaged" in said
    finally:
        world.discard(host)

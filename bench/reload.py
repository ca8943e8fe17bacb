"""What a renewal costs the clients of a mail server: mailseal's deployment, the daemons' bare reload, a restart.

    script/bench reload [--rounds N] [--restarts N] [--pause SECONDS] [--workers N] [--json]

A Debian of the host's own release with Postfix, Dovecot and Apache, set up by
mailseal against the lab's Pebble. From another host clients connect to ports
25, 993 and 443 all the while, a new connection of every worker each --pause
seconds; none ever tries again. In turns: a renewal (`mailseal apply` with
another name asked for: order, checks, switch, reload, proof), and the bare
`postfix reload`, `doveadm reload`, `apache2ctl graceful`. Then, some times, what
guides have renewals do: each daemon stopped and started, as `systemctl restart
postfix dovecot apache2` does it.

Told of each: connections while it went on and just after, how many failed,
how many of them in TLS, and the longest time in which a port was good for
nobody. Ends with 1 where any client met a key or chain that does not fit, or
where renewals cost more than reloads by more than chance explains.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from dataclasses import asdict

from lab.box import CommandFailed
from lab.guard import Unavailable, require
from lab.load import RELOAD, RESTART, Cost, Load, more_than_chance
from lab.sources import host_release
from lab.world import API_TRUST, World

CONFIG, ROOTS = "/etc/mailseal/mailseal.toml", "/etc/ssl/lab-roots.pem"
DOUBT = 1e-4
MORE = "webmail.example.test"


def measure(told: argparse.Namespace) -> dict[str, Cost]:
    """Everything, in turns."""
    with World(host_release()) as world:
        mail, pebble = world.host(host_release()), world.pebble()
        for box in (mail, world.ca):
            box.write(ROOTS, "".join(pebble.roots()))
        ca = ["--directory", pebble.directory_url, "--ca-file", API_TRUST, "--trust", ROOTS]
        mail.mailseal(
            "setup", "--yes", "--agree-tos", "--contact", "postmaster@example.test", *ca, check=True
        )
        world.name(mail, MORE)
        first = mail.read(CONFIG)
        other = re.sub(r"identifiers = \[(.*)\]", rf'identifiers = [\1, "{MORE}"]', first)
        with Load(world, mail, ROOTS, pause=told.pause, workers=told.workers) as load:
            for turn in range(told.rounds):
                print(f"round {turn + 1} of {told.rounds}", file=sys.stderr, flush=True)
                mail.write(CONFIG, first if turn % 2 else other)
                with load.during("renewal"):
                    mail.mailseal("apply", check=True)
                with load.during("bare reload"):
                    mail.sh(RELOAD)
            for _ in range(told.restarts):
                with load.during("restart"):
                    mail.sh(RESTART)
        return load.costs()


def main() -> int:
    """Measures and prints; the status says whether renewals cost clients no more than reloads."""
    parser = argparse.ArgumentParser(
        prog="script/bench reload", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("--rounds", type=int, default=10, help="renewals, and as many bare reloads")
    parser.add_argument("--restarts", type=int, default=3)
    parser.add_argument("--pause", type=float, default=0.2, help="seconds between a worker's connections")
    parser.add_argument("--workers", type=int, default=2, help="of each port")
    parser.add_argument("--json", action="store_true")
    told = parser.parse_args()
    try:
        require()
        costs = measure(told)
    except (Unavailable, CommandFailed) as error:
        print(error, file=sys.stderr)
        return 2
    chance = more_than_chance(len(costs["renewal"].bad), len(costs["bare reload"].bad))
    wrong = sum(len(cost.wrong) for cost in costs.values())
    reached = not wrong and chance > DOUBT
    if told.json:
        print(json.dumps({kind: asdict(cost) for kind, cost in costs.items()} | {"reached": reached}))
        return 0 if reached else 1
    for cost in costs.values():
        print(
            cost if cost.kind else f"while nothing changed: {cost.asks} connections, {len(cost.bad)} failed"
        )
    verdict = "reached" if reached else "MISSED"
    print(
        f"goal {verdict}: no client met a key that does not fit, and renewals cost no more than bare reloads"
    )
    return 0 if reached else 1


if __name__ == "__main__":
    sys.exit(main())

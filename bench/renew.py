"""A run with nothing due: `mailseal renew` beside `certbot renew` and `dehydrated --cron` as shipped, in one run.

    script/bench renew [--lineages N …] [--peers NAME …] [--peers-up-to N] [--rounds N] [--json]

Everybody works on one lab host, a Debian of the host's own release, with as
many lineages as are asked for (1, 1,000 and 10,000; the peers as far as
--peers-up-to): files as each writes them itself, with keys and certificates of
their own. certbot's renewal files are those of a lineage that it obtained from
the lab's Pebble, with the name changed. Measured is the whole process and all
that it starts, from exec to exit: seconds, CPU, the largest resident set.

What certbot does depends on what the CA said (RFC 9773). *asking*: the time
after which the CA may be asked again is over, as at every start of certbot's
own timer, twice a day with a Retry-After of six hours; certbot asks for each
lineage. *not asking*: the run after that, within those hours.

mailseal touches no daemon where it is set beside the others, which touch none
either; what the look at a whole mail stack and the proof of every endpoint cost
on top is measured apart (*with the mail stack*). *first look*: no index is
there (`mailseal.index`), so every lineage is looked at whole.

Ends with 1 where a goal is missed: at 1,000 lineages 100 times the speed of
certbot, 10,000 in under a second of CPU.
"""

from __future__ import annotations

import argparse
import compileall
import json
import statistics
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field

from bench.issue_names import WEBROOT
from bench.issue_peers import Certbot, Dehydrated
from bench.peers import cache, certbot, debian
from bench.renew_job import SUFFIX
from lab.box import Box, CommandFailed
from lab.ca import Pebble, PebbleOptions
from lab.guard import CHECKOUT, Unavailable, require
from lab.sources import host_release
from lab.world import API_TRUST, World

SPEEDUP_GOAL, CPU_GOAL = 100.0, 1.0
COUNTED, MOST = 1_000, 10_000  # lineages of the two goals
JOB = CHECKOUT / "bench" / "renew_job.py"
LIMIT = 1800.0  # seconds that one process may take
ROOTS = "/etc/ssl/bench-roots.pem"


@dataclass(frozen=True)
class Taken:
    """One way with a number of lineages: medians of its runs. Seconds, seconds of CPU, MiB."""

    who: str
    lineages: int
    seconds: float
    cpu: float
    rss: float


@dataclass
class Figures:
    """All that was measured."""

    taken: list[Taken] = field(default_factory=list)

    def of(self, who: str, lineages: int) -> Taken | None:
        return next((one for one in self.taken if (one.who, one.lineages) == (who, lineages)), None)

    def ratio(self, who: str, lineages: int) -> float | None:
        """How many times as fast mailseal is."""
        ours, theirs = self.of("mailseal", lineages), self.of(who, lineages)
        return theirs.seconds / ours.seconds if ours and theirs else None

    def each(self, who: str) -> float | None:
        """CPU milliseconds that one more lineage costs, from the fewest to the most that were measured."""
        ours = sorted((one for one in self.taken if one.who == who), key=lambda one: one.lineages)
        if len(ours) < 2:
            return None
        return 1000 * (ours[-1].cpu - ours[0].cpu) / (ours[-1].lineages - ours[0].lineages)


class Bench:
    """The lab host, with everybody's programs. Use `close` at the end."""

    def __init__(self, world: World, rounds: int) -> None:
        release, folder = host_release(), cache()
        program, packages = certbot(), debian(release)
        compileall.compile_dir(CHECKOUT / "src", quiet=1)  # the host cannot write beside the sources
        self.rounds = rounds
        self.mail = world.host(release, binds={str(folder): folder})
        self.pebble: Pebble = world.pebble(PebbleOptions(nonce_reject=0))  # no order is measured
        self.mail.write(ROOTS, "".join(self.pebble.roots()))
        self.certbot = Certbot(self.mail, program, self.pebble.directory_url)
        self.dehydrated = Dehydrated(self.mail, packages / "usr/bin/dehydrated", self.pebble.directory_url)
        real = f"peer{SUFFIX}"
        world.name(self.mail, real)
        self.certbot.register()
        self.certbot.obtain(real, timeout=120)
        self.like = f"/etc/letsencrypt/renewal/{real}.conf"
        self.dehydrated.register()

    def timed(self, who: str, count: int, argv: Sequence[str], rounds: int, box: Box | None = None) -> Taken:
        """The medians of some runs; raises `CommandFailed` where one fails."""
        runs = []
        for _ in range(rounds):
            env = {"REQUESTS_CA_BUNDLE": API_TRUST}
            wrapped = ["env", *(f"{key}={value}" for key, value in env.items()), *argv]
            told = json.loads((box or self.mail).python(JOB, "run", *wrapped, timeout=LIMIT).stdout)
            if told["status"]:
                raise Failed(f"{' '.join(argv)} ended with {told['status']}:\n{told['said']}")
            runs.append(told)
        seconds, cpu, rss = (statistics.median(one[key] for one in runs) for key in ("seconds", "cpu", "rss"))
        return Taken(who, count, seconds, cpu, rss)

    def make(self, kind: str, count: int, folder: str, *more: str) -> None:
        """Lineages in a folder of their own."""
        self.mail.run(["install", "-d", "-m", "0711", folder])
        self.mail.python(JOB, "lineages", kind, str(count), folder, *more, timeout=LIMIT)


class Failed(Exception):
    """A program that was measured failed."""


def of_certbot(bench: Bench, count: int) -> list[Taken]:
    folder = f"/srv/certbot-{count}"
    bench.make("certbot", count, folder, "--like", bench.like)
    where = ["--config-dir", folder, "--work-dir", f"{folder}/work", "--logs-dir", f"{folder}/logs"]
    bench.mail.run(["cp", "-a", "/etc/letsencrypt/accounts", folder])
    argv = [bench.certbot.program, "renew", "--quiet", *where]
    asking = bench.timed("certbot, asking", count, argv, 1)
    return [asking, bench.timed("certbot, not asking", count, argv, 1)]


def of_dehydrated(bench: Bench, count: int) -> list[Taken]:
    folder = f"/srv/dehydrated-{count}"
    bench.make("dehydrated", count, folder)
    text = bench.mail.read("/etc/dehydrated-bench.sh").replace("/var/lib/dehydrated", folder)
    bench.mail.write(f"{folder}/config", text)
    bench.mail.run(["cp", "-a", "/var/lib/dehydrated/accounts", folder])
    return [
        bench.timed(
            "dehydrated", count, [bench.dehydrated.program, "--config", f"{folder}/config", "--cron"], 1
        )
    ]


def of_mailseal(bench: Bench, count: int) -> list[Taken]:
    folder = f"/srv/mailseal-{count}"
    bench.make("mailseal", count, f"{folder}/state", "--issuer", bench.pebble.directory_url)
    bench.mail.write(f"{folder}/mailseal.toml", configuration(bench, folder, count))
    argv = [*bench.mail.mailseal_command, "renew", "--quiet", "--config", f"{folder}/mailseal.toml"]
    first = bench.timed("mailseal, first look", count, argv, 1)
    return [first, bench.timed("mailseal", count, argv, bench.rounds)]


def with_stack(bench: Bench, count: int) -> list[Taken]:
    """The same where mailseal keeps Postfix, Dovecot and Apache, set up by itself."""
    path = "/etc/mailseal/mailseal.toml"
    if not bench.mail.exists(path):
        ca = ["--directory", bench.pebble.directory_url, "--ca-file", API_TRUST, "--trust", ROOTS]
        who = ["--yes", "--agree-tos", "--contact", "postmaster@example.test"]
        bench.mail.mailseal("setup", *who, *ca, check=True)
        bench.mail.run(["cp", path, f"{path}.first"])
    bench.mail.write(path, bench.mail.read(f"{path}.first") + tables(count))
    bench.mail.sh(
        f"cd /var/lib/mailseal && rm -rf lineages/b*{SUFFIX} live/b*{SUFFIX} state/b*{SUFFIX}.json index"
    )
    bench.make("mailseal", count, "/var/lib/mailseal", "--issuer", bench.pebble.directory_url)
    argv = [*bench.mail.mailseal_command, "renew", "--quiet"]
    bench.timed("first", count, argv, 1)
    return [bench.timed("mailseal with the mail stack", count, argv, bench.rounds)]


def configuration(bench: Bench, folder: str, count: int) -> str:
    """No daemon is touched; the rest is as shipped."""
    head = f"""\
[acme]
directory = "{bench.pebble.directory_url}"
contact = ["postmaster@example.test"]
agree_to_terms = true
ca_file = "{API_TRUST}"
[http01]
method = "webroot"
webroot = "{WEBROOT}"
[services]
postfix.enabled = false
dovecot.enabled = false
apache.enabled = false
[state]
directory = "{folder}/state"
[proof]
trust = "{ROOTS}"
"""
    return head + tables(count)


def tables(count: int) -> str:
    """The certificates' part of the configuration."""
    names = (f"b{number}-0{SUFFIX}" for number in range(count))
    return "".join(f'[[certificate]]\nname = "{name}"\nidentifiers = ["{name}"]\n' for name in names)


PEERS = {"certbot": of_certbot, "dehydrated": of_dehydrated}


def measure(bench: Bench, told: argparse.Namespace) -> Figures:
    """Everything, the fewest lineages first."""
    found, began = Figures(), time.monotonic()
    for count in sorted(told.lineages):
        peers = [PEERS[name] for name in told.peers if count <= told.peers_up_to]
        for way in (of_mailseal, with_stack, *peers):
            print(
                f"[{time.monotonic() - began:5.0f} s] {count} lineages, {way.__name__}",
                file=sys.stderr,
                flush=True,
            )
            found.taken += way(bench, count)
            print(f"{'':9}{found.taken[-1]}", file=sys.stderr, flush=True)
    return found


def table(found: Figures) -> str:
    """The figures as text."""
    lines = [f"{'lineages':>8}  {'':28}{'seconds':>10}{'CPU s':>10}{'MiB':>8}   mailseal is"]
    for one in found.taken:
        ratio = found.ratio(one.who, one.lineages)
        told = f"{ratio:8.1f} times as fast" if ratio and not one.who.startswith("mailseal") else ""
        lines.append(
            f"{one.lineages:8}  {one.who:28}{one.seconds:10.3f}{one.cpu:10.3f}{one.rss:8.0f}   {told}"
        )
    lines.append("one more lineage costs, in milliseconds of CPU")
    ours = found.each("mailseal")
    for who in dict.fromkeys(one.who for one in found.taken):
        each = found.each(who)
        if each is not None:
            times = (
                f"   {each / ours:8.1f} times mailseal's" if ours and not who.startswith("mailseal") else ""
            )
            lines.append(f"{'':10}{who:28}{each:10.3f}{times}")
    return "\n".join([*lines, *(goal.line for goal in goals(found))])


@dataclass(frozen=True)
class Goal:
    """What was to be reached, and whether it was."""

    reached: bool
    line: str


def goals(found: Figures) -> list[Goal]:
    """Those that could be judged."""
    judged = []
    ratio, most = found.ratio("certbot, asking", COUNTED), found.of("mailseal", MOST)
    if ratio is not None:
        judged.append(
            _goal(
                ratio >= SPEEDUP_GOAL,
                f"{ratio:.0f} times certbot's speed at {COUNTED} lineages (at least {SPEEDUP_GOAL:.0f})",
            )
        )
    if most is not None:
        judged.append(
            _goal(
                most.cpu < CPU_GOAL, f"{most.cpu:.2f} s of CPU for {MOST} lineages (less than {CPU_GOAL:.0f})"
            )
        )
    return judged


def _goal(reached: bool, what: str) -> Goal:
    return Goal(reached, f"goal {'reached' if reached else 'MISSED'}: {what}")


def main() -> int:
    """Measures and prints; the status says whether the goals were reached."""
    parser = argparse.ArgumentParser(
        prog="script/bench renew", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("--lineages", type=int, nargs="+", default=[1, COUNTED, MOST], metavar="N")
    parser.add_argument("--peers-up-to", type=int, default=COUNTED, metavar="N", help="lineages of the peers")
    parser.add_argument("--peers", nargs="*", default=[*PEERS], choices=[*PEERS])
    parser.add_argument("--rounds", type=int, default=5, help="runs of mailseal of which the median is taken")
    parser.add_argument("--json", action="store_true")
    told = parser.parse_args()
    try:
        require()
        with World(host_release()) as world:
            found = measure(Bench(world, told.rounds), told)
    except (Unavailable, CommandFailed, Failed) as error:
        print(error, file=sys.stderr)
        return 2
    judged = goals(found)
    if told.json:
        print(json.dumps(asdict(found) | {"goals": [asdict(goal) for goal in judged]}))
    else:
        print(table(found))
    return 0 if all(goal.reached for goal in judged) else 1


if __name__ == "__main__":
    sys.exit(main())

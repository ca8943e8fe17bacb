"""Certificates a second: mailseal beside certbot, lego and dehydrated as shipped, and beside a bare client, in one run.

    script/bench issue [--certificates N] [--peer-certificates K] [--in-flight F] [--pairs P] [--json]

Everybody works against the same Pebble in the lab's namespaces (its sleeps
before validations switched off, refused nonces left as they are: 5 of 100),
over http-01 that Apache serves as its Debian package leaves it.

What is compared:

- *one after another*: the median time of a peer's process, from exec to exit,
  K times; mailseal's whole run over N certificates, divided by N, no more than
  one order under way. What mailseal does in it stands in bench/issue_job.py:
  all of `mailseal apply` but what only daemons would need (peers reload none),
  its state on a real disk with every fsync(2).
- *in flight*: the same run with F orders under way, in turns with the bare
  client (bench/bare.py) at F, P times; the median of the P ratios.
- *cold*: `mailseal apply` of one certificate as a process of its own, beside
  one run of each peer.

Ends with 1 where a goal is missed: one after another at least 30 times the
fastest peer, in flight at least 60 % of the bare client's rate.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field

from bench.issue_names import configuration, name_of
from bench.issue_peers import Peer, peers
from bench.issue_world import API_TRUST, BARE_SUFFIX, MAIL_SUFFIX, PEER_SUFFIX, Bench, Stuck
from lab.box import CommandFailed
from lab.guard import Unavailable, require

SPEEDUP_GOAL = 30.0
SHARE_GOAL = 0.6
MOST_FAILURES = 3  # of one peer: certbot gives an order up when a second nonce in a row is refused


@dataclass(frozen=True)
class PeerTimes:
    """Seconds of each run of one peer, and how many runs failed."""

    name: str
    version: str
    seconds: list[float]
    failed: int

    @property
    def median(self) -> float:
        return statistics.median(self.seconds)


@dataclass(frozen=True)
class Pair:
    """Rates (certificates a second) of one turn."""

    bare: float
    mailseal: float

    @property
    def share(self) -> float:
        return self.mailseal / self.bare


@dataclass
class Figures:
    """All that was measured; rates in certificates a second, times in seconds."""

    file_system: str
    certificates: int
    in_flight: int
    peers: list[PeerTimes] = field(default_factory=list)
    one_by_one: list[Pair] = field(default_factory=list)
    side_by_side: list[Pair] = field(default_factory=list)
    cold: list[float] = field(default_factory=list)
    restarts: int = 0

    @property
    def fastest(self) -> PeerTimes:
        return min(self.peers, key=lambda peer: peer.median)

    @property
    def each(self) -> float:
        """Seconds for a certificate, one after another."""
        return 1 / statistics.median(pair.mailseal for pair in self.one_by_one)

    @property
    def speedup(self) -> float:
        return self.fastest.median / self.each

    @property
    def share(self) -> float:
        return statistics.median(pair.share for pair in self.side_by_side)


def measure(bench: Bench, told: argparse.Namespace) -> Figures:
    """Everything, the parts that are compared in turns."""
    found = Figures(bench.file_system(), told.certificates, told.in_flight)
    tell = _progress()
    for turn in range(told.pairs):
        tell(f"in flight, {turn + 1} of {told.pairs}")
        found.side_by_side.append(_pair(bench, told.certificates, told.in_flight))
        tell(f"one after another, {turn + 1} of {told.pairs}")
        found.one_by_one.append(_pair(bench, told.certificates, 1))
    tell("cold")
    found.cold = _cold(bench, told.peer_certificates)
    for peer in peers(bench.mail, bench.certbot, bench.packages, bench.pebble.directory_url):
        tell(f"{peer.name}, {told.peer_certificates} certificates")
        found.peers.append(_peer(bench, peer, told.peer_certificates))
    found.restarts = bench.restarts
    return found


def _pair(bench: Bench, count: int, at_once: int) -> Pair:
    def bare(limit: float) -> float:
        ca = ["--directory", bench.pebble.directory_url, "--trust", API_TRUST]
        how = ["--count", str(count), "--in-flight", str(at_once), "--suffix", BARE_SUFFIX, "--address", ""]
        return _rate(bench.job(bench.bare, "bare.py", *ca, *how, timeout=limit))

    def mailseal(limit: float) -> float:
        how = [bench.pebble.directory_url, str(count), str(at_once)]
        where = ["--state", bench.fresh_state(), "--suffix", MAIL_SUFFIX]
        return _rate(bench.job(bench.mail, "issue_job.py", *how, *where, timeout=limit))

    limit = 20 + count * 1.0
    return Pair(
        bench.bounded("the bare client", bare, limit=limit), bench.bounded("mailseal", mailseal, limit=limit)
    )


def _rate(told: dict[str, float]) -> float:
    return told["count"] / told["seconds"]


def _cold(bench: Bench, times: int) -> list[float]:
    """`mailseal apply` of one certificate each; the first, which makes the account, is not counted."""
    state, path, taken = bench.fresh_state(), "/etc/mailseal/mailseal.toml", []
    bench.mail.run(["install", "-d", "/etc/mailseal"])
    for number in range(times + 1):
        name = name_of(number, MAIL_SUFFIX)

        def run(limit: float, name: str = name) -> float:
            bench.mail.write(path, configuration(bench.pebble.directory_url, state, [name]))
            began = time.perf_counter()
            bench.mail.mailseal("apply", check=True, timeout=limit)
            return time.perf_counter() - began

        taken.append(bench.bounded("mailseal apply", run, limit=60))
    return taken[1:]


def _peer(bench: Bench, peer: Peer, times: int) -> PeerTimes:
    """One certificate after another; the account is made before, where there is one apart."""
    taken: list[float] = []
    failed = 0
    peer.register()
    while len(taken) < times:
        name = name_of(len(taken), PEER_SUFFIX)
        try:
            taken.append(peer.obtain(f"{peer.name}.{name}", timeout=90))
        except (CommandFailed, subprocess.TimeoutExpired):
            failed += 1
            if failed > MOST_FAILURES:
                raise
    return PeerTimes(peer.name, peer.version(), taken, failed)


def _progress() -> Callable[[str], None]:
    began = time.monotonic()
    return lambda what: print(f"[{time.monotonic() - began:5.0f} s] {what}", file=sys.stderr, flush=True)


def table(found: Figures) -> str:
    """The figures as text."""
    one, many = found.one_by_one, found.side_by_side
    lines = ["One after another", f"  {'':22}{'seconds each':>14}{'mailseal is':>14}"]
    for peer in found.peers:
        failed = f"   {peer.failed} runs failed" if peer.failed else ""
        ratio = f"{peer.median / found.each:.0f} times"
        lines.append(f"  {peer.name + ' ' + peer.version:22}{peer.median:14.3f}{ratio:>14}{failed}")
    lines.append(
        f"  {'mailseal':22}{found.each:14.3f}{'':14}   {found.certificates} certificates, {len(one)} runs"
    )
    lines.append(f"  {'bare client':22}{1 / statistics.median(pair.bare for pair in one):14.3f}")
    lines.append(f"  {'mailseal apply, cold':22}{statistics.median(found.cold):14.3f}")
    lines.append(f"{found.in_flight} in flight, certificates a second")
    lines += [f"  bare {pair.bare:6.1f}   mailseal {pair.mailseal:6.1f}   {pair.share:4.0%}" for pair in many]
    restarts = f"; Pebble was started anew {found.restarts} times" if found.restarts else ""
    lines.append(f"mailseal's state on {found.file_system}{restarts}")
    lines.append(_goal("times the fastest peer, one after another", found.speedup, SPEEDUP_GOAL, "{:.1f}"))
    lines.append(_goal("of the bare client's rate, in flight", found.share, SHARE_GOAL, "{:.0%}"))
    return "\n".join(lines)


def _goal(what: str, value: float, goal: float, form: str) -> str:
    verdict = "reached" if value >= goal else "MISSED"
    return f"goal {verdict}: {form.format(value)} {what} (at least {form.format(goal)})"


def main() -> int:
    """Measures and prints; the status says whether both goals were reached."""
    parser = argparse.ArgumentParser(
        prog="script/bench issue", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("--certificates", type=int, default=50, help="of each measured run of mailseal")
    parser.add_argument("--peer-certificates", type=int, default=5, help="of each peer")
    parser.add_argument("--in-flight", type=int, default=8, help="orders under way at once")
    parser.add_argument("--pairs", type=int, default=3, help="turns of bare client and mailseal")
    parser.add_argument("--json", action="store_true")
    told = parser.parse_args()
    try:
        require()
        with Bench(max(told.certificates, told.peer_certificates) + 1) as bench:
            found = measure(bench, told)
    except (Unavailable, Stuck, CommandFailed) as error:
        print(error, file=sys.stderr)
        return 2
    reached = found.speedup >= SPEEDUP_GOAL and found.share >= SHARE_GOAL
    if told.json:
        ratios = {"speedup": found.speedup, "share": found.share, "reached": reached}
        print(json.dumps(asdict(found) | ratios))
    else:
        print(table(found))
    return 0 if reached else 1


if __name__ == "__main__":
    sys.exit(main())

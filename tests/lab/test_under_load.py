"""Renewals deployed again and again under a steady load of new connections cost no client more than a bare reload.

Rounds alternate, so that whatever else the machine does meets both alike: a
renewal by mailseal (another order, then the switch and its proof), and a bare
reload of the same daemons. At the end, for comparison, the restart that guides
recommend.
"""

from __future__ import annotations

import re
import sys

import pytest

from lab.ca import Pebble
from lab.host import Host
from lab.load import RELOAD, RESTART, Load, more_than_chance
from lab.world import World
from tests.lab.job import CONFIG, ROOTS, setup

ROUNDS = 3
DOUBT = 1e-4  # so improbable must it be that renewals cost no more, before the test says that they do


def test_renewals_under_load_cost_no_client_more_than_a_bare_reload(
    world: World, pebble: Pebble, mail: Host, capsys: pytest.CaptureFixture[str]
) -> None:
    setup(mail, pebble)
    world.ca.write(ROOTS, "".join(pebble.roots()))
    more = "webmail.example.test"
    world.name(mail, more)
    first = mail.read(CONFIG)
    other = re.sub(r"identifiers = \[(.*)\]", rf'identifiers = [\1, "{more}"]', first)
    assert other != first

    with Load(world, mail, ROOTS) as load:
        for turn in range(ROUNDS):
            mail.write(CONFIG, first if turn % 2 else other)
            with load.during("renewal"):
                done = mail.mailseal("apply", timeout=300)
            assert done.returncode == 0, done.stdout + done.stderr
            with load.during("bare reload"):
                mail.sh(RELOAD)
        with load.during("restart"):
            mail.sh(RESTART)
    costs = load.costs()
    with capsys.disabled():
        for kind in ("renewal", "bare reload", "restart"):
            print(f"\n  {costs[kind]}", end="", file=sys.stderr, flush=True)

    for cost in costs.values():
        assert not cost.wrong, f"a client met a key or chain that does not fit: {cost.wrong[0]}"
    leaves = {ask.said for ask in load.asks() if ask.what == "good"}
    assert len(leaves) == ROUNDS + 1, "every renewal was served"
    assert not costs[""].bad, f"failed while nothing changed: {costs[''].bad[0]}"
    ours, theirs = costs["renewal"].bad, costs["bare reload"].bad
    chance = more_than_chance(len(ours), len(theirs))
    assert chance > DOUBT, f"{len(ours)} against {len(theirs)} failed; the first: {ours[0] if ours else ''}"
    assert costs["restart"].bad, "clients that come so often notice a restart"

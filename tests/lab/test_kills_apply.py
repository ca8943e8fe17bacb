"""A renewal killed (SIGKILL) at every single effect that it has: the next run proves every endpoint.

The points are enumerated as they come (tests/lab/killing_job.py), and printed;
`pytest -s` shows them. All through it a client meets keys that fit, at every port.
"""

from __future__ import annotations

from lab.world import World
from tests.lab.exploring import job, served, watched


def test_a_renewal_killed_at_every_effect(world: World, release: str) -> None:
    with served(world, release) as (mail, _), watched(world, mail):
        report = job(mail, "killing_job.py", command=["renew"], name="mail", batch=15, generations=0)
    points, effects = report.pop("points"), report.pop("effects of a run unharmed")
    assert isinstance(points, list) and isinstance(effects, list)
    print(f"killed at {len(points)} points of a renewal of {len(effects)} effects: {report}")
    assert len(points) > 60 and report["in the transaction"] not in range(15), report

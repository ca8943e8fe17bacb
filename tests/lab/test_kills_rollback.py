"""A rollback killed (SIGKILL) at every single effect that it has: the next run proves every endpoint.

As test_kills_apply, which is another file so that another worker may run it.
"""

from __future__ import annotations

from lab.world import World
from tests.lab.exploring import job, served, watched


def test_a_rollback_killed_at_every_effect(world: World, release: str) -> None:
    with served(world, release) as (mail, _), watched(world, mail):
        report = job(mail, "killing_job.py", command=["rollback"], name="mail", batch=6, generations=4)
    points, effects = report.pop("points"), report.pop("effects of a run unharmed")
    assert isinstance(points, list) and isinstance(effects, list)
    print(f"killed at {len(points)} points of a rollback of {len(effects)} effects: {report}")
    assert not {f"before {effect}" for effect in effects} - set(points), "an effect at which none was killed"

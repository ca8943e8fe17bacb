"""A renewal in which each effect fails, one at a time: no endpoint is worse, the cause is told, all ends proven.

Files that cannot be written, requests that break, checkers and reloads that say no or hang (tests/lab/faulty_job.py).
A proof that fails is in test_sabotage: daemons that die of the new key.
"""

from __future__ import annotations

from lab.world import World
from tests.lab.exploring import job, served, watched


def test_a_renewal_in_which_each_effect_fails(world: World, release: str) -> None:
    with served(world, release) as (mail, _), watched(world, mail):
        report = job(mail, "faulty_job.py", name="mail")
    tried, not_met = report.pop("tried"), report.pop("not met")
    assert isinstance(tried, dict) and isinstance(not_met, list)
    print(f"failed at {len(tried)} effects of a renewal: {report}")
    assert len(tried) > 20 and len(not_met) <= len(tried) // 10, not_met

"""Stopped in the middle, by a person, a service manager or SIGKILL: the machine is whole, now or after the next run."""

from __future__ import annotations

from lab.ca import Pebble
from lab.host import Host
from lab.world import World
from tests.lab.job import add_name, sabotaged, setup, view

CURRENT = "readlink /var/lib/mailseal/lineages/mail/current"
# Six SIGTERM in three seconds: the first comes before the first reload, the rest while the change is taken back.
INSIST = "(for i in 1 2 3 4 5 6; do kill -TERM $PPID || true; sleep 0.5; done) >/dev/null 2>&1 & sleep 0.2"
# Before the first reload, when every file is switched already.
DIE = "kill -KILL $PPID; sleep 1"


def test_a_service_manager_that_insists_gets_a_machine_that_is_whole(
    world: World, pebble: Pebble, mail: Host
) -> None:
    setup(mail, pebble)
    add_name(world, mail)
    before = view(world)
    status, stdout, stderr = sabotaged(mail, "reload", INSIST, "apply")
    assert status == 130, stdout + stderr
    assert mail.sh(CURRENT).strip() == "0001"
    assert view(world) == before
    assert not mail.sh("ls /var/lib/mailseal/journal | grep -c '^2' || true").strip().strip("0"), (
        "nothing is left open"
    )
    assert mail.mailseal("apply", timeout=180).returncode == 0
    assert mail.sh(CURRENT).strip() == "0002"


def test_what_a_kill_leaves_the_next_run_heals(world: World, pebble: Pebble, mail: Host) -> None:
    setup(mail, pebble)
    add_name(world, mail)
    before = view(world)
    status, _, _ = sabotaged(mail, "reload", DIE, "apply")
    assert status not in (0, 130)
    assert view(world) == before, "no daemon was reloaded yet"
    assert "In the middle since" in mail.mailseal("status").stdout
    # What a daemon dies of in the meantime is brought back by the recovery.
    mail.sh("apache2ctl stop; sleep 1")
    done = mail.mailseal("renew", "--json", timeout=240)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "interrupted-run" in done.stdout
    after = view(world)
    assert (
        len(set(after.values())) == 1
        and "" not in after.values()
        and set(after.values()) != set(before.values())
    )

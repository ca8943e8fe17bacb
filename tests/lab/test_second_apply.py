"""A second apply finds nothing to do, and does nothing."""

from __future__ import annotations

import json

from lab.ca import Pebble
from lab.host import Host
from lab.world import World
from tests.lab.job import reloads, setup, view

KEPT = (
    "/etc",
    "/var/lib/mailseal/lineages",
    "/var/lib/mailseal/live",
    "/var/lib/mailseal/accounts",
    "/var/www",
)
DAEMONS = ("master", "dovecot", "apache2")


def _stamps(mail: Host) -> str:
    """Inode and times of every file: a file written anew with the same content would show."""
    return mail.sh(f"find {' '.join(KEPT)} -printf '%p %i %T@ %m %u %l\\n' | sort")


def _processes(mail: Host) -> dict[str, list[int]]:
    return {name: sorted(mail.pids(name)) for name in DAEMONS}


def test_a_second_apply_changes_reloads_and_orders_nothing(world: World, pebble: Pebble, mail: Host) -> None:
    setup(mail, pebble)
    first = mail.mailseal("apply", "--json", timeout=120)
    assert first.returncode == 0, first.stdout + first.stderr
    before, count, processes, served = _stamps(mail), reloads(mail), _processes(mail), view(world)
    again = mail.mailseal("apply", "--json", timeout=120)

    assert again.returncode == 0, again.stdout + again.stderr
    report = json.loads(again.stdout)
    assert report["done"] == [] and report["errors"] == [] and report["waiting"] == []
    assert _stamps(mail) == before
    assert reloads(mail) == count
    assert _processes(mail) == processes
    assert view(world) == served


def test_the_ca_is_asked_for_its_directory_and_due_renewal_information_only(
    world: World, pebble: Pebble, mail: Host
) -> None:
    watched = world.faulty(pebble)
    setup(mail, watched)
    ordered = len(watched.seen())
    assert mail.mailseal("apply", timeout=120).returncode == 0
    paths = [one.path for one in watched.seen()[ordered:]]
    assert all(path == "/dir" or "renewal" in path for path in paths), paths
    informed = [path for path in paths if "renewal" in path]
    assert len(informed) <= 1, "one certificate, asked about once"
    # Its Retry-After has not passed now, so it is not asked again.
    told = len(watched.seen())
    assert mail.mailseal("apply", timeout=120).returncode == 0
    later = [one.path for one in watched.seen()[told:]]
    assert not [path for path in later if "renewal" in path], later
    assert set(later) <= {"/dir"}

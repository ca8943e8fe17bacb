"""Rolled back and revoked for real: daemons that serve it, Pebble that revokes it, a stranger who looks."""

from __future__ import annotations

import json

from lab.ca import Pebble
from lab.ca_faults import Fault
from lab.host import Host
from lab.world import World
from tests.lab.job import add_name, setup, view

PORTS = (25, 993, 443)


def _same(seen: dict[int, str]) -> str:
    """The one serial number that every port serves."""
    assert len(set(seen.values())) == 1 and "" not in seen.values(), seen
    return next(iter(seen.values()))


def test_an_earlier_generation_serves_again_and_is_left_so(world: World, pebble: Pebble, mail: Host) -> None:
    setup(mail, pebble)
    first = _same(view(world, *PORTS))
    add_name(world, mail)
    assert mail.mailseal("apply", timeout=180).returncode == 0
    second = _same(view(world, *PORTS))
    assert first != second

    refused = mail.mailseal("rollback", timeout=120)
    assert refused.returncode == 2 and "lacks webmail.example.test" in refused.stderr, refused.stderr
    done = mail.mailseal("rollback", "mail", "1", "--even-if-smaller", "--json", timeout=180)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "stays until mailseal apply" in json.loads(done.stdout)["done"][-1]
    assert _same(view(world, *PORTS)) == first

    left = mail.mailseal("renew", timeout=180)
    assert left.returncode == 4 and "held by mailseal rollback" in left.stdout, left.stdout + left.stderr
    assert _same(view(world, *PORTS)) == first
    assert "held by mailseal rollback" in " ".join(mail.mailseal("status").stdout.split())

    assert mail.mailseal("apply", timeout=180).returncode == 0
    assert _same(view(world, *PORTS)) == second


def test_a_leaked_key_is_replaced_then_revoked_and_never_used_again(
    world: World, pebble: Pebble, mail: Host
) -> None:
    ca = world.faulty(pebble)
    setup(mail, ca)
    first = _same(view(world, *PORTS))
    ca.inject(
        Fault("revoke", drop=True, after=True, times=9)
    )  # the CA revokes, and its answer is lost, at every try
    done = mail.mailseal("revoke", "mail", "--reason", "keyCompromise", "--yes", "--json", timeout=240)
    ca.inject()
    assert done.returncode == 3 and "asks the CA again" in done.stdout, done.stdout + done.stderr
    second = _same(view(world, *PORTS))
    assert first != second
    asked = [one.path for one in ca.seen()]
    revocation = next(position for position, path in enumerate(asked) if "revoke" in path)
    assert any("finalize" in path for path in asked[:revocation]), "replaced first"
    assert pebble.status_of(int(first, 16)) == "Revoked" and pebble.status_of(int(second, 16)) == "Valid"

    again = mail.mailseal("renew", "--json", timeout=180)
    assert again.returncode == 0, again.stdout + again.stderr
    assert "(the CA had done it already)" in json.loads(again.stdout)["done"][0]

    back = mail.mailseal("rollback", timeout=120)
    assert back.returncode == 2 and "revoked (keyCompromise)" in back.stderr, back.stderr

"""The main job on whole machines: from the packages' defaults to every endpoint proven, and back again."""

from __future__ import annotations

import json
import re

from lab.ca import Pebble
from lab.machine import Machine
from lab.world import World
from tests.lab.job import MAIL_PORTS, ROOTS, setup, view

WHOLE = ("/etc", "/var/www", "/usr/local", "/srv", "/root")
# What the daemons' own running and the package tools change by themselves.
ALIVE = ("/etc/postfix/prng_exch", "/etc/.pwd.lock", "/etc/ld.so.cache", "/etc/mailseal")


def _snapshot(machine: Machine) -> dict[str, str]:
    found = machine.snapshot(*WHOLE)
    return {path: state for path, state in found.items() if not path.startswith(ALIVE)}


def test_from_the_packages_defaults_to_proven_and_back(
    world: World, pebble: Pebble, machine: Machine
) -> None:
    assert not machine.failed_units()
    machine.run(["/src/mailseal/script/install"], timeout=300)
    machine.mailseal_command = ("mailseal",)
    served_before = view(world, 25, 143, 993)
    machine.write(ROOTS, "".join(pebble.roots()))
    before = _snapshot(machine)

    report = setup(machine, pebble)
    assert report["exit_status"] == 0 and not report["errors"]

    # Independent clients, from another host: openssl for the leaf on every port …
    serials = view(world)
    assert len(set(serials.values())) == 1 and "" not in serials.values(), serials
    assert set(serials.values()).isdisjoint(served_before.values())
    world.ca.write("/tmp/roots.pem", "".join(pebble.roots()))
    for port in MAIL_PORTS:
        start = {25: "smtp", 143: "imap", 110: "pop3", 4190: "sieve"}.get(port)
        told = world.ca.sh(
            f"openssl s_client -connect mail.example.test:{port} -servername mail.example.test "
            f"-verify_return_error -verify_hostname mail.example.test -CAfile /tmp/roots.pem "
            f"{f'-starttls {start}' if start else ''} </dev/null 2>&1 || true"
        )
        assert "Verify return code: 0 (ok)" in told, (port, told[-600:])
        assert re.search(r"TLSv1\.[23]", told), (port, told[-600:])
    # … and curl for the web: the redirect, and the site behind it.
    told = world.ca.sh(
        "curl -s -o /dev/null -w '%{http_code} %{redirect_url}' http://mail.example.test/some/page?q=1"
    )
    assert told == "301 https://mail.example.test/some/page?q=1"
    world.ca.run(["curl", "-sf", "--cacert", "/tmp/roots.pem", "https://mail.example.test/"])

    _mail_flows(world)

    again = machine.mailseal("apply", "--json", timeout=120)
    assert again.returncode == 0 and json.loads(again.stdout)["done"] == []

    gone = machine.mailseal("detach", "--yes", "--json", timeout=120)
    assert gone.returncode == 0, gone.stdout + gone.stderr
    assert _snapshot(machine) == before
    assert view(world, 25, 143, 993) == served_before
    assert not machine.failed_units()


def _mail_flows(world: World) -> None:
    """A letter comes in over STARTTLS with the certificate checked, and is fetched over IMAPS."""
    world.ca.run(
        [
            "swaks", "--server", "mail.example.test", "--to", "alice@mail.example.test",
            "--from", "bob@elsewhere.test", "--header", "Subject: sealed", "--tls",
            "--tls-verify", "--tls-ca-path", "/tmp/roots.pem", "--timeout", "30",
        ],
        timeout=90,
    )  # fmt: skip
    told = ""
    for _ in range(40):
        told = world.ca.sh(
            "curl -s --cacert /tmp/roots.pem --user alice:wonderland "
            "'imaps://mail.example.test/INBOX;MAILINDEX=1;SECTION=HEADER.FIELDS%20(SUBJECT)' || true; sleep 0.25"
        )
        if "sealed" in told:
            return
    raise AssertionError(f"the letter never came: {told!r}")

"""A CA that fails for long, a limit, a staging server: on a real mail server, with two CAs that are strangers."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

from lab.ca import Caddy, Pebble
from lab.ca_faults import PROBLEM, Fault
from lab.host import Host
from lab.world import API_TRUST, World
from tests.lab.job import CONFIG, ROOTS, add_name, reloads, setup, view

STATE = "/var/lib/mailseal/state/mail.json"
ALWAYS = 1_000_000
CURRENT = "readlink /var/lib/mailseal/lineages/mail/current"


def test_another_ca_helps_out_and_limits_and_staging_are_kept_to(
    world: World, pebble: Pebble, caddy: Caddy, mail: Host
) -> None:
    first = world.faulty(pebble)
    setup(mail, first)
    mail.write(ROOTS, "".join((*first.roots(), *caddy.roots())))
    keys = (f'directory = "{caddy.directory_url}"', f'ca_file = "{API_TRUST}"', "agree_to_terms = true")
    other = "\n".join(("", "[[acme.fallback]]", *keys, ""))
    mail.write(CONFIG, mail.read(CONFIG) + other)
    add_name(world, mail)
    before, reloaded = view(world), reloads(mail)

    first.inject(Fault("", "GET", ALWAYS, drop=True), Fault("", times=ALWAYS, drop=True))
    status, told = renew(mail)
    assert status == 3 and not told["waiting"], told
    assert view(world) == before
    assert failures(mail)[0]["attempts"] == 0, "it could not even be asked"
    age(mail, timedelta(days=100))
    status, told = renew(mail)
    assert status == 1 and [one["code"] for one in told["findings"] if one["severity"] == "warning"] == [
        "fallback-ca"
    ]
    after = view(world)
    assert len(set(after.values())) == 1 and "" not in after.values() and after != before
    assert mail.sh(CURRENT).strip() == "0002" and reloads(mail) == reloaded + 3, "a reload a daemon"
    issuer = mail.sh("openssl x509 -noout -issuer -in /var/lib/mailseal/live/mail/cert.pem")
    assert "Pebble" not in issuer

    # It works again, and is asked first again; its limit is read from the text alone.
    until = (datetime.now(UTC) + timedelta(hours=5)).replace(microsecond=0, tzinfo=None)
    limit = 'too many certificates (50) already issued for "example.test" in the last 168h0m0s, retry after'
    problem = {"type": f"{PROBLEM}rateLimited", "detail": f"{limit} {until} UTC", "status": 429}
    first.inject(Fault("order-plz", times=ALWAYS, status=429, problem=problem))
    add_name(world, mail, "imap.example.test")
    status, told = renew(mail)
    assert status == 4, told
    asked = len(first.seen())
    status, told = renew(mail)
    assert status == 4 and "certificates below example.test" in told["waiting"][0]
    assert f"next try {until:%Y-%m-%d %H:%M} UTC" in told["waiting"][0]
    assert "certificates below example.test" in mail.mailseal("status").stdout
    assert not [one for one in first.seen()[asked:] if "order" in one.path], "never asked into"

    # The limit is over; a validation failed the last time, so staging is asked first, and then the CA itself.
    first.inject()
    staging = world.pebble()
    mail.write(
        CONFIG,
        mail.read(CONFIG).replace("[acme]\n", f'[acme]\nstaging_directory = "{staging.directory_url}"\n'),
    )
    forget_limits(mail)
    done = mail.mailseal("apply", timeout=240)
    assert done.returncode == 0 and "staging server first" in done.stderr, done.stdout + done.stderr
    assert mail.sh(CURRENT).strip() == "0003" and failures(mail) == []
    issuer = mail.sh("openssl x509 -noout -issuer -in /var/lib/mailseal/live/mail/cert.pem")
    assert "Pebble" in issuer, "the first CA, as soon as it works"
    assert len(set(view(world).values())) == 1
    staging.stop()


def renew(mail: Host) -> tuple[int, dict[str, Any]]:
    """One look as a timer has it."""
    done = mail.mailseal("renew", "--json", timeout=240)
    assert done.stdout.startswith("{"), done.stdout + done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return done.returncode, found


def failures(mail: Host) -> list[dict[str, Any]]:
    """What is remembered of orders that failed."""
    return list(json.loads(mail.read(STATE)).get("failures", {}).values())


def age(mail: Host, by: timedelta) -> None:
    """The memory of a row of failures that began so long ago: the clock of the machine is never set."""
    state = json.loads(mail.read(STATE))
    for failure in state["failures"].values():
        failure["since"] = (datetime.now(UTC) - by).isoformat()
    mail.write(STATE, json.dumps(state), 0o600)


def forget_limits(mail: Host) -> None:
    """The memory as it is when a limit's time has passed, and what failed was a validation."""
    state = json.loads(mail.read(STATE))
    for failure in state["failures"].values():
        failure |= {"limited": False, "limit": "", "validation": True, "again": failure["at"]}
    mail.write(STATE, json.dumps(state), 0o600)
    mail.sh("rm -f /var/lib/mailseal/accounts/*/limits.json")

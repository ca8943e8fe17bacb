"""http-01 in a small internet: each way against a real CA on the real port 80, and what the look before finds."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lab.ca import Pebble
from lab.host import Host
from lab.world import API_TRUST, World
from mailseal.challenges.forwarding import Forward, apache

JOB = Path(__file__).with_name("http01_job.py")
NAME = "mail.example.test"
WEBMAIL = "webmail.example.test"


def job(host: Host, ca: Pebble | None, *names: str, **http01: object) -> dict[str, Any]:
    """Runs the job; `http01` are the configuration's keys."""
    acme = {
        "directory": ca.directory_url if ca else "",
        "contact": ["postmaster@example.test"],
        "agree_to_terms": True,
        "ca_file": API_TRUST,
    }
    told = {"names": names or [NAME], "http01": http01, "ca": acme if ca else None}
    said: dict[str, Any] = json.loads(host.python(JOB, json.dumps(told)).stdout)
    return said


def codes(said: dict[str, Any]) -> list[str]:
    return [code for _, _, _, code, _ in said["looked"]]


@pytest.fixture
def webmail(world: World, mail: Host) -> Iterator[None]:
    world.name(mail, WEBMAIL)
    yield
    world.dns.set_addresses(WEBMAIL)


@pytest.fixture
def other(world: World) -> Iterator[Host]:
    """Another host with a web server of its own."""
    host = world.host("bookworm", "proxy.example.test")
    yield host
    world.discard(host)


@pytest.mark.parametrize("release", ["bookworm", "trixie"])
def test_by_apache_for_every_site(mail: Host, pebble: Pebble, webmail: None) -> None:
    said = job(mail, pebble, NAME, WEBMAIL)
    assert said["way"] == "apache" and "apache2 (pid " in said["reason"]
    assert codes(said) == ["reached"] * 4
    assert said.get("leaf") == [NAME, WEBMAIL], said
    assert mail.sh("ls -A /var/lib/mailseal/challenges") == ""
    assert mail.sh("stat -c %a,%U /var/lib/mailseal /var/lib/mailseal/challenges").split() == [
        "711,root",
        "755,root",
    ]


def test_by_the_web_root_of_the_guides_layout(mail: Host, pebble: Pebble) -> None:
    root = f"/var/www/{NAME}"
    mail.sh(
        f"""
        mkdir {root} && chown www-data:www-data {root} && echo hello >{root}/index.html
        cat >/etc/apache2/sites-available/{NAME}-http.conf <<'END'
<VirtualHost *:80>
    ServerName {NAME}
    DocumentRoot {root}
    RewriteEngine on
    RewriteCond %{{REQUEST_URI}} !^/\\.well-known/acme-challenge
    RewriteRule ^ https://%{{HTTP_HOST}}%{{REQUEST_URI}} [R=301,L]
</VirtualHost>
END
        a2dissite -q 000-default && a2enmod -q rewrite && a2ensite -q {NAME}-http && apache2ctl graceful
        """
    )
    before = mail.snapshot("/var/www")
    said = job(mail, pebble, NAME, method="webroot", webroot=root)
    assert said.get("leaf") == [NAME], said
    assert mail.snapshot("/var/www") == before
    mail.sh(f"ln -s /etc {root}/.well-known && chown -h www-data: {root}/.well-known")
    refused = job(mail, pebble, NAME, method="webroot", webroot=root)
    assert "symbolic link '.well-known'" in " ".join(refused["error"])
    assert not mail.exists("/etc/acme-challenge")


def test_by_its_own_listener_where_port_80_is_free(mail: Host, pebble: Pebble) -> None:
    mail.run(["apache2ctl", "stop"])
    said = job(mail, pebble, NAME)
    assert (said["way"], said["leaf"]) == ("listener", [NAME])
    assert ("0.0.0.0", 80) not in mail.listening()


def test_the_listener_names_who_has_the_port(mail: Host) -> None:
    said = job(mail, None, NAME, method="listener")
    told = " ".join(said["error"])
    assert "Port 80 is in use" in told and "apache2 (pid " in told


def test_behind_another_host_that_owns_port_80(world: World, mail: Host, other: Host, pebble: Pebble) -> None:
    rule = apache(Forward((NAME, WEBMAIL), mail.ipv4, 8402))
    other.write("/etc/apache2/sites-available/mailseal-forward.conf", rule.text)
    other.sh(
        "a2enmod -q proxy_http rewrite && a2ensite -q mailseal-forward && "
        "apache2ctl configtest 2>&1 && apache2ctl graceful"
    )
    world.name(other, NAME, WEBMAIL)
    try:
        said = job(mail, pebble, NAME, WEBMAIL, method="listener", port=8402)
    finally:
        world.name(mail, NAME)
        world.dns.set_addresses(WEBMAIL)
    assert codes(said) == ["reached"] * 4
    assert said["leaf"] == [NAME, WEBMAIL]


def test_the_look_refutes_what_a_ca_would_refuse(
    world: World, mail: Host, other: Host, pebble: Pebble
) -> None:
    wrong = {
        "wrong-a.example.test": ([other.ipv4], []),
        "wrong-aaaa.example.test": ([mail.ipv4], [other.ipv6]),
    }
    for name, (ipv4, ipv6) in wrong.items():
        world.dns.set_addresses(name, ipv4, ipv6)
    orders = pebble.log().count("/order-plz")
    said = job(mail, pebble, *wrong, "nowhere.example.test")
    found = {(name, address): (reach, code, seen) for name, address, reach, code, seen in said["looked"]}
    assert found["wrong-a.example.test", other.ipv4][:2] == ("refuted", "wrong-address")
    assert "404, Server: Apache" in found["wrong-a.example.test", other.ipv4][2]
    assert found["wrong-aaaa.example.test", other.ipv6][:2] == ("refuted", "wrong-aaaa")
    assert found["wrong-aaaa.example.test", mail.ipv4][:2] == ("confirmed", "reached")
    assert found["nowhere.example.test", ""][:2] == ("refuted", "no-address")
    told = "\n".join(said["error"])
    assert "Nothing was ordered." in told and "leaf" not in said
    assert all(name in told for name in (*wrong, "nowhere.example.test"))
    assert pebble.log().count("/order-plz") == orders
    for name in wrong:
        world.dns.set_addresses(name)


def test_a_redirect_that_loops(world: World, mail: Host, other: Host) -> None:
    other.sh(
        """
        cat >/etc/apache2/sites-available/000-loop.conf <<'END'
<VirtualHost *:80>
    ServerName loop.example.test
    RedirectMatch ^(.*)$ http://loop.example.test$1
</VirtualHost>
END
        a2ensite -q 000-loop && apache2ctl graceful
        """
    )
    world.dns.set_addresses("loop.example.test", [other.ipv4])
    said = job(mail, None, "loop.example.test")
    assert codes(said) == ["redirect-loop"]
    assert "in a circle" in said["looked"][0][4]
    world.dns.set_addresses("loop.example.test")


def test_no_hairpin_blocks_nothing(world: World, mail: Host) -> None:
    """The router's outer address leads nowhere from inside; the world comes in all the same."""
    network = mail.ipv4.rpartition(".")[0]
    world.dns.set_addresses(NAME, [f"{network}.251"])
    try:
        said = job(mail, None, NAME)
    finally:
        world.name(mail, NAME)
    assert [(reach, code) for _, _, reach, code, _ in said["looked"]] == [
        ("unknown", "unreachable-from-here")
    ]
    assert "error" not in said


def test_a_routers_own_page_blocks_nothing(world: World, mail: Host, other: Host) -> None:
    """Without hairpin NAT, many routers answer for their outer address with their own login page."""
    outer = "203.0.113.5"
    other.run(["ip", "address", "add", f"{outer}/32", "dev", "lo"])
    mail.run(["ip", "route", "replace", "default", "via", other.ipv4])
    world.dns.set_addresses(NAME, [outer])
    try:
        said = job(mail, None, NAME)
        assert [(reach, code) for _, _, reach, code, _ in said["looked"]] == [("unknown", "router-answers")]
        mail.run(["ip", "route", "replace", "default", "via", world.ca.ipv4])
        mail.run(["ip", "route", "replace", outer, "via", other.ipv4])
        said = job(mail, None, NAME)
        assert codes(said) == ["wrong-address"]
    finally:
        world.name(mail, NAME)


def test_a_resolver_that_fails_blocks_nothing(world: World, mail: Host) -> None:
    world.dns.set_servfail("lame.example.test")
    try:
        said = job(mail, None, "lame.example.test")
    finally:
        world.dns.set_servfail("lame.example.test", broken=False)
    assert [(reach, code) for _, _, reach, code, _ in said["looked"]] in (
        [("unknown", "dns-silent")],
        # A stub that answers SERVFAIL only while checking looks exactly like a broken DNSSEC zone.
        [("refuted", "dnssec-broken")],
    )

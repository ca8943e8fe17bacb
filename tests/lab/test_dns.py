"""Look-ups against a real validating BIND: what DNSSEC says is told apart from what is merely broken."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from lab.host import Host
from lab.world import World

ZONE = """\
$TTL 300
@ SOA ns.{zone}. root.{zone}. 1 3600 600 86400 300
@ NS ns.{zone}.
ns A 127.0.0.1
mail A 192.0.2.1
mail AAAA 2001:db8::1
web CNAME mail.{zone}.
"""
AUTHORITY = """\
options {{ directory "{home}"; listen-on {{ 127.0.0.1; }}; listen-on-v6 {{ none; }}; recursion no; pid-file none; }};
controls {{ }};
zone "signed.test" {{ type primary; file "signed.test.db.signed"; }};
zone "bogus.test" {{ type primary; file "bogus.test.db.signed"; }};
zone "plain.test" {{ type primary; file "plain.test.db"; }};
"""
RESOLVER = """\
options {{
    directory "{home}"; listen-on port 5353 {{ 127.0.0.1; }}; listen-on-v6 port 5353 {{ ::1; }};
    recursion yes; dnssec-validation {validation}; pid-file none;
}};
controls {{ }};
{anchors}
zone "signed.test" {{ type static-stub; server-addresses {{ 127.0.0.1; }}; }};
zone "bogus.test" {{ type static-stub; server-addresses {{ 127.0.0.1; }}; }};
zone "plain.test" {{ type static-stub; server-addresses {{ 127.0.0.1; }}; }};
zone "lame.test" {{ type static-stub; server-addresses {{ 127.0.0.3; }}; }};
"""
HOME = "/var/cache/bind"
ASK = """
import asyncio, json, sys
from mailseal.dns.lookup import look_up, validates
from mailseal.system.local import LocalSystem

async def main(server, *names):
    dns = LocalSystem().dns([server])
    found = await asyncio.gather(*(look_up(dns, name, "A", timeout=8) for name in names))
    said = {each.name: [each.outcome, list(each.data), list(each.aliases), each.authenticated] for each in found}
    said["validates"] = await validates(dns, signed_name="signed.test")
    print(json.dumps(said))

asyncio.run(main(*sys.argv[1:]))
"""
NAMES = (
    "mail.signed.test",
    "web.signed.test",
    "no.signed.test",
    "mail.bogus.test",
    "mail.plain.test",
    "x.lame.test",
)


@pytest.fixture(scope="module")
def bind(world: World) -> Iterator[Host]:
    """A host with an authoritative BIND for three zones: one signed, one with a record forged after signing."""
    host = world.host("bookworm", "dns.example.test", stack=False)
    for zone in ("signed.test", "bogus.test", "plain.test"):
        host.write(f"{HOME}/{zone}.db", ZONE.format(zone=zone))
    host.sh(
        f"""
        cd {HOME}
        for zone in signed.test bogus.test; do
            dnssec-keygen -q -a ECDSAP256SHA256 -f KSK $zone >ksk.$zone
            dnssec-keygen -q -a ECDSAP256SHA256 $zone >/dev/null
            dnssec-signzone -S -o $zone -f $zone.db.signed $zone.db >/dev/null 2>&1
            echo "trust-anchors {{ $(dnssec-dsfromkey -2 $(cat ksk.$zone) |
                sed -E 's/^(\\S+) IN DS (\\S+ \\S+ \\S+) (.*)$/\\1 static-ds \\2 "\\3";/') }};"
        done >anchors.conf
        sed -i 's/192\\.0\\.2\\.1$/192.0.2.66/' bogus.test.db.signed
        chown -R bind: .
        """
    )
    host.write("/etc/bind/authority.conf", AUTHORITY.format(home=HOME))
    host.spawn(["named", "-f", "-u", "bind", "-c", "/etc/bind/authority.conf"], log="/var/log/authority.log")
    host.wait_listening(53)
    yield host
    world.discard(host)


def ask(host: Host, validation: str) -> dict[str, Any]:
    anchors = host.read(f"{HOME}/anchors.conf") if validation == "yes" else ""
    host.write("/etc/bind/resolver.conf", RESOLVER.format(home=HOME, validation=validation, anchors=anchors))
    named = host.spawn(
        ["named", "-f", "-u", "bind", "-c", "/etc/bind/resolver.conf"], log="/var/log/resolver.log"
    )
    try:
        host.wait_listening(5353)
        said: dict[str, Any] = json.loads(host.python(ASK, "127.0.0.1:5353", *NAMES).stdout)
    finally:
        named.terminate()
        named.wait()
    return said


def test_behind_a_resolver_that_validates(bind: Host) -> None:
    assert ask(bind, "yes") == {
        "mail.signed.test": ["found", ["192.0.2.1"], [], True],
        "web.signed.test": ["found", ["192.0.2.1"], ["mail.signed.test"], True],
        "no.signed.test": ["no-name", [], [], True],
        "mail.bogus.test": ["bogus", [], [], False],
        "mail.plain.test": ["found", ["192.0.2.1"], [], False],
        "x.lame.test": ["broken", [], [], False],
        "validates": True,
    }


def test_behind_a_resolver_that_does_not(bind: Host) -> None:
    said = ask(bind, "no")
    assert said["mail.signed.test"] == ["found", ["192.0.2.1"], [], False]
    assert said["mail.bogus.test"] == ["found", ["192.0.2.66"], [], False]
    assert said["validates"] is False

"""What cannot be done: each its own message, with the next command; the documented exit code; the machine as before.

Most cases share a machine, one after the other: since each leaves it exactly
as it was, the next finds it so.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest

from lab.ca import Pebble, PebbleOptions
from lab.ca_faults import Fault, FaultyServer, rate_limited
from lab.host import Host
from lab.world import World
from tests.lab.bad_day import Told, apply, attempt, flags, interrupted, picture, told, wait_for
from tests.lab.job import CONFIG, ROOTS, add_name, setup
from tests.lab.job import seen as seen_at

BARE, SERVED = "bare.example.test", "served.example.test"
CHALLENGE = "/etc/apache2/conf-available/mailseal-acme.conf"


@pytest.fixture(scope="module")
def faulty(world: World, pebble: Pebble) -> FaultyServer:
    """The CA on its bad days."""
    return world.faulty(pebble)


def slow_refusal() -> Fault:
    """The order takes its time, and comes to nothing."""
    problem = {"type": "urn:ietf:params:acme:error:unauthorized", "detail": "account on hold", "status": 403}
    return Fault("order-plz", delay=6, status=403, problem=problem)


@pytest.fixture(scope="module")
def bare(world: World, pebble: Pebble, own_release: str) -> Iterator[Host]:
    """A machine as its packages leave it, on which nothing that is tried here may leave a trace."""
    host = world.host(own_release, BARE)
    host.write(ROOTS, "".join(pebble.roots()))
    yield host
    world.discard(host)


@pytest.fixture(scope="module")
def served(world: World, pebble: Pebble, own_release: str) -> Iterator[Host]:
    """A machine that was set up and serves its certificate."""
    host = world.host(own_release, SERVED)
    setup(host, pebble)
    yield host
    world.discard(host)


# Setup.


@dataclass(frozen=True)
class Case:
    """Flags that differ from the good ones, and what is told: status, and words of each part of the error."""

    status: int
    what: str
    why: str = ""
    next: str = ""
    state: str = "Nothing was changed."
    other: dict[str, str | None] = field(default_factory=dict)
    more: tuple[str, ...] = ()


SETUPS = {
    "no such contact": Case(
        2, '[acme] contact: "nobody" is not a mail address', next="setup --help", other={"contact": "nobody"}
    ),
    "a directory in the clear": Case(
        2, "is not https", next="the same command", other={"directory": "http://ca.example.test/dir"}
    ),
    "no such key type": Case(2, "--key-type dsa", next="ecdsa-p256", other={"key_type": "dsa"}),
    "no host name": Case(
        2,
        "--name mail_x..example",
        "is not a DNS label",
        "--name mail.example.org",
        more=("--name", "mail_x..example"),
    ),
    "roots that are not there": Case(
        2, "No roots can be read from /etc/none.pem", next="PEM", other={"trust": "/etc/none.pem"}
    ),
    "roots that are none": Case(
        2, "it holds no certificate in PEM", next="PEM", other={"trust": "/etc/hostname"}
    ),
    "no roots for the CA's https": Case(
        2, "--ca-file names it: No such file", next="PEM", other={"ca_file": "/etc/none.pem"}
    ),
    "a port in use": Case(
        3, "Port 80 is in use", "apache2 (pid", "--http01 auto", more=("--http01", "listener")
    ),
    "a CA that refuses connections": Case(
        3,
        "No connection to https://ca.example.test:1/dir",
        "Connection refused",
        "curl -v https://ca.example.test:1/dir",
        other={"directory": "https://ca.example.test:1/dir"},
    ),
    "a CA whose name does not resolve": Case(
        3,
        "https://nowhere.example.test/dir does not resolve",
        "",
        "/etc/resolv.conf",
        other={"directory": "https://nowhere.example.test/dir"},
    ),
    "a CA whose https nobody trusts": Case(
        3, "cannot be trusted", "unable to get local issuer certificate", "--ca-file", other={"ca_file": None}
    ),
    "a CA whose certificates nobody trusts": Case(
        3,
        "The new certificate must not go live",
        "is neither sent nor held by the system's store",
        "--trust FILE",
        "Every file is as it was before.",
        other={"trust": None},
    ),
    "a name that DNS does not know": Case(
        3,
        "The CA would not find the challenge of gone.example.test",
        "gone.example.test has no A record",
        "Give gone.example.test an A or AAAA record",
        "Nothing was ordered. Every file is as it was before.",
        more=("--name", "gone.example.test"),
    ),
}


def check(seen: Told, case: Case) -> None:
    assert seen.status == case.status, seen.stderr
    for expected, found in (
        (case.what, seen.what),
        (case.why, seen.why),
        (case.next, seen.next),
        (case.state, seen.state),
    ):
        assert expected in found, seen.stderr
    assert seen.next, "what to do next is always told"
    assert "done " not in seen.stdout, "what was taken back is not told as done"


@pytest.mark.parametrize("name", SETUPS)
def test_setup(bare: Host, pebble: Pebble, name: str) -> None:
    case = SETUPS[name]
    before = picture(bare)
    check(attempt(bare, *flags(pebble, **case.other), *case.more), case)
    assert picture(bare) - before == {}


def test_setup_at_a_url_that_is_no_directory(bare: Host, pebble: Pebble) -> None:
    before = picture(bare)
    wrong = pebble.directory_url.replace("/dir", "/nothing")
    check(
        attempt(bare, *flags(pebble, directory=wrong)),
        Case(3, "The CA refused the directory", "404", "Look at what it says"),
    )
    assert picture(bare) - before == {}


def test_setup_without_agreement_to_the_terms(bare: Host, pebble: Pebble) -> None:
    before = picture(bare)
    seen = told(bare.mailseal("setup", "--yes", *flags(pebble)))
    check(seen, Case(2, "terms of service are not agreed to", "data:text/plain", "--agree-tos"))
    assert picture(bare) - before == {}


BROKEN = {
    "Postfix": (
        "cp -p /etc/postfix/master.cf /root/; printf 'nonsense here\\n' >>/etc/postfix/master.cf",
        "cp -p /root/master.cf /etc/postfix/master.cf",
        "/etc/postfix/master.cf: line",
        "postconf",
    ),
    "Dovecot": (
        "printf 'service imap {\\n' >/etc/dovecot/conf.d/95-admin.conf",
        "rm /etc/dovecot/conf.d/95-admin.conf",
        "/etc/dovecot/conf.d/95-admin.conf:1",
        "doveconf -c /etc/dovecot/dovecot.conf",
    ),
    "Apache": (
        "printf 'NoSuchDirective on\\n' >/etc/apache2/conf-enabled/admin.conf",
        "rm /etc/apache2/conf-enabled/admin.conf",
        "line 1 of /etc/apache2/conf-enabled/admin.conf",
        "apache2ctl configtest",
    ),
}


@pytest.mark.parametrize("daemon", BROKEN)
def test_setup_where_a_daemons_own_configuration_is_broken(bare: Host, pebble: Pebble, daemon: str) -> None:
    harm, mend, where, command = BROKEN[daemon]
    bare.sh(harm)
    try:
        before = picture(bare)
        check(
            attempt(bare, *flags(pebble)),
            Case(
                3, f"{daemon} refuses its configuration as it stands", where, command, "nothing was reloaded"
            ),
        )
        assert picture(bare) - before == {}
    finally:
        bare.sh(mend)


def test_setup_where_another_client_keeps_the_names(bare: Host, pebble: Pebble) -> None:
    bare.write(f"/etc/letsencrypt/renewal/{BARE}.conf", "version = 2.1.0\n[renewalparams]\n")
    try:
        before = picture(bare)
        check(
            attempt(bare, *flags(pebble)),
            Case(
                2,
                "certbot keeps certificates for these names already",
                f"/etc/letsencrypt/renewal/{BARE}.conf: {BARE}",
                "mailseal check",
            ),
        )
        assert picture(bare) - before == {}
        assert not bare.exists("/etc/mailseal")
    finally:
        bare.sh("rm -r /etc/letsencrypt")


def test_setup_where_another_server_answers_at_the_names_address(
    world: World, bare: Host, pebble: Pebble
) -> None:
    web = world.host(bare.release, "web.example.test", stack=False)
    web.sh("apache2ctl start")
    web.wait_listening(80)
    try:
        before = picture(bare)
        world.dns.set_addresses(BARE, [web.ipv4], [])
        case = Case(
            3,
            f"The CA would not find the challenge of {BARE}",
            f"{web.ipv4} answered 404",
            f"Correct the A record of {BARE}",
            "Nothing was ordered. Every file is as it was before.",
        )
        check(attempt(bare, *flags(pebble)), case)
        world.dns.set_addresses(BARE, [bare.ipv4], [web.ipv6])
        seen = attempt(bare, *flags(pebble))
        assert seen.status == 3 and f"Correct the AAAA record of {BARE} ({web.ipv6})" in seen.next, (
            seen.stderr
        )
        assert picture(bare) - before == {}
    finally:
        world.name(bare, BARE)
        world.discard(web)


def test_setup_where_the_challenge_fails_at_the_ca_alone(world: World, bare: Host) -> None:
    strict = world.pebble(PebbleOptions(authz_reuse=0))
    before = picture(bare)
    # The machine reaches itself over IPv6, and the CA does not: what no look from inside can see.
    world.ca.sh(f"ip -6 route add unreachable {bare.ipv6}/128")
    try:
        case = Case(
            3,
            f"The CA could not confirm control of {BARE}",
            bare.ipv6,
            "port 80",
            "Every file is as it was before.",
        )
        check(attempt(bare, *flags(strict)), case)
    finally:
        world.ca.sh(f"ip -6 route del unreachable {bare.ipv6}/128")
        strict.stop()
    assert picture(bare) - before == {}


def test_setup_at_a_rate_limit_waits_and_does_not_try_before_its_time(
    bare: Host, faulty: FaultyServer
) -> None:
    before = picture(bare)
    faulty.inject(rate_limited("order-plz", "too many certificates already issued", retry_after="86400"))
    case = Case(
        4,
        f"The CA refused the order for {BARE}",
        "too many certificates",
        "not before",
        "Every file is as it was before.",
    )
    check(attempt(bare, *flags(faulty)), case)
    assert picture(bare) - before == {}
    faulty.inject()
    asked = len(faulty.seen())
    again = attempt(bare, *flags(faulty))
    assert again.status == 4 and "next try" in again.why and again.next == "the same command then", (
        again.stderr
    )
    assert not [one for one in faulty.seen()[asked:] if "order" in one.path]
    assert picture(bare) - before == {}
    bare.sh("rm -r /var/lib/mailseal")


def test_two_setups_at_once(bare: Host, faulty: FaultyServer) -> None:
    before = picture(bare)
    faulty.inject(slow_refusal())
    first = bare.spawn(
        [*bare.mailseal_command, "setup", "--yes", "--agree-tos", *flags(faulty)], log="/root/first"
    )
    wait_for(bare, "/root/first", "ordering")
    second = attempt(bare, *flags(faulty))
    assert second.status == 4 and "Another mailseal is at work: pid" in second.what, second.stderr
    assert (
        "mailseal setup" in second.what and "ps -fp" in second.next and second.state == "Nothing was changed."
    )
    assert bare.exists(CHALLENGE), "the first goes on undisturbed"
    assert first.wait(60) == 3
    faulty.inject()
    assert picture(bare) - before == {}


@pytest.mark.parametrize("when", ["switching", "proving every endpoint", "ordering", "reloading Postfix"])
def test_setup_interrupted(bare: Host, pebble: Pebble, when: str) -> None:
    before = picture(bare)
    seen = interrupted(bare, when, "setup", "--yes", "--agree-tos", *flags(pebble))
    assert seen.status == 130 and "Interrupted" in seen.what, seen.stderr
    assert picture(bare) - before == {}
    assert "200 OK" in bare.sh("curl -sI http://127.0.0.1/"), "Apache serves as before"


def test_after_all_of_that_setup_does_it(world: World, bare: Host, pebble: Pebble) -> None:
    setup(bare, pebble)
    assert bare.mailseal("apply").returncode == 0


# Setup, on machines that are not as their packages leave them.


def test_setup_without_any_service(world: World, pebble: Pebble, own_release: str) -> None:
    host = world.host(own_release, "nothing.example.test", stack=False)
    try:
        host.sh(
            "dpkg --purge --force-depends postfix dovecot-core apache2 apache2-bin >/dev/null 2>&1",
            timeout=120,
        )
        before = picture(host)
        case = Case(
            2,
            "No service that mailseal knows is installed",
            "Postfix, Dovecot and Apache",
            "apt install postfix",
        )
        check(attempt(host, *flags(pebble, trust=None)), case)
        assert picture(host) - before == {}
    finally:
        world.discard(host)


def test_setup_where_another_program_has_port_80(mail: Host, pebble: Pebble) -> None:
    mail.write(ROOTS, "".join(pebble.roots()))
    mail.sh("apache2ctl stop; while pgrep -x apache2 >/dev/null; do sleep 0.1; done")
    mail.spawn(["python3", "-m", "http.server", "80", "--bind", "::", "--directory", "/srv"])
    mail.wait_listening(80)
    before = picture(mail)
    check(
        attempt(mail, *flags(pebble)),
        Case(
            3,
            "Port 80 is taken by a program that mailseal does not configure",
            "python3 (pid",
            "--http01 webroot",
        ),
    )
    check(
        attempt(mail, *flags(pebble), "--http01", "apache"),
        Case(3, "Apache cannot answer the challenge", "python3 (pid", "--http01 auto"),
    )
    assert picture(mail) - before == {}


@pytest.mark.parametrize("room", ["nr_inodes=4", "size=16k", "size=64k"])
def test_setup_on_a_full_disk(bare_again: Host, pebble: Pebble, room: str) -> None:
    host = bare_again
    host.sh(f"mkdir -p /var/lib/mailseal; mount -t tmpfs -o mode=711,{room} tmpfs /var/lib/mailseal")
    try:
        before = picture(host)
        seen = attempt(host, *flags(pebble))
        assert seen.status == 3 and "No space left on device" in seen.what + seen.why, seen.stderr
        assert "/var/lib/mailseal" in seen.what + seen.why and "df -h /var/lib/mailseal" in seen.next, (
            seen.stderr
        )
        assert "Every file is as it was before." in seen.state or seen.state == "Nothing was changed.", (
            seen.stderr
        )
        assert picture(host) - before == {}
    finally:
        host.sh("umount /var/lib/mailseal")


@pytest.mark.parametrize("left", [0, 4])
def test_setup_where_etc_is_full(bare_again: Host, pebble: Pebble, left: int) -> None:
    """`left`: KiB that are free, so that it fails at once, or in the middle of the switch."""
    host = bare_again
    host.sh(
        "mkdir -p /root/etc; cp -a /etc/. /root/etc/; mount -t tmpfs -o size=24m,mode=755 tmpfs /etc;"
        "cp -a /root/etc/. /etc/; dd if=/dev/zero of=/etc/filler bs=4k 2>/dev/null || true;"
        f"truncate -s -{left}k /etc/filler"
    )
    try:
        before = picture(host)
        seen = attempt(host, *flags(pebble))
        assert seen.status == 3 and "No space left on device" in seen.why, seen.stderr
        assert "df -h /etc" in seen.next and seen.state, seen.stderr
        assert picture(host) - before == {}
    finally:
        host.sh("umount /etc; rm -r /root/etc")


@pytest.fixture(scope="module")
def bare_again(world: World, pebble: Pebble, own_release: str) -> Iterator[Host]:
    """Another one, whose disks fill up."""
    host = world.host(own_release, "full.example.test")
    host.write(ROOTS, "".join(pebble.roots()))
    yield host
    world.discard(host)


# Apply, where a certificate is served.


def serials(world: World) -> dict[int, str]:
    """What a stranger gets at the ports of the machine that serves."""
    return {port: seen_at(world, port, SERVED).serial for port in (25, 993, 443)}


def changed(mail: Host, old: str, new: str) -> None:
    text = mail.read(CONFIG)
    assert old in text, text
    mail.write(CONFIG, text.replace(old, new))


@pytest.fixture
def wishing(world: World, served: Host) -> Iterator[Host]:
    """The machine that serves, with a wish for one more name; its configuration is put back afterwards."""
    kept = served.read(CONFIG)
    add_name(world, served, "more.example.test")
    yield served
    served.write(CONFIG, kept)


APPLIES = {
    "a fault in the configuration": (
        ("contact = ", "contcat = "),
        Case(
            2,
            "line 6, [acme] contcat: is not a key of this table. Did you mean contact?",
            next=f"mend {CONFIG}",
        ),
    ),
    "no TOML": (("[acme]", "[acme"), Case(2, "not TOML", next=f"mend {CONFIG}")),
    "a service that is named and not there": (
        ("[proof]", '[services.dovecot]\nconfig_dir = "/etc/dovecot-two"\n\n[proof]'),
        Case(
            2,
            "[services.dovecot] config_dir: /etc/dovecot-two is not there",
            next="correct the path",
            state="What is",
        ),
    ),
    "no roots to judge by": (
        (f'trust = "{ROOTS}"', 'trust = "/etc/none.pem"'),
        Case(2, "[proof] trust names it: No such file", next="PEM"),
    ),
    "a name that DNS does not know": (
        ("more.example.test", "gone.example.test"),
        Case(
            3,
            "The CA would not find the challenge of gone.example.test",
            "has no A record",
            "Give gone.example.test",
            "Nothing was ordered.",
        ),
    ),
    "a way that cannot work": (
        ("[proof]", '[http01]\nmethod = "listener"\n\n[proof]'),
        Case(3, "Port 80 is in use", "apache2 (pid", "[http01] method", "What is served stays as it is."),
    ),
}


@pytest.mark.parametrize("name", APPLIES)
def test_apply(wishing: Host, name: str) -> None:
    (old, new), case = APPLIES[name]
    changed(wishing, old, new)
    before = picture(wishing)
    check(apply(wishing), case)
    assert picture(wishing) - before == {}


def test_apply_where_the_ca_is_out_of_reach(wishing: Host, pebble: Pebble) -> None:
    changed(wishing, f":{pebble.port}/", ":1/")
    before = picture(wishing)
    case = Case(
        3, "No connection to https://ca.example.test:1/dir", "Connection refused", "curl -v", "What is served"
    )
    check(apply(wishing), case)
    assert picture(wishing) - before == {}


def test_apply_where_nobody_trusts_the_cas_https(wishing: Host) -> None:
    changed(wishing, "ca_file = ", "# ")
    before = picture(wishing)
    check(
        apply(wishing),
        Case(3, "cannot be trusted", "unable to get local issuer", "[acme] ca_file", "What is served"),
    )
    assert picture(wishing) - before == {}


def test_apply_where_nobody_trusts_its_certificates(wishing: Host) -> None:
    changed(wishing, f'trust = "{ROOTS}"', 'trust = "system"')
    before = picture(wishing)
    seen = apply(wishing)
    assert seen.status == 3 and "must not go live" in seen.what and "[proof] trust" in seen.next, seen.stderr
    assert "What is served stays as it is." in seen.state
    assert picture(wishing) - before == {}


def test_apply_beside_another(wishing: Host, pebble: Pebble, faulty: FaultyServer) -> None:
    changed(wishing, f":{pebble.port}/", f":{faulty.port}/")
    before = picture(wishing)
    faulty.inject(slow_refusal())
    first = wishing.spawn([*wishing.mailseal_command, "apply"], log="/root/first")
    wait_for(wishing, "/root/first", "ordering")
    second = apply(wishing)
    assert second.status == 4 and "Another mailseal is at work: pid" in second.what, second.stderr
    assert "(mailseal apply)" in second.what and second.state == "Nothing was changed."
    assert "since" in second.why and "ps -fp" in second.next
    assert first.wait(60) == 3
    assert "account on hold" in wishing.read("/root/first")
    faulty.inject()
    assert picture(wishing) - before == {}


def test_apply_at_a_rate_limit_waits_even_for_a_person(
    wishing: Host, pebble: Pebble, faulty: FaultyServer
) -> None:
    changed(wishing, f":{pebble.port}/", f":{faulty.port}/")
    before = picture(wishing)
    faulty.inject(rate_limited("order-plz", "too many certificates already issued", retry_after="86400"))
    seen = apply(wishing)
    assert seen.status == 4 and "too many certificates" in seen.why and "not before" in seen.next, seen.stderr
    assert seen.state == "What is served stays as it is."
    faulty.inject()
    asked = len(faulty.seen())
    again = apply(wishing)
    assert again.status == 4 and "next try" in again.stdout, again.stdout + again.stderr
    assert not [one for one in faulty.seen()[asked:] if "order" in one.path]
    assert picture(wishing) - before == {}
    wishing.sh("rm /var/lib/mailseal/state/mail.json")  # the next tests may order again


def test_apply_on_a_full_disk(wishing: Host) -> None:
    root = "/var/lib/mailseal"
    wishing.sh(
        f"cp -a {root} /root/kept; mount -t tmpfs -o mode=711,size=1m tmpfs {root}; cp -a /root/kept/. {root}/;"
        f"dd if=/dev/zero of={root}/filler bs=4k 2>/dev/null || true; truncate -s -40k {root}/filler"
    )
    try:
        before = picture(wishing)
        seen = apply(wishing)
        assert seen.status == 3 and "No space left on device" in seen.what + seen.why, seen.stderr
        assert f"df -h {root}" in seen.next and seen.state, seen.stderr
        assert picture(wishing) - before == {}
    finally:
        wishing.sh(f"umount {root}; rm -r /root/kept")


def test_apply_interrupted_in_the_middle_of_the_switch(world: World, wishing: Host) -> None:
    before, old = picture(wishing), serials(world)
    seen = interrupted(wishing, "reloading", "apply")
    assert seen.status == 130 and "Interrupted" in seen.what, seen.stderr
    assert picture(wishing) - before == {}
    assert serials(world) == old
    # What was issued is there, and goes live with the next run.
    again = apply(wishing)
    assert again.status == 0 and "order" not in again.stdout, again.stdout + again.stderr
    new = set(serials(world).values())
    assert len(new) == 1 and not new & {*old.values(), ""}

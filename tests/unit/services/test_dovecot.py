"""Dovecot's adapter on what its packages install and on configurations made by hand."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from mailseal.model import Endpoint, FileWish
from mailseal.services.base import ServiceSettings
from mailseal.services.dovecot import Dovecot
from mailseal.services.dovecot_facts import DovecotFacts
from tests.support.memory import MemorySystem, said
from tests.unit.services.trees import ECDSA, FIXTURES, RSA, fulfil, grown, wish

ADAPTER = Dovecot()
DROP_IN = "/etc/dovecot/conf.d/99-mailseal.conf"


def machine(case: str, *, running: bool = True) -> MemorySystem:
    folder = FIXTURES / "dovecot" / case
    system = grown(folder)
    status = int((folder / "status").read_text())
    stdout = (folder / "doveconf").read_text()
    stderr = (folder / "error").read_text() if (folder / "error").exists() else ""
    programs = system.machine.programs
    programs.says("/usr/sbin/dovecot", "--version", stdout=(folder / "version").read_text())
    programs.on("/usr/bin/doveconf")(
        lambda system, argv, stdin: said(argv, stdout, stderr=stderr, status=status)
    )
    for program in ("/usr/bin/doveconf", "/usr/bin/doveadm"):
        system.machine.put(program, "", mode=0o755)
    if running:
        system.machine.put("/run/dovecot/master.pid", "815\n")
        system.machine.put("/proc/815/comm", "dovecot\n")
    return system


def observed(system: MemorySystem) -> DovecotFacts:
    facts = ADAPTER.observe(system, ServiceSettings("dovecot"))
    assert facts is not None
    return facts


def shown(endpoints: tuple[Endpoint, ...]) -> set[str]:
    return {f"{e} {e.protocol.value} {e.tls.value}" for e in endpoints}


@dataclass(frozen=True)
class Seen:
    """What a fixture should look like."""

    case: str
    version: tuple[int, ...]
    ports: dict[int, str]
    certificate: tuple[str, str]
    place: str


SEEN = [
    Seen(
        "debian12",
        (2, 3, 19),
        {
            143: "imap starttls",
            993: "imap implicit",
            110: "pop3 starttls",
            995: "pop3 implicit",
            4190: "sieve starttls",
        },
        ("/etc/dovecot/private/dovecot.pem", "/etc/dovecot/private/dovecot.key"),
        "/etc/dovecot/conf.d/10-ssl.conf:2",
    ),
    Seen(
        "debian13",
        (2, 4, 1),
        {
            143: "imap starttls",
            993: "imap implicit",
            110: "pop3 starttls",
            995: "pop3 implicit",
            4190: "sieve starttls",
            2000: "sieve starttls",
        },
        ("/etc/dovecot/private/dovecot.pem", "/etc/dovecot/private/dovecot.key"),
        "/etc/dovecot/conf.d/10-ssl.conf:2",
    ),
    Seen(
        "guide12",
        (2, 3, 19),
        {
            143: "imap starttls",
            993: "imap implicit",
            110: "pop3 starttls",
            995: "pop3 implicit",
            4190: "sieve starttls",
        },
        (
            "/etc/letsencrypt/live/mail.example.org/fullchain.pem",
            "/etc/letsencrypt/live/mail.example.org/privkey.pem",
        ),
        "/etc/dovecot/conf.d/10-ssl.conf:2",
    ),
]


@pytest.mark.parametrize("seen", SEEN, ids=lambda seen: seen.case)
def test_it_sees_what_the_machine_serves(seen: Seen) -> None:
    facts = observed(machine(seen.case))
    assert facts.version == seen.version
    assert facts.running
    assert shown(facts.endpoints) == {
        f"{host}:{port} {what}" for port, what in seen.ports.items() for host in ("127.0.0.1", "[::1]")
    }
    [configured] = facts.configured
    assert (configured.cert_file, configured.key_file) == seen.certificate
    assert configured.place == seen.place
    assert ADAPTER.audit(facts) == ()


def test_without_ipv6_there_is_no_ipv6_endpoint() -> None:
    system = machine("debian12")
    system.machine.put("/proc/net/if_inet6", "")
    assert not any(endpoint.is_ipv6 for endpoint in observed(system).endpoints)


def test_what_is_not_installed_is_not_there() -> None:
    assert ADAPTER.observe(MemorySystem(), ServiceSettings("dovecot")) is None


@pytest.mark.parametrize("pid", ["", "815", "no number", "816"])
def test_a_pid_file_alone_does_not_make_it_run(pid: str) -> None:
    system = machine("debian12", running=False)
    system.machine.put("/run/dovecot/master.pid", pid)
    system.machine.put("/proc/816/comm", "bash\n")
    assert not observed(system).running


EXPECTED_23 = f"""\
ssl = required
disable_plaintext_auth = yes
ssl_cert = <{ECDSA.fullchain}
ssl_key = <{ECDSA.privkey}
ssl_alt_cert = <{RSA.fullchain}
ssl_alt_key = <{RSA.privkey}
ssl_min_protocol = TLSv1.2
"""
EXPECTED_24 = f"""\
ssl = required
auth_allow_cleartext = no
ssl_server_cert_file = {ECDSA.fullchain}
ssl_server_key_file = {ECDSA.privkey}
ssl_server_alt_cert_file = {RSA.fullchain}
ssl_server_alt_key_file = {RSA.privkey}
ssl_min_protocol = TLSv1.2
"""


@pytest.mark.parametrize(("case", "text"), [("debian12", EXPECTED_23), ("debian13", EXPECTED_24)])
def test_each_release_gets_its_dialect(case: str, text: str) -> None:
    facts = observed(machine(case))
    rendering = ADAPTER.render(wish("mail.example.org", both=True), facts)
    [drop_in] = rendering.wishes
    assert isinstance(drop_in, FileWish)
    assert (drop_in.path, drop_in.mode) == (DROP_IN, 0o644)
    comment, settings = drop_in.content.decode().split("\n\n", 1)
    assert settings == text
    assert "Written by mailseal" in comment
    assert "mailseal detach" in comment
    assert rendering.findings == ()


@pytest.mark.parametrize("case", ["debian12", "debian13", "guide12", "onefile12", "overrides12", "filters13"])
def test_a_second_render_changes_nothing(case: str) -> None:
    system = machine(case)
    wanted = wish("mail.example.org")
    assert fulfil(system, ADAPTER.render(wanted, observed(system)))
    assert fulfil(system, ADAPTER.render(wanted, observed(system))) == []


@pytest.mark.parametrize("case", ["debian12", "debian13", "onefile12"])
def test_without_a_certificate_nothing_is_wished(case: str) -> None:
    assert (
        ADAPTER.render(
            wish("mail.example.org", certificates=False, challenge=True), observed(machine(case))
        ).wishes
        == ()
    )


def test_a_second_key_type_that_is_gone_is_switched_off() -> None:
    drop_in = ADAPTER.render(wish("mail.example.org"), observed(machine("filters13"))).wishes[0]
    assert isinstance(drop_in, FileWish)
    assert b"\nssl_server_alt_cert_file =\nssl_server_alt_key_file =\n" in drop_in.content


def test_a_stricter_minimum_is_kept() -> None:
    drop_in = ADAPTER.render(wish("mail.example.org"), observed(machine("filters13"))).wishes[0]
    assert isinstance(drop_in, FileWish)
    assert b"ssl_min_protocol" not in drop_in.content


def test_filters_that_allow_cleartext_keep_24_from_requiring_tls() -> None:
    rendering = ADAPTER.render(wish("mail.example.org"), observed(machine("filters13")))
    drop_in = rendering.wishes[0]
    assert isinstance(drop_in, FileWish)
    assert b"ssl = required" not in drop_in.content
    [finding] = rendering.findings
    assert finding.code == "dovecot-cleartext-filter"
    assert finding.subject == "/etc/dovecot/conf.d/95-trusted.conf:4"


def test_one_file_configurations_get_one_include() -> None:
    system = machine("onefile12")
    before = system.files.read("/etc/dovecot/dovecot.conf")
    changed = fulfil(system, ADAPTER.render(wish("mail.example.org"), observed(system)))
    assert changed == ["/etc/dovecot/mailseal.conf", "/etc/dovecot/dovecot.conf"]
    after = system.files.read("/etc/dovecot/dovecot.conf")
    assert after.startswith(before)
    assert after.removeprefix(before).decode().splitlines()[-1] == "!include_try mailseal.conf"
    assert observed(system).later == ()


def test_a_file_read_later_is_told() -> None:
    rendering = ADAPTER.render(wish("mail.example.org"), observed(machine("overrides12")))
    assert {(f.code, f.subject) for f in rendering.findings} == {
        ("dovecot-later-setting", "/etc/dovecot/local.conf:1"),
        ("dovecot-later-setting", "/etc/dovecot/local.conf:2"),
    }


def test_a_filter_without_an_alternative_keeps_ours_to_one_key_type() -> None:
    rendering = ADAPTER.render(wish("mail.example.org", both=True), observed(machine("overrides12")))
    drop_in = rendering.wishes[0]
    assert isinstance(drop_in, FileWish)
    assert RSA.fullchain.encode() not in drop_in.content
    told = {f.subject for f in rendering.findings if f.code == "dovecot-second-key-type"}
    assert told == {"/etc/dovecot/conf.d/95-names.conf:2", "/etc/dovecot/conf.d/95-names.conf:6"}


def test_filters_are_seen_with_their_names_and_ports() -> None:
    facts = observed(machine("overrides12"))
    assert {(c.cert_file, c.key_file, c.names, c.ports, c.place) for c in facts.configured} == {
        ("/etc/ssl/local.pem", "/etc/ssl/local.key", (), (), "/etc/dovecot/local.conf:1"),
        (
            "/etc/ssl/names.pem",
            "/etc/ssl/names.key",
            ("a.example.org", "b.example.org"),
            (),
            "/etc/dovecot/conf.d/95-names.conf:2",
        ),
        ("/etc/ssl/pop3.pem", "/etc/ssl/local.key", (), (110, 995), "/etc/dovecot/conf.d/95-names.conf:6"),
    }
    assert facts.names == ("a.example.org", "b.example.org")


def test_listeners_are_those_of_the_configuration() -> None:
    facts = observed(machine("onefile12"))
    assert shown(facts.endpoints) == {"192.0.2.7:993 imap implicit", "[::1]:993 imap implicit"}
    assert facts.haproxy_ports == (10993,)
    rehearsal = ADAPTER.rehearsal(facts)
    assert rehearsal is not None
    assert [command.argv[:4] for command in rehearsal.prepare] == [("ip", "address", "add", "192.0.2.7/32")]


def test_a_rehearsal_takes_no_socket_away_from_postfix() -> None:
    system = machine("guide12")
    for path in ("/var/spool/postfix/private", "/var/lib/dovecot"):
        system.machine.put_directory(path)
    rehearsal = ADAPTER.rehearsal(observed(system))
    assert rehearsal is not None
    assert set(rehearsal.scratch) == {"/run/dovecot", "/var/lib/dovecot", "/var/spool/postfix/private"}
    assert rehearsal.start.argv == ("/usr/sbin/dovecot", "-F", "-c", "/etc/dovecot/dovecot.conf")


AUDITED = {
    "onefile12": {
        "dovecot-cleartext-login",
        "dovecot-old-tls",
        "dovecot-key-of-another",
        "dovecot-leaf-only",
        "dovecot-proxy-protocol",
    },
    "overrides12": {"dovecot-certificate-override"},
    "upgraded13": {"dovecot-configuration-broken"},
    "filters13": {"dovecot-cleartext-login", "dovecot-certificate-override", "dovecot-key-missing"},
    "off13": {"dovecot-tls-off"},
}


@pytest.mark.parametrize("case", AUDITED)
def test_what_is_odd_is_told(case: str) -> None:
    findings = ADAPTER.audit(observed(machine(case)))
    assert {finding.code for finding in findings} == AUDITED[case]
    assert all(f.seen and f.expected and f.why and f.mend and f.subject for f in findings)
    assert [f.severity for f in findings] == sorted((f.severity for f in findings), reverse=True)


def test_with_tls_off_the_ports_are_plain() -> None:
    assert {e.tls.value for e in observed(machine("off13")).endpoints} == {"none"}


def test_the_old_dialect_after_an_upgrade_is_replaced() -> None:
    system = machine("upgraded13")
    facts = observed(system)
    [broken] = ADAPTER.audit(facts)
    assert f"{DROP_IN}:2 is written for Dovecot 2.3" in broken.why
    fulfil(system, ADAPTER.render(wish("mail.example.org", both=True), facts))
    assert EXPECTED_24 in system.files.read(DROP_IN).decode()


def test_secrets_of_the_configuration_are_not_kept() -> None:
    system = machine("debian12")
    text = (FIXTURES / "dovecot/debian12/doveconf").read_text() + "doveadm_password = tell-nobody\n"
    system.machine.programs.says("/usr/bin/doveconf", stdout=text)
    assert "tell-nobody" not in repr(observed(system))


def test_control_with_and_without_systemd() -> None:
    system = machine("debian12")
    facts = observed(system)
    assert [c.argv[0] for c in ADAPTER.restart(facts)] == ["start-stop-daemon", "/usr/sbin/dovecot"]
    assert [c.argv for c in ADAPTER.reload(facts)] == [
        ("/usr/bin/doveadm", "-c", "/etc/dovecot/dovecot.conf", "reload")
    ]
    system.machine.put_directory("/run/systemd/system")
    assert [c.argv for c in ADAPTER.restart(observed(system))] == [
        ("systemctl", "restart", "dovecot.service")
    ]

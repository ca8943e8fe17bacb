"""Postfix's adapter on what its packages install and on configurations made by hand."""

from __future__ import annotations

from dataclasses import dataclass, replace

import pytest

from mailseal.model import Endpoint, FileWish, KeyType
from mailseal.services import postfix_conf as conf
from mailseal.services.base import ServiceSettings
from mailseal.services.postfix import Postfix
from mailseal.services.postfix_facts import ASKED, PostfixFacts
from tests.support.memory import MemorySystem, said
from tests.unit.services.trees import ECDSA, FIXTURES, LINEAGE, RSA, fulfil, grown, wish

ADAPTER = Postfix()
MAIN, MASTER = "/etc/postfix/main.cf", "/etc/postfix/master.cf"
CASES = sorted(path.parent.name for path in (FIXTURES / "postfix").glob("*/release"))
HEALTHY = [case for case in CASES if case != "broken"]
SNAKEOIL = ("/etc/ssl/certs/ssl-cert-snakeoil.pem", "/etc/ssl/private/ssl-cert-snakeoil.key")
LIVE = "/etc/letsencrypt/live/mail.example.org"


def machine(case: str, *, running: bool = True) -> MemorySystem:
    folder = FIXTURES / "postfix" / case
    system = grown(folder)
    machine = system.machine
    recorded = {
        name: (folder / name).read_text() if (folder / name).exists() else ""
        for name in ("postconf", "overrides", "error")
    }
    status = int((folder / "status").read_text())

    @machine.programs.on("/usr/sbin/postconf", "-c", "/etc/postfix", "-x")
    def postconf(system: MemorySystem, argv: tuple[str, ...], stdin: bytes):  # type: ignore[no-untyped-def]
        if argv[-1] == "-P":
            return said(argv, recorded["overrides"])
        assert argv[4:] == ASKED
        return said(argv, told(system, recorded["postconf"]), stderr=recorded["error"], status=status)

    machine.programs.says("/usr/sbin/postfix")
    machine.put("/usr/sbin/postconf", "", mode=0o755)
    for path in SNAKEOIL:
        machine.put(
            path, "-----BEGIN PRIVATE KEY-----\n" if path.endswith("key") else "-----BEGIN CERTIFICATE-----\n"
        )
    for files in (ECDSA, RSA):
        machine.put(files.combined, "-----BEGIN PRIVATE KEY-----\n-----BEGIN CERTIFICATE-----\n")
    if running:
        machine.put("/var/spool/postfix/pid/master.pid", "                 815\n")
        machine.put("/proc/815/comm", "master\n")
    return system


def told(system: MemorySystem, recorded: str) -> str:
    """What postconf would say once main.cf was edited: the recorded values, and plain ones of the file over them."""
    written = {s.name: s.value for s in conf.settings(conf.decode(system.files.read(MAIN)))}
    plain = {name: value for name, value in written.items() if "$" not in value}
    lines = []
    for setting in conf.settings(recorded):
        value = plain.get(setting.name, setting.value)
        refers = written.get(setting.name, "").lstrip("$")
        lines.append(f"{setting.name} = {plain.get(refers, value)}")
    return "\n".join(lines) + "\n"


def observed(system: MemorySystem, **settings: str) -> PostfixFacts:
    facts = ADAPTER.observe(system, replace(ServiceSettings("postfix"), **settings))  # type: ignore[arg-type]
    assert facts is not None
    return facts


def shown(endpoints: tuple[Endpoint, ...]) -> set[str]:
    return {f"{e} {e.protocol.value} {e.tls.value}" for e in endpoints}


def both(port: int, how: str) -> set[str]:
    return {f"127.0.0.1:{port} {how}", f"[::1]:{port} {how}"}


@dataclass(frozen=True)
class Seen:
    """What a fixture should look like: endpoints, certificates (setting, line, certificate, key, ports), findings."""

    case: str
    endpoints: set[str]
    configured: list[tuple[str, str, str, str, tuple[int, ...], bool]]
    findings: set[str]


GUIDE_PORTS = both(25, "smtp starttls") | both(587, "submission starttls") | both(465, "submission implicit")
SEEN = [
    Seen(
        "debian12",
        both(25, "smtp starttls"),
        [("smtpd_tls_cert_file", f"{MAIN}:6", *SNAKEOIL, (), False)],
        set(),
    ),
    Seen(
        "debian13",
        both(25, "smtp starttls"),
        [("smtpd_tls_cert_file", f"{MAIN}:17", *SNAKEOIL, (), False)],
        set(),
    ),
    Seen(
        "guide12",
        GUIDE_PORTS,
        [("smtpd_tls_cert_file", f"{MAIN}:6", f"{LIVE}/fullchain.pem", f"{LIVE}/privkey.pem", (), False)],
        set(),
    ),
    Seen(
        "guide13",
        GUIDE_PORTS,
        [("smtpd_tls_cert_file", f"{MAIN}:17", f"{LIVE}/fullchain.pem", f"{LIVE}/privkey.pem", (), False)],
        set(),
    ),
    Seen(
        "shadowed",
        GUIDE_PORTS,
        [
            (
                "smtpd_tls_chain_files",
                f"{MAIN}:24",
                "/etc/ssl/mail/chain.pem",
                "/etc/ssl/mail/key.pem",
                (25, 587),
                False,
            ),
            ("smtpd_tls_cert_file", f"{MAIN}:6", *SNAKEOIL, (25, 587), True),
            (
                "smtpd_tls_chain_files",
                f"{MAIN}:24",
                "/etc/ssl/mail/chain.pem",
                "/etc/ssl/mail/key.pem",
                (465,),
                False,
            ),
            (
                "smtpd_tls_cert_file",
                f"{MASTER}:44",
                "/etc/ssl/old/cert.pem",
                "/etc/ssl/old/key.pem",
                (465,),
                True,
            ),
        ],
        {"postfix-shadowed-setting"},
    ),
    Seen(
        "overrides",
        {
            "127.0.0.1:25 smtp starttls",
            "127.0.0.1:465 submission implicit",
            "192.0.2.7:2525 smtp starttls",
        },
        [
            (
                "smtpd_tls_chain_files",
                f"{MAIN}:26",
                "/etc/ssl/mail/all.pem",
                "/etc/ssl/mail/all.pem",
                (25, 10025, 10026, 26),
                False,
            ),
            ("smtpd_tls_cert_file", f"{MAIN}:17", *SNAKEOIL, (25, 10025, 10026, 26), True),
            (
                "smtpd_tls_chain_files",
                f"{MASTER}:28",
                "/etc/ssl/mine/all.pem",
                "/etc/ssl/mine/all.pem",
                (465,),
                False,
            ),
            ("smtpd_tls_cert_file", f"{MAIN}:17", *SNAKEOIL, (465,), True),
            ("smtpd_tls_cert_file", f"{MAIN}:17", *SNAKEOIL, (2525,), False),
            (
                "smtpd_tls_eccert_file",
                f"{MASTER}:29",
                "/etc/ssl/ec/cert.pem",
                "/etc/ssl/ec/key.pem",
                (2525,),
                False,
            ),
        ],
        {
            "postfix-shadowed-setting",
            "postfix-service-certificate",
            "postfix-missing-file",
            "postfix-unknown-host",
        },
    ),
    Seen(
        "odd",
        both(25, "smtp starttls")
        | both(587, "submission starttls")
        | both(465, "submission starttls")
        | both(2525, "smtp starttls"),
        [
            ("smtpd_tls_cert_file", f"{MAIN}:6", *SNAKEOIL, (), False),
            (
                "tls_server_sni_maps",
                "/etc/postfix/sni:2",
                "/etc/ssl/sni/chain.pem",
                "/etc/ssl/sni/key.pem",
                (),
                False,
            ),
            (
                "tls_server_sni_maps",
                "/etc/postfix/sni:3",
                "/etc/ssl/sni/all.pem",
                "/etc/ssl/sni/all.pem",
                (),
                False,
            ),
        ],
        {
            "postfix-bad-value",
            "postfix-encrypt-on-25",
            "postfix-auth-before-tls",
            "postfix-no-wrappermode",
            "postfix-old-protocols",
            "postfix-client-certificate",
            "postfix-resolver-not-validating",
            "postfix-sni-map",
        },
    ),
    Seen(
        "plain",
        {f"{address}:25 smtp none" for address in ("127.0.0.1", "[::1]")},
        [],
        {"postfix-no-protocols", "postfix-no-certificate", "postfix-no-tls"},
    ),
    Seen(
        "old-names",
        both(25, "smtp starttls"),
        [("smtpd_tls_cert_file", f"{MAIN}:8", *SNAKEOIL, (), False)],
        set(),
    ),
]


@pytest.mark.parametrize("seen", SEEN, ids=lambda seen: seen.case)
def test_a_configuration_is_understood(seen: Seen) -> None:
    facts = observed(machine(seen.case))

    assert shown(facts.endpoints) == seen.endpoints
    assert [
        (c.setting, c.place, c.cert_file, c.key_file, c.ports, c.shadowed) for c in facts.configured
    ] == seen.configured
    assert {finding.code for finding in ADAPTER.audit(facts)} == seen.findings
    assert facts.running
    assert not facts.systemd


@pytest.mark.parametrize("case", HEALTHY)
def test_the_wish_is_fulfilled_once_and_undone_by_the_old_bytes(case: str) -> None:
    system = machine(case)
    before = {path: system.files.read(path) for path in (MAIN, MASTER)}
    asked = wish("mail.example.test", both=True)

    assert fulfil(system, ADAPTER.render(asked, observed(system))) == [MAIN]

    facts = observed(system)
    assert facts.value("smtpd_tls_chain_files") == f"{ECDSA.combined}, {RSA.combined}"
    assert facts.flag("smtpd_tls_auth_only")
    assert facts.level() in ("may", "encrypt")
    assert fulfil(system, ADAPTER.render(asked, facts)) == []
    for path, content in before.items():
        system.machine.put(path, content)
    assert ADAPTER.render(asked, observed(system)) == ADAPTER.render(asked, observed(machine(case)))


@pytest.mark.parametrize("case", HEALTHY)
def test_other_settings_and_comments_stay_as_they_are(case: str) -> None:
    facts = observed(machine(case))
    before = conf.decode(facts.main.content)
    (one,) = ADAPTER.render(wish("mail.example.test"), facts).wishes
    assert isinstance(one, FileWish)
    assert one.keep_metadata
    after = conf.decode(one.content)

    kept = {s.name: s.value for s in conf.settings(before)}
    now = {s.name: s.value for s in conf.settings(after)}
    changed = {name for name in now if now[name] != kept.get(name)}
    assert changed <= {
        "smtpd_tls_chain_files",
        "smtpd_tls_cert_file",
        "smtpd_tls_key_file",
        "smtpd_tls_security_level",
        "smtpd_tls_auth_only",
    }
    assert set(kept) <= set(now)
    assert conf.line_end(after) == conf.line_end(before)


@pytest.mark.parametrize("case", CASES)
def test_without_a_certificate_nothing_is_wished_for(case: str) -> None:
    rendering = ADAPTER.render(wish("mail.example.test", certificates=False), observed(machine(case)))
    assert rendering.wishes == ()


def test_debian_12_in_full() -> None:
    system = machine("debian12")
    before = conf.decode(system.files.read(MAIN))
    fulfil(system, ADAPTER.render(wish("mail.example.test"), observed(system)))

    cert, key = SNAKEOIL
    assert conf.decode(system.files.read(MAIN)) == before.replace(f"={cert}", "=").replace(f"={key}", "=") + (
        "# Added by mailseal. To undo all that mailseal changed: mailseal detach\n"
        f"smtpd_tls_chain_files = {LINEAGE}/ecdsa-p256/combined.pem\n"
        "smtpd_tls_auth_only = yes\n"
    )


def test_a_setting_that_another_is_made_from_is_left_and_told() -> None:
    facts = observed(machine("odd"))
    (one,) = ADAPTER.render(wish("mail.example.test"), facts).wishes
    assert isinstance(one, FileWish)
    text = conf.decode(one.content)
    cert, key = conf.find(text, "smtpd_tls_cert_file"), conf.find(text, "smtpd_tls_key_file")
    assert cert and key
    assert (cert.value, key.value) == SNAKEOIL


def test_encrypt_is_not_weakened() -> None:
    system = machine("odd")
    fulfil(system, ADAPTER.render(wish("mail.example.test"), observed(system)))
    assert observed(system).level() == "encrypt"


def test_the_older_switches_of_tls_count() -> None:
    facts = observed(machine("old-names"))
    assert facts.level() == "may"
    (one,) = ADAPTER.render(wish("mail.example.test"), facts).wishes
    assert isinstance(one, FileWish)
    assert conf.find(conf.decode(one.content), "smtpd_tls_security_level") is None


def test_what_wins_over_the_wish_is_told() -> None:
    told = ADAPTER.render(wish("mail.example.test"), observed(machine("overrides"))).findings
    assert {(f.code, f.subject) for f in told} == {
        ("postfix-service-certificate", f"{MASTER}:28"),
        ("postfix-service-certificate", f"{MASTER}:29"),
    }
    (named,) = ADAPTER.render(wish("mail.example.test"), observed(machine("odd"))).findings
    assert (named.code, named.subject) == ("postfix-sni-entry", "/etc/postfix/sni:2")


def test_a_broken_configuration_is_told_in_postfix_own_words() -> None:
    facts = observed(machine("broken"))
    (finding,) = ADAPTER.audit(facts)
    assert finding.code == "postfix-broken-configuration"
    assert "missing '=' after attribute name" in finding.seen
    assert shown(facts.endpoints) == both(25, "smtp starttls")
    assert ADAPTER.rehearsal(facts) is None


@pytest.mark.parametrize(
    ("case", "socket", "added"),
    [("debian12", False, set()), ("guide13", True, set()), ("sasl", True, {587, 465})],
)
def test_submission_is_added_where_it_is_lacking_and_a_login_works(
    case: str, socket: bool, added: set[int]
) -> None:
    system = machine("debian12" if case == "sasl" else case)
    if case == "sasl":
        text = (
            conf.decode(system.files.read(MAIN))
            + "smtpd_sasl_type = dovecot\nsmtpd_sasl_path = private/auth\n"
        )
        system.machine.put(MAIN, text)
        system.machine.put("/var/spool/postfix/private/auth", "")
    asked = replace(wish("mail.example.test"), submission=True)
    rendering = ADAPTER.render(asked, observed(system))
    before = {e.port for e in observed(system).endpoints}
    old = system.files.read(MASTER)

    fulfil(system, rendering)

    assert {e.port for e in observed(system).endpoints} - before == added
    assert system.files.read(MASTER).startswith(old)
    assert fulfil(system, ADAPTER.render(asked, observed(system))) == []
    assert [f.code for f in rendering.findings] == ([] if socket else ["postfix-no-sasl"])


def test_a_second_instance_is_named_in_every_command() -> None:
    facts = replace(observed(machine("debian12")), config_dir="/etc/postfix-two")
    commands = [*ADAPTER.checks(facts), *ADAPTER.reload(facts), *ADAPTER.restart(facts)]
    assert [command.argv[1:] for command in commands] == [
        ("-c", "/etc/postfix-two", *rest)
        for rest in (("-M",), ("-q", "x", "inline:{x=y}"), ("check",), ("reload",), ("stop",), ("start",))
    ]
    odd = replace(observed(machine("odd")), config_dir="/etc/postfix-two")
    mends = [f.mend for f in ADAPTER.audit(odd) if f.code == "postfix-encrypt-on-25"]
    assert mends == [
        "postconf -c /etc/postfix-two -e smtpd_tls_security_level=may && postfix -c /etc/postfix-two reload"
    ]


def test_systemd_restarts_where_it_is_the_init() -> None:
    system = machine("debian12")
    system.machine.put_directory("/run/systemd/system")
    (restart,) = ADAPTER.restart(observed(system))
    assert restart.argv == ("systemctl", "restart", "postfix.service")
    assert ADAPTER.reload(observed(system))[0].argv[0] == "/usr/sbin/postfix"
    (named,) = ADAPTER.restart(observed(system, systemd_unit="postfix@two.service"))
    assert named.argv[-1] == "postfix@two.service"


@pytest.mark.parametrize("pid", ["", "815\n", "x", None])
def test_a_dead_master_is_seen(pid: str | None) -> None:
    system = machine("debian12", running=False)
    if pid is not None:
        system.machine.put("/var/spool/postfix/pid/master.pid", pid)
    assert not observed(system).running
    system.machine.put("/proc/815/comm", "bash\n")
    assert not observed(system).running


def test_no_postfix_is_no_service() -> None:
    assert ADAPTER.observe(MemorySystem(), ServiceSettings("postfix")) is None


def test_links_are_edited_where_they_lead() -> None:
    system = machine("debian12")
    text = system.files.read(MAIN)
    system.files.remove(MAIN)
    system.machine.put("/srv/postfix/main.cf", text)
    system.machine.put_link(MAIN, "/srv/postfix/main.cf")
    (one,) = ADAPTER.render(wish("mail.example.test"), observed(system)).wishes
    assert one.path == "/srv/postfix/main.cf"


@pytest.mark.parametrize(("validates", "found"), [(True, set()), (False, {"warning"})])
def test_the_resolver_is_asked_where_dane_needs_it(validates: bool, found: set[str]) -> None:
    facts = replace(observed(machine("odd")), resolver_validates=validates)
    told = [f for f in ADAPTER.audit(facts) if f.code == "postfix-resolver-not-validating"]
    assert {f.severity.word for f in told} == found


@pytest.mark.parametrize("case", HEALTHY)
def test_every_finding_names_what_mends_it(case: str) -> None:
    for finding in ADAPTER.audit(observed(machine(case))):
        assert finding.seen
        assert finding.expected
        assert finding.why.endswith(".")
        assert finding.mend or finding.code == "postfix-unknown-host"


def test_key_types_keep_their_order() -> None:
    asked = replace(wish("mail.example.test"), certificates=(RSA, ECDSA))
    (one,) = ADAPTER.render(asked, observed(machine("debian13"))).wishes
    assert isinstance(one, FileWish)
    setting = conf.find(conf.decode(one.content), "smtpd_tls_chain_files")
    assert setting and setting.value == f"{RSA.combined}, {ECDSA.combined}"
    assert KeyType.RSA_2048.value in setting.value


def test_names_and_mail_domains_are_told() -> None:
    facts = observed(machine("guide13"))
    assert facts.names == ("mail.example.org",)
    assert facts.mail_domains == ("mail.example.org", "example.org")


def test_the_rehearsal_covers_what_the_live_instance_writes_and_reaches_for_nobody() -> None:
    rehearsal = ADAPTER.rehearsal(observed(machine("guide12")))
    assert rehearsal is not None
    assert rehearsal.scratch == ("/var/spool/postfix", "/var/lib/postfix")
    argvs = [" ".join(command.argv) for command in rehearsal.prepare]
    apart = next(argv for argv in argvs if " -e " in argv)
    assert "smtpd_sasl_auth_enable=no" in apart
    assert "maillog_file=/var/spool/postfix/rehearsal.log" in apart
    overrides = next(argv for argv in argvs if " -P " in argv)
    assert "smtps/inet/smtpd_sasl_auth_enable=no" in overrides
    assert all("/etc/postfix" not in argv or argv.startswith("cp ") for argv in argvs)
    assert rehearsal.start.argv == ("/usr/sbin/postfix", "-c", "/var/spool/postfix/rehearsal", "start-fg")


def test_an_sni_map_that_is_older_than_its_files_is_told() -> None:
    system = machine("odd")
    system.machine.put("/etc/postfix/sni.db", "")
    fresh = {f.code for f in ADAPTER.audit(observed(system))}
    assert "postfix-sni-map" in fresh
    system.machine.advance(60)
    system.files.replace("/etc/ssl/sni/chain.pem", b"renewed", mode=0o644)
    assert "postfix-sni-map-stale" in {f.code for f in ADAPTER.audit(observed(system))}


def test_a_missing_master_cf_is_no_crash() -> None:
    system = machine("debian12")
    system.files.remove(MASTER)
    facts = observed(system)
    assert facts.endpoints == ()
    assert ADAPTER.rehearsal(facts) is None

"""Apache's adapter on what its packages install, and beside sites that others made."""

from __future__ import annotations

import pytest

from mailseal.model import DirectoryWish, FileWish, LinkWish
from mailseal.services.apache import Apache
from mailseal.services.apache_facts import ApacheFacts
from mailseal.services.base import Rendering, ServiceSettings
from tests.support.memory import MemorySystem
from tests.unit.services.trees import CHALLENGES, ECDSA, FIXTURES, RSA, fulfil, grown, wish

ADAPTER = Apache()
BASE = FIXTURES / "apache"
HTTP, HTTPS = (
    "/etc/apache2/sites-available/mailseal-http.conf",
    "/etc/apache2/sites-available/mailseal-https.conf",
)
GUIDE = "/etc/apache2/sites-available/mail.example.org-https.conf"


def machine(*cases: str, running: bool = True, sites: dict[str, str] | None = None) -> MemorySystem:
    system = grown(*(BASE / case for case in cases))
    programs = system.machine.programs
    programs.says("/usr/sbin/apache2", "-v", stdout=(BASE / cases[0] / "version").read_text())
    programs.says("/usr/sbin/apache2ctl")
    system.machine.put("/usr/sbin/apache2ctl", "", mode=0o755)
    system.machine.put_link("/var/run", "/run")
    system.machine.put_link("/var/lock", "/run/lock")
    for path in ("/run/apache2", "/var/log/apache2", "/var/www/html"):
        system.machine.put_directory(path)
    system.machine.put("/var/www/html/index.html", "It works")
    for name, text in (sites or {}).items():
        system.machine.put(f"/etc/apache2/sites-available/{name}.conf", text)
        system.machine.put_link(f"/etc/apache2/sites-enabled/{name}.conf", f"../sites-available/{name}.conf")
    if running:
        system.machine.put("/run/apache2/apache2.pid", "815\n")
        system.machine.put("/proc/815/comm", "apache2\n")
    return system


def observed(system: MemorySystem, settings: ServiceSettings | None = None) -> ApacheFacts:
    facts = ADAPTER.observe(system, settings or ServiceSettings("apache"))
    assert facts is not None
    return facts


def texts(rendering: Rendering) -> dict[str, str]:
    return {w.path: w.content.decode() for w in rendering.wishes if isinstance(w, FileWish)}


def site(address: str, *lines: str) -> str:
    inside = "".join(f"    {line}\n" for line in lines)
    return f"<VirtualHost {address}>\n{inside}</VirtualHost>\n"


TLS = ("SSLEngine on", "SSLCertificateFile /old/fullchain.pem", "SSLCertificateKeyFile /old/privkey.pem")


@pytest.mark.parametrize("case", ["debian12", "debian13"])
def test_the_packages_defaults_are_seen(case: str) -> None:
    facts = observed(machine(case))
    assert facts.version == (2, 4, 71)
    assert facts.running
    assert facts.debian_layout
    assert {f"{e} {e.tls.value}" for e in facts.endpoints} == {"127.0.0.1:80 none", "[::1]:80 none"}
    assert facts.configured == ()
    assert "ssl" not in facts.loaded
    assert ADAPTER.audit(facts) == ()


def test_what_is_not_installed_is_not_there() -> None:
    assert ADAPTER.observe(MemorySystem(), ServiceSettings("apache")) is None


@pytest.mark.parametrize("case", ["debian12", "debian13"])
def test_the_packages_defaults_get_two_sites(case: str) -> None:
    system = machine(case)
    wanted = wish("mail.example.org", "www.example.org", both=True, challenge=True)
    rendering = ADAPTER.render(wanted, observed(system))
    links = {
        w.path.removeprefix("/etc/apache2/"): w.target for w in rendering.wishes if isinstance(w, LinkWish)
    }
    assert links["mods-enabled/ssl.load"] == "../mods-available/ssl.load"
    assert links["mods-enabled/ssl.conf"] == "../mods-available/ssl.conf"
    assert links["mods-enabled/socache_shmcb.load"] == "../mods-available/socache_shmcb.load"
    assert links["conf-enabled/mailseal-acme.conf"] == "../conf-available/mailseal-acme.conf"
    assert links["sites-enabled/mailseal-http.conf"] == "../sites-available/mailseal-http.conf"
    assert links["sites-enabled/mailseal-https.conf"] == "../sites-available/mailseal-https.conf"
    written = texts(rendering)
    for files in (ECDSA, RSA):
        pair = f"    SSLCertificateFile {files.fullchain}\n    SSLCertificateKeyFile {files.privkey}\n"
        assert pair in written[HTTPS]
    for path in (HTTP, HTTPS):
        assert "    ServerName mail.example.org\n    ServerAlias www.example.org\n" in written[path]
    assert (
        DirectoryWish("/var/www/mailseal", why="a web root of its own, which only root can write to")
        in rendering.wishes
    )
    assert rendering.findings == ()


@pytest.mark.parametrize("challenge", [True, False])
@pytest.mark.parametrize("certificates", [True, False])
@pytest.mark.parametrize("cases", [("debian12",), ("debian13",), ("debian12", "guide")])
def test_a_second_render_changes_nothing(cases: tuple[str, ...], certificates: bool, challenge: bool) -> None:
    system = machine(*cases)
    wanted = wish("mail.example.org", "www.example.org", certificates=certificates, challenge=challenge)
    changed = fulfil(system, ADAPTER.render(wanted, observed(system)))
    assert bool(changed) is (certificates or challenge)
    assert fulfil(system, ADAPTER.render(wanted, observed(system))) == []


def test_what_was_written_is_seen() -> None:
    system = machine("debian12")
    fulfil(system, ADAPTER.render(wish("mail.example.org", both=True), observed(system)))
    facts = observed(system)
    assert {f"{e} {e.tls.value}" for e in facts.endpoints} == {
        "127.0.0.1:80 none",
        "[::1]:80 none",
        "127.0.0.1:443 implicit",
        "[::1]:443 implicit",
    }
    assert [(c.cert_file, c.key_file, c.names, c.ports) for c in facts.configured] == [
        (files.fullchain, files.privkey, ("mail.example.org",), (443,)) for files in (ECDSA, RSA)
    ]
    assert facts.names == ("mail.example.org",)
    assert ADAPTER.audit(facts) == ()


def test_the_challenge_alone_needs_no_site() -> None:
    rendering = ADAPTER.render(
        wish("mail.example.org", certificates=False, challenge=True), observed(machine("debian12"))
    )
    assert list(texts(rendering)) == ["/etc/apache2/conf-available/mailseal-acme.conf"]
    text = texts(rendering)["/etc/apache2/conf-available/mailseal-acme.conf"]
    assert f'SetEnvIf Request_URI "^" MAILSEAL_TOKENS={CHALLENGES}' in text
    assert text.startswith("# Written by mailseal")
    assert not any(w.path.endswith("mods-enabled/ssl.load") for w in rendering.wishes)


@pytest.mark.parametrize(
    ("sites", "settings", "expected"),
    [
        ({}, ServiceSettings("apache"), True),
        ({"conf": "ServerName web.example.org\n"}, ServiceSettings("apache"), False),
        ({"conf": "ServerName mail.example.org\n"}, ServiceSettings("apache"), True),
        ({}, ServiceSettings("apache", http_port=8080), False),
    ],
)
def test_a_nameless_site_does_not_take_the_machines_name(
    sites: dict[str, str], settings: ServiceSettings, expected: bool
) -> None:
    facts = observed(machine("debian12", sites=sites), settings)
    text = texts(ADAPTER.render(wish("mail.example.org"), facts))[HTTP]
    assert ("\nServerName localhost\n" in text) is expected


def test_the_guides_site_is_taken_over_in_place() -> None:
    system = machine("debian12", "guide")
    before = system.files.read(GUIDE).decode()
    rendering = ADAPTER.render(wish("mail.example.org", both=True), observed(system))
    written = texts(rendering)
    assert list(written) == [GUIDE]
    [edit] = [w for w in rendering.wishes if isinstance(w, FileWish)]
    assert edit.keep_metadata
    removed, added = set(before.splitlines()), set(written[GUIDE].splitlines())
    assert {line.split()[0] for line in removed - added} == {
        "SSLCertificateFile",
        "SSLCertificateKeyFile",
        "SSLCertificateChainFile",
    }
    assert {line.strip() for line in added - removed} == {
        f"SSLCertificateFile {ECDSA.fullchain}",
        f"SSLCertificateKeyFile {ECDSA.privkey}",
        f"SSLCertificateFile {RSA.fullchain}",
        f"SSLCertificateKeyFile {RSA.privkey}",
    }


def test_names_that_the_guides_sites_lack_get_sites_of_ours() -> None:
    written = texts(
        ADAPTER.render(wish("mail.example.org", "imap.example.org"), observed(machine("debian12", "guide")))
    )
    assert set(written) == {GUIDE, HTTP, HTTPS, "/var/www/mailseal/index.html"}
    assert "ServerName imap.example.org" in written[HTTPS]
    assert "mail.example.org" not in written[HTTPS]


def test_other_clients_tokens_are_answered_too() -> None:
    sites = {
        "dehydrated": "Alias /.well-known/acme-challenge /var/lib/dehydrated/acme-challenges\n",
        "whole": site(
            "*:80", "ServerName x.test", "Alias /.well-known/ /srv/known/", "Alias /other /srv/other"
        ),
        "odd": 'Alias /.well-known/acme-challenge/ "/srv/with space"\n',
    }
    system = machine("debian12", "guide", sites=sites)
    renewal = "[renewalparams]\nauthenticator = {}\nwebroot_path = /srv/one, /srv/two/,\n"
    for name in ("webroot", "apache", "standalone"):
        system.machine.put(f"/etc/letsencrypt/renewal/{name}.conf", renewal.format(name))
    facts = observed(system)
    assert facts.tokens_elsewhere == (
        "/var/lib/letsencrypt/http_challenges",
        "/srv/one/.well-known/acme-challenge",
        "/srv/two/.well-known/acme-challenge",
        "/var/lib/dehydrated/acme-challenges",
        "/srv/known/acme-challenge",
    )
    text = texts(ADAPTER.render(wish(certificates=False, challenge=True), facts))[
        "/etc/apache2/conf-available/mailseal-acme.conf"
    ]
    assert text.count("SetEnvIfExpr") == 1 + len(facts.tokens_elsewhere)


def test_a_site_with_names_of_others_keeps_its_certificate() -> None:
    text = site("*:443", "ServerName mail.example.org", "ServerAlias blog.example.net", *TLS)
    system = machine("debian12", "guide", sites={"both": text})
    system.machine.put_link("/etc/apache2/sites-enabled/mail.example.org-https.conf", "/nowhere")
    rendering = ADAPTER.render(wish("mail.example.org", "imap.example.org"), observed(system))
    assert "/etc/apache2/sites-available/both.conf" not in texts(rendering)
    [finding] = rendering.findings
    assert finding.code == "apache-site-mixed-names"
    assert "blog.example.net" in finding.seen


def test_a_certificate_in_a_shared_file_is_left_alone() -> None:
    text = site("*:443", "ServerName mail.example.org", "SSLEngine on", "Include /etc/apache2/shared.inc")
    system = machine("debian12", "guide", sites={"mail.example.org-https": text})
    system.machine.put("/etc/apache2/shared.inc", "\n".join(TLS[1:]))
    rendering = ADAPTER.render(wish("mail.example.org"), observed(system))
    assert texts(rendering) == {}
    assert [f.code for f in rendering.findings] == ["apache-certificate-elsewhere"]


def test_two_sites_in_one_file_are_both_taken_over() -> None:
    one = site("*:443", "ServerName mail.example.org", *TLS)
    two = site("*:443", "ServerName www.example.org", *TLS)
    system = machine("debian12", "guide", sites={"mail.example.org-https": one + two})
    written = texts(ADAPTER.render(wish("mail.example.org", "www.example.org", both=True), observed(system)))
    assert written[GUIDE].count(ECDSA.fullchain) == 2
    assert written[GUIDE].count(RSA.privkey) == 2
    assert "/old/" not in written[GUIDE]


def test_a_site_bound_to_an_address_does_not_hide_ours() -> None:
    sites = {
        "blog": site("192.0.2.7:443", "ServerName blog.example.org", *TLS),
        "http": site("192.0.2.7:80 [2001:db8::7]:80", "ServerName blog.example.org"),
    }
    system = machine("debian12", sites=sites)
    for module in ("ssl.load", "socache_shmcb.load"):
        system.machine.put_link(f"/etc/apache2/mods-enabled/{module}", f"../mods-available/{module}")
    written = texts(ADAPTER.render(wish("mail.example.org"), observed(system)))
    assert "<VirtualHost *:443 192.0.2.7:443>" in written[HTTPS]
    assert "<VirtualHost *:80 192.0.2.7:80 [2001:db8::7]:80>" in written[HTTP]


def test_a_wildcard_alias_claims_the_name() -> None:
    sites = {"all": site("*:80", "ServerName example.org", "ServerAlias *.example.org")}
    written = texts(ADAPTER.render(wish("mail.example.org"), observed(machine("debian12", sites=sites))))
    assert HTTP not in written
    assert HTTPS in written


def test_a_port_that_nobody_opens_is_opened() -> None:
    system = machine("debian12")
    system.machine.put("/etc/apache2/ports.conf", "Listen 80\n")
    fulfil(system, ADAPTER.render(wish("mail.example.org"), observed(system)))
    assert "\nListen 443\n" in system.files.read(HTTPS).decode()
    assert fulfil(system, ADAPTER.render(wish("mail.example.org"), observed(system))) == []
    assert any(endpoint.port == 443 for endpoint in observed(system).endpoints)


def test_what_the_default_site_showed_is_shown_over_https() -> None:
    system = machine("debian12")
    system.machine.put("/var/www/html/webmail/index.php", "<?php")
    fulfil(system, ADAPTER.render(wish("mail.example.org"), observed(system)))
    assert 'DocumentRoot "/var/www/html"' in system.files.read(HTTPS).decode()
    assert system.files.stat("/var/www/mailseal") is None


def test_the_web_root_does_not_move_later() -> None:
    system = machine("debian12")
    fulfil(system, ADAPTER.render(wish("mail.example.org"), observed(system)))
    system.machine.put("/var/www/html/webmail/index.php", "<?php")
    assert fulfil(system, ADAPTER.render(wish("mail.example.org"), observed(system))) == []


def test_high_ports_of_another_instance() -> None:
    system = machine("debian12")
    for path, state in system.machine.tree("/etc/apache2").items():
        at = path.replace("/etc/apache2", "/etc/apache2-two", 1)
        if state.kind == "file":
            system.machine.put(at, state.content)
        elif state.kind == "link":
            system.machine.put_link(at, state.target)
    system.machine.put(
        "/etc/apache2-two/ports.conf", "Listen 8080\n<IfModule ssl_module>\nListen 8443\n</IfModule>\n"
    )
    settings = ServiceSettings("apache", config_dir="/etc/apache2-two", http_port=8080, https_port=8443)
    facts = observed(system, settings)
    assert facts.pid_file == "/var/run/apache2-two/apache2.pid"
    assert facts.unit == "apache2@two.service"
    written = texts(ADAPTER.render(wish("mail.example.org"), facts))
    assert "<VirtualHost *:8443>" in written["/etc/apache2-two/sites-available/mailseal-https.conf"]
    assert (
        "https://%{SERVER_NAME}:8443%{REQUEST_URI}"
        in written["/etc/apache2-two/sites-available/mailseal-http.conf"]
    )
    assert ADAPTER.checks(facts)[0].env == (("APACHE_CONFDIR", "/etc/apache2-two"),)


def test_a_layout_that_is_not_debians_gets_nothing() -> None:
    system = machine("debian12")
    system.machine.put("/etc/apache2/apache2.conf", "Listen 80\n")
    rendering = ADAPTER.render(wish("mail.example.org", challenge=True), observed(system))
    assert rendering.wishes == ()
    assert [f.code for f in rendering.findings] == ["apache-layout"]


def test_a_module_that_is_not_there_is_told() -> None:
    system = machine("debian12")
    system.files.remove("/etc/apache2/mods-available/ssl.load")
    rendering = ADAPTER.render(wish("mail.example.org"), observed(system))
    assert [f.code for f in rendering.findings] == ["apache-module-missing"]


AUDITED: dict[str, tuple[dict[str, str], set[str]]] = {
    "guide": ({}, {"apache-chain-file"}),
    "leaf": (
        {
            "mail.example.org-https": site(
                "*:443",
                "ServerName mail.example.org",
                "SSLEngine on",
                "SSLCertificateFile /etc/letsencrypt/live/a/cert.pem",
                "SSLCertificateKeyFile /etc/letsencrypt/live/b/privkey.pem",
            )
        },
        {"apache-leaf-only", "apache-key-of-another"},
    ),
    "snakeoil": (
        {
            "default-ssl": site(
                "*:443", "SSLEngine on", "SSLCertificateFile /etc/ssl/certs/ssl-cert-snakeoil.pem"
            )
        },
        {"apache-snakeoil", "apache-chain-file"},
    ),
    "plain": ({"mail.example.org-https": ""}, {"apache-plain-https-port"}),
    "no redirect": (
        {"mail.example.org-http": site("*:80", "ServerName mail.example.org")},
        {"apache-no-redirect", "apache-chain-file"},
    ),
    "redirect": (
        {
            "mail.example.org-http": site(
                "*:80", "ServerName mail.example.org", "Redirect / https://mail.example.org/"
            )
        },
        {"apache-chain-file"},
    ),
    "old": (
        {"old": site("*:443", "ServerName x.example.org", *TLS, "SSLProtocol all +TLSv1")},
        {"apache-old-tls", "apache-chain-file"},
    ),
}


@pytest.mark.parametrize("case", AUDITED)
def test_what_is_odd_is_told(case: str) -> None:
    sites, codes = AUDITED[case]
    findings = ADAPTER.audit(observed(machine("debian12", "guide", sites=sites)))
    assert {finding.code for finding in findings} == codes
    assert all(f.seen and f.expected and f.why and f.mend and f.subject for f in findings)


def test_control_with_and_without_systemd() -> None:
    system = machine("debian12")
    facts = observed(system)
    assert [c.argv[:4] for c in ADAPTER.reload(facts)] == [
        ("/usr/sbin/apache2ctl", "configtest"),
        ("start-stop-daemon", "--stop", "--signal", "USR1"),
    ]
    assert [c.argv[-1] for c in ADAPTER.restart(facts)] == ["apache2", "start"]
    system.machine.put_directory("/run/systemd/system")
    facts = observed(system)
    assert [c.argv for c in ADAPTER.reload(facts)] == [("systemctl", "reload", "apache2.service")]
    assert [c.argv for c in ADAPTER.restart(facts)] == [("systemctl", "restart", "apache2.service")]


def test_a_rehearsal_keeps_to_its_own_folders() -> None:
    facts = observed(machine("debian12", "guide"))
    rehearsal = ADAPTER.rehearsal(facts)
    assert rehearsal is not None
    assert set(rehearsal.scratch) == {"/run/apache2", "/run/lock", "/var/log/apache2"}
    assert rehearsal.prepare[0].argv == ("mkdir", "-p", "/var/log/apache2", "/var/log/apache2/mail")
    assert rehearsal.start.argv == ("/usr/sbin/apache2ctl", "-DFOREGROUND")

"""`mailseal check` on real daemons set up by hand: all well when it is, and each planted fault named."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest

from lab import image
from lab.ca import Pebble
from lab.host import Host
from lab.world import World
from mailseal.check import OUTSIDE
from tests.lab.by_hand import ARCHIVE, DROP_IN, LIVE, NAME, STORE, put, reload_all, set_up
from tests.lab.job import setup
from tests.support.certs import Ca, utc_now

pytestmark = pytest.mark.parametrize("release", image.RELEASES)

ROOT = Ca.root("Lab Root")
CA = ROOT.intermediate("Lab Intermediate")
MAIL_PORTS = {25, 465, 587, 143, 993, 110, 995}


def check(mail: Host, *more: str) -> tuple[int, dict[str, Any]]:
    before = mail.snapshot("/etc", "/var/lib/mailseal")
    ran = mail.mailseal("check", "--json", *more)
    assert ran.stdout, ran.stderr
    assert mail.snapshot("/etc", "/var/lib/mailseal") == before
    return ran.returncode, json.loads(ran.stdout)


def bad(report: dict[str, Any]) -> dict[str, dict[str, str]]:
    """What is a warning or worse, by code."""
    return {f["code"]: f for f in report["findings"] if f["severity"] in ("warning", "error")}


def good_ports(report: dict[str, Any]) -> set[int]:
    return {int(f["subject"].rpartition(":")[2]) for f in report["findings"] if f["code"] == "endpoint-good"}


def test_all_is_well(mail: Host) -> None:
    set_up(mail, CA, ROOT)
    status, report = check(mail)
    assert bad(report) == {}
    assert status == 0
    assert good_ports(report) >= MAIL_PORTS | {443}
    assert report["name"] == NAME
    addresses = {one["endpoint"].split()[1].rpartition(":")[0] for one in report["served"]}
    assert addresses == {"127.0.0.1", "[::1]"}


def test_a_stale_daemon(mail: Host) -> None:
    old = CA.issue(NAME, not_before=utc_now() - timedelta(days=40))
    set_up(mail, CA, ROOT)
    put(mail, old, 1)
    reload_all(mail)
    put(mail, CA.issue(NAME), 2)
    mail.sh("postfix reload; apache2ctl graceful; sleep 0.3")
    status, report = check(mail)
    assert status == 1
    assert set(bad(report)) == {"leaf-differs"}
    finding = bad(report)["leaf-differs"]
    assert finding["subject"].startswith("dovecot ") and "postfix" not in finding["subject"]
    assert f"still the certificate of {utc_now() - timedelta(days=40):%-d %B %Y}" in finding["seen"]
    assert finding["mend"] == "doveadm reload"
    assert good_ports(report) >= {25, 465, 587, 443}


def test_the_leaf_in_place_of_the_full_chain(mail: Host) -> None:
    set_up(mail, CA, ROOT)
    mail.sh(f"postconf -e smtpd_tls_cert_file={LIVE}/cert.pem; postfix reload; sleep 0.3")
    status, report = check(mail)
    assert status == 1
    assert set(bad(report)) >= {"chain-incomplete", "file-leaf-only"}
    assert bad(report)["file-leaf-only"]["subject"] == f"{LIVE}/cert.pem"
    assert bad(report)["file-leaf-only"]["expected"] == f"{LIVE}/fullchain.pem"
    assert "dovecot" not in bad(report)["chain-incomplete"]["subject"]
    assert good_ports(report) >= {143, 993, 443}


def test_a_forgotten_port(mail: Host) -> None:
    set_up(mail, CA, ROOT)
    forgotten = CA.issue(NAME, not_before=utc_now() - timedelta(days=75))
    mail.write("/etc/ssl/private/forgotten.pem", forgotten.combined_pem.decode(), 0o600)
    mail.sh(
        "postconf -P submissions/inet/smtpd_tls_cert_file=/etc/ssl/private/forgotten.pem "
        "submissions/inet/smtpd_tls_key_file=/etc/ssl/private/forgotten.pem; postfix reload; sleep 0.3"
    )
    status, report = check(mail)
    assert status == 1
    finding = bad(report)["certificates-disagree"]
    assert "postfix 127.0.0.1:465" in finding["subject"] and ":25" not in finding["subject"]
    assert 465 not in good_ports(report) and good_ports(report) >= {25, 587, 993}


def test_a_shadowed_setting(mail: Host) -> None:
    issued = set_up(mail, CA, ROOT)
    mail.write("/etc/ssl/private/combined.pem", issued.combined_pem.decode(), 0o600)
    mail.sh("postconf -e smtpd_tls_chain_files=/etc/ssl/private/combined.pem; postfix reload; sleep 0.3")
    status, report = check(mail)
    assert status == 1
    assert "smtpd_tls_cert_file" in json.dumps(bad(report)["postfix-shadowed-setting"])
    assert good_ports(report) >= MAIL_PORTS


def test_a_key_that_does_not_fit_is_seen_before_the_reload_that_would_kill(mail: Host) -> None:
    set_up(mail, CA, ROOT)
    other = CA.issue(NAME)
    mail.write(f"{ARCHIVE}/privkey1.pem", other.key_pem.decode(), 0o600)
    status, report = check(mail)
    assert status == 1
    assert bad(report)["file-key-mismatch"]["subject"] == f"{LIVE}/privkey.pem"
    assert good_ports(report) >= {993, 443}


def test_a_link_that_leads_nowhere(mail: Host) -> None:
    set_up(mail, CA, ROOT)
    mail.sh(f"rm {ARCHIVE}/fullchain1.pem")
    status, report = check(mail)
    assert status == 1
    assert f"archive/{NAME}/fullchain1.pem" in bad(report)["file-missing"]["seen"]


def test_logins_in_the_clear(mail: Host) -> None:
    set_up(mail, CA, ROOT)
    setting = "disable_plaintext_auth = no" if mail.release == "bookworm" else "auth_allow_cleartext = yes"
    mail.sh(
        f"sed -i 's/^ssl = required/ssl = yes/' {DROP_IN}; echo '{setting}' >>{DROP_IN}; doveadm reload; sleep 0.3"
    )
    status, report = check(mail)
    assert status == 1
    assert "dovecot 127.0.0.1:143" in bad(report)["auth-before-tls"]["subject"]


def test_a_daemon_that_died(mail: Host) -> None:
    set_up(mail, CA, ROOT)
    mail.sh("doveadm stop; sleep 0.5")
    status, report = check(mail)
    assert status == 1
    assert bad(report)["service-not-running"]["subject"] == "Dovecot"
    assert "endpoint-unreachable" not in bad(report)


def test_a_key_that_everybody_can_read(mail: Host) -> None:
    set_up(mail, CA, ROOT)
    mail.sh(f"chmod 0644 {ARCHIVE}/privkey1.pem")
    _, report = check(mail)
    assert "0644" in bad(report)["file-key-readable"]["seen"]


def test_a_certificate_that_nobody_trusts_here_but_by_its_own_root(mail: Host) -> None:
    set_up(mail, CA, ROOT)
    mail.sh(f"mv {STORE}.before {STORE}")
    status, report = check(mail)
    assert status == 1
    assert set(bad(report)) == {"untrusted"}
    assert "Lab Root" in bad(report)["untrusted"]["seen"]
    assert "the system's store" in bad(report)["untrusted"]["seen"]
    status, report = check(mail, "--trust", "/root/lab-root.pem")
    assert (status, bad(report)) == (0, {})


def test_from_outside(mail: Host) -> None:
    set_up(mail, CA, ROOT)
    status, report = check(mail, mail.ipv4)
    assert status == 1
    assert set(bad(report)) == {"name-mismatch"}
    closed = {port for port, _, _ in OUTSIDE} - {port for _, port in mail.listening()}
    told = [f["seen"] for f in report["findings"] if f["code"] == "port-closed"]
    assert told == ([f"no connection to the ports {', '.join(map(str, sorted(closed)))}"] if closed else [])


def test_with_a_configuration_what_it_wishes_for_holds(world: World, pebble: Pebble, mail: Host) -> None:
    setup(mail, pebble)
    status, report = check(mail)
    assert (status, bad(report)) == (0, {})
    assert good_ports(report) >= {25, 143, 993, 443, 80}
    mail.sh(
        "postconf -e smtpd_tls_chain_files=; postfix reload; sleep 0.3; chmod 0000 /var/lib/mailseal/challenges"
    )
    status, report = check(mail)
    assert status == 1
    assert "challenge-not-served" in bad(report)
    assert {"starttls-missing", "starttls-refused", "handshake-failed", "leaf-differs"} & set(bad(report))

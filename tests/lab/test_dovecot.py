"""Dovecot's adapter against Debian's own Dovecot, both dialects: look, wish, check, rehearse, reload, ask openssl."""

from __future__ import annotations

import hashlib
import json
import re
import ssl
from typing import Any

import pytest

from lab import image
from lab.host import Host
from mailseal.model import KeyType
from tests.lab.certificates import CURRENT, KEY_TYPES, NAME, deploy
from tests.support.certs import Ca, Issued

pytestmark = pytest.mark.parametrize("release", image.RELEASES)

PORTS = {143: "imap", 993: "", 110: "pop3", 995: "", 4190: "sieve"}
DROP_IN = "/etc/dovecot/conf.d/99-mailseal.conf"
CIPHER = {
    KeyType.ECDSA_P256: "ECDHE-ECDSA-AES256-GCM-SHA384",
    KeyType.RSA_2048: "ECDHE-RSA-AES256-GCM-SHA384",
}


@pytest.fixture(scope="module")
def issued() -> dict[KeyType, Issued]:
    between = Ca.root("Lab Root").intermediate("Lab Intermediate")
    return {key_type: between.issue(NAME, key_type=key_type) for key_type in KEY_TYPES}


def job(mail: Host, action: str, **told: Any) -> dict[str, Any]:
    wish = {"certificates": [[k.value, f"{CURRENT}/{k.value}"] for k in KEY_TYPES], "names": [NAME]} | told
    ran = mail.python("import tests.lab.service_job as job; job.main()", "dovecot", action, json.dumps(wish))
    answer: dict[str, Any] = json.loads(ran.stdout)
    return answer


def served(
    mail: Host, port: int, key_type: KeyType, address: str = "127.0.0.1", name: str = NAME
) -> str | None:
    """The SHA-256 of the leaf that openssl sees with ciphers of one key family; None where the handshake fails."""
    start = f"-starttls {PORTS[port]}" if PORTS[port] else ""
    said = mail.sh(
        f"openssl s_client -connect '{address}:{port}' -servername {name} {start} -tls1_2 "
        f"-cipher {CIPHER[key_type]} </dev/null 2>&1",
        check=False,
    )
    found = re.search(r"-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----", said, re.S)
    return hashlib.sha256(ssl.PEM_cert_to_DER_cert(found[0])).hexdigest() if found else None


def all_served(mail: Host, issued: dict[KeyType, Issued]) -> bool:
    return all(
        served(mail, port, key_type, address) == leaf.fingerprint
        for key_type, leaf in issued.items()
        for port in PORTS
        for address in ("127.0.0.1", "[::1]")
    )


def test_the_packages_defaults_come_to_serve_both_key_types_on_every_port(
    mail: Host, issued: dict[KeyType, Issued]
) -> None:
    deploy(mail, issued)
    before = mail.snapshot("/etc/dovecot")

    said = job(mail, "apply")

    assert said["changed"] == [DROP_IN]
    assert said["again"] == []
    assert [status for _, status, _ in said["checks"] + said["reload"]] == [0, 0]
    assert {port for _, port, _, _ in said["after"]["endpoints"]} >= set(PORTS)
    listening = {port for address, port in mail.listening() if address == "0.0.0.0"}
    assert {port for address, port, _, _ in said["after"]["endpoints"] if address == "127.0.0.1"} <= listening
    assert all_served(mail, issued)
    changed = {path for path, state in mail.snapshot("/etc/dovecot").items() if before.get(path) != state}
    assert changed <= {"/etc/dovecot/conf.d", DROP_IN}
    assert [finding["code"] for finding in said["audit"] + said["audit_after"]] == []


def test_a_stranger_is_offered_no_login_before_tls(mail: Host, issued: dict[KeyType, Issued]) -> None:
    deploy(mail, issued)
    version = job(mail, "observe")["facts"]["version"]
    lax = "disable_plaintext_auth = no" if version < [2, 4] else "auth_allow_cleartext = yes"
    mail.write("/etc/dovecot/conf.d/98-lax.conf", lax + "\n")
    mail.run(["doveadm", "reload"])

    said = job(mail, "apply")

    assert [finding["code"] for finding in said["audit"]] == ["dovecot-cleartext-login"]
    assert said["audit_after"] == []
    greeting = mail.python(
        "import socket; c = socket.create_connection(('127.0.0.1', 143), source_address=('127.0.0.2', 0)); "
        "print(c.recv(1000).decode())"
    ).stdout
    assert "LOGINDISABLED" in greeting
    assert "AUTH=" not in greeting


def test_one_file_configurations_serve_it_too(mail: Host, issued: dict[KeyType, Issued]) -> None:
    deploy(mail, issued)
    mail.sh("doveconf -n >/tmp/one && rm -r /etc/dovecot/conf.d && cp /tmp/one /etc/dovecot/dovecot.conf")
    mail.sh("sed -i '/^ssl_key = #/d; /^ssl_dh = #/d' /etc/dovecot/dovecot.conf; doveadm reload")

    said = job(mail, "apply")

    assert said["changed"] == ["/etc/dovecot/mailseal.conf", "/etc/dovecot/dovecot.conf"]
    assert said["again"] == []
    assert all_served(mail, issued)


def other_name(mail: Host, *, with_alternative: bool) -> None:
    """A filter that serves o.example.test an RSA certificate of its own."""
    old = job(mail, "observe")["facts"]["version"] < [2, 4]
    cert, key, sign = (
        ("ssl_cert", "ssl_key", "<") if old else ("ssl_server_cert_file", "ssl_server_key_file", "")
    )
    lines = [f"{cert} = {sign}/root/o.pem", f"{key} = {sign}/root/o.key"]
    if with_alternative:
        lines += [
            f"{name.replace('ssl_', 'ssl_alt_').replace('alt_server', 'server_alt')} ="
            for name in (cert, key)
        ]
    mail.sh(
        "openssl req -x509 -newkey rsa:2048 -nodes -keyout /root/o.key -out /root/o.pem -subj /CN=o 2>/dev/null"
    )
    block = "\n".join(lines)
    mail.write("/etc/dovecot/conf.d/95-o.conf", f"local_name o.example.test {{\n{block}\n}}\n")
    mail.run(["doveadm", "reload"])


@pytest.mark.parametrize("with_alternative", [True, False])
def test_a_name_filter_goes_on_serving_its_own(
    mail: Host, issued: dict[KeyType, Issued], with_alternative: bool
) -> None:
    deploy(mail, issued)
    other_name(mail, with_alternative=with_alternative)
    before = served(mail, 993, KeyType.RSA_2048, name="o.example.test")

    said = job(mail, "apply")

    told = [(finding["code"], finding["subject"]) for finding in said["findings"] + said["audit_after"]]
    place = "/etc/dovecot/conf.d/95-o.conf:2"
    assert ("dovecot-certificate-override", place) in told
    assert (("dovecot-second-key-type", place) in told) is not with_alternative
    assert served(mail, 993, KeyType.RSA_2048, name="o.example.test") == before is not None
    assert served(mail, 993, KeyType.ECDSA_P256, name="o.example.test") is None
    assert served(mail, 993, KeyType.ECDSA_P256) == issued[KeyType.ECDSA_P256].fingerprint
    rsa = issued[KeyType.RSA_2048].fingerprint
    assert served(mail, 993, KeyType.RSA_2048) == (rsa if with_alternative else None)


def test_a_later_file_wins_and_is_told(mail: Host, issued: dict[KeyType, Issued]) -> None:
    deploy(mail, issued)
    version = job(mail, "observe")["facts"]["version"]
    line = (
        "ssl_cert = </etc/dovecot/private/dovecot.pem"
        if version < [2, 4]
        else ("ssl_server_cert_file = /etc/dovecot/private/dovecot.pem")
    )
    mail.write("/etc/dovecot/local.conf", line + "\n")

    said = job(mail, "write")

    assert [(f["code"], f["subject"]) for f in said["findings"]] == [
        ("dovecot-later-setting", "/etc/dovecot/local.conf:1")
    ]
    assert said["after"]["configured"][0]["cert_file"] == "/etc/dovecot/private/dovecot.pem"


@pytest.mark.parametrize("fault", ["nonsense = 1", "protocol imap {", "missing"])
def test_the_checks_find_what_keeps_dovecot_from_starting(
    mail: Host, issued: dict[KeyType, Issued], fault: str
) -> None:
    if fault != "missing":
        deploy(mail, issued)
        mail.write("/etc/dovecot/conf.d/98-fault.conf", fault + "\n")

    [check] = job(mail, "write")["checks"]

    assert check[1] != 0
    assert "/etc/dovecot/" in check[2]


def test_the_24_drop_in_is_rewritten_after_an_upgrade(mail: Host, issued: dict[KeyType, Issued]) -> None:
    deploy(mail, issued)
    version = job(mail, "observe")["facts"]["version"]
    if version < [2, 4]:
        pytest.skip("the upgrade ends at 2.4")
    mail.write(DROP_IN, "# Written by mailseal\nssl = required\nssl_cert = </a.pem\nssl_key = </a.key\n")

    said = job(mail, "apply")

    assert [finding["code"] for finding in said["audit"]] == ["dovecot-configuration-broken"]
    assert all_served(mail, issued)


def test_a_dead_dovecot_is_started_without_systemd(mail: Host) -> None:
    assert job(mail, "observe")["facts"]["running"]
    mail.run(["doveadm", "stop"])
    said = job(mail, "restart")
    assert not said["facts"]["running"]
    assert [status for _, status, _ in said["restart"]] == [0, 0]
    assert job(mail, "observe")["facts"]["running"]
    mail.wait_listening(993)
    assert [status for _, status, _ in job(mail, "restart")["restart"]] == [0, 0]


def test_a_rehearsal_leaves_the_running_one_alone(mail: Host, issued: dict[KeyType, Issued]) -> None:
    deploy(mail, issued)
    mail.write(
        "/etc/dovecot/conf.d/98-sasl.conf",
        "service auth {\n  unix_listener /var/spool/postfix/private/auth {\n    mode = 0660\n  }\n}\n",
    )
    mail.run(["doveadm", "reload"])
    mail.sh("for i in $(seq 50); do test -S /var/spool/postfix/private/auth && exit; sleep 0.1; done; exit 1")
    rehearsal = job(mail, "rehearse")["rehearsal"]
    assert "/var/spool/postfix/private" in rehearsal["scratch"]
    before = mail.sh("stat -c %i /run/dovecot/* /var/spool/postfix/private/auth; cat /run/dovecot/master.pid")

    covers = "\n".join(f"mount -t tmpfs tmpfs {path}" for path in rehearsal["scratch"])
    inside = (
        f"ip link set lo up\n{covers}\n{' '.join(rehearsal['start']['argv'])} & pid=$!\n"
        "for i in $(seq 100); do openssl s_client -connect 127.0.0.1:993 </dev/null 2>&1 >/tmp/said && break; "
        "sleep 0.1; done; openssl x509 -noout -fingerprint -sha256 </tmp/said; kill $pid; wait $pid"
    )
    said = mail.run(["unshare", "--mount", "--net", "--propagation", "private", "sh", "-c", inside]).stdout

    shown = said.rsplit("=", 1)[-1].strip().replace(":", "").lower()
    assert shown in {leaf.fingerprint for leaf in issued.values()}, said
    after = mail.sh("stat -c %i /run/dovecot/* /var/spool/postfix/private/auth; cat /run/dovecot/master.pid")
    assert after == before
    assert served(mail, 993, KeyType.RSA_2048) is not None

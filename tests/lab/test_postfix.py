"""The Postfix adapter against Debian's own Postfix, both releases: look, wish, check, reload, ask openssl."""

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

SIGALGS = {KeyType.ECDSA_P256: "ECDSA+SHA256", KeyType.RSA_2048: "RSA-PSS+SHA256"}

DOVECOT_SOCKET = """\
service auth {
  unix_listener /var/spool/postfix/private/auth {
    mode = 0660
    user = postfix
    group = postfix
  }
}
"""


@pytest.fixture(scope="module")
def issued() -> dict[KeyType, Issued]:
    between = Ca.root("Lab Root").intermediate("Lab Intermediate")
    return {key_type: between.issue(NAME, key_type=key_type) for key_type in KEY_TYPES}


def job(mail: Host, action: str, **told: Any) -> dict[str, Any]:
    wish = {"certificates": [[k.value, f"{CURRENT}/{k.value}"] for k in KEY_TYPES], "names": [NAME]} | told
    ran = mail.python("import tests.lab.service_job as job; job.main()", "postfix", action, json.dumps(wish))
    answer: dict[str, Any] = json.loads(ran.stdout)
    return answer


def served(mail: Host, port: int, sigalg: str, address: str = "127.0.0.1") -> tuple[str, int]:
    """The SHA-256 of the leaf that openssl sees, and how many certificates came with it."""
    start = "" if port == 465 else "-starttls smtp"
    said = mail.sh(
        f"openssl s_client -connect '{address}:{port}' {start} -showcerts -sigalgs {sigalg} </dev/null 2>&1",
        check=False,
    )
    chain = re.findall(r"-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----", said, re.S)
    assert chain, said
    return hashlib.sha256(ssl.PEM_cert_to_DER_cert(chain[0])).hexdigest(), len(chain)


def with_sasl(mail: Host) -> None:
    """Dovecot answers Postfix's logins."""
    mail.write("/etc/dovecot/conf.d/98-sasl.conf", DOVECOT_SOCKET)
    mail.run(["doveadm", "reload"])
    mail.sh("for i in $(seq 50); do test -S /var/spool/postfix/private/auth && exit; sleep 0.1; done; exit 1")
    mail.run(["postconf", "-e", "smtpd_sasl_type=dovecot", "smtpd_sasl_path=private/auth"])


def test_the_packages_defaults_come_to_serve_both_key_types_on_every_port(
    mail: Host, issued: dict[KeyType, Issued]
) -> None:
    deploy(mail, issued)
    with_sasl(mail)
    before = mail.snapshot("/etc/postfix")

    said = job(mail, "apply", submission=True)

    assert said["changed"] == ["/etc/postfix/main.cf", "/etc/postfix/master.cf"]
    assert said["again"] == []
    assert [status for _, status, _ in said["checks"] + said["reload"]] == [0, 0, 0, 0]
    assert {(port, tls) for _, port, _, tls in said["after"]["endpoints"]} == {
        (25, "starttls"),
        (587, "starttls"),
        (465, "implicit"),
    }
    mail.wait_listening(25, 465, 587)
    for key_type, leaf in issued.items():
        for port in (25, 465, 587):
            for address in ("127.0.0.1", "[::1]"):
                assert served(mail, port, SIGALGS[key_type], address) == (leaf.fingerprint, 2)
    changed = {path for path, state in mail.snapshot("/etc/postfix").items() if before.get(path) != state}
    assert changed <= {"/etc/postfix", "/etc/postfix/main.cf", "/etc/postfix/master.cf"}
    assert [finding["code"] for finding in said["audit_after"]] == []


def test_a_login_works_on_the_ports_that_were_added(mail: Host, issued: dict[KeyType, Issued]) -> None:
    deploy(mail, issued)
    with_sasl(mail)
    job(mail, "apply", submission=True)
    mail.wait_listening(465, 587)

    for port, tls in ((587, "--tls"), (465, "--tls-on-connect")):
        login = f"swaks --server 127.0.0.1:{port} {tls} --auth PLAIN --au alice --ap wonderland"
        said = mail.sh(f"{login} --from alice@{NAME} --to alice@{NAME} 2>&1", check=False)
        assert "235 2.7.0 Authentication successful" in said, said
        assert "Ok: queued" in said, said
    stranger = mail.sh(
        f"swaks --server 127.0.0.1:587 --tls --from a@x.test --to alice@{NAME} 2>&1", check=False
    )
    assert "554 5.7.1" in stranger, stranger


def test_without_a_login_the_ports_are_not_added(mail: Host, issued: dict[KeyType, Issued]) -> None:
    deploy(mail, issued)

    said = job(mail, "write", submission=True)

    assert said["changed"] == ["/etc/postfix/main.cf"]
    assert [finding["code"] for finding in said["findings"]] == ["postfix-no-sasl"]


def test_the_text_is_read_as_postfix_reads_it(mail: Host) -> None:
    mail.sh(
        "printf 'submission inet n - y - - smtpd -o a_b=c -oc=d\\n  -o { smtpd_banner = x y }\\n"
        "# comment\\n\\n  -o smtpd_tls_chain_files=$mine\\n' >>/etc/postfix/master.cf;"
        "printf 'mine = /a.pem,\\n# comment\\n  /b.pem\\nsmtpd_tls_loglevel=1\\nsmtpd_tls_loglevel\\n = 2\\n' "
        ">>/etc/postfix/main.cf"
    )
    parsed = mail.python(
        "from mailseal.services import postfix_conf as conf\n"
        "for s in conf.services(open('/etc/postfix/master.cf').read()):\n"
        "    print(s.name, s.type, s.private, s.unprivileged, s.chroot, s.wakeup, s.maxproc, s.command)\n"
        "    for o in s.overrides: print(f'{s.name}/{s.type}/{o.name} = {o.value}')\n"
        "last = {s.name: s.value for s in conf.settings(open('/etc/postfix/main.cf').read())}\n"
        "for name in sorted(last): print('main', name, '=', last[name])\n"
    ).stdout
    lines = {" ".join(line.split()) for line in parsed.splitlines()}

    fields = {" ".join(line.split()[:8]) for line in mail.run(["postconf", "-M"]).stdout.splitlines()}
    assert {line for line in lines if line.count(" ") == 7 and " = " not in line} == fields
    overrides = {line for line in mail.run(["postconf", "-P"]).stdout.splitlines() if "argv" not in line}
    assert {line for line in lines if "/inet/" in line or "/unix/" in line} == overrides
    shown = {" ".join(f"main {line}".split()) for line in mail.run(["postconf", "-n"]).stdout.splitlines()}
    assert {line for line in lines if line.startswith("main ")} == shown


@pytest.mark.parametrize(
    ("path", "line"),
    [
        ("main.cf", "this is no setting"),
        ("main.cf", "inet_protocols = ipv9"),
        ("main.cf", "default_process_limit = 12z"),
        ("master.cf", "smtps inet n - y"),
        ("master.cf", "1234 inet n - x - - smtpd"),
    ],
)
def test_the_checks_find_what_keeps_postfix_from_starting(mail: Host, path: str, line: str) -> None:
    mail.sh(f"echo '{line}' >>/etc/postfix/{path}")

    checks = job(mail, "write", certificates=[])["checks"]

    assert next(said for _, status, said in checks if status != 0), "the first that fails says why"


def test_a_dead_postfix_is_started_without_systemd(mail: Host) -> None:
    assert job(mail, "observe")["facts"]["running"]
    mail.run(["postfix", "stop"])
    assert not job(mail, "observe")["facts"]["running"]

    ran = job(mail, "restart")["restart"]

    assert ran[-1][1] == 0, ran
    mail.wait_listening(25)
    assert job(mail, "observe")["facts"]["running"]

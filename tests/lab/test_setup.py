"""Setup, in the ways that people take: asked at a terminal, two key types, the submission ports, detach after edits."""

from __future__ import annotations

import json

from lab.ca import Pebble
from lab.host import Host
from lab.world import API_TRUST, World
from tests.lab.job import MAIL_PORTS, ROOTS, seen, setup, view

AT_A_TERMINAL = """
import os, pty, sys, time
answers = sys.argv[1].split("|")
argv = sys.argv[2:]
pid, master = pty.fork()
if pid == 0:
    os.execvp(argv[0], argv)
told, waiting = b"", 0
while True:
    try:
        piece = os.read(master, 65536)
    except OSError:
        break
    if not piece:
        break
    told += piece
    tail = told[waiting:]
    if answers and (tail.rstrip().endswith((b"]:", b"?", b"[y/N]:"))):
        waiting = len(told)
        os.write(master, (answers.pop(0) + "\\n").encode())
_, status = os.waitpid(pid, 0)
sys.stdout.write(told.decode("utf-8", "replace"))
sys.exit(os.waitstatus_to_exitcode(status))
"""


def test_at_a_terminal_it_asks_and_shows_the_plan_first(world: World, pebble: Pebble, mail: Host) -> None:
    mail.write(ROOTS, "".join(pebble.roots()))
    command = [
        "/opt/lab/bin/mailseal", "setup", "--agree-tos",
        "--directory", pebble.directory_url, "--ca-file", API_TRUST, "--trust", ROOTS,
    ]  # fmt: skip
    # Bare returns: the names and the address as proposed. Then no, at the plan.
    before = mail.snapshot("/etc", "/var/www")
    said_no = mail.python(AT_A_TERMINAL, "||n", *command, timeout=120, check=False)
    assert "Names for the certificate" in said_no.stdout and "mail.example.test" in said_no.stdout
    assert "postmaster@mail.example.test" in said_no.stdout
    assert "+smtpd_tls_chain_files" in said_no.stdout, "the diff is shown before the question"
    assert mail.snapshot("/etc", "/var/www") == before
    said_yes = mail.python(AT_A_TERMINAL, "||y", *command, timeout=180, check=False)
    assert said_yes.returncode == 0, said_yes.stdout
    assert "Tell mail clients" in said_yes.stdout
    assert "postmaster@mail.example.test" in mail.read("/etc/mailseal/mailseal.toml")
    assert "" not in view(world).values()


def test_without_a_terminal_and_without_yes_it_does_nothing(mail: Host, pebble: Pebble) -> None:
    before = mail.snapshot("/etc", "/var/www")
    done = mail.mailseal("setup", "--agree-tos", "--directory", pebble.directory_url, "--ca-file", API_TRUST)
    assert done.returncode == 2 and "--yes" in done.stderr
    assert mail.snapshot("/etc", "/var/www") == before


def test_two_key_types_and_the_submission_ports(world: World, pebble: Pebble, mail: Host) -> None:
    # Dovecot's SASL for Postfix, as the guides have it.
    mail.write(
        "/etc/dovecot/conf.d/90-sasl.conf",
        "service auth {\n  unix_listener /var/spool/postfix/private/auth {\n"
        "    mode = 0660\n    user = postfix\n    group = postfix\n  }\n}\n",
    )
    mail.sh(
        "doveadm reload; postconf -e smtpd_sasl_type=dovecot smtpd_sasl_path=private/auth; postfix reload; sleep 1"
    )
    setup(mail, pebble, "--key-type", "ecdsa-p256", "--key-type", "rsa-2048", "--submission")
    serials: dict[str, set[str]] = {}
    for family, cipher in (
        ("ecdsa", "ECDHE-ECDSA-AES128-GCM-SHA256"),
        ("rsa", "ECDHE-RSA-AES128-GCM-SHA256"),
    ):
        found = {
            port: seen(world, port, "mail.example.test", "-tls1_2", "-cipher", cipher).serial
            for port in MAIL_PORTS
        }
        found[465] = seen(world, 465, "mail.example.test", "-tls1_2", "-cipher", cipher).serial
        assert "" not in found.values(), (family, found)
        serials[family] = set(found.values())
    assert len(serials["ecdsa"]) == len(serials["rsa"]) == 1 and serials["ecdsa"] != serials["rsa"]
    told = world.ca.sh(
        "printf 'EHLO x\\r\\nQUIT\\r\\n' |"
        " openssl s_client -quiet -starttls smtp -connect mail.example.test:587 2>/dev/null; true"
    )
    assert "AUTH PLAIN" in told
    plain = world.ca.sh(
        "swaks --server mail.example.test --port 587 --quit-after EHLO 2>&1;"
        "swaks --server mail.example.test:25 --quit-after EHLO 2>&1; true"
    )
    assert "STARTTLS" in plain and "AUTH" not in plain
    world.ca.write("/tmp/roots.pem", "".join(pebble.roots()))
    world.ca.run(
        [
            "swaks", "--server", "mail.example.test", "--port", "465", "--tls-on-connect", "--tls-verify",
            "--tls-ca-path", "/tmp/roots.pem", "--auth", "PLAIN",
            "--auth-user", "alice", "--auth-password", "wonderland",
            "--from", "alice@mail.example.test", "--to", "alice@mail.example.test",
        ],
        timeout=60,
    )  # fmt: skip


def test_detach_keeps_what_was_edited_since(world: World, pebble: Pebble, mail: Host) -> None:
    before, main = mail.snapshot("/etc", "/var/www"), mail.read("/etc/postfix/main.cf")
    setup(mail, pebble)
    mail.write("/etc/postfix/main.cf", f"# the admin's own line\n{mail.read('/etc/postfix/main.cf')}")
    mail.write(
        "/etc/dovecot/conf.d/99-mailseal.conf",
        mail.read("/etc/dovecot/conf.d/99-mailseal.conf") + "\n# edited\n",
    )
    gone = mail.mailseal("detach", "--yes", "--json", timeout=120)
    assert gone.returncode == 1, gone.stdout + gone.stderr
    assert json.loads(gone.stdout)["left"] == ["/etc/dovecot/conf.d/99-mailseal.conf"]
    assert mail.read("/etc/postfix/main.cf") == f"# the admin's own line\n{main}"
    after = mail.snapshot("/etc", "/var/www")
    changed = {path for path in before.keys() | after.keys() if before.get(path) != after.get(path)}
    changed = {path for path in changed if not path.startswith(("/etc/mailseal", "/etc/ssl"))}
    assert changed == {"/etc/postfix/main.cf", "/etc/dovecot/conf.d/99-mailseal.conf"}


def test_an_existing_https_site_is_taken_over(world: World, pebble: Pebble, mail: Host) -> None:
    mail.sh(
        "mkdir -p /var/www/mail.example.test && echo hello >/var/www/mail.example.test/index.html;"
        "a2enmod -q ssl rewrite; printf '%s\\n' '<VirtualHost *:443>' 'ServerName mail.example.test'"
        " 'DocumentRoot /var/www/mail.example.test' 'SSLEngine on'"
        " 'SSLCertificateFile /etc/ssl/certs/ssl-cert-snakeoil.pem'"
        " 'SSLCertificateKeyFile /etc/ssl/private/ssl-cert-snakeoil.key' '</VirtualHost>'"
        " >/etc/apache2/sites-available/mine.conf; a2ensite -q mine;"
        "printf '%s\\n' '<VirtualHost *:80>' 'ServerName mail.example.test' 'RewriteEngine On'"
        " 'RewriteRule ^ https://%{SERVER_NAME}%{REQUEST_URI} [R=301,L]' '</VirtualHost>'"
        " >/etc/apache2/sites-available/mine-http.conf; a2ensite -q mine-http;"
        "a2dissite -q 000-default; apache2ctl graceful; sleep 1"
    )
    before = mail.snapshot("/etc", "/var/www")
    setup(mail, pebble)
    world.ca.write("/tmp/roots.pem", "".join(pebble.roots()))
    assert world.ca.sh("curl -sf --cacert /tmp/roots.pem https://mail.example.test/") == "hello\n"
    assert "lineages/mail/current" in mail.read("/etc/apache2/sites-available/mine.conf")
    assert not mail.exists("/etc/apache2/sites-available/mailseal-https.conf")
    assert mail.mailseal("detach", "--yes", timeout=120).returncode == 0
    after = {path: state for path, state in mail.snapshot("/etc", "/var/www").items() if path != ROOTS}
    assert {p: s for p, s in after.items() if not p.startswith("/etc/mailseal")} == before

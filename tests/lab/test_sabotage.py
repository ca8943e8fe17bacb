"""What goes wrong in the middle: no endpoint ends worse than it was, and the cause is named."""

from __future__ import annotations

import json

import pytest

from lab.ca import Pebble
from lab.host import Host
from lab.world import World
from tests.lab.job import MAIL_PORTS, add_name, reloads, sabotaged, setup, view

NEW = "/var/lib/mailseal/lineages/mail/0002/ecdsa-p256"
OTHER_KEY = (
    "openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out /tmp/other.pem;"
    f"cat /tmp/other.pem >{NEW}/privkey.pem; cat {NEW}/privkey.pem {NEW}/fullchain.pem >{NEW}/combined.pem"
)

SYNTAX_ERRORS = {
    "postfix": ("Postfix", "printf 'smtpd_banner\\n' >>/etc/postfix/main.cf"),
    "postfix-master": ("Postfix", "printf 'nonsense here\\n' >>/etc/postfix/master.cf"),
    "dovecot": ("Dovecot", "printf 'service imap {\\n' >/etc/dovecot/conf.d/95-admin.conf"),
    "apache": ("Apache", "printf 'NoSuchDirective on\\n' >/etc/apache2/conf-enabled/admin.conf"),
}


@pytest.mark.parametrize("case", SYNTAX_ERRORS)
def test_a_syntax_error_of_the_admins_is_found_before_the_switch(
    world: World, pebble: Pebble, mail: Host, case: str
) -> None:
    title, sabotage = SYNTAX_ERRORS[case]
    setup(mail, pebble)
    add_name(world, mail)
    before, count = view(world), reloads(mail)
    mail.sh(sabotage)
    done = mail.mailseal("apply", "--json", timeout=120)
    assert done.returncode == 3, done.stdout + done.stderr
    error = json.loads(done.stdout)["errors"][0]
    assert title in error["message"] and "before any change of ours" in error["message"]
    assert error["state"] == "Nothing was changed and nothing was reloaded."
    assert reloads(mail) == count
    assert not mail.exists(NEW), "nothing is ordered that could not be deployed"
    assert view(world) == before


@pytest.mark.parametrize(
    ("script", "why"),
    [
        (OTHER_KEY, "the private key is not the one that the certificate was issued for"),
        (
            f"cd {NEW}; : >chain.pem; cp cert.pem fullchain.pem; cat privkey.pem cert.pem >combined.pem",
            "the chain is incomplete",
        ),
    ],
    ids=["a key that does not fit", "a chain without its intermediate"],
)
def test_a_damaged_generation_never_goes_live(
    world: World, pebble: Pebble, mail: Host, script: str, why: str
) -> None:
    setup(mail, pebble)
    add_name(world, mail)
    before, count = view(world), reloads(mail)
    status, stdout, stderr = sabotaged(mail, "issued", script, "apply")
    assert status == 1, "another takes its place, and that is told: " + stdout + stderr
    assert "generation-refused" in stdout and why in " ".join(stdout.split()), stdout
    served = view(world)
    assert len(set(served.values())) == 1 and all(served[port] != before[port] for port in served)
    refused = mail.sh(f"openssl x509 -noout -serial -in {NEW}/cert.pem").partition("=")[2].strip()
    assert refused not in served.values()
    assert mail.sh("readlink /var/lib/mailseal/lineages/mail/current").strip() == "0003"
    assert reloads(mail) == count + 3, "a reload a daemon, for the generation that went live"


@pytest.mark.parametrize("daemon", ["dovecot", "apache"])
def test_a_daemon_that_dies_of_the_reload_is_brought_back(
    world: World, pebble: Pebble, mail: Host, daemon: str
) -> None:
    setup(mail, pebble, deadline=6)
    add_name(world, mail)
    before = view(world)
    # After our own checks and the rehearsal: the daemon reads a key that does not fit, and dies of it.
    status, stdout, stderr = sabotaged(mail, "switched", OTHER_KEY, "apply")
    assert status == 3, stdout + stderr
    assert "Taken back" in stderr and "Every endpoint serves as well as it did before." in stderr
    assert view(world) == before
    assert mail.sh("readlink /var/lib/mailseal/lineages/mail/current").strip() == "0001"


def test_a_postfix_throttled_after_a_bad_value_is_brought_back(
    world: World, pebble: Pebble, mail: Host
) -> None:
    setup(mail, pebble, deadline=4)
    add_name(world, mail)
    before = view(world)
    # The value is mended before our reload, but master(8) has throttled smtpd by then, for up to a minute.
    throttle = """
        postconf -e 'smtpd_soft_error_limit = many'
        postfix reload
        for i in 1 2 3; do timeout 2 sh -c 'exec 3<>/dev/tcp/127.0.0.1/25' 2>/dev/null || true; done
        python3 - <<'PY' || true
import socket, time
for _ in range(5):
    try:
        s = socket.create_connection(("127.0.0.1", 25), 2); s.settimeout(1); s.recv(10); s.close()
    except OSError:
        pass
    time.sleep(0.2)
PY
        postconf -X smtpd_soft_error_limit
    """
    status, stdout, stderr = sabotaged(mail, "reload", throttle, "apply")
    assert status == 3, stdout + stderr
    assert "Taken back" in stderr and "restarting Postfix" in stderr
    assert "Every endpoint serves as well as it did before." in stderr
    assert view(world) == before


def test_another_certificate_by_an_override_is_told_and_no_reason_to_go_back(
    world: World, pebble: Pebble, mail: Host
) -> None:
    mail.sh(
        "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 30 -subj /CN=old.example.test "
        "-keyout /tmp/k.pem -out /tmp/c.pem 2>/dev/null; cat /tmp/k.pem /tmp/c.pem >/etc/postfix/other.pem;"
        "chmod 600 /etc/postfix/other.pem; printf '%s\\n' 'smtps inet n - y - - smtpd' "
        "'  -o smtpd_tls_wrappermode=yes' '  -o smtpd_tls_chain_files=/etc/postfix/other.pem' >>/etc/postfix/master.cf;"
        "postfix reload"
    )
    before = view(world, 465)
    assert before[465]
    mail.write("/etc/ssl/lab-roots.pem", "".join(pebble.roots()))
    done = mail.mailseal(
        "setup", "--yes", "--agree-tos", "--directory", pebble.directory_url, "--ca-file", "/opt/lab/acme-api.pem",
        "--trust", "/etc/ssl/lab-roots.pem", "--json", timeout=180,
    )  # fmt: skip
    assert done.returncode == 1, done.stdout + done.stderr
    findings = json.loads(done.stdout)["findings"]
    assert any(":465" in f["subject"] and f["code"] == "leaf-differs" for f in findings), findings
    named = [f for f in findings if f["code"] == "postfix-service-certificate"]
    assert named and "master.cf" in named[0]["subject"] and "465" in named[0]["seen"], findings
    after = view(world)
    assert view(world, 465) == before, "what an admin overrides is left to him"
    assert len(set(after.values())) == 1 and "" not in after.values()


def test_a_port_that_was_broken_before_is_reported_and_no_reason_to_go_back(
    world: World, pebble: Pebble, mail: Host
) -> None:
    mail.write(
        "/etc/dovecot/conf.d/95-broken.conf", "service managesieve-login {\n  executable = /bin/false\n}\n"
    )
    mail.sh("doveadm reload")
    mail.write("/etc/ssl/lab-roots.pem", "".join(pebble.roots()))
    done = mail.mailseal(
        "setup", "--yes", "--agree-tos", "--directory", pebble.directory_url, "--ca-file", "/opt/lab/acme-api.pem",
        "--trust", "/etc/ssl/lab-roots.pem", "--json", timeout=240,
    )  # fmt: skip
    assert done.returncode == 1, done.stdout + done.stderr
    report = json.loads(done.stdout)
    assert any(":4190" in f["subject"] and f["severity"] == "error" for f in report["findings"])
    assert not report["errors"]
    good = view(world, *(port for port in MAIL_PORTS if port != 4190))
    assert len(set(good.values())) == 1 and "" not in good.values()

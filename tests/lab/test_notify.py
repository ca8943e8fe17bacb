"""A renewal that fails is told: real mails by the machine's own Postfix and by another's over TLS, a webhook, a
command, a heartbeat; again when it is time; and once when it is mended.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from email import message_from_string
from email.message import Message
from typing import Any

import pytest

from lab.ca_faults import Fault, FaultyServer
from lab.host import Host
from lab.world import World
from tests.lab.job import CONFIG, add_name, setup
from tests.lab.test_postfix import with_sasl
from tests.support.certs import Ca

RELAY = "relay.example.test"
RECEIVED = "/var/log/received.jsonl"
BOOK = "/var/lib/mailseal/notify.json"
NOTIFY = f"""
[notify]
summary = true
[notify.mail]
to = ["alice@mail.example.test"]
sender = "mailseal@mail.example.test"
via = "both"
[notify.smtp]
host = "{RELAY}"
user = "alice"
password_file = "/etc/mailseal/smtp.password"
ca_file = "/etc/mailseal/relay-root.pem"
timeout = 120
[[notify.webhook]]
url = "https://{RELAY}:8443/hook"
secret_file = "/etc/mailseal/hook.secret"
ca_file = "/etc/mailseal/relay-root.pem"
timeout = 120
[[notify.command]]
argv = ["/usr/local/bin/told", "team"]
timeout = 120
[notify.heartbeat]
url_file = "/etc/mailseal/heartbeat.url"
failure_suffix = "/fail"
ca_file = "/etc/mailseal/relay-root.pem"
timeout = 120
"""
DOWN = Fault("order-plz", times=1000, status=500, body="the CA has a bad day")


@dataclass(frozen=True)
class Place:
    """The mail server that is watched over, and the host elsewhere that takes its mails."""

    world: World
    mail: Host
    relay: Host
    ca: FaultyServer

    def renew(self, *command: str) -> tuple[int, str]:
        done = self.mail.mailseal(*(command or ("renew",)), timeout=400)
        return done.returncode, done.stdout + done.stderr

    def mails(self, host: Host, count: int) -> list[Message]:
        """What lies in alice's mailbox there, once there are that many."""
        return wait_for(lambda: in_mailbox(host), count, "mails")

    def asked(self, path: str, count: int) -> list[dict[str, Any]]:
        """What the receiver was asked below a path, once there are that many."""
        return wait_for(lambda: [one for one in self.requests() if one["path"] == path], count, path)

    def requests(self) -> list[dict[str, Any]]:
        return [
            json.loads(line) for line in self.relay.sh(f"cat {RECEIVED} 2>/dev/null || true").splitlines()
        ]


def wait_for(look: Any, count: int, what: str, seconds: float = 180) -> list[Any]:
    end = time.monotonic() + seconds
    while len(found := look()) < count:
        assert time.monotonic() < end, f"only {len(found)} of {count}: {what}: {found}"
        time.sleep(0.1)
    assert len(found) == count, f"{len(found)}, not {count}: {what}"
    return list(found)


def in_mailbox(host: Host) -> list[Message]:
    """The mails of an mbox file (RFC 4155), each whole."""
    text = host.sh("cat /var/mail/alice 2>/dev/null || true")
    return [message_from_string(one) for one in re.split(r"(?:\A|\n\n)From \S+ .*\n", text) if one]


@pytest.fixture
def relay(world: World) -> Iterator[Host]:
    """Another mail server: port 465 with a login, and a web server that writes down what it is asked.

    It delivers alice's mail itself, so that it can be told by which way a mail came.
    """
    host = world.host("bookworm", RELAY)
    root = Ca.root("Relay Root")
    host.write("/etc/relay/root.pem", root.pem.decode())
    host.write("/etc/relay/combined.pem", root.issue(RELAY).combined_pem.decode(), 0o600)
    with_sasl(host)
    host.run(["postconf", "-e", f"myhostname={RELAY}", f"mydestination={RELAY}, mail.example.test",
              "smtpd_tls_cert_file=", "smtpd_tls_key_file=",
              "smtpd_tls_chain_files=/etc/relay/combined.pem"])  # fmt: skip
    host.run(["postconf", "-M", "submissions/inet=submissions inet n - y - - smtpd"])
    host.run(["postconf", "-P", "submissions/inet/smtpd_tls_wrappermode=yes",
              "submissions/inet/smtpd_sasl_auth_enable=yes",
              "submissions/inet/smtpd_recipient_restrictions=permit_sasl_authenticated,reject"])  # fmt: skip
    host.run(["postfix", "reload"])
    receiver = "/src/mailseal/tests/lab/receiver.py"
    host.spawn(
        ["python3", receiver, "8443", "/etc/relay/combined.pem", RECEIVED], log="/var/log/receiver.log"
    )
    host.wait_listening(465, 8443)
    yield host
    world.discard(host)


@pytest.fixture
def place(world: World, mail: Host, relay: Host) -> Place:
    """A server set up by mailseal, told whom to tell."""
    ca = world.faulty(world.pebble())
    setup(mail, ca)
    mail.write("/etc/mailseal/smtp.password", "wonderland\n", 0o600)
    mail.write("/etc/mailseal/hook.secret", "Bearer hook-s3cret\n", 0o600)
    mail.write("/etc/mailseal/heartbeat.url", f"https://{RELAY}:8443/beat/5ec4e7\n", 0o600)
    mail.write("/etc/mailseal/relay-root.pem", relay.read("/etc/relay/root.pem"))
    mail.write("/usr/local/bin/told", '#!/bin/sh\n{ echo "$1 $MAILSEAL_KIND"; } >>/var/log/told\n', 0o755)
    mail.write(CONFIG, mail.read(CONFIG) + NOTIFY)
    return Place(world, mail, relay, ca)


def back_in_time(mail: Host, span: timedelta) -> None:
    """As if what was told had been told that much earlier: the machine's clock is never set."""
    book = json.loads(mail.read(BOOK))
    for entry in book["entries"]:
        for key in ("since", "told"):
            moment = datetime.fromisoformat(entry[key]) - span
            entry[key] = moment.isoformat()
    mail.write(BOOK, json.dumps(book), 0o600)


def body(message: Message) -> str:
    payload = message.get_payload(decode=True)
    assert isinstance(payload, bytes)
    return payload.decode()


def test_a_failing_renewal_is_told_again_and_mended(place: Place) -> None:
    mail, relay, ca = place.mail, place.relay, place.ca
    status, said = place.renew("notify", "--test")
    assert status == 0, said
    assert said.count("sent ") == 5, said
    place.mails(mail, 1), place.mails(relay, 1)

    ca.inject(DOWN)
    add_name(place.world, mail)
    status, said = place.renew()
    assert status == 3, said
    first = place.mails(mail, 2)[1]
    assert first["Subject"] == "[mailseal] mail.example.test: certificate mail could not be renewed"
    assert first["Auto-Submitted"] == "auto-generated"
    assert "mailseal@mail.example.test" in first["From"]
    text = body(first)
    assert "Certificate mail: mail.example.test" in text
    assert "Safe until 20" in text and "Type: " in text and "500" in text
    assert all(len(line) <= 72 or len(line.split()) <= 2 for line in text.splitlines())
    assert "with ESMTPSA" in place.mails(relay, 2)[1]["Received"]  # over TLS, with a login (RFC 3848)

    for _ in range(2):  # it waits for its next try: that is no news
        place.renew()
    assert len(json.loads(mail.read(BOOK))["entries"]) == 1
    back_in_time(mail, timedelta(days=1))
    place.renew()
    assert "(24 hours ago)" in body(place.mails(mail, 3)[2])

    ca.inject()
    status, said = place.renew("apply")
    assert status == 0, said
    place.renew()
    told = [*place.mails(mail, 5), *place.mails(relay, 5)]
    assert [one["Subject"].rpartition("test: ")[2] for one in told] == [
        "a test of notification",
        "certificate mail could not be renewed",
        "certificate mail could not be renewed",
        "mended: certificate mail",
        "renewed: certificate mail",
    ] * 2

    hooks = place.asked("/hook", 5)
    assert [json.loads(one["body"])["kind"] for one in hooks] == [
        "test", "trouble", "trouble", "mended", "renewed",
    ]  # fmt: skip
    assert {one["headers"]["Authorization"] for one in hooks} == {"Bearer hook-s3cret"}
    assert mail.read("/var/log/told").split() == [
        "team", "test", "team", "trouble", "team", "trouble", "team", "mended", "team", "renewed",
    ]  # fmt: skip
    assert len(place.asked("/beat/5ec4e7/fail", 4)) == 4
    assert len(place.asked("/beat/5ec4e7", 3)) == 3
    kept = mail.read(BOOK) + mail.log()
    for hidden in ("wonderland", "hook-s3cret", "5ec4e7", "PRIVATE KEY"):
        assert hidden not in kept and hidden not in said
    assert all(hidden not in str(one) for one in told for hidden in ("hook-s3cret", "5ec4e7", "PRIVATE KEY"))

    # A mail that needs the very Postfix that is down: handed over, doubted, and there in the end.
    mail.run(["postfix", "stop"])
    status, said = place.renew("notify", "--test")
    assert status == 1 and said.count("doubtful ") == 1 and said.count("sent ") == 4, said
    relay.run(["postfix", "stop"])
    status, said = place.renew("notify", "--test")
    assert status == 1 and said.count("doubtful ") == 1 and said.count("failed ") == 1, said
    mail.run(["postfix", "start"])
    place.mails(mail, 7), place.mails(relay, 6)

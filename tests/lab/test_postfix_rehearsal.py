"""A throw-away Postfix beside the live one: it serves, finds what no checker finds, and disturbs nothing."""

from __future__ import annotations

import json
from typing import Any

import pytest

from lab import image
from lab.host import Host
from mailseal.model import KeyType
from tests.lab.certificates import CURRENT, KEY_TYPES, NAME, deploy
from tests.lab.test_postfix import job, served, with_sasl
from tests.support.certs import Ca, Issued

pytestmark = pytest.mark.parametrize("release", image.RELEASES)

STAGE = """
import json, sys
import msgspec
from mailseal.rehearsal import _UNSHARE, StageOrder
from mailseal.services.base import ServiceSettings
from mailseal.system.local import LocalSystem

system = LocalSystem()
system.files.mkdir("/root/stage", mode=0o700, exist_ok=True)
own = list(system.network.own_addresses())
order = StageOrder("/root/stage", [], [], [ServiceSettings("postfix")], own, sys.argv[1])
argv = (*_UNSHARE, "--", sys.executable, "-m", "mailseal.rehearsal_stage")
env = {"PYTHONPATH": ":".join(sys.path)}
done = system.processes.run(argv, timeout=60, stdin=msgspec.json.encode(order), env=env)
print(done.stdout or json.dumps({"impossible": done.said}))
"""


@pytest.fixture(scope="module")
def issued() -> dict[KeyType, Issued]:
    between = Ca.root("Lab Root").intermediate("Lab Intermediate")
    return {key_type: between.issue(NAME, key_type=key_type) for key_type in KEY_TYPES}


def rehearse(mail: Host) -> dict[str, Any]:
    answer: dict[str, Any] = json.loads(mail.python(STAGE, NAME).stdout)
    assert not answer["impossible"], answer
    return answer


def test_it_serves_every_port_and_leaves_the_live_instance_alone(
    mail: Host, issued: dict[KeyType, Issued]
) -> None:
    deploy(mail, issued)
    with_sasl(mail)
    snakeoil = served(mail, 25, "RSA-PSS+SHA256")
    master = mail.read("/var/spool/postfix/pid/master.pid")
    job(mail, "write", submission=True)  # written, not reloaded
    mail.sh(f"postconf -e 'inet_interfaces = {mail.ipv4}, 127.0.0.1' smtpd_milters=inet:127.0.0.1:8891")
    before = mail.sh("find /var/spool/postfix /var/lib/postfix -printf '%p %i %m %u\\n' | sort")
    logged = mail.log()

    answers = rehearse(mail)["answers"]

    leaves = {leaf.fingerprint for leaf in issued.values()}
    assert {a["endpoint"] for a in answers} == {
        f"postfix {address}:{port}" for address in ("127.0.0.1", mail.ipv4) for port in (25, 465, 587)
    }
    assert all(a["leaf"] in leaves and not a["trouble"] for a in answers), answers
    assert mail.sh("find /var/spool/postfix /var/lib/postfix -printf '%p %i %m %u\\n' | sort") == before
    assert mail.read("/var/spool/postfix/pid/master.pid") == master
    assert "mailseal-rehearsal" not in mail.log().removeprefix(logged)
    assert served(mail, 25, "RSA-PSS+SHA256") == snakeoil
    assert mail.sh("test -S /var/spool/postfix/private/auth && postqueue -p") == "Mail queue is empty\n"


@pytest.mark.parametrize(
    "harm",
    [
        "postconf -e smtpd_tls_security_level=bogus",
        f"rm {CURRENT}/ecdsa-p256/combined.pem",
        f"cat {CURRENT}/rsa-2048/privkey.pem {CURRENT}/ecdsa-p256/fullchain.pem >{CURRENT}/ecdsa-p256/combined.pem",
    ],
    ids=["bad value", "missing file", "key that does not fit"],
)
def test_it_finds_what_no_checker_finds(mail: Host, issued: dict[KeyType, Issued], harm: str) -> None:
    deploy(mail, issued)
    checks = job(mail, "write")["checks"]
    mail.sh(harm)

    checks = job(mail, "write")["checks"]
    answers = rehearse(mail)["answers"]

    assert [status for _, status, _ in checks] == [0, 0, 0], "the checkers find it: no need for a rehearsal"
    assert any(answer["trouble"] for answer in answers), answers

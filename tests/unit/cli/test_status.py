"""`mailseal status` on machines in memory: what a person reads, what a program reads."""

from __future__ import annotations

import io
import json
from datetime import UTC, datetime, timedelta

import pytest

from mailseal.cli.main import main
from mailseal.cli.output import Output
from mailseal.config import DEFAULT_PATH
from mailseal.config.acme import LETSENCRYPT
from mailseal.config.reference import SMALLEST
from mailseal.journal import Journal
from mailseal.model import CertificateFacts, Identifier, KeyType, Secret
from mailseal.stores.filesystem import LineageStore, Material
from mailseal.stores.state import Failure, LineageState, StateStore, Suggestion
from tests.support.memory import MemorySystem

NAMES = (Identifier("dns", "mail.example.org"), Identifier("dns", "webmail.example.org"))


@pytest.fixture
def system() -> MemorySystem:
    made = MemorySystem()
    made.machine.put_directory("/etc/mailseal")
    made.machine.put(DEFAULT_PATH, SMALLEST)
    LineageStore(made).prepare()
    return made


def run(system: MemorySystem, *arguments: str) -> tuple[int, str, str]:
    stdout, stderr = io.StringIO(), io.StringIO()
    status = main(["status", *arguments], system=system, out=Output(stdout, stderr))
    return status, stdout.getvalue(), stderr.getvalue()


def issue(system: MemorySystem, *, live: bool = True) -> datetime:
    """A certificate of 90 days, issued now; the time of its expiry."""
    now = system.clock.now()
    facts = CertificateFacts(
        "ab" * 32, "cd" * 32, NAMES, "CN=Test CA", 7, now, now + timedelta(days=90), "ecdsa"
    )
    store = LineageStore(system)
    material = Material(KeyType.ECDSA_P256, Secret(b"key\n"), b"leaf\n", b"chain\n", facts)
    generation = store.write("mail", (material,), issuer=LETSENCRYPT, issued_at=now)
    if live:
        wish = store.current_wish(generation)
        system.files.symlink(wish.path, wish.target)
    return facts.not_after


def test_there_is_none_yet(system: MemorySystem) -> None:
    status, stdout, _ = run(system)
    assert status == 1
    assert "mail.example.org, webmail.example.org" in stdout
    assert "There is no certificate yet. Next: mailseal apply" in stdout


def test_a_certificate_in_its_life(system: MemorySystem) -> None:
    expires = issue(system)
    status, stdout, _ = run(system)
    assert status == 1
    assert "mail  generation 0001\n" in stdout
    assert f"expires   {expires:%Y-%m-%d %H:%M} UTC (in 90 days)\n" in stdout
    assert f"renews    {expires - timedelta(days=30):%Y-%m-%d}" in stdout
    assert "No service is configured with it." in stdout
    system.machine.now += timedelta(days=91)
    assert "It has expired." in run(system)[1]


def test_issued_is_not_deployed(system: MemorySystem) -> None:
    issue(system)
    issue(system, live=False)
    assert "Generation 0002 is there and not live yet." in run(system)[1]


def test_what_waits(system: MemorySystem) -> None:
    now = system.clock.now()
    failure = Failure(2, now, "mail.example.org: connection refused", now + timedelta(minutes=10))
    StateStore(system, "/var/lib/mailseal").save("mail", LineageState(failures={LETSENCRYPT: failure}))
    _, stdout, _ = run(system)
    assert "waits     mail: the last order failed (mail.example.org: connection refused);" in stdout


def test_as_json(system: MemorySystem) -> None:
    expires = issue(system)
    status, stdout, _ = run(system, "--json")
    assert status == 1
    (one,) = json.loads(stdout)["certificates"]
    assert one["name"] == "mail"
    assert one["generation"] == 1
    assert one["identifiers"] == ["mail.example.org", "webmail.example.org"]
    assert datetime.fromisoformat(one["expires"]) == expires.astimezone(UTC)


def test_it_changes_nothing(system: MemorySystem) -> None:
    issue(system)
    before = len(system.machine.effects)
    run(system)
    assert len(system.machine.effects) == before


def test_without_a_configuration(system: MemorySystem) -> None:
    system.files.remove(DEFAULT_PATH)
    status, stdout, stderr = run(system)
    assert (status, stdout) == (2, "")
    assert "There is no configuration" in stderr
    assert "Next: mailseal setup" in stderr


def test_a_change_in_the_middle_is_told(system: MemorySystem) -> None:
    issue(system)
    Journal(system, "/var/lib/mailseal").begin("serve generation 0002", (), (), ())
    status, stdout, _ = run(system)
    assert (
        status == 1 and "serve generation 0002. If no mailseal is at work, mailseal apply ends it." in stdout
    )
    assert json.loads(run(system, "--json")[1])["interrupted"]


def test_a_suggestion_is_shown_with_the_cas_explanation(system: MemorySystem) -> None:
    issue(system)
    now, store = system.clock.now(), LineageStore(system)
    (leaf,) = store.fingerprints("mail", "0001")
    window = (now + timedelta(days=3), now + timedelta(days=4), now + timedelta(days=3, hours=1))
    known = Suggestion("id", leaf, *window, now, "https://ca.example.net/incident-7")
    state = LineageState(suggestions={KeyType.ECDSA_P256: known})
    StateStore(system, "/var/lib/mailseal").save("mail", state)
    _, stdout, _ = run(system)
    assert "the CA suggests it" in stdout and "https://ca.example.net/incident-7" in " ".join(stdout.split())

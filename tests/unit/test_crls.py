"""A CA's revocation list: believed where the issuer signed it, and where it holds the serial number; else silent."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding

from mailseal.crls import revocation
from mailseal.errors import ExitCode, NetworkFault, UsageError
from mailseal.rollback import Wanted, rollback
from mailseal.system.http import HttpResponse
from tests.support.certs import Ca, new_key
from tests.support.memory import Machine, MemorySystem
from tests.unit.test_reconcile import Stand, one_service

__all__ = ["one_service"]
WHEN = datetime(2026, 11, 1, 12, 0, tzinfo=UTC)
ROOT = Ca.root("Lab Root")
OTHER = Ca.root("Lab Root")  # of the same name, with another key
PLACE = "http://crl.example.test/1.crl"


def leaf(*places: str) -> x509.Certificate:
    """A leaf that names these lists."""
    names = [x509.UniformResourceIdentifier(place) for place in places]
    builder = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([]))
        .issuer_name(ROOT.certificate.subject)
        .public_key(new_key().public_key())
        .serial_number(4711)
        .not_valid_before(WHEN)
        .not_valid_after(WHEN + timedelta(days=90))
    )
    if names:
        point = x509.DistributionPoint(names, None, None, None)
        builder = builder.add_extension(x509.CRLDistributionPoints([point]), critical=False)
    return builder.sign(ROOT.key, hashes.SHA256())


def listed(ca: Ca = ROOT, serial: int = 4711, reason: x509.ReasonFlags | None = None) -> bytes:
    """A list by that CA that holds one serial number."""
    entry = x509.RevokedCertificateBuilder().serial_number(serial).revocation_date(WHEN)
    if reason is not None:
        entry = entry.add_extension(x509.CRLReason(reason), critical=False)
    built = (
        x509.CertificateRevocationListBuilder()
        .issuer_name(ca.certificate.subject)
        .last_update(WHEN)
        .next_update(WHEN + timedelta(days=7))
        .add_revoked_certificate(entry.build())
        .sign(ca.key, hashes.SHA256())
    )
    return built.public_bytes(Encoding.DER)


class Web:
    """Answers with these bodies; what it does not hold cannot be reached."""

    def __init__(self, pages: Mapping[str, bytes]) -> None:
        self.pages = pages
        self.asked: list[str] = []

    async def request(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        body: bytes | None = None,
        timeout: float = 30.0,
        limit: int = 1_048_576,
    ) -> HttpResponse:
        self.asked.append(url)
        if url not in self.pages:
            raise NetworkFault("no route")
        return HttpResponse(200, {}, self.pages[url])

    async def close(self) -> None:
        """Nothing is open."""


def told(web: Web, *places: str) -> str:
    machine = Machine()
    machine.world.web = web
    return revocation(MemorySystem(machine), leaf(*places).public_bytes(Encoding.DER), ROOT.der)


def test_what_the_issuer_listed_is_told_with_its_reason() -> None:
    assert told(Web({PLACE: listed()}), PLACE) == "2026-11-01 12:00 UTC"
    compromise = listed(reason=x509.ReasonFlags.key_compromise)
    assert told(Web({PLACE: compromise}), PLACE) == "2026-11-01 12:00 UTC, keyCompromise"


def test_another_place_is_asked_where_one_says_nothing() -> None:
    web = Web({PLACE: listed()})
    assert told(web, "http://gone.example.test/", PLACE) and web.asked == ["http://gone.example.test/", PLACE]


@pytest.mark.parametrize(
    "body",
    [
        listed(serial=4712),
        listed(OTHER),
        listed(Ca.root("Another")),
        b"",
        b"<html>",
        listed()[:-1],
        listed() + b"x",
    ],
    ids=["not on it", "signed by another key", "of another CA", "empty", "a page", "cut off", "too long"],
)
def test_anything_else_says_nothing(body: bytes) -> None:
    assert told(Web({PLACE: body}), PLACE) == ""


def test_no_place_is_not_asked() -> None:
    web = Web({})
    assert told(web) == told(web, "ldap://crl.example.test/") == "" and not web.asked


def test_nothing_goes_back_to_what_the_ca_revoked(monkeypatch: pytest.MonkeyPatch) -> None:
    stand = Stand()
    stand.apply()
    stand.later(days=61)
    assert stand.renew().exit_code is ExitCode.OK
    monkeypatch.setattr(
        "mailseal.rollback.revocation", lambda system, leaf, issuer: "2026-11-01, keyCompromise"
    )
    with pytest.raises(UsageError, match=r"its CA has revoked it \(2026-11-01, keyCompromise\)"):
        rollback(MemorySystem(stand.machine), stand.config(), stand.reconciler(), Wanted())
    assert stand.serves == 2

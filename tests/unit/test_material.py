"""What must never go live, a line each."""

from __future__ import annotations

from datetime import timedelta

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID

from mailseal.certificates import certificate_facts, read_pem, write_pem
from mailseal.chains import TrustAnchors, trust
from mailseal.errors import KeyMaterialError
from mailseal.material import check_material, faults, public_key_of
from mailseal.model import Identifier, KeyType, Secret
from tests.support.certs import Ca, Issued, key_pem, new_key, self_signed, utc_now

NOW = utc_now()
ROOT = Ca.root("Lab Root")
UPPER = ROOT.intermediate("Upper")
LOWER = UPPER.intermediate("Lower")
ANCHORS = TrustAnchors("the lab's root", ROOT.pem)
OTHERS = TrustAnchors("the system's store", Ca.root("Another Root").pem)
NAMES = (Identifier.parse("mail.example.org"), Identifier.parse("*.lists.example.org"))
GOOD = LOWER.issue("mail.example.org", "*.lists.example.org")
RSA = LOWER.issue("mail.example.org", "*.lists.example.org", key_type=KeyType.RSA_2048)


def codes(
    issued: Issued,
    *,
    key: bytes | None = None,
    served: tuple[bytes, ...] = (),
    anchors: TrustAnchors | None = ANCHORS,
) -> list[str]:
    found = faults(
        Secret(issued.key_pem if key is None else key),
        served or issued.served,
        identifiers=NAMES,
        now=NOW,
        anchors=anchors,
    )
    assert all(fault.text for fault in found)
    return [fault.code for fault in found]


def issue(**changes: object) -> Issued:
    return LOWER.issue("mail.example.org", "*.lists.example.org", **changes)  # type: ignore[arg-type]


def encrypted(key: ec.EllipticCurvePrivateKey, form: PrivateFormat) -> bytes:
    return key.private_bytes(Encoding.PEM, form, BestAvailableEncryption(b"x"))


@pytest.mark.parametrize("issued", [GOOD, RSA], ids=["ecdsa", "rsa"])
@pytest.mark.parametrize("anchors", [ANCHORS, None], ids=["anchored", "unknown-root"])
def test_good_material_goes_live(issued: Issued, anchors: TrustAnchors | None) -> None:
    facts = check_material(
        Secret(issued.key_pem), issued.cert_pem, issued.chain_pem, identifiers=NAMES, now=NOW, anchors=anchors
    )
    assert facts == certificate_facts(issued.der)
    assert facts.fingerprint == issued.fingerprint
    assert facts.identifiers == NAMES
    assert facts.issuer == "Lower"


L, U = LOWER.der, UPPER.der
WRONG = [
    pytest.param(GOOD, {"key": key_pem(new_key())}, ["key-does-not-fit"], id="key-of-another"),
    pytest.param(GOOD, {"key": RSA.key_pem}, ["key-does-not-fit"], id="rsa-key-for-ecdsa"),
    pytest.param(GOOD, {"key": b"nothing"}, ["key-unreadable"], id="no-key"),
    pytest.param(GOOD, {"key": GOOD.key_pem[:60] + GOOD.key_pem[70:]}, ["key-unreadable"], id="damaged-key"),
    pytest.param(GOOD, {"served": (GOOD.der,)}, ["chain-incomplete"], id="cert-in-place-of-fullchain"),
    pytest.param(GOOD, {"served": (GOOD.der, L)}, ["untrusted"], id="without-the-upper"),
    pytest.param(GOOD, {"served": (GOOD.der, U, L)}, ["chain-order"], id="out-of-order"),
    pytest.param(GOOD, {"served": (GOOD.der, L, U, L)}, ["chain-superfluous"], id="twice"),
    pytest.param(GOOD, {"served": (GOOD.der, L, U, RSA.der)}, ["chain-superfluous"], id="surplus"),
    pytest.param(GOOD, {"served": (*GOOD.served, ROOT.der)}, [], id="root-in-chain"),
    pytest.param(GOOD, {"anchors": OTHERS}, ["untrusted"], id="unknown-root"),
    pytest.param(
        GOOD, {"served": (*GOOD.served, ROOT.der), "anchors": OTHERS}, ["untrusted"], id="root-sent-unknown"
    ),
    pytest.param(
        issue(not_after=NOW - timedelta(hours=1), not_before=NOW - timedelta(9)),
        {},
        ["expired"],
        id="expired",
    ),
    pytest.param(issue(not_before=NOW + timedelta(hours=1)), {}, ["not-yet-valid"], id="from-tomorrow"),
    pytest.param(LOWER.issue("mail.example.org"), {}, ["name-mismatch"], id="a-name-too-few"),
    pytest.param(
        LOWER.issue("mail.example.org", "x.lists.example.org"), {}, ["name-mismatch"], id="no-wildcard"
    ),
    pytest.param(issue(usages=(ExtendedKeyUsageOID.CLIENT_AUTH,)), {}, ["not-for-servers"], id="client-only"),
    pytest.param(issue(usages=None), {}, [], id="no-usage-told"),
    pytest.param(
        self_signed("mail.example.org", "*.lists.example.org"),
        {"anchors": None},
        [],
        id="self-signed-unasked",
    ),
    pytest.param(self_signed("mail.example.org", "*.lists.example.org"), {}, ["untrusted"], id="self-signed"),
    pytest.param(
        issue(key=rsa.generate_private_key(public_exponent=65537, key_size=1024)),
        {},
        ["certificate-weak"],
        id="small-key",
    ),
]


@pytest.mark.parametrize(("issued", "changes", "expected"), WRONG)
def test_what_is_wrong_is_named(issued: Issued, changes: dict[str, object], expected: list[str]) -> None:
    assert codes(issued, **changes) == expected  # type: ignore[arg-type]


def test_a_signature_with_sha1_is_weak() -> None:
    sha256, sha1 = bytes.fromhex("2a864886f70d01010b"), bytes.fromhex("2a864886f70d010105")
    root = Ca.root("RSA Root", key_type=KeyType.RSA_2048)
    leaf = root.issue("mail.example.org", "*.lists.example.org")
    assert "certificate-weak" in codes(leaf, served=(leaf.der.replace(sha256, sha1),), anchors=None)


@pytest.mark.parametrize("form", [PrivateFormat.PKCS8, PrivateFormat.TraditionalOpenSSL])
def test_a_locked_key_is_told_as_such(form: PrivateFormat) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    with pytest.raises(KeyMaterialError, match="passphrase"):
        public_key_of(Secret(encrypted(key, form)))


def test_the_key_is_found_in_a_combined_file_wherever_it_stands() -> None:
    before, after = GOOD.key_pem + GOOD.fullchain_pem, GOOD.fullchain_pem + GOOD.key_pem
    assert codes(GOOD, key=before) == codes(GOOD, key=after) == []


def test_everything_wrong_is_told_at_once_and_no_key_with_it() -> None:
    with pytest.raises(KeyMaterialError) as caught:
        check_material(
            Secret(RSA.key_pem),
            GOOD.cert_pem,
            b"",
            identifiers=[Identifier.parse("a.example")],
            now=NOW,
            anchors=ANCHORS,
        )
    told = "\n".join(caught.value.lines())
    assert "not the one" in told
    assert "certificate of Lower is missing" in told
    assert "not for a.example but for mail.example.org, *.lists.example.org" in told
    assert "PRIVATE" not in told
    assert "Nothing was changed" in told


def test_another_key_type_than_asked_for() -> None:
    with pytest.raises(KeyMaterialError, match="ecdsa-p256, not rsa-2048"):
        check_material(
            Secret(GOOD.key_pem),
            GOOD.cert_pem,
            GOOD.chain_pem,
            identifiers=NAMES,
            now=NOW,
            anchors=ANCHORS,
            key_type=KeyType.RSA_2048,
        )


@pytest.mark.parametrize("pem", [b"", b"hello", GOOD.key_pem])
def test_a_file_without_a_certificate(pem: bytes) -> None:
    with pytest.raises(KeyMaterialError, match="no certificate"):
        check_material(Secret(GOOD.key_pem), pem, b"", identifiers=NAMES, now=NOW)


@pytest.mark.parametrize("pem", [GOOD.cert_pem[:-30], GOOD.cert_pem.replace(b"M", b"N", 1)])
def test_a_damaged_certificate(pem: bytes) -> None:
    with pytest.raises(KeyMaterialError):
        check_material(Secret(GOOD.key_pem), pem, b"", identifiers=NAMES, now=NOW)


def test_pem_there_and_back() -> None:
    assert read_pem(GOOD.combined_pem) == GOOD.served
    assert write_pem(GOOD.served) == GOOD.fullchain_pem


def test_an_address_is_a_name() -> None:
    leaf = LOWER.issue("192.0.2.1", "2001:db8::1")
    wanted = [Identifier.parse("192.0.2.1"), Identifier.parse("2001:DB8:0::1")]
    found = faults(Secret(leaf.key_pem), leaf.served, identifiers=wanted, now=NOW, anchors=ANCHORS)
    assert found == ()


def test_a_surplus_certificate_stops_nothing() -> None:
    surplus = GOOD.chain_pem + RSA.cert_pem
    facts = check_material(
        Secret(GOOD.key_pem), GOOD.cert_pem, surplus, identifiers=NAMES, now=NOW, anchors=ANCHORS
    )
    assert facts == certificate_facts(GOOD.der)


def test_each_look_at_a_chain_is_at_its_own_time() -> None:
    """OpenSSL's stores keep the first time that they are given; a process that lives long asks at many."""
    leaf = certificate_facts(GOOD.served[0])
    times = [leaf.not_before + timedelta(minutes=1), leaf.not_after + timedelta(days=1), leaf.not_before]
    assert [trust(GOOD.served, ANCHORS, at).trusted for at in times] == [True, False, True]
    strangers = trust(GOOD.served, OTHERS, times[1])
    assert not strangers.trusted and not strangers.date_at_fault

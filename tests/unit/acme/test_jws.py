"""Signatures, keys and what is made of them, against values from the standards and from other tools."""

from __future__ import annotations

import base64
import json

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from mailseal.acme.jws import ExternalAccount, SigningKey, b64, bind, sign
from mailseal.acme.solving import dns01_value, tls_alpn01_digest
from mailseal.errors import KeyMaterialError
from mailseal.model import KeyType
from tests.support import fake_jws
from tests.support.certs import new_key

URL = "https://ca.test/new-order"

# The key of RFC 7515 appendix A.3; the thumbprint is openssl's SHA-256 of its canonical JSON.
CANONICAL = (
    b'{"crv":"P-256","kty":"EC","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",'
    b'"y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"}'
)
SECRET = "jpsQnnGQmL-YBIffH1136cspYG6-0iY7X1fCE9-E9LI"
THUMBPRINT = "oKIywvGUpTVTyxMQ3bwIIeQUudfr_CkLMjCE19ECD-U"


def from_rfc() -> SigningKey:
    number = int.from_bytes(base64.urlsafe_b64decode(SECRET + "="), "big")
    return SigningKey.from_key(ec.derive_private_key(number, ec.SECP256R1()))


def test_jwk_and_thumbprint_are_canonical() -> None:
    key = from_rfc()
    assert key.alg == "ES256"
    assert key.jwk == CANONICAL
    assert key.thumbprint == THUMBPRINT


def test_digests_of_a_key_authorization() -> None:
    text = "evaGxfADs6pSRb2LAv9IZf17Dt3juxGJ-PCt92wr-oA.9jg46WB3rR_AHD-EBXdN7cBkH1WOu0tA3M9fm21mqTI"
    assert dns01_value(text) == "lCM7cZyQXcVHK2nnW3jjAhNT3Fvm18UN-kWZZknKoYM"
    assert b64(tls_alpn01_digest(text)) == dns01_value(text)


@pytest.mark.parametrize(
    ("kind", "alg", "octets"),
    [
        (KeyType.ECDSA_P256, "ES256", 64),
        (KeyType.ECDSA_P384, "ES384", 96),
        (KeyType.RSA_2048, "RS256", 256),
        (KeyType.RSA_4096, "RS256", 512),
    ],
)
def test_another_library_verifies_what_is_signed(kind: KeyType, alg: str, octets: int) -> None:
    key = SigningKey.from_key(new_key(kind))
    for number in range(60 if octets < 200 else 2):  # r and s with leading zeros come up now and then
        signed = fake_jws.read_body(sign(key, URL, b'{"n":%d}' % number, nonce="abc", kid=None))
        assert signed.header == {"alg": alg, "url": URL, "nonce": "abc", "jwk": json.loads(key.jwk)}
        assert len(signed.signature) == octets
        signed.verify(fake_jws.read_jwk(signed.header["jwk"]))


def test_the_account_is_named_by_kid_and_reading_has_an_empty_payload() -> None:
    key = from_rfc()
    signed = fake_jws.read_body(sign(key, URL, b"", nonce="abc", kid="https://ca.test/acct/1"))
    assert signed.header == {"alg": "ES256", "url": URL, "nonce": "abc", "kid": "https://ca.test/acct/1"}
    assert signed.payload == b""


def test_an_external_binding_is_signed_over_the_account_key() -> None:
    external = ExternalAccount.from_text("kid-1", base64.b64encode(bytes(range(32))).decode())
    inner = fake_jws.read(json.loads(bind(external, URL, CANONICAL)))
    assert inner.header == {"alg": "HS256", "kid": "kid-1", "url": URL}
    assert inner.payload == CANONICAL
    assert inner.verify_hmac(bytes(range(32)))
    assert not inner.verify_hmac(bytes(32))


@pytest.mark.parametrize(
    "key",
    [
        ed25519.Ed25519PrivateKey.generate(),
        ec.generate_private_key(ec.SECP521R1()),
        rsa.generate_private_key(public_exponent=65537, key_size=1024),
    ],
)
def test_keys_that_cannot_sign_are_told(key: ed25519.Ed25519PrivateKey) -> None:
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    with pytest.raises(KeyMaterialError, match="cannot sign"):
        SigningKey.from_pem(pem)


def test_a_key_does_not_show_itself() -> None:
    assert SECRET not in repr(from_rfc())
    assert "EllipticCurvePrivateKey" not in repr(from_rfc())

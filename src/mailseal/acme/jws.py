"""JSON Web Signatures as ACME uses them (RFC 7515, RFC 8555 section 6.2).

Every request to an ACME server is a flattened JSON serialisation with the
fields `protected`, `payload` and `signature`; the protected header names the
algorithm, the nonce, the URL, and the key by `jwk` (new accounts, revocation by
a certificate's key) or by `kid`, the account's URL. Keys: ECDSA on P-256
(ES256), P-384 (ES384) and RSA of 2048 bits or more (RS256), RFC 7518.
External account binding is an inner one signed with HS256 (section 7.3.4).

The signing itself is a few calls of the cryptography library, since one order
is seven requests; JWK and thumbprint (RFC 7638) are josepy's and made once.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
import re
from dataclasses import dataclass, field

import msgspec
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from josepy.jwk import JWK, JWKEC, JWKRSA
from josepy.util import ComparableECKey, ComparableRSAKey

from mailseal.errors import KeyMaterialError
from mailseal.model import Secret

PrivateKey = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey

_CURVES: dict[str, tuple[str, hashes.HashAlgorithm, int]] = {
    "secp256r1": ("ES256", hashes.SHA256(), 32),
    "secp384r1": ("ES384", hashes.SHA384(), 48),
}


def b64(data: bytes) -> str:
    """base64url without padding (RFC 7515 section 2)."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode("ascii")


@dataclass(frozen=True)
class SigningKey:
    """A private key that signs requests; make one with `from_key` or `from_pem`.

    `alg` is its JWS algorithm, `jwk` its public key as canonical JSON (RFC 7638
    order), `thumbprint` the base64url SHA-256 of that.
    """

    alg: str
    jwk: bytes
    thumbprint: str
    _key: PrivateKey = field(repr=False)

    @classmethod
    def from_key(cls, key: PrivateKey) -> SigningKey:
        """Raises `KeyMaterialError` for a kind of key that ACME does not know."""
        public: JWK
        if isinstance(key, ec.EllipticCurvePrivateKey) and key.curve.name in _CURVES:
            alg = _CURVES[key.curve.name][0]
            public = JWKEC(key=ComparableECKey(key.public_key()))
        elif isinstance(key, rsa.RSAPrivateKey) and key.key_size >= 2048:
            alg = "RS256"
            public = JWKRSA(key=ComparableRSAKey(key.public_key()))
        else:
            raise KeyMaterialError(
                "This key cannot sign ACME requests", reason="ECDSA P-256/P-384 or RSA ≥ 2048 can"
            )
        fields = public.fields_to_partial_json() | {"kty": public.typ}
        canonical = json.dumps(fields, sort_keys=True, separators=(",", ":")).encode()
        return cls(alg, canonical, b64(public.thumbprint()), key)

    @classmethod
    def from_pem(cls, pem: bytes) -> SigningKey:
        """An unencrypted PEM private key. Raises `KeyMaterialError`."""
        try:
            key = serialization.load_pem_private_key(pem, password=None)
        except (ValueError, TypeError, UnsupportedAlgorithm) as error:
            raise KeyMaterialError("The account key does not load", reason=str(error)) from error
        if not isinstance(key, ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey):
            raise KeyMaterialError(
                "This key cannot sign ACME requests", reason="ECDSA P-256/P-384 or RSA ≥ 2048 can"
            )
        return cls.from_key(key)

    def sign(self, data: bytes) -> bytes:
        """The JWS signature (for ECDSA r and s side by side, RFC 7518 section 3.4)."""
        if isinstance(self._key, rsa.RSAPrivateKey):
            return self._key.sign(data, padding.PKCS1v15(), hashes.SHA256())
        _, algorithm, octets = _CURVES[self._key.curve.name]
        r, s = decode_dss_signature(self._key.sign(data, ec.ECDSA(algorithm)))
        return r.to_bytes(octets, "big") + s.to_bytes(octets, "big")


@dataclass(frozen=True, slots=True)
class ExternalAccount:
    """What a CA hands out to bind a new account to a customer (RFC 8555 section 7.3.4)."""

    kid: str
    hmac_key: Secret

    @classmethod
    def from_text(cls, kid: str, key: str) -> ExternalAccount:
        """From the texts a CA shows: base64url or base64, padded or not. Raises `KeyMaterialError`."""
        text = re.sub(r"\s", "", key).rstrip("=").replace("+", "-").replace("/", "_")
        try:
            secret = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
        except (binascii.Error, ValueError) as error:
            raise KeyMaterialError(
                "The external account's HMAC key is not base64url", reason=str(error)
            ) from error
        if len(secret) < 16:
            raise KeyMaterialError(
                "The external account's HMAC key is too short", reason="less than 128 bits"
            )
        return cls(kid, Secret(secret))


def sign(key: SigningKey, url: str, payload: bytes, *, nonce: str | None, kid: str | None) -> bytes:
    """A whole request body. Without `kid` the header carries the public key; no payload is a POST-as-GET."""
    header: dict[str, object] = {"alg": key.alg, "url": url}
    if nonce is not None:
        header["nonce"] = nonce
    if kid is None:
        header["jwk"] = msgspec.Raw(key.jwk)
    else:
        header["kid"] = kid
    protected = base64.urlsafe_b64encode(msgspec.json.encode(header)).rstrip(b"=")
    body = base64.urlsafe_b64encode(payload).rstrip(b"=")
    signature = base64.urlsafe_b64encode(key.sign(protected + b"." + body)).rstrip(b"=")
    return b'{"protected":"%b","payload":"%b","signature":"%b"}' % (protected, body, signature)


def bind(external: ExternalAccount, url: str, jwk: bytes) -> bytes:
    """The inner JWS of an external account binding: the account's key, signed with the CA's HMAC key."""
    header = {"alg": "HS256", "kid": external.kid, "url": url}
    protected = base64.urlsafe_b64encode(msgspec.json.encode(header)).rstrip(b"=")
    body = base64.urlsafe_b64encode(jwk).rstrip(b"=")
    mac = hmac.new(external.hmac_key.reveal(), protected + b"." + body, hashlib.sha256).digest()
    return b'{"protected":"%b","payload":"%b","signature":"%b"}' % (protected, body, b64(mac).encode())

"""The server's side of a JWS: taken apart and verified with josepy, not with the code under test."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
from dataclasses import dataclass
from typing import Any

from josepy.errors import Error as JoseError
from josepy.jwa import ES256, ES384, RS256
from josepy.jwk import JWK

ALGORITHMS = {"ES256": ES256, "ES384": ES384, "RS256": RS256}


class Refused(Exception):
    """What the fake CA answers with: a problem document."""

    def __init__(
        self,
        kind: str,
        detail: str,
        status: int = 400,
        *,
        headers: dict[str, str] | None = None,
        subproblems: list[dict[str, Any]] | None = None,
    ) -> None:
        super().__init__(f"{kind}: {detail}")
        self.kind = kind
        self.detail = detail
        self.status = status
        self.headers = headers or {}
        self.subproblems = subproblems

    def document(self) -> dict[str, Any]:
        """The problem document as it travels."""
        made: dict[str, Any] = {
            "type": f"urn:ietf:params:acme:error:{self.kind}",
            "detail": self.detail,
            "status": self.status,
        }
        return made | ({"subproblems": self.subproblems} if self.subproblems else {})


@dataclass(frozen=True)
class Signed:
    """A JWS whose signature is not yet verified."""

    header: dict[str, Any]
    payload: bytes
    signing_input: bytes
    signature: bytes

    def verify(self, key: JWK) -> None:
        """Raises `Refused` unless `key` made the signature."""
        algorithm = ALGORITHMS.get(self.header.get("alg", ""))
        if algorithm is None:
            raise Refused("badSignatureAlgorithm", f"alg {self.header.get('alg')!r}")
        if not algorithm.verify(key.key, self.signing_input, self.signature):
            raise Refused("malformed", "the signature does not verify", 401)

    def verify_hmac(self, secret: bytes) -> bool:
        """Whether an HS256 signature was made with `secret`."""
        return hmac.compare_digest(
            hmac.new(secret, self.signing_input, hashlib.sha256).digest(), self.signature
        )


def unpad(text: str) -> bytes:
    """base64url without padding, strictly (RFC 7515 section 2)."""
    if "=" in text or "+" in text or "/" in text:
        raise Refused("malformed", "not base64url without padding")
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def read(document: Any) -> Signed:
    """Takes a flattened JWS apart. Raises `Refused`."""
    try:
        if not isinstance(document, dict) or set(document) != {"protected", "payload", "signature"}:
            raise Refused("malformed", "not a flattened JWS")
        header = json.loads(unpad(document["protected"]))
        signing_input = f"{document['protected']}.{document['payload']}".encode()
        return Signed(header, unpad(document["payload"]), signing_input, unpad(document["signature"]))
    except (ValueError, binascii.Error, TypeError, KeyError) as error:
        raise Refused("malformed", f"not a JWS: {error}") from error


def read_body(body: bytes) -> Signed:
    """A request's body taken apart."""
    try:
        return read(json.loads(body))
    except ValueError as error:
        raise Refused("malformed", f"not JSON: {error}") from error


def read_jwk(fields: Any) -> JWK:
    """A public key. Raises `Refused`."""
    try:
        key = JWK.from_json(fields)
    except (JoseError, ValueError, TypeError, KeyError) as error:
        raise Refused("badPublicKey", str(error)) from error
    if not isinstance(key, JWK):
        raise Refused("badPublicKey", "not a key")
    return key


def thumbprint(key: JWK) -> str:
    """RFC 7638, base64url."""
    return base64.urlsafe_b64encode(key.thumbprint()).rstrip(b"=").decode()

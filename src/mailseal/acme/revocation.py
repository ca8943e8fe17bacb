"""Revocation (RFC 8555 section 7.6) with the reasons of RFC 5280 section 5.3.1.

A certificate is revoked by the account that ordered it, by one that is
authorized for all its names, or by whoever holds its private key.
"""

from __future__ import annotations

from enum import IntEnum

import msgspec

from mailseal.acme.client import AcmeClient
from mailseal.acme.jws import SigningKey, b64
from mailseal.acme.problems import AcmeProblem
from mailseal.errors import IssueError


class Reason(IntEnum):
    """Why; web PKI CAs take these five from subscribers (the others are for CAs)."""

    UNSPECIFIED = 0
    KEY_COMPROMISE = 1
    AFFILIATION_CHANGED = 3
    SUPERSEDED = 4
    CESSATION_OF_OPERATION = 5


async def revoke(
    client: AcmeClient, certificate_der: bytes, *, reason: Reason | None = None, key: SigningKey | None = None
) -> bool:
    """Revokes; False if it was revoked already. `key` is the certificate's own, else the account's is used.

    Raises `AcmeProblem` when the CA refuses.
    """
    directory = await client.directory()
    if directory.revoke_cert is None:
        raise IssueError("This CA does not revoke", reason="its directory has no revokeCert")
    payload: dict[str, object] = {"certificate": b64(certificate_der)}
    if reason is not None:
        payload["reason"] = int(reason)
    try:
        await client.post(directory.revoke_cert, msgspec.json.encode(payload), doing="to revoke", key=key)
    except AcmeProblem as problem:
        if problem.kind == "alreadyRevoked":
            return False
        raise
    return True

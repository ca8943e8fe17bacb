"""http-01: the answer to a challenge is a file on port 80 (RFC 8555 section 8.3).

The CA gives a token and fetches `http://NAME/.well-known/acme-challenge/TOKEN`.
The body must be the key authorization, `TOKEN.THUMBPRINT`, the thumbprint
being that of the account's key (RFC 8555 section 8.1). Tokens are base64url
without padding and carry at least 128 bits.

This module holds what all ways of answering share. It promises that no token
becomes a file name or a path before it was checked here: one that comes from
a hostile or broken CA can name no other file.
"""

from __future__ import annotations

import re

from mailseal.errors import ChallengeError
from mailseal.model import CHALLENGE_PREFIX

KIND = "http-01"
BELOW = (".well-known", "acme-challenge")  # the prefix's components below a web root
LONGEST_TOKEN = 200  # octets; Let's Encrypt's have 43. A file name may have 255.
LONGEST_ANSWER = 512

_TOKEN = re.compile(r"[A-Za-z0-9_-]{1,200}")
_AUTHORIZATION = re.compile(r"[A-Za-z0-9_-]{1,200}\.[A-Za-z0-9_-]{1,200}")


def checked_token(token: str) -> str:
    """The token, known to be base64url. Raises `ChallengeError`."""
    if not _TOKEN.fullmatch(token):
        raise ChallengeError(
            f"The CA sent a challenge token that is none: {token[:60]!r}",
            reason="a token has only letters, digits, '-' and '_' (RFC 8555 section 8.3)",
        )
    return token


def checked_answer(token: str, key_authorization: str) -> bytes:
    """The octets to serve for a token. Raises `ChallengeError` when the two do not belong together."""
    checked_token(token)
    if not _AUTHORIZATION.fullmatch(key_authorization) or key_authorization.partition(".")[0] != token:
        raise ChallengeError(f"The key authorization does not belong to the token {token[:60]!r}")
    return key_authorization.encode("ascii")


def path_of(token: str) -> str:
    """The path that the CA asks for."""
    return CHALLENGE_PREFIX + checked_token(token)

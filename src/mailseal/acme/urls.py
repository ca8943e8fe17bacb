"""URLs and other short texts that a server sends: checked before they are used.

RFC 8555 section 6.1 asks for https everywhere. Plain http is let through only
where the directory itself was asked for over http, as on a loopback in tests.
Another host than the directory's is allowed (RFC 8555 names no origin), another
scheme, user information, control characters and endless text are not.
"""

from __future__ import annotations

import re
from urllib.parse import urljoin, urlsplit

from mailseal.acme.problems import AcmeProtocolError

LONGEST_URL = 2048

_PLAIN = re.compile(r"[!#-;=?-\[\]_a-z~]+")  # printable ASCII without " < > \ ^ ` { | }
# What nearly every URL looks like, told in one look: an order checks about twenty.
_USUAL = re.compile(
    r"https://[A-Za-z0-9.-]{1,253}(?::(?:[1-5][0-9]{4}|[1-9][0-9]{0,3}))?/[A-Za-z0-9/_.~?=&%+-]{0,512}"
)
_TOKEN = re.compile(r"[A-Za-z0-9_-]{22,256}")
_NONCE = re.compile(r"[A-Za-z0-9_-]{1,1024}")


def check_url(text: str, *, what: str, insecure: bool) -> str:
    """The URL itself when it may be asked; `insecure` lets http pass beside https.

    Raises `AcmeProtocolError` that names `what` the URL is for.
    """
    if _USUAL.fullmatch(text):
        return text
    if len(text) > LONGEST_URL or not _PLAIN.fullmatch(text):
        raise AcmeProtocolError(f"The CA's URL of {what} is not a URL", reason=f"it reads {text[:80]!r}")
    try:
        parts = urlsplit(text)
        host, _ = parts.hostname, parts.port
    except ValueError as error:
        raise AcmeProtocolError(
            f"The CA's URL of {what} is not a URL", reason=f"{text[:80]!r}: {error}"
        ) from error
    if not host or parts.username is not None or parts.fragment:
        raise AcmeProtocolError(f"The CA's URL of {what} is not one to ask", reason=f"it reads {text[:80]!r}")
    if parts.scheme != "https" and not (insecure and parts.scheme == "http"):
        raise AcmeProtocolError(
            f"The CA's URL of {what} is not https",
            reason=f"RFC 8555 section 6.1 asks for it; it reads {text[:80]!r}",
        )
    return text


def join_url(base: str, reference: str, *, what: str, insecure: bool) -> str:
    """A reference made whole by the URL it was found under, then checked as by `check_url`."""
    try:
        whole = urljoin(base, reference)
    except ValueError as error:
        raise AcmeProtocolError(f"The CA's URL of {what} is not a URL", reason=str(error)) from error
    return check_url(whole, what=what, insecure=insecure)


def check_token(token: str | None, *, what: str) -> str:
    """A challenge's token when it may become a file name or part of a URL.

    RFC 8555 section 8: base64url characters only, at least 128 bits of entropy
    (22 characters). Raises `AcmeProtocolError`.
    """
    if token is None or not _TOKEN.fullmatch(token):
        shown = "none was sent" if token is None else f"it reads {token[:60]!r}"
        raise AcmeProtocolError(f"The CA's token of {what} is not one", reason=shown)
    return token


def is_nonce(text: str | None) -> bool:
    """Whether this may be sent back as a nonce (RFC 8555 section 6.5.1)."""
    return text is not None and _NONCE.fullmatch(text) is not None

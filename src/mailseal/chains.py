"""Is the chain that a server sends the one that its clients need? RFC 5246 section 7.4.2, RFC 5280 section 6.

A server sends its leaf, then each certificate that vouches for the one
before, up to but without the root. TLS 1.3 (RFC 8446 section 4.4.2) asks
clients to bear disorder and surplus, yet not all do. Two questions are kept
apart. `Shape` says what was sent, by names and signatures alone. `trust`
asks OpenSSL, as Postfix, curl and most mail clients do, whether the anchors
given vouch for the leaf at a given time with nothing but what was sent.

Does not fetch what is missing and asks nobody whether a certificate is
revoked. An issuer that is neither sent nor trusted may be a forgotten
intermediate or an unknown root; which of the two, `Shape.incomplete` says
where it can be told and the caller's knowledge of the issued chain decides
where it cannot.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import lru_cache

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.x509 import Certificate
from OpenSSL import crypto

from mailseal.certificates import parse, readable, subject

SYSTEM_STORE = "/etc/ssl/certs/ca-certificates.crt"

_PEM = re.compile(
    rb"-----BEGIN (?:TRUSTED )?CERTIFICATE-----.*?-----END (?:TRUSTED )?CERTIFICATE-----", re.DOTALL
)
# X509_V_ERR_… of openssl/x509_vfy.h
_NOT_YET_VALID, _EXPIRED = 9, 10
_NOT_READ = -1  # none of OpenSSL's codes


@dataclass(frozen=True, slots=True)
class TrustAnchors:
    """The roots that are trusted, PEM, and what to call them in messages: "the system's store"."""

    label: str
    pem: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Shape:
    """A chain as sent. `path` are the places of the leaf and of those that vouch, in the order of vouching.

    `missing_issuer` names whoever vouches for the last of the path and was
    not sent; empty where the last is a root.
    """

    path: tuple[int, ...]
    superfluous: tuple[str, ...]
    root_sent: bool
    self_signed: bool
    missing_issuer: str

    @property
    def in_order(self) -> bool:
        return self.path == tuple(range(len(self.path)))


@dataclass(frozen=True, slots=True)
class Trust:
    """Whether the anchors vouch for the leaf; where not, why in a sentence.

    `date_at_fault` names the certificate whose dates alone are the reason.
    """

    trusted: bool
    reason: str = ""
    date_at_fault: str = ""


@lru_cache(maxsize=1024)
def shape(served: tuple[bytes, ...]) -> Shape:
    """How the served certificates (DER, in order, the leaf first) hang together. Raises `KeyMaterialError`."""
    certificates = [parse(der) for der in served]
    path = [0]
    while not _is_root(certificates[path[-1]]):
        issuer = _issuer_among(certificates, certificates[path[-1]], taken=path)
        if issuer is None:
            break
        path.append(issuer)
    last = certificates[path[-1]]
    ended = _is_root(last)
    return Shape(
        path=tuple(path),
        superfluous=tuple(subject(served[place]) for place in range(len(served)) if place not in path),
        root_sent=ended and len(path) > 1,
        self_signed=_is_root(certificates[0]),
        missing_issuer="" if ended else readable(last.issuer),
    )


def incomplete(served: tuple[bytes, ...], issued: tuple[bytes, ...] = ()) -> bool:
    """Whether a certificate that should have been sent was not.

    Certain where the chain as issued is known and longer; else where the leaf
    came alone although another vouches for it.
    """
    seen = shape(served)
    if len(issued) > 1 and issued[0] == served[0]:
        needed = issued[:-1] if shape(issued).root_sent else issued
        return any(der not in served for der in needed)
    return len(seen.path) == 1 and bool(seen.missing_issuer)


def trust(served: tuple[bytes, ...], anchors: TrustAnchors, now: datetime) -> Trust:
    """Whether the anchors vouch for the leaf at this time, building only on what was sent."""
    first = _verify(served, anchors, now)
    if first is None:
        return Trust(trusted=True)
    code, told, culprit = first
    if code not in (_NOT_YET_VALID, _EXPIRED):
        return Trust(trusted=False, reason=told)
    # Out of date is one thing, vouched for another: ask again for the middle of the leaf's life.
    leaf = parse(served[0])
    life: timedelta = leaf.not_valid_after_utc - leaf.not_valid_before_utc
    again = _verify(served, anchors, leaf.not_valid_before_utc + life / 2)
    if again is None or again[0] in (_NOT_YET_VALID, _EXPIRED):
        return Trust(trusted=False, reason=told, date_at_fault=culprit)
    return Trust(trusted=False, reason=again[1])


def anchor_count(anchors: TrustAnchors) -> int:
    """How many roots there are: none is a fault of the store."""
    return len(_roots(anchors.pem))


def _verify(served: tuple[bytes, ...], anchors: TrustAnchors, now: datetime) -> tuple[int, str, str] | None:
    store = crypto.X509Store()  # a new one each time: OpenSSL keeps the first time that a store is given
    for root in _roots(anchors.pem):
        store.add_cert(root)
    store.set_time(now)
    try:
        leaf, *others = (_for_openssl(der) for der in served)
    except crypto.Error as error:
        return _NOT_READ, f"OpenSSL cannot read what was sent: {error}", ""
    try:
        crypto.X509StoreContext(store, leaf, others).verify_certificate()
    except crypto.X509StoreContextError as error:
        code, told = int(error.errors[0]), str(error.errors[-1])
        return code, told, _subject_of(error.certificate)
    return None


@lru_cache(maxsize=8)
def _roots(pem: bytes) -> tuple[crypto.X509, ...]:
    """One by one, and by OpenSSL: one odd root in a system's store must not hide the others."""
    roots = []
    for block in _PEM.findall(pem):
        try:
            roots.append(crypto.load_certificate(crypto.FILETYPE_PEM, block))
        except crypto.Error:
            continue
    return tuple(roots)


@lru_cache(maxsize=4096)
def _for_openssl(der: bytes) -> crypto.X509:
    return crypto.load_certificate(crypto.FILETYPE_ASN1, der)


def _subject_of(certificate: crypto.X509) -> str:
    return subject(crypto.dump_certificate(crypto.FILETYPE_ASN1, certificate))


def _issuer_among(certificates: list[Certificate], child: Certificate, taken: list[int]) -> int | None:
    """The place of one that vouches for the child: the next in order before any other."""
    after: list[int] = [*range(taken[-1] + 1, len(certificates)), *range(taken[-1])]
    for place in after:
        if place not in taken and _vouches(certificates[place], child):
            return place
    return None


def _vouches(issuer: Certificate, child: Certificate) -> bool:
    if issuer.subject != child.issuer:
        return False
    try:
        child.verify_directly_issued_by(issuer)
    except (ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm):
        return False
    return True


def _is_root(certificate: Certificate) -> bool:
    return certificate.subject == certificate.issuer and _vouches(certificate, certificate)

"""Whether a CA has revoked a certificate, by the revocation list that the certificate itself names (RFC 5280).

Section 4.2.1.13 (CRL distribution points) says where the list is, section 5
what it holds. Certificates of public CAs name one over plain http; the list is
signed, so that it does not matter which way it came. Asked before a person's
rollback: a CA may have revoked a certificate without telling us (RFC 9773
only suggests an early renewal).

Answers only what is certain: that a list signed by the certificate's issuer
holds its serial number. A list that cannot be had, is signed by somebody else
or does not hold it says nothing. What is on a list stays revoked, so that the
list's age does not matter; `removeFromCRL` and holds are not for web PKI.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm

from mailseal.certificates import parse
from mailseal.errors import KeyMaterialError, NetworkFault
from mailseal.system import System
from mailseal.system.http import Http

PATIENCE = 10.0  # seconds for a list; without it the answer is that nothing is known
_MOST = 33_554_432  # octets; the lists of public CAs are sharded into less than this
_MOST_LISTS = 3


def revocation(system: System, leaf: bytes, issuer: bytes) -> str:
    """Since when and why a certificate (DER) is revoked, in a few words; empty where nothing says so.

    `issuer` is the certificate (DER) that vouches for it.
    """
    try:
        urls = tuple(_places(parse(leaf)))[:_MOST_LISTS]
    except KeyMaterialError:
        return ""
    return asyncio.run(_ask(system.http(), urls, leaf, issuer)) if urls else ""


async def _ask(http: Http, urls: tuple[str, ...], leaf: bytes, issuer: bytes) -> str:
    try:
        for url in urls:
            try:
                answer = await http.request("GET", url, timeout=PATIENCE, limit=_MOST)
            except NetworkFault:
                continue
            if answer.status == 200 and (found := _listed(answer.body, leaf, issuer)):
                return found
        return ""
    finally:
        await http.close()


def _listed(body: bytes, leaf: bytes, issuer: bytes) -> str:
    try:
        authority = parse(issuer)
        found = x509.load_der_x509_crl(body)
        public = authority.public_key()
        if found.issuer != authority.subject or not found.is_signature_valid(public):  # type: ignore[arg-type]
            return ""
        entry = found.get_revoked_certificate_by_serial_number(parse(leaf).serial_number)
    except (ValueError, TypeError, UnsupportedAlgorithm, KeyMaterialError):
        return ""
    return f"{entry.revocation_date_utc:%F %H:%M} UTC{_reason(entry)}" if entry is not None else ""


def _reason(entry: x509.RevokedCertificate) -> str:
    try:
        reason = entry.extensions.get_extension_for_class(x509.CRLReason).value.reason
    except (x509.ExtensionNotFound, ValueError):
        return ""
    return f", {reason.value}"


def _places(leaf: x509.Certificate) -> Iterator[str]:
    """The URLs of the lists that the certificate names, by http or https."""
    try:
        points = leaf.extensions.get_extension_for_class(x509.CRLDistributionPoints).value
    except (x509.ExtensionNotFound, ValueError):
        return
    for point in points:
        for name in point.full_name or ():
            if isinstance(name, x509.UniformResourceIdentifier) and name.value.startswith(
                ("http://", "https://")
            ):
                yield name.value

"""Renewal information (RFC 9773): when the CA would like a certificate renewed.

The CA is asked, without a signature, about a certificate's ID (section 4.1: the
key identifier of its Authority Key Identifier and its serial number) and answers
with a window of time. A client draws one instant inside the window, once, and
renews then; it asks again after Retry-After, between a minute and a day (4.3.3).
The same ID goes into a new order's `replaces` (section 5).

This module asks and computes; whoever calls remembers window, chosen instant
and Retry-After together with the certificate's ID.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from cryptography import x509

from mailseal.acme.client import AcmeClient
from mailseal.acme.jws import b64
from mailseal.acme.messages import RenewalInfoBody
from mailseal.acme.problems import AcmeProtocolError, plain
from mailseal.acme.urls import check_url
from mailseal.errors import MailsealError

SHORTEST_RETRY = 60.0
LONGEST_RETRY = 86400.0
DEFAULT_RETRY = 6 * 3600.0  # section 4.3.3 suggests it where the server says nothing


@dataclass(frozen=True, slots=True)
class RenewalInfo:
    """The suggested window, why (a page to show to the admin, "" if none), and when to ask again. All UTC."""

    certificate_id: str
    start: datetime
    end: datetime
    explanation_url: str
    ask_again_at: datetime


def certificate_id(certificate: x509.Certificate) -> str | None:
    """The ID of section 4.1; None for a certificate without an authority key identifier."""
    try:
        extension = certificate.extensions.get_extension_for_class(x509.AuthorityKeyIdentifier)
    except (x509.ExtensionNotFound, x509.DuplicateExtension, x509.UnsupportedGeneralNameType, ValueError):
        return None
    key_id = extension.value.key_identifier
    if not key_id:
        return None
    serial = certificate.serial_number
    # The content octets of the DER INTEGER: a leading zero where the first bit is set.
    return f"{b64(key_id)}.{b64(serial.to_bytes(serial.bit_length() // 8 + 1, 'big'))}"


async def renewal_info(client: AcmeClient, certificate_id: str) -> RenewalInfo | None:
    """Asks when to renew; None where the CA has no renewal information.

    Raises `AcmeProblem`, `AcmeProtocolError` or `NetworkFault`: a failure is no
    reason not to renew on one's own schedule.
    """
    directory = await client.directory()
    if directory.renewal_info is None:
        return None
    url = f"{directory.renewal_info.rstrip('/')}/{certificate_id}"
    reply = await client.get(url, doing="renewal information")
    body = reply.decode(RenewalInfoBody, what="renewal information")
    start, end = body.suggested_window.start, body.suggested_window.end
    if end <= start:
        raise AcmeProtocolError(
            "The CA's renewal window cannot be used", reason=f"it ends {end} and starts {start}"
        )
    wait = DEFAULT_RETRY if reply.retry_after is None else reply.retry_after
    wait = min(max(wait, SHORTEST_RETRY), LONGEST_RETRY)
    return RenewalInfo(
        certificate_id, start, end, _page(body.explanation_url), client.clock.now() + timedelta(seconds=wait)
    )


def instant(info: RenewalInfo, fraction: float) -> datetime:
    """The moment inside the window at `fraction` (0 to 1, drawn once by the caller and kept)."""
    return info.start + (info.end - info.start) * min(max(fraction, 0.0), 1.0)


def _page(url: str | None) -> str:
    """The explanation's URL when it is one; it is only shown, so a bad one is dropped."""
    try:
        return check_url(plain(url, 2048), what="the explanation", insecure=True) if url else ""
    except MailsealError:
        return ""

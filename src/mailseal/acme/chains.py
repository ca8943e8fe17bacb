"""Certificate chains as ACME delivers them (RFC 8555 sections 7.4.2 and 9.1).

PEM blocks labelled CERTIFICATE and nothing else, the leaf first, each next one
certifying the one before it. Anything else in the body is refused: the section
warns of servers that slip in other blocks or text that a naive reader would
write into a key file. Alternate chains are named by Link headers (RFC 8288).

Not here: whether a root is trusted. That is judged before the switch.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.x509.oid import NameOID

from mailseal.acme.problems import AcmeProtocolError

MOST_CERTIFICATES = 20
# What cryptography raises for octets that somebody made up; not all of it is a ValueError.
_DAMAGED = (
    ValueError,
    UnsupportedAlgorithm,
    x509.InvalidVersion,
    x509.DuplicateExtension,
    x509.UnsupportedGeneralNameType,
)
LONGEST_CHAIN = 262_144  # bytes
_BEGIN, _END = "-----BEGIN CERTIFICATE-----", "-----END CERTIFICATE-----"
_LINK = re.compile(
    r'<([^<>"\s]{1,2048})>((?:\s*;\s*[A-Za-z0-9*_-]{1,64}\s*(?:=\s*(?:"[^"]{0,512}"|[^",;\s]{0,512}))?)*)'
)
_PARAMETER = re.compile(r';\s*([A-Za-z0-9*_-]+)\s*=\s*(?:"([^"]*)"|([^",;\s]*))')


@dataclass(frozen=True, slots=True)
class Chain:
    """A chain that was read whole, leaf first: `pem` a text for each, `certificates` the same, parsed."""

    url: str
    pem: tuple[str, ...]
    certificates: tuple[x509.Certificate, ...]

    @property
    def leaf(self) -> x509.Certificate:
        return self.certificates[0]

    @property
    def top_issuer(self) -> str:
        """The common name of who issued the topmost certificate: what tells one chain from another."""
        names = self.certificates[-1].issuer.get_attributes_for_oid(NameOID.COMMON_NAME)
        return str(names[0].value) if names else ""


def read_chain(body: bytes, url: str) -> Chain:
    """Parses a downloaded chain strictly. Raises `AcmeProtocolError` that says what is wrong with it."""
    if len(body) > LONGEST_CHAIN:
        raise _bad(f"it is longer than {LONGEST_CHAIN} bytes")
    try:
        lines = body.decode("ascii").splitlines()
    except UnicodeDecodeError as error:
        raise _bad("it is not PEM text") from error
    blocks = _blocks(lines)
    certificates = []
    pem = []
    for der in blocks:
        try:
            certificate = x509.load_der_x509_certificate(der)
            # These are read only when they are asked for: what is damaged is to be found here.
            _ = certificate.subject, certificate.issuer, certificate.extensions, certificate.public_key()
            certificates.append(certificate)
        except _DAMAGED as error:
            raise _bad(f"certificate {len(certificates) + 1} does not load: {error}") from error
        pem.append(_to_pem(der))
    _check_links(certificates)
    return Chain(url, tuple(pem), tuple(certificates))


def alternate_links(headers: Sequence[str], relation: str) -> list[str]:
    """The targets of the Link headers with this relation, as sent (may be relative), in order."""
    found = []
    for header in headers[:64]:
        for match in _LINK.finditer(header[:8192]):
            for name, quoted, bare in _PARAMETER.findall(match[2]):
                if name.lower() == "rel" and relation in (quoted or bare).lower().split():
                    found.append(match[1])
                    break
    return found


def _blocks(lines: list[str]) -> list[bytes]:
    blocks: list[bytes] = []
    inside: list[str] | None = None
    for raw in lines:
        line = raw.strip()
        if inside is None:
            if line == _BEGIN:
                inside = []
            elif line:
                raise _bad(f"something other than a certificate is in it: {line[:40]!r}")
        elif line == _END:
            blocks.append(_from_base64("".join(inside)))
            inside = None
            if len(blocks) > MOST_CERTIFICATES:
                raise _bad(f"it has more than {MOST_CERTIFICATES} certificates")
        else:
            inside.append(line)
    if inside is not None:
        raise _bad("its last certificate has no end")
    if not blocks:
        raise _bad("there is no certificate in it")
    return blocks


def _from_base64(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise _bad(f"a certificate in it is not base64: {error}") from error


def _to_pem(der: bytes) -> str:
    text = base64.b64encode(der).decode("ascii")
    folded = "\n".join(text[at : at + 64] for at in range(0, len(text), 64))
    return f"{_BEGIN}\n{folded}\n{_END}\n"


def _check_links(certificates: list[x509.Certificate]) -> None:
    for number, (lower, upper) in enumerate(pairwise(certificates), start=1):
        try:
            lower.verify_directly_issued_by(upper)
        except (ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm) as error:
            raise _bad(f"certificate {number + 1} did not issue certificate {number}") from error


def _bad(why: str) -> AcmeProtocolError:
    return AcmeProtocolError("The CA's certificate chain cannot be used", reason=why)

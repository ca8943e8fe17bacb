"""What a certificate says of itself, read from its DER (RFC 5280 section 4).

Reading is cached by the octets, since one leaf is seen on ten ports a hundred
times. Only the subject alternative names count as names: RFC 9525 section 2
leaves the common name out. Nothing here trusts anything: see `mailseal.chains`.
"""

from __future__ import annotations

import hashlib
import re
import warnings
from collections.abc import Iterable
from functools import lru_cache

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from mailseal.errors import KeyMaterialError
from mailseal.model import CertificateFacts, Identifier, KeyFamily

_PEM = re.compile(
    rb"-----BEGIN (?:X509 |TRUSTED )?CERTIFICATE-----\s.*?-----END (?:X509 |TRUSTED )?CERTIFICATE-----",
    re.DOTALL,
)
# What cryptography raises for octets that somebody made up or damaged; not all of it is a ValueError.
_DAMAGED = (ValueError, x509.InvalidVersion, x509.DuplicateExtension, x509.UnsupportedGeneralNameType)
_PEM_LIMIT = 100  # certificates in a file that is meant for a server


def read_pem(pem: bytes) -> tuple[bytes, ...]:
    """Every certificate in PEM text, DER, in order; text and keys between them are passed over.

    Raises `KeyMaterialError` where one of them is damaged.
    """
    blocks = _PEM.findall(pem)[:_PEM_LIMIT]
    if len(blocks) < pem.count(b"-----BEGIN CERTIFICATE-----") and len(blocks) < _PEM_LIMIT:
        raise KeyMaterialError("A certificate begins in the file and does not end")
    return tuple(_der(block) for block in blocks)


def write_pem(ders: Iterable[bytes]) -> bytes:
    """The certificates as PEM text, one after the other."""
    return b"".join(parse(der).public_bytes(Encoding.PEM) for der in ders)


def _der(block: bytes) -> bytes:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return x509.load_pem_x509_certificate(block).public_bytes(Encoding.DER)
    except _DAMAGED as error:
        raise KeyMaterialError("A certificate in the file is damaged", reason=str(error)) from error


@lru_cache(maxsize=4096)
def parse(der: bytes) -> x509.Certificate:
    """The certificate. Raises `KeyMaterialError` where the octets are none."""
    try:
        with warnings.catch_warnings():  # old roots have serial numbers that RFC 5280 forbids
            warnings.simplefilter("ignore")
            certificate = x509.load_der_x509_certificate(der)
            # cryptography reads these only when they are asked for: a damaged one is to be found here, once.
            _ = certificate.subject, certificate.issuer, certificate.not_valid_after_utc
            return certificate
    except _DAMAGED as error:
        raise KeyMaterialError("What was given as a certificate is none", reason=str(error)) from error


@lru_cache(maxsize=4096)
def certificate_facts(der: bytes) -> CertificateFacts:
    """What the certificate says of itself. Raises `KeyMaterialError` where it cannot be read."""
    certificate = parse(der)
    try:
        spki = certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        return CertificateFacts(
            fingerprint=hashlib.sha256(der).hexdigest(),
            spki_sha256=hashlib.sha256(spki).hexdigest(),
            identifiers=_identifiers(certificate),
            issuer=readable(certificate.issuer),
            serial=certificate.serial_number,
            not_before=certificate.not_valid_before_utc,
            not_after=certificate.not_valid_after_utc,
            key_family=key_family(der),
        )
    except (*_DAMAGED, UnsupportedAlgorithm) as error:
        raise KeyMaterialError("The certificate cannot be read", reason=str(error)) from error


def key_family(der: bytes) -> KeyFamily:
    """ECDSA or RSA. Raises `KeyMaterialError` for a key of another kind."""
    try:
        key = parse(der).public_key()
    except (ValueError, UnsupportedAlgorithm) as error:
        raise KeyMaterialError("The certificate's key cannot be read", reason=str(error)) from error
    if isinstance(key, ec.EllipticCurvePublicKey):
        return "ecdsa"
    if isinstance(key, rsa.RSAPublicKey):
        return "rsa"
    raise KeyMaterialError("The certificate's key is neither ECDSA nor RSA, so mail clients cannot use it")


def covers(der: bytes, name: str) -> bool:
    """Whether the certificate is good for this name or address (RFC 9525 section 6)."""
    return any(identifier.covers(name) for identifier in certificate_facts(der).identifiers)


def for_servers(der: bytes) -> bool:
    """Whether the extended key usage allows a TLS server (RFC 5280 section 4.2.1.12); without it all is allowed."""
    try:
        usage = parse(der).extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    except x509.ExtensionNotFound:
        return True
    except _DAMAGED:
        return False
    return ExtendedKeyUsageOID.SERVER_AUTH in usage or ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE in usage


def is_authority(der: bytes) -> bool:
    """Whether the certificate says that it may sign others (basic constraints)."""
    try:
        return parse(der).extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    except (x509.ExtensionNotFound, *_DAMAGED):
        return False


def weakness(der: bytes) -> str:
    """What is too weak for today's clients in key or signature; empty where nothing is."""
    certificate = parse(der)
    try:
        algorithm = certificate.signature_hash_algorithm
        key = certificate.public_key()
    except UnsupportedAlgorithm as error:
        return f"it uses an algorithm that is not known: {error}"
    except ValueError as error:
        return f"its key cannot be read: {error}"
    if algorithm is not None and algorithm.name in ("md5", "sha1"):
        return f"it is signed with {algorithm.name.upper()}"
    if isinstance(key, rsa.RSAPublicKey) and key.key_size < 2048:
        return f"its RSA key has only {key.key_size} bits"
    if isinstance(key, ec.EllipticCurvePublicKey) and key.key_size < 256:
        return f"its key is on the weak curve {key.curve.name}"
    return ""


def subject(der: bytes) -> str:
    """The certificate's subject for a message; a leaf without one goes by its first name."""
    certificate = parse(der)
    return readable(certificate.subject) or ", ".join(str(name) for name in _identifiers(certificate)[:2])


def readable(name: x509.Name) -> str:
    """A distinguished name as people call it: its common name, else its organisation, else all of it."""
    for oid in (NameOID.COMMON_NAME, NameOID.ORGANIZATION_NAME):
        for attribute in name.get_attributes_for_oid(oid):
            text = attribute.value if isinstance(attribute.value, str) else attribute.value.hex()
            return "".join(letter if letter.isprintable() else "?" for letter in text)[:120]
    return name.rfc4514_string()[:120]


def _identifiers(certificate: x509.Certificate) -> tuple[Identifier, ...]:
    """The names, taken as they are: a certificate of others may hold names that we would not ask for."""
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (x509.ExtensionNotFound, *_DAMAGED):
        return ()
    dns = [Identifier("dns", name.lower().rstrip(".")) for name in names.get_values_for_type(x509.DNSName)]
    addresses = [Identifier("ip", str(address)) for address in names.get_values_for_type(x509.IPAddress)]
    return tuple(dict.fromkeys([*dns, *addresses]))

"""Private keys and certificate requests (PKCS#8, RFC 5208; PKCS#10, RFC 2986).

Keys are drawn by the cryptography library and leave this room only as a
`Secret`. A request carries every identifier as a subject alternative name and
no common name: profiles without one are the coming norm, and a name of more
than 64 octets would not fit there.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from mailseal.errors import KeyMaterialError
from mailseal.model import Identifier, KeyType, Secret

PrivateKey = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey


def new_key(key_type: KeyType) -> Secret:
    """A new private key as unencrypted PKCS#8 PEM."""
    key: PrivateKey
    match key_type:
        case KeyType.ECDSA_P256:
            key = ec.generate_private_key(ec.SECP256R1())
        case KeyType.ECDSA_P384:
            key = ec.generate_private_key(ec.SECP384R1())
        case _:
            key = rsa.generate_private_key(public_exponent=65537, key_size=int(key_type.removeprefix("rsa-")))
    return Secret(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))


def load_key(pem: Secret, *, what: str) -> PrivateKey:
    """The key that a PEM text holds. Raises `KeyMaterialError` that names `what` was read."""
    try:
        key = load_pem_private_key(pem.reveal(), password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise KeyMaterialError(f"{what} does not load", reason=str(error)) from error
    if not isinstance(key, ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey):
        raise KeyMaterialError(f"{what} is neither an ECDSA nor an RSA key")
    return key


def request(pem: Secret, identifiers: Iterable[Identifier]) -> bytes:
    """A certificate request for these identifiers, DER. Raises `KeyMaterialError`."""
    names: list[x509.GeneralName] = [
        x509.DNSName(i.value) if i.kind == "dns" else x509.IPAddress(ipaddress.ip_address(i.value))
        for i in identifiers
    ]
    builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([]))
    builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=True)
    key = load_key(pem, what="the new private key")
    return builder.sign(key, hashes.SHA256()).public_bytes(Encoding.DER)

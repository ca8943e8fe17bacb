"""A certificate authority in memory, for tests.

Two nouns: `Ca` (a root or an intermediate) and `Issued` (a leaf with its key
and the chain that a server should send). Everything is made with the real
cryptography library, so what a test holds is what a daemon would load.

    root = Ca.root("Lab Root")
    inter = root.intermediate("Lab Intermediate")
    leaf = inter.issue("mail.example.org", "webmail.example.org")
    leaf.key_pem, leaf.cert_pem, leaf.chain_pem, leaf.fullchain_pem, leaf.combined_pem
    root.pem                                    # the trust anchor

Wrong ones: `issue(..., not_before=, not_after=)` for expired and not yet
valid, `issue("other.example.org")` for another name, `issue(..., usages=())`
for one without serverAuth, `root.issue(...)` for one without intermediates,
`self_signed(...)` for one that vouches for itself. Keys are P-256 unless
`key_type` says otherwise; RSA keys are made once a process and shared, since
making them is slow.
"""

from __future__ import annotations

import hashlib
import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from mailseal.model import KeyType

PrivateKey = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey


@cache
def _shared_rsa(bits: int, slot: int) -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(public_exponent=65537, key_size=bits)


def new_key(key_type: KeyType = KeyType.ECDSA_P256, *, slot: int = 0) -> PrivateKey:
    """A key; RSA keys of one `slot` are the same key throughout the process."""
    match key_type:
        case KeyType.ECDSA_P256:
            return ec.generate_private_key(ec.SECP256R1())
        case KeyType.ECDSA_P384:
            return ec.generate_private_key(ec.SECP384R1())
        case _:
            return _shared_rsa(int(key_type.value.removeprefix("rsa-")), slot)


def key_pem(key: PrivateKey) -> bytes:
    """The key as PKCS#8 PEM, unencrypted."""
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def utc_now() -> datetime:
    """The present second, aware UTC."""
    return datetime.now(UTC).replace(microsecond=0)


def _name(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)]) if common_name else x509.Name([])


def _general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


@dataclass(frozen=True)
class Issued:
    """A leaf, its key, and the certificates between it and (not including) the root."""

    certificate: x509.Certificate
    key: PrivateKey
    chain: tuple[x509.Certificate, ...]

    @property
    def der(self) -> bytes:
        return self.certificate.public_bytes(Encoding.DER)

    @property
    def served(self) -> tuple[bytes, ...]:
        """What a good server sends, DER, leaf first: the shape of `Answer.chain`."""
        return (self.der, *(link.public_bytes(Encoding.DER) for link in self.chain))

    @property
    def fingerprint(self) -> str:
        return hashlib.sha256(self.der).hexdigest()

    @property
    def key_pem(self) -> bytes:
        return key_pem(self.key)

    @property
    def cert_pem(self) -> bytes:
        return self.certificate.public_bytes(Encoding.PEM)

    @property
    def chain_pem(self) -> bytes:
        return b"".join(link.public_bytes(Encoding.PEM) for link in self.chain)

    @property
    def fullchain_pem(self) -> bytes:
        return self.cert_pem + self.chain_pem

    @property
    def combined_pem(self) -> bytes:
        return self.key_pem + self.fullchain_pem


@dataclass(frozen=True)
class Ca:
    """A certificate authority: its certificate, its key, and what stands between it and the root."""

    certificate: x509.Certificate
    key: PrivateKey
    above: tuple[x509.Certificate, ...] = ()  # the path towards the root, this CA's own certificate first

    @classmethod
    def root(
        cls,
        name: str = "Test Root",
        *,
        key_type: KeyType = KeyType.ECDSA_P256,
        not_before: datetime | None = None,
        not_after: datetime | None = None,
    ) -> Ca:
        """A self-signed root, good for ten years unless told otherwise."""
        key = new_key(key_type, slot=90)
        certificate = _ca_certificate(name, key, _name(name), key, not_before, not_after)
        return cls(certificate, key)

    def intermediate(
        self,
        name: str = "Test Intermediate",
        *,
        key_type: KeyType = KeyType.ECDSA_P256,
        not_before: datetime | None = None,
        not_after: datetime | None = None,
    ) -> Ca:
        """A CA below this one."""
        key = new_key(key_type, slot=91)
        certificate = _ca_certificate(name, key, self.certificate.subject, self.key, not_before, not_after)
        return Ca(certificate, key, (certificate, *self.above))

    @property
    def pem(self) -> bytes:
        return self.certificate.public_bytes(Encoding.PEM)

    @property
    def der(self) -> bytes:
        return self.certificate.public_bytes(Encoding.DER)

    def issue(
        self,
        *names: str,
        key_type: KeyType = KeyType.ECDSA_P256,
        key: PrivateKey | None = None,
        not_before: datetime | None = None,
        not_after: datetime | None = None,
        usages: Sequence[x509.ObjectIdentifier] | None = (ExtendedKeyUsageOID.SERVER_AUTH,),
        hash_algorithm: hashes.SHA256 | hashes.SHA384 | hashes.SHA512 | None = None,
        common_name: str = "",
    ) -> Issued:
        """A leaf for these names (DNS names or addresses), 90 days from now less an hour unless told otherwise."""
        own = key or new_key(key_type)
        start = not_before or utc_now() - timedelta(hours=1)
        builder = (
            x509.CertificateBuilder()
            .subject_name(_name(common_name))
            .issuer_name(self.certificate.subject)
            .public_key(own.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(start)
            .not_valid_after(not_after or start + timedelta(days=90))
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_leaf_usage(), critical=True)
            .add_extension(_authority_key(self.key), critical=False)
        )
        if names:
            san = x509.SubjectAlternativeName([_general_name(name) for name in names])
            builder = builder.add_extension(san, critical=not common_name)
        if usages:
            builder = builder.add_extension(x509.ExtendedKeyUsage(list(usages)), critical=False)
        return Issued(builder.sign(self.key, hash_algorithm or hashes.SHA256()), own, self.above)


def self_signed(*names: str, key_type: KeyType = KeyType.ECDSA_P256, days: int = 3650) -> Issued:
    """A certificate that vouches for itself, as Debian's snakeoil does."""
    key = new_key(key_type, slot=92)
    start = utc_now() - timedelta(hours=1)
    subject = _name(names[0] if names else "")
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(start)
        .not_valid_after(start + timedelta(days=days))
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=False)
        .add_extension(x509.SubjectAlternativeName([_general_name(name) for name in names]), critical=False)
        .sign(key, hashes.SHA256())
    )
    return Issued(certificate, key, ())


def _ca_certificate(
    name: str,
    key: PrivateKey,
    issuer: x509.Name,
    issuer_key: PrivateKey,
    not_before: datetime | None,
    not_after: datetime | None,
) -> x509.Certificate:
    start = not_before or utc_now() - timedelta(days=1)
    return (
        x509.CertificateBuilder()
        .subject_name(_name(name))
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(start)
        .not_valid_after(not_after or start + timedelta(days=3650))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(_ca_usage(), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(_authority_key(issuer_key), critical=False)
        .sign(issuer_key, hashes.SHA256())
    )


def _authority_key(key: PrivateKey) -> x509.AuthorityKeyIdentifier:
    return x509.AuthorityKeyIdentifier.from_issuer_public_key(key.public_key())


def _leaf_usage() -> x509.KeyUsage:
    return _usage(sign=True, cert_sign=False)


def _ca_usage() -> x509.KeyUsage:
    return _usage(sign=True, cert_sign=True)


def _usage(*, sign: bool, cert_sign: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=sign,
        key_cert_sign=cert_sign,
        crl_sign=cert_sign,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )

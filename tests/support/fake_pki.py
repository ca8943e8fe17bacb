"""The certificates behind the fake CA: real ones, signed by real keys, at the fake's own time.

Two roots (an old and a new one) and intermediates; each issued leaf has a
default chain that ends below the old root and an alternate below the new one.
Leaves look like those of a public CA: SAN critical when there is no subject,
AKI, serverAuth only.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cached_property
from ipaddress import ip_address

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from mailseal.model import Identifier


@dataclass
class Authority:
    """A certificate that signs others, and its key."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey


def pem(certificate: x509.Certificate) -> str:
    """A certificate as PEM text."""
    return certificate.public_bytes(serialization.Encoding.PEM).decode("ascii")


class FakePki:
    """Roots and intermediates that begin at `start`; `chain_length` counts the intermediates."""

    def __init__(self, start: datetime, chain_length: int = 1, seed: int = 0) -> None:
        self._start = start - timedelta(days=30)
        self._random = random.Random(seed)
        self.old_root = self._root("Fake Root X1")
        self.new_root = self._root("Fake Root X2")
        self._intermediates: list[Authority] = []
        issuer = self.old_root
        for number in range(chain_length):
            issuer = self._authority(f"Fake Intermediate E{number + 1}", issuer)
            self._intermediates.append(issuer)

    @cached_property
    def cross(self) -> x509.Certificate:
        """The topmost intermediate again, certified by the new root."""
        top = self._intermediates[0]
        return self._certify(
            top.certificate.subject, top.key.public_key(), self.new_root, 3650, path_length=None
        )

    def issue(
        self,
        csr: x509.CertificateSigningRequest,
        names: Sequence[Identifier],
        now: datetime,
        lifetime: timedelta,
    ) -> tuple[x509.Certificate, list[str]]:
        """A leaf for the request's key, and its chains as PEM texts: the default one and the alternate."""
        signer = self._intermediates[-1]
        sans: list[x509.GeneralName] = [
            x509.IPAddress(ip_address(name.value)) if name.kind == "ip" else x509.DNSName(name.value)
            for name in names
        ]
        leaf = (
            x509.CertificateBuilder()
            .subject_name(x509.Name([]))
            .issuer_name(signer.certificate.subject)
            .public_key(csr.public_key())
            .serial_number(self._random.getrandbits(127) | 1 << 127)
            .not_valid_before(now - timedelta(hours=1))
            .not_valid_after(now - timedelta(hours=1) + lifetime)
            .add_extension(x509.SubjectAlternativeName(sans), critical=True)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
            .add_extension(self._aki(signer), critical=False)
            .sign(signer.key, hashes.SHA256())
        )
        below = [pem(authority.certificate) for authority in reversed(self._intermediates[1:])]
        top = self._intermediates[0].certificate
        first = pem(leaf)
        return leaf, ["".join([first, *below, pem(top)]), "".join([first, *below, pem(self.cross)])]

    def root_pem(self) -> str:
        """What a client trusts: both roots."""
        return pem(self.old_root.certificate) + pem(self.new_root.certificate)

    def _root(self, name: str) -> Authority:
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        return Authority(self._certify(subject, key.public_key(), None, 7300, path_length=None, key=key), key)

    def _authority(self, name: str, issuer: Authority) -> Authority:
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        return Authority(self._certify(subject, key.public_key(), issuer, 3650, path_length=None), key)

    def _certify(
        self,
        subject: x509.Name,
        public: ec.EllipticCurvePublicKey,
        issuer: Authority | None,
        days: int,
        *,
        path_length: int | None,
        key: ec.EllipticCurvePrivateKey | None = None,
    ) -> x509.Certificate:
        signer = issuer.key if issuer else key
        assert signer is not None
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(issuer.certificate.subject if issuer else subject)
            .public_key(public)
            .serial_number(self._random.getrandbits(120) | 1)
            .not_valid_before(self._start)
            .not_valid_after(self._start + timedelta(days=days))
            .add_extension(x509.BasicConstraints(ca=True, path_length=path_length), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
        )
        if issuer is not None:
            builder = builder.add_extension(self._aki(issuer), critical=False)
        return builder.sign(signer, hashes.SHA256())

    @staticmethod
    def _aki(issuer: Authority) -> x509.AuthorityKeyIdentifier:
        ski = issuer.certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
        return x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(ski)

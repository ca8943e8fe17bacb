"""The nouns that every room shares; they know nobody and do nothing.

Words are the field's own (RFC 8555 for orders and identifiers, RFC 5280 for
certificates); docs/architecture.md lists them. Times are aware UTC, durations
are seconds, paths are absolute strings on the machine looked at.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from enum import IntEnum, StrEnum
from typing import Literal

CHALLENGE_PREFIX = "/.well-known/acme-challenge/"  # RFC 8555 section 8.3


class Secret:
    """Bytes that must never be shown: repr, str and formatting say only that they are there."""

    __slots__ = ("_value",)

    def __init__(self, value: bytes) -> None:
        self._value = value

    def reveal(self) -> bytes:
        """The bytes themselves, for the one place that writes or uses them."""
        return self._value

    def __repr__(self) -> str:
        return "Secret(…)"

    __str__ = __repr__

    def __format__(self, spec: str) -> str:
        return repr(self)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and other._value == self._value

    def __hash__(self) -> int:
        return hash(self._value)


class KeyType(StrEnum):
    """The kind of a certificate's key; the value names its folder in a generation."""

    ECDSA_P256 = "ecdsa-p256"
    ECDSA_P384 = "ecdsa-p384"
    RSA_2048 = "rsa-2048"
    RSA_3072 = "rsa-3072"
    RSA_4096 = "rsa-4096"

    @property
    def family(self) -> KeyFamily:
        """What a TLS client can tell apart: ECDSA or RSA."""
        return "ecdsa" if self.value.startswith("ecdsa") else "rsa"


KeyFamily = Literal["ecdsa", "rsa"]

_LABEL = re.compile(r"(?!-)[a-z0-9_-]{1,63}(?<!-)")


@dataclass(frozen=True, slots=True, order=True)
class Identifier:
    """What a certificate is asked for: a DNS name (A-labels, lower case, no final dot) or an IP address.

    Make one with `Identifier.parse`; RFC 8555 section 9.7.7 names the types.
    """

    kind: Literal["dns", "ip"]
    value: str

    @classmethod
    def parse(cls, text: str) -> Identifier:
        """Reads a name in any case or in Unicode (IDNA 2008), with or without a final dot, or an address.

        Raises `ValueError` whose text says what is wrong with the name.
        """
        name = text.strip()
        try:
            return cls("ip", str(ipaddress.ip_address(name.strip("[]"))))
        except ValueError:
            pass
        return cls("dns", _dns_name(name))

    @property
    def is_wildcard(self) -> bool:
        return self.value.startswith("*.")

    @property
    def unicode(self) -> str:
        """The name as a person writes it."""
        if "xn--" not in self.value:
            return self.value
        import idna

        head, sep, rest = ("*", ".", self.value[2:]) if self.is_wildcard else ("", "", self.value)
        try:
            return f"{head}{sep}{idna.decode(rest)}"
        except idna.IDNAError:
            return self.value

    def covers(self, name: str) -> bool:
        """Whether a certificate for this identifier is good for `name` (RFC 9525 section 6.3)."""
        name = name.lower().rstrip(".")
        if self.is_wildcard:
            _, _, parent = name.partition(".")
            return parent == self.value[2:]
        return name == self.value

    def __str__(self) -> str:
        return self.value


def _dns_name(text: str) -> str:
    name = text.rstrip(".").replace("\u3002", ".")
    wildcard = name.startswith("*.")
    rest = name[2:] if wildcard else name
    if not rest:
        raise ValueError("the name is empty")
    if "*" in rest:
        raise ValueError(f"{text!r}: a wildcard stands only as the whole first label, as in *.example.org")
    if not rest.isascii():
        import idna

        try:
            rest = idna.encode(rest, uts46=True).decode("ascii")
        except idna.IDNAError as error:
            raise ValueError(f"{text!r} is not a name that DNS can hold (IDNA 2008): {error}") from error
    rest = rest.lower()
    labels = rest.split(".")
    if len(rest) > 253:
        raise ValueError(f"{text!r} is longer than the 253 octets that a DNS name may have")
    if len(labels) < 2:
        raise ValueError(f"{text!r} has no dot: a full name such as mail.example.org is needed")
    for label in labels:
        if not _LABEL.fullmatch(label):
            raise ValueError(f"{text!r}: {label!r} is not a DNS label (letters, digits, hyphens, at most 63)")
    if labels[-1].isdigit():
        raise ValueError(f"{text!r} looks like an address but is none")
    return ("*." if wildcard else "") + rest


class Severity(IntEnum):
    """How much a finding matters; the order is the order of shouting."""

    OK = 0
    INFO = 1
    WARNING = 2
    ERROR = 3

    @property
    def word(self) -> str:
        return self.name.lower()


@dataclass(frozen=True, slots=True)
class Finding:
    """An answer: what was expected, what was seen, why it matters and the command that mends it.

    `code` is stable and listed in docs/reference/findings.md; `subject` is the
    endpoint, file, service or name that the finding is about.
    """

    code: str
    severity: Severity
    subject: str
    seen: str
    expected: str = ""
    why: str = ""
    mend: str = ""


class AppProtocol(StrEnum):
    """What is spoken at a port; it decides how TLS starts and what is asked before."""

    SMTP = "smtp"  # port 25, RFC 5321 and 3207
    SUBMISSION = "submission"  # 587 and 465, RFC 6409 and 8314
    IMAP = "imap"  # RFC 9051
    POP3 = "pop3"  # RFC 1939 and 2595
    SIEVE = "sieve"  # ManageSieve, RFC 5804
    HTTP = "http"


class TlsMode(StrEnum):
    """How TLS starts: never, after a command in the clear, or with the first octet."""

    NONE = "none"
    STARTTLS = "starttls"
    IMPLICIT = "implicit"


@dataclass(frozen=True, slots=True, order=True)
class Endpoint:
    """One place a client can reach: an address of this machine (or another), a port, and what is spoken there."""

    service: str
    address: str
    port: int
    protocol: AppProtocol
    tls: TlsMode

    @property
    def is_ipv6(self) -> bool:
        return ":" in self.address

    def __str__(self) -> str:
        host = f"[{self.address}]" if self.is_ipv6 else self.address
        return f"{host}:{self.port}"


@dataclass(frozen=True, slots=True)
class CertificateSpec:
    """The wish: a stable name, the identifiers, the key types, who issues. The order of identifiers means nothing."""

    name: str
    identifiers: frozenset[Identifier]
    key_types: tuple[KeyType, ...] = (KeyType.ECDSA_P256,)
    issuer: str = "acme"
    profile: str | None = None
    preferred_chain: str | None = None

    @property
    def sorted_identifiers(self) -> tuple[Identifier, ...]:
        """The identifiers in one fixed order: shortest name first, then by the alphabet."""
        return tuple(sorted(self.identifiers, key=lambda i: (i.value.count("."), i.value)))


@dataclass(frozen=True, slots=True)
class KeyFiles:
    """The files of one key type of a lineage, by the paths that daemons are told (through `current`)."""

    key_type: KeyType
    privkey: str
    cert: str
    chain: str
    fullchain: str
    combined: str  # key, leaf, chain in one file: what smtpd_tls_chain_files reads

    @property
    def paths(self) -> tuple[str, ...]:
        """All five."""
        return (self.privkey, self.cert, self.chain, self.fullchain, self.combined)


@dataclass(frozen=True, slots=True)
class CertificateFacts:
    """What a leaf says of itself, and what it was found beside.

    `fingerprint` is the SHA-256 of the DER in lower-case hex; `spki_sha256` that
    of its SubjectPublicKeyInfo (what TLSA 3 1 1 holds, RFC 6698).
    """

    fingerprint: str
    spki_sha256: str
    identifiers: tuple[Identifier, ...]
    issuer: str
    serial: int
    not_before: datetime
    not_after: datetime
    key_family: KeyFamily


@dataclass(frozen=True, slots=True)
class Generation:
    """One issued set, whole: its number in the lineage and what each key type's leaf says.

    `asked` are the identifiers that it was ordered for; a CA may add some of its own to the leaf. Empty where
    nobody wrote them down: then the leaf's.
    """

    lineage: str
    number: int
    leaves: tuple[tuple[KeyType, CertificateFacts], ...]
    issued_at: datetime
    issuer: str
    asked: tuple[Identifier, ...] = ()

    @property
    def label(self) -> str:
        return f"{self.number:04d}"

    @property
    def not_after(self) -> datetime:
        """The earliest expiry among the key types."""
        return min(facts.not_after for _, facts in self.leaves)

    @property
    def not_before(self) -> datetime:
        return max(facts.not_before for _, facts in self.leaves)

    def fingerprints(self) -> frozenset[str]:
        return frozenset(facts.fingerprint for _, facts in self.leaves)


# What an adapter wishes to stand on disk. The plan compares a wish with what is there.


@dataclass(frozen=True, slots=True)
class FileWish:
    """This path is a regular file of exactly these bytes, mode and owner (owner None: root, group root)."""

    path: str
    content: bytes = field(repr=False)
    mode: int = 0o644
    owner: tuple[int, int] = (0, 0)
    keep_metadata: bool = False  # of a file that is there already, keep mode and owner as found
    secret: bool = False  # its content is never shown in a diff
    why: str = ""


@dataclass(frozen=True, slots=True)
class LinkWish:
    """This path is a symbolic link to exactly this target text."""

    path: str
    target: str
    why: str = ""


@dataclass(frozen=True, slots=True)
class DirectoryWish:
    """This directory is there, owned by root, with this mode."""

    path: str
    mode: int = 0o755
    why: str = ""


@dataclass(frozen=True, slots=True)
class AbsentWish:
    """Nothing stands at this path."""

    path: str
    why: str = ""


Wish = FileWish | LinkWish | DirectoryWish | AbsentWish


@dataclass(frozen=True, slots=True)
class FileState:
    """What stands at a path now, without following a symbolic link there."""

    kind: Literal["absent", "file", "link", "directory", "other"]
    content: bytes = field(default=b"", repr=False)
    target: str = ""
    mode: int = 0
    uid: int = 0
    gid: int = 0


@dataclass(frozen=True, slots=True)
class Command:
    """A process to start, as data: argv (never a shell), its time limit in seconds, and what it is for."""

    argv: tuple[str, ...]
    timeout: float = 60.0
    why: str = ""
    env: tuple[tuple[str, str], ...] = ()

    def __str__(self) -> str:
        import shlex

        return shlex.join(self.argv)


def worst(findings: Iterable[Finding]) -> Severity:
    """The gravest severity among the findings; OK where there is none."""
    return max((finding.severity for finding in findings), default=Severity.OK)

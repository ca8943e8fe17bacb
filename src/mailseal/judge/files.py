"""The certificate files that daemons are configured with, judged where they lie.

What shows on the wire (trust, names, dates, order) is judged there; here is
what a handshake cannot tell, or tells too late: a file that is not there (so
that the next restart fails while the running process still has it in memory),
a key that does not fit (so that the next reload kills the daemon), a leaf
without its chain beside a full chain, a key that everybody can read. Pure:
the files were read by somebody else.
"""

from __future__ import annotations

import posixpath
from collections.abc import Iterator
from dataclasses import dataclass, field

from mailseal.certificates import certificate_facts, is_authority, read_pem, subject
from mailseal.chains import incomplete, shape
from mailseal.errors import KeyMaterialError
from mailseal.judge.words import certificate, reload_of
from mailseal.material import key_faults
from mailseal.model import Finding, Secret, Severity
from mailseal.services.base import ConfiguredCertificate

_OTHERS_READ = 0o004


@dataclass(frozen=True, slots=True)
class PemFile:
    """A file as it was found: its content, or why there is none; where a link leads; permission bits.

    `full_chain` is the path of a full chain in the same directory, where there is one.
    """

    path: str
    content: bytes | None = field(default=None, repr=False)
    problem: str = ""
    leads_to: str = ""
    mode: int = 0
    full_chain: str = ""

    def certificates(self) -> tuple[bytes, ...]:
        """What it holds, DER, in order; nothing where it cannot be read."""
        try:
            return read_pem(self.content) if self.content is not None else ()
        except KeyMaterialError:
            return ()


@dataclass(frozen=True, slots=True)
class Pair:
    """What a service is configured with: the setting, and the files that it names."""

    service: str
    configured: ConfiguredCertificate
    cert: PemFile
    key: PemFile

    @property
    def chain(self) -> tuple[bytes, ...]:
        """What the daemon will send, if its files are right."""
        return self.cert.certificates()


def judge_pair(pair: Pair) -> tuple[Finding, ...]:
    """All that is wrong with the files of one setting."""
    found = [finding for file in dict.fromkeys((pair.cert, pair.key)) for finding in _there(pair, file)]
    if found:
        return tuple(found)
    return (*_certificate(pair), *_key(pair))


def _there(pair: Pair, file: PemFile) -> Iterator[Finding]:
    if file.content is not None or not file.path:
        return
    leads = f", a link to {file.leads_to}" if file.leads_to else ""
    yield Finding(
        "file-missing" if "no such file" in file.problem.lower() else "file-unreadable",
        Severity.ERROR,
        file.path,
        seen=f"{file.problem}{leads}",
        expected=f"the file that {pair.configured.setting} names ({pair.configured.place})",
        why="the service may go on with what it has in memory and fail at its next start",
        mend=f"mend {pair.configured.setting} at {pair.configured.place}",
    )


def _certificate(pair: Pair) -> Iterator[Finding]:
    path = pair.cert.path
    try:
        chain = read_pem(pair.cert.content or b"")
        if not chain:
            raise KeyMaterialError("no certificate is in it")
        certificate_facts(chain[0])
        missing, leads = incomplete(chain), shape(chain).missing_issuer
    except KeyMaterialError as error:
        yield Finding(
            "file-not-a-certificate",
            Severity.ERROR,
            path,
            seen=str(error),
            expected="a certificate in PEM",
            why=f"{pair.configured.setting} names it ({pair.configured.place})",
        )
        return
    if is_authority(chain[0]) and len(chain) > 1:
        yield Finding(
            "file-out-of-order",
            Severity.ERROR,
            path,
            seen=f"the file begins with {subject(chain[0])}, a certificate authority",
            expected="the leaf first",
            why="the daemon takes the first certificate as its own, and the key does not fit it",
        )
    elif missing:
        full = pair.cert.full_chain
        yield Finding(
            "file-leaf-only",
            Severity.ERROR,
            path,
            seen=f"only the leaf, issued by {leads}",
            expected=full or "the leaf and the chain above it (fullchain.pem)",
            why="clients and senders that do not know the intermediate already cannot trust the leaf",
            mend=f"name {full or 'the full chain'} in {pair.configured.setting} ({pair.configured.place}), then "
            f"{reload_of(pair.service)}",
        )


def _key(pair: Pair) -> Iterator[Finding]:
    chain, content = pair.chain, pair.key.content
    if not chain or content is None:
        return
    for fault in key_faults(Secret(content), chain[0]):
        yield Finding(
            "file-key-mismatch" if fault.code == "key-does-not-fit" else "file-key-unreadable",
            Severity.ERROR,
            pair.key.path,
            seen=fault.text,
            expected=f"the key of {certificate(chain[0])} in {pair.cert.path}",
            why="no checker of the daemon sees it; the next reload or restart ends TLS",
            mend=f"name the key that belongs to {pair.cert.path} at {pair.configured.place}",
        )
    if pair.key.mode & _OTHERS_READ:
        yield Finding(
            "file-key-readable",
            Severity.ERROR,
            pair.key.path,
            seen=f"mode {pair.key.mode:04o}: every user of this machine can read the key",
            expected="0600, or 0640 with a group for it",
            why="whoever has the key can pass for this server",
            mend=f"chmod 0600 {pair.key.path}, and get a new key",
        )


def full_chain_beside(path: str) -> str:
    """Where certbot and its like put the full chain beside this file."""
    return posixpath.join(posixpath.dirname(path), "fullchain.pem")

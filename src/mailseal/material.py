"""The check before a switch: would a daemon that loads these files serve its clients well?

No daemon's own checker looks: given a key that does not fit its leaf, Postfix,
Dovecot and Apache all call their configuration good, and then break. So key,
leaf and chain are loaded here as a daemon would load them, the key is held
against the leaf, the chain against the anchors, the names against the names
asked for (RFC 9525), the dates against the clock.

`faults` tells all that is wrong, gravest first, as values; `check_material`
raises for any of it. Nothing is read or written; what the key is never shows
in a message.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key

from mailseal.certificates import certificate_facts, covers, for_servers, parse, read_pem, subject, weakness
from mailseal.chains import TrustAnchors, incomplete, shape, trust
from mailseal.errors import UNCHANGED, KeyMaterialError, NotYetValid
from mailseal.model import CertificateFacts, Identifier, KeyType, Secret

_KEY = re.compile(rb"-----BEGIN ((?:RSA |EC |ENCRYPTED )?PRIVATE KEY)-----.*?-----END \1-----", re.DOTALL)


_OWN_CA = "for a CA of your own name its root (setup: --trust FILE; [proof] trust); else choose another CA"
_CLOCK = "look at the clock (date -u): a CA issues nothing that is not valid yet"
# A cross-signed twin of a root that not every client needs: CAs send such, and daemons serve it well.
_HARMLESS = frozenset({"chain-superfluous"})


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing wrong with key, leaf or chain: a stable code and a sentence."""

    code: str
    text: str


def check_material(
    privkey: Secret,
    cert: bytes,
    chain: bytes,
    *,
    identifiers: Iterable[Identifier],
    now: datetime,
    anchors: TrustAnchors | None = None,
    key_type: KeyType | None = None,
) -> CertificateFacts:
    """What the leaf says of itself, if key, leaf and chain (PEM) are fit to go live.

    Raises `KeyMaterialError` with everything that is wrong, `NotYetValid` where it is that alone. Without `anchors`
    the chain must be sound in itself; whether anybody trusts it stays open.
    """
    served = (*read_pem(cert), *read_pem(chain))
    found = [
        fault
        for fault in faults(
            privkey, served, identifiers=identifiers, now=now, anchors=anchors, key_type=key_type
        )
        if fault.code not in _HARMLESS
    ]
    if found:
        codes = {fault.code for fault in found}
        kind = NotYetValid if codes == {"not-yet-valid"} else KeyMaterialError
        raise kind(
            "The new certificate must not go live",
            reason="; ".join(fault.text for fault in found),
            state=UNCHANGED,
            next_command=_OWN_CA if "untrusted" in codes else _CLOCK if kind is NotYetValid else "",
        )
    return certificate_facts(served[0])


def faults(
    privkey: Secret | None,
    served: tuple[bytes, ...],
    *,
    identifiers: Iterable[Identifier],
    now: datetime,
    anchors: TrustAnchors | None = None,
    key_type: KeyType | None = None,
) -> tuple[Fault, ...]:
    """Everything wrong with a key (None: not looked at) and the certificates (DER) served with it."""
    if not served:
        return (Fault("certificate-missing", "the file holds no certificate"),)
    try:
        return (
            *key_faults(privkey, served[0], key_type),
            *_chain_faults(served, now, anchors),
            *_leaf_faults(served[0], tuple(identifiers), now),
        )
    except KeyMaterialError as error:
        return (Fault("certificate-unreadable", str(error)),)


def key_faults(privkey: Secret | None, leaf: bytes, key_type: KeyType | None = None) -> Iterator[Fault]:
    """What is wrong with the key alone: unreadable, not the leaf's, of another type than asked for."""
    if privkey is not None:
        try:
            public = public_key_of(privkey)
        except KeyMaterialError as error:
            yield Fault("key-unreadable", str(error))
        else:
            if public != _spki(leaf):
                yield Fault(
                    "key-does-not-fit", "the private key is not the one that the certificate was issued for"
                )
    if key_type is not None and (actual := _key_type(leaf)) is not key_type:
        yield Fault(
            "key-type-differs", f"the certificate's key is {actual or 'of another type'}, not {key_type}"
        )


def public_key_of(privkey: Secret) -> bytes:
    """The public half (DER SubjectPublicKeyInfo) of the first key in PEM text. Raises `KeyMaterialError`."""
    block = _KEY.search(privkey.reveal())
    if block is None:
        raise KeyMaterialError("the key's file holds no private key in PEM")
    if block[1].startswith(b"ENCRYPTED") or b"ENCRYPTED" in block[0][:200]:
        raise KeyMaterialError("the private key is locked by a passphrase, which no mail daemon can enter")
    try:
        key = load_pem_private_key(block[0], password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise KeyMaterialError("the private key is damaged or of an unknown kind") from error
    return key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def _spki(der: bytes) -> bytes:
    try:
        return parse(der).public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    except (ValueError, UnsupportedAlgorithm) as error:
        raise KeyMaterialError("the certificate's key cannot be read", reason=str(error)) from error


def _key_type(der: bytes) -> KeyType | None:
    try:
        key = parse(der).public_key()
    except (ValueError, UnsupportedAlgorithm):
        return None
    if isinstance(key, rsa.RSAPublicKey):
        name = f"rsa-{key.key_size}"
    elif isinstance(key, ec.EllipticCurvePublicKey):
        name = {"secp256r1": "ecdsa-p256", "secp384r1": "ecdsa-p384"}.get(key.curve.name, "")
    else:
        name = ""
    return KeyType(name) if name in set(KeyType) else None


def _chain_faults(served: tuple[bytes, ...], now: datetime, anchors: TrustAnchors | None) -> Iterator[Fault]:
    seen = shape(served)
    if not seen.in_order:
        yield Fault(
            "chain-order", "the chain is out of order: each certificate must vouch for the one before it"
        )
    if seen.superfluous:
        yield Fault(
            "chain-superfluous", f"the chain holds what does not belong to it: {', '.join(seen.superfluous)}"
        )
    verdict = trust(served, anchors, now) if anchors is not None else None
    if (verdict is None or not verdict.trusted) and incomplete(served):
        yield Fault(
            "chain-incomplete",
            f"the chain is incomplete: the certificate of {seen.missing_issuer} is missing",
        )
    elif verdict is not None and anchors is not None and not verdict.trusted:
        if verdict.date_at_fault and verdict.date_at_fault != subject(served[0]):
            yield Fault("chain-expired", f"{verdict.date_at_fault}, which vouches for it: {verdict.reason}")
        elif not verdict.date_at_fault:
            yield Fault("untrusted", untrusted(served, anchors, verdict.reason))
    for der in served:
        if weak := weakness(der):
            yield Fault("certificate-weak", f"the certificate of {subject(der)} is too weak: {weak}")


def untrusted(served: tuple[bytes, ...], anchors: TrustAnchors, reason: str) -> str:
    """Why these anchors do not vouch for the chain, in a sentence."""
    seen = shape(served)
    if seen.self_signed:
        return f"it vouches for itself, and {anchors.label} does not hold it"
    if seen.missing_issuer:
        last = subject(served[seen.path[-1]])
        return f"{seen.missing_issuer}, which vouches for {last}, is neither sent nor held by {anchors.label}"
    return f"{anchors.label} does not vouch for {subject(served[seen.path[-1]])}: {reason}"


def _leaf_faults(leaf: bytes, identifiers: tuple[Identifier, ...], now: datetime) -> Iterator[Fault]:
    facts = certificate_facts(leaf)
    if now < facts.not_before:
        yield Fault("not-yet-valid", f"it is valid only from {facts.not_before:%Y-%m-%d %H:%M} UTC on")
    if now >= facts.not_after:
        yield Fault("expired", f"it expired on {facts.not_after:%Y-%m-%d %H:%M} UTC")
    if not for_servers(leaf):
        yield Fault("not-for-servers", "its extended key usage does not allow a TLS server (serverAuth)")
    missing = [wanted for wanted in identifiers if not _names(leaf, facts, wanted)]
    if missing:
        held = ", ".join(map(str, facts.identifiers)) or "no name"
        yield Fault("name-mismatch", f"it is not for {', '.join(map(str, missing))} but for {held}")


def _names(leaf: bytes, facts: CertificateFacts, wanted: Identifier) -> bool:
    return wanted in facts.identifiers if wanted.is_wildcard else covers(leaf, wanted.value)

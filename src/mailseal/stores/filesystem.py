"""Lineages on disk: generations written once, and one link that says which is current.

    <root>/lineages/<name>/0007/<keytype>/{privkey,cert,chain,fullchain,combined}.pem
    <root>/lineages/<name>/0007/meta.json
    <root>/lineages/<name>/current -> 0007
    <root>/live/<name>/{privkey,cert,chain,fullchain}.pem -> ../../lineages/<name>/current/<keytype>/…

A generation is whole or not there (`Files.create_tree`). Nothing in it is ever changed. The folders that
hold keys are entered by root only (0700), the keys in them are born 0600.
Moving `current` is not done here: it is a step of a transaction
(`current_wish`), so that it is journalled, proven and taken back like every
other change of what is served.

What a generation's leaves say is kept in meta.json, so that looking (`status`,
`plan`) reads one small file a lineage and parses no certificate.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache

import msgspec

from mailseal.errors import SystemFault
from mailseal.model import (
    CertificateFacts,
    DirectoryWish,
    Generation,
    Identifier,
    KeyFiles,
    KeyType,
    LinkWish,
    Secret,
    Wish,
)
from mailseal.system import System
from mailseal.unreadable import UNREADABLE

DEFAULT_ROOT = "/var/lib/mailseal"
_NUMBER = re.compile(r"[0-9]{4,}")
_FILES = ("privkey", "cert", "chain", "fullchain", "combined")


@dataclass(frozen=True, slots=True)
class Material:
    """What was issued for one key type: private key and leaf as PEM, the chain above the leaf as PEM."""

    key_type: KeyType
    privkey: Secret
    cert: bytes
    chain: bytes
    facts: CertificateFacts

    def files(self) -> tuple[tuple[str, bytes], ...]:
        """File name and content, as they stand in a generation."""
        key = self.privkey.reveal()
        contents = (key, self.cert, self.chain, self.cert + self.chain, key + self.cert + self.chain)
        return tuple(zip((f"{name}.pem" for name in _FILES), contents, strict=True))


class _Leaf(msgspec.Struct, frozen=True):
    key_type: KeyType
    fingerprint: str
    spki_sha256: str
    identifiers: list[str]
    issuer: str
    serial: str
    not_before: datetime
    not_after: datetime


class _Meta(msgspec.Struct, frozen=True):
    lineage: str
    number: int
    issuer: str
    issued_at: datetime
    leaves: list[_Leaf]
    asked: list[str] = []


class LineageStore:
    """The lineages under one root folder; `system` is the door to the disk."""

    def __init__(self, system: System, root: str = DEFAULT_ROOT) -> None:
        self._files = system.files
        self.root = root.rstrip("/")

    def prepare(self) -> None:
        """Makes the folders that are missing, with the modes that the layout promises."""
        for path, mode in (
            (self.root, 0o711),
            (f"{self.root}/lineages", 0o700),
            (f"{self.root}/live", 0o700),
            (f"{self.root}/accounts", 0o700),
            (f"{self.root}/pending", 0o700),
            (f"{self.root}/journal", 0o700),
            (f"{self.root}/state", 0o700),
            (f"{self.root}/challenges", 0o755),
        ):
            if self._files.stat(path) is None:
                self._files.mkdir(path, mode=mode, exist_ok=True)

    def names(self) -> tuple[str, ...]:
        """The lineages that have a folder."""
        return tuple(
            name for name in self._files.listdir(f"{self.root}/lineages") if not name.startswith(".")
        )

    def folder(self, name: str) -> str:
        return f"{self.root}/lineages/{name}"

    def live_folder(self, name: str) -> str:
        return f"{self.root}/live/{name}"

    def numbers(self, name: str) -> tuple[int, ...]:
        """The generations of a lineage, the oldest first."""
        found = (entry for entry in self._files.listdir(self.folder(name)) if _NUMBER.fullmatch(entry))
        return tuple(sorted(int(entry) for entry in found))

    def current_number(self, name: str) -> int | None:
        """Which generation `current` points at, or None."""
        state = self._files.state(self.current_path(name))
        return int(state.target) if state.kind == "link" and _NUMBER.fullmatch(state.target) else None

    def current_path(self, name: str) -> str:
        return f"{self.folder(name)}/current"

    def find(self, name: str, label: str) -> Generation | None:
        """The generation of that label (the target of a `current`); None where it is not there, or not whole.

        Whole: meta.json can be read and every file that it tells of is there. What is in them is not looked at.
        """
        if not _NUMBER.fullmatch(label):
            return None
        try:
            generation = self.load(name, int(label))
        except SystemFault:
            return None
        paths = (path for files in self.generation_files(generation) for path in files.paths)
        found = (self._files.stat(path) for path in paths)
        return generation if all(one is not None and one.kind == "file" for one in found) else None

    def load(self, name: str, number: int) -> Generation:
        """One generation, from its meta.json. Raises `SystemFault` where that is missing or unreadable.

        Its name and number are those of the folders that it lies in.
        """
        path = f"{self.folder(name)}/{number:04d}/meta.json"
        try:
            meta, leaves, asked = _read_meta(self._files.read(path))
        except (*UNREADABLE, ValueError) as error:
            raise SystemFault(
                f"{path} is damaged",
                reason=str(error),
                next_command=f"mailseal plan (a new generation of {name!r} takes the place of a damaged one)",
            ) from error
        return Generation(name, number, leaves, meta.issued_at, meta.issuer, asked)

    def fingerprints(self, name: str, label: str) -> frozenset[str]:
        """Those of a generation's leaves; none where it cannot be read."""
        generation = self.find(name, label)
        return generation.fingerprints() if generation else frozenset()

    def key_files(self, name: str, key_types: tuple[KeyType, ...]) -> tuple[KeyFiles, ...]:
        """The paths that daemons are told, through `current`, so that one rename moves them all."""
        return tuple(_key_files(f"{self.folder(name)}/current/{kt}", kt) for kt in key_types)

    def generation_files(self, generation: Generation) -> tuple[KeyFiles, ...]:
        """The paths inside the generation itself, for checks before it is current."""
        base = f"{self.folder(generation.lineage)}/{generation.label}"
        return tuple(_key_files(f"{base}/{key_type}", key_type) for key_type, _ in generation.leaves)

    def watched(self, name: str, number: int, key_types: Iterable[str]) -> list[str]:
        """Every path at which a change of this generation, or of which one is current, shows."""
        folder = self.folder(name)
        base = f"{folder}/{number:04d}"
        files = [f"{base}/{kind}/{file}.pem" for kind in key_types for file in _FILES]
        return [folder, f"{base}/meta.json", *files, f"{self.root}/live/{name}"]

    def read_material(self, files: KeyFiles) -> tuple[Secret, bytes, bytes]:
        """Private key, leaf and chain as they stand on disk now."""
        privkey = Secret(self._files.read(files.privkey, 65_536))
        return privkey, self._files.read(files.cert, 65_536), self._files.read(files.chain, 1_048_576)

    def write(
        self,
        name: str,
        materials: tuple[Material, ...],
        *,
        issuer: str,
        issued_at: datetime,
        asked: tuple[Identifier, ...] = (),
    ) -> Generation:
        """Writes the next generation: whole under its number when this returns, or not there at all."""
        folder = self.folder(name)
        self._files.mkdir(folder, mode=0o700, exist_ok=True, durable=False)
        number = max((*self.numbers(name), 0)) + 1
        generation = Generation(
            name, number, tuple((m.key_type, m.facts) for m in materials), issued_at, issuer, asked
        )
        for entry in self._files.listdir(folder):
            if entry.startswith("."):  # a run that was killed left it half made, with a key in it
                self._files.remove_tree(f"{folder}/{entry}")
        contents = {f"{m.key_type}/{file}": content for m in materials for file, content in m.files()}
        contents["meta.json"] = msgspec.json.format(_encode(generation))
        self._files.create_tree(f"{folder}/{generation.label}", contents, mode=0o600)
        self._files.sync([f"{self.root}/lineages"])
        return generation

    def current_wish(self, generation: Generation) -> LinkWish:
        """The one rename that makes a generation the lineage's current one."""
        path = self.current_path(generation.lineage)
        return LinkWish(
            path, generation.label, why=f"generation {generation.label} of {generation.lineage} goes live"
        )

    def live_wishes(self, name: str, key_type: KeyType) -> tuple[Wish, ...]:
        """certbot's file names for root's own readers; links through `current`, so they never need moving."""
        folder = self.live_folder(name)
        links = tuple(
            LinkWish(f"{folder}/{file}.pem", f"../../lineages/{name}/current/{key_type}/{file}.pem")
            for file in ("privkey", "cert", "chain", "fullchain")
        )
        return (DirectoryWish(folder, 0o700), *links)


def _key_files(folder: str, key_type: KeyType) -> KeyFiles:
    privkey, cert, chain, fullchain, combined = (f"{folder}/{name}.pem" for name in _FILES)
    return KeyFiles(key_type, privkey, cert, chain, fullchain, combined)


@lru_cache(maxsize=1024)
def _read_meta(
    content: bytes,
) -> tuple[_Meta, tuple[tuple[KeyType, CertificateFacts], ...], tuple[Identifier, ...]]:
    """What a meta.json says; kept by its octets, since a run looks at it several times. Raises `ValueError`."""
    meta = msgspec.json.decode(content, type=_Meta)
    leaves = tuple((leaf.key_type, _facts(leaf)) for leaf in meta.leaves)
    if not leaves:
        raise ValueError("it tells of no certificate")
    return meta, leaves, tuple(Identifier.parse(text) for text in meta.asked)


def _facts(leaf: _Leaf) -> CertificateFacts:
    return CertificateFacts(
        fingerprint=leaf.fingerprint,
        spki_sha256=leaf.spki_sha256,
        identifiers=tuple(Identifier.parse(text) for text in leaf.identifiers),
        issuer=leaf.issuer,
        serial=int(leaf.serial, 16),
        not_before=leaf.not_before,
        not_after=leaf.not_after,
        key_family=leaf.key_type.family,
    )


def _encode(generation: Generation) -> bytes:
    leaves = [
        _Leaf(
            key_type=key_type,
            fingerprint=facts.fingerprint,
            spki_sha256=facts.spki_sha256,
            identifiers=[identifier.value for identifier in facts.identifiers],
            issuer=facts.issuer,
            serial=f"{facts.serial:x}",
            not_before=facts.not_before,
            not_after=facts.not_after,
        )
        for key_type, facts in generation.leaves
    ]
    asked = [identifier.value for identifier in generation.asked]
    meta = _Meta(
        generation.lineage, generation.number, generation.issuer, generation.issued_at, leaves, asked
    )
    return msgspec.json.encode(meta)

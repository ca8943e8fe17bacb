"""The index: which lineages were found well, and until when they may be passed over.

    <state directory>/index        a cache, root's own, 0600; without it every lineage is looked at

A whole look at a lineage reads its memory and its files and loads its key. With
thousands of them that costs seconds at every run, and almost none has changed.
So the end of a run (`mailseal.settled`) writes down of every lineage that needs
nothing: the instant from which it may need something, and stamps
(`Files.stamp`) of all that the look looked at. The next run compares stamps,
and reads nothing of those that are as they were.

Beside the rows stand the digest of the configuration's file and as much of what
it says as a run needs that passes all of them over, so that ten thousand tables
are not read for nothing. A lineage whose own table or [acme] changed is looked at.

Promises: whatever does not fit (another version, a file that others may write,
an octet of the configuration, a file of the lineage that anybody touched) is as
if it were not there. Never keeps a certificate from renewal: no row outlives
what it knows of.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass

import msgspec

from mailseal import __version__
from mailseal.config.schema import Certificate, Config
from mailseal.config.trusted import trusted
from mailseal.errors import SystemFault
from mailseal.stores.filesystem import DEFAULT_ROOT, LineageStore
from mailseal.stores.state import StateStore
from mailseal.system import System
from mailseal.unreadable import UNREADABLE

FORMAT = f"{__version__}/1"
_STATE = re.compile(rb'^\[state\][ \t]*\n(?:(?!\[)[^\n]*\n)*?[ \t]*directory[ \t]*=[ \t]*"([^"\\\n]+)"', re.M)
_MOST = 64 << 20


class Row(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One lineage that needs nothing before `until` (seconds since 1970) if all is as it was.

    `number` is the generation that is live, `key_types` are its own, joined by spaces. `renewal` is when it is to be
    renewed, `life` how long it lives (seconds). `material` and `memory` are stamps, `wish` is a digest of what the
    configuration asked for.
    """

    name: str
    number: int
    key_types: str
    until: float
    renewal: float
    life: float
    material: int
    memory: int
    wish: int


class Index(msgspec.Struct, frozen=True, array_like=True):
    """`digest` is that of the configuration's file, or empty; `head` is what it says, its certificates those without
    a row."""

    format: str
    digest: bytes
    head: Config
    rows: list[Row]


@dataclass(frozen=True, slots=True)
class Overview:
    """What a run has to look at: `config` has only the certificates that `rows`, the lineages passed over, do not hold.

    `digest` is that of the configuration's file.
    """

    config: Config
    rows: tuple[Row, ...]
    digest: bytes


def overview(system: System, path: str, *, whole: bool = False) -> Overview:
    """Reads the configuration, as little of it as will do. Raises as `mailseal.config.read`.

    `whole`: nothing is passed over, since a person asks.
    """
    raw = trusted(system, path)
    digest = hashlib.sha256(raw).digest()
    index = None if whole else stored(system, _state_directory(raw))
    if index is not None and index.digest == digest:
        held = _holding(system, index.head, index.rows)
        if len(held) == len(index.rows):
            return Overview(index.head, held, digest)
    from mailseal.config.reader import decoded, load

    config = load(decoded(raw, path), path)
    if index is None or index.head.state != config.state:
        return Overview(config, (), digest)
    wishes = {one.name: wish(config, one) for one in config.certificate[1:]}
    held = _holding(system, config, [row for row in index.rows if wishes.get(row.name) == row.wish])
    passed = {row.name for row in held}
    left = tuple(one for one in config.certificate if one.name not in passed)
    return Overview(msgspec.structs.replace(config, certificate=left), held, digest)


def wish(config: Config, certificate: Certificate) -> int:
    """A digest of what the configuration asks for one certificate."""
    asked = msgspec.msgpack.encode((config.acme, certificate))
    return int.from_bytes(hashlib.blake2b(asked, digest_size=7).digest(), "big")


def stored(system: System, directory: str) -> Index | None:
    """The index of a state directory, or None where there is none that may be believed."""
    path = index_path(directory)
    try:
        found = system.files.stat(path)
        if found is None or found.kind != "file" or found.mode & 0o077 or found.uid != 0:
            return None
        index = msgspec.msgpack.decode(system.files.read(path, _MOST), type=Index)
    except (SystemFault, *UNREADABLE):
        return None
    fits = index.format == FORMAT and index.head.state.directory == directory and index.head.certificate
    return index if fits else None


def save(system: System, index: Index) -> None:
    """Writes it if it differs. A cache that cannot be written costs a look too many, and nothing else."""
    directory = index.head.state.directory
    if index == stored(system, directory):
        return
    try:
        system.files.replace(index_path(directory), msgspec.msgpack.encode(index), mode=0o600)
    except SystemFault:
        return


def index_path(directory: str) -> str:
    """Where the index of a state directory lies."""
    return f"{directory.rstrip('/')}/index"


def _holding(system: System, config: Config, rows: list[Row]) -> tuple[Row, ...]:
    """The rows whose lineage is as it was, and whose time has not come."""
    directory = config.state.directory
    store, states = LineageStore(system, directory), StateStore(system, directory)
    stamp, now = system.files.stamp, system.clock.now().timestamp()
    held: list[Row] = []
    for row in rows:
        if now >= row.until or not row.material or not row.memory:
            continue
        try:
            material = stamp(store.watched(row.name, row.number, row.key_types.split()))
            if material == row.material and stamp((states.path(row.name),)) == row.memory:
                held.append(row)
        except SystemFault:
            continue
    return tuple(held)


def _state_directory(raw: bytes) -> str:
    """Where the state directory probably is; an index that is found there says itself whether it is meant."""
    found = _STATE.search(raw)
    return found[1].decode(errors="replace") if found else DEFAULT_ROOT

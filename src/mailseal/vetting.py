"""A generation's files, judged on disk just before they go live.

What was whole when it was written may have been touched since: by a restore, a
tool, a hand. So the five files of each key type are looked at as the daemons
will read them: there, root's own, closed to others, in agreement with each
other; and then loaded and held against each other, their names and the roots
(`mailseal.material`). Whether those names are the ones asked for now is the
plan's to see: a generation that lacks one still beats an older one that
expires.
"""

from __future__ import annotations

from mailseal.certificates import certificate_facts, read_pem
from mailseal.chains import TrustAnchors
from mailseal.errors import KeyMaterialError, SystemFault
from mailseal.material import check_material, faults
from mailseal.model import Generation, KeyFiles
from mailseal.renewal import nearly_expired
from mailseal.steps import Deploy
from mailseal.stores.filesystem import LineageStore
from mailseal.stores.revocations import RevocationStore
from mailseal.stores.state import StateStore
from mailseal.system import Files, System

_OF_TIME = frozenset({"expired", "not-yet-valid"})


def vet(system: System, store: LineageStore, generation: Generation, anchors: TrustAnchors) -> None:
    """Raises `KeyMaterialError` where a generation must not go live."""
    compromised = RevocationStore(system, store.root).compromised()
    for files, (key_type, facts) in zip(store.generation_files(generation), generation.leaves, strict=True):
        _readable(system.files, files)
        privkey, cert, chain = store.read_material(files)
        loaded = check_material(
            privkey,
            cert,
            chain,
            identifiers=facts.identifiers,
            now=system.clock.now(),
            anchors=anchors,
            key_type=key_type,
        )
        if loaded.spki_sha256 in compromised:
            raise KeyMaterialError(
                f"{files.privkey} must not be used again",
                reason="this key was marked compromised by mailseal revoke",
                next_command="mailseal apply orders another certificate, with another key",
            )


def damage(system: System, store: LineageStore, generation: Generation) -> str:
    """Why a generation that is live is no longer what was issued; empty where it is.

    What it looks at is what a daemon loads: that the files agree, the key fits, the leaf is the one that was
    issued, the chain holds together. Not its dates, which are the renewal's to watch, nor who may read the files,
    which an admin may have meant.
    """
    try:
        for files, (key_type, facts) in zip(
            store.generation_files(generation), generation.leaves, strict=True
        ):
            _agreeing(system.files, files)
            privkey, cert, chain = store.read_material(files)
            served = (*read_pem(cert), *read_pem(chain))
            names, now = facts.identifiers, system.clock.now()
            for fault in faults(privkey, served, identifiers=names, now=now, key_type=key_type):
                if fault.code not in _OF_TIME:
                    return fault.text
            if certificate_facts(served[0]).fingerprint != facts.fingerprint:
                return f"{files.cert} is not the certificate that was issued"
    except (KeyMaterialError, SystemFault) as error:
        return str(error)
    return ""


def no_way_back(system: System, store: LineageStore, step: Deploy) -> str:
    """Why a deployment must not be taken back: the generation that it would go back to is of no use; else empty."""
    now, states = system.clock.now(), StateStore(system, store.root)
    for put in step.puts:
        for name, _ in step.generations:
            if put.path != store.current_path(name) or put.before.kind != "link":
                continue
            before = store.find(name, put.before.target)
            if before is None:
                return f"what {put.path} led to before cannot be read"
            withdrawal = states.load(name).withdrawn.get(before.number)
            if withdrawal is not None and withdrawal.revoked:
                return f"generation {before.label} of {name!r} was revoked ({withdrawal.why})"
            if nearly_expired(before, now):
                return f"generation {before.label} of {name!r} expires {before.not_after:%F %H:%M} UTC"
    return ""


def _readable(system_files: Files, files: KeyFiles) -> None:
    """The five files are there, root's own, closed to others, and agree with each other."""
    for path in files.paths:
        found = system_files.stat(path)
        if found is None or found.kind != "file" or found.mode & 0o077 or found.uid != 0:
            raise KeyMaterialError(
                f"{path} is not a file that root alone can read", next_command="mailseal apply orders another"
            )
    _agreeing(system_files, files)


def _agreeing(system_files: Files, files: KeyFiles) -> None:
    read = system_files.read
    fullchain = read(files.cert) + read(files.chain)
    if read(files.fullchain) != fullchain or read(files.combined) != read(files.privkey) + fullchain:
        raise KeyMaterialError(f"The files beside {files.privkey} do not belong together")

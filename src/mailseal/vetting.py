"""A generation's files, judged on disk just before they go live.

What was whole when it was written may have been touched since: by a restore, a
tool, a hand. So the five files of each key type are looked at as the daemons
will read them: there, root's own, closed to others, in agreement with each
other; and then loaded and held against each other, the names and the roots
(`mailseal.material`).
"""

from __future__ import annotations

from mailseal.chains import TrustAnchors
from mailseal.errors import KeyMaterialError
from mailseal.material import check_material
from mailseal.model import CertificateSpec, Generation, KeyFiles
from mailseal.stores.filesystem import LineageStore
from mailseal.system import Files, System


def vet(
    system: System,
    store: LineageStore,
    generation: Generation,
    spec: CertificateSpec | None,
    anchors: TrustAnchors,
) -> None:
    """Raises `KeyMaterialError` where a generation must not go live; `spec` None: for the names that it has."""
    for files, (key_type, facts) in zip(store.generation_files(generation), generation.leaves, strict=True):
        _readable(system.files, files)
        privkey, cert, chain = store.read_material(files)
        check_material(
            privkey,
            cert,
            chain,
            identifiers=spec.sorted_identifiers if spec else facts.identifiers,
            now=system.clock.now(),
            anchors=anchors,
            key_type=key_type,
        )


def _readable(system_files: Files, files: KeyFiles) -> None:
    """The five files are there, root's own, closed to others, and agree with each other."""
    for path in (files.privkey, files.cert, files.chain, files.fullchain, files.combined):
        found = system_files.stat(path)
        if found is None or found.kind != "file" or found.mode & 0o077 or found.uid != 0:
            raise KeyMaterialError(
                f"{path} is not a file that root alone can read", next_command="mailseal apply orders another"
            )
    read = system_files.read
    fullchain = read(files.cert) + read(files.chain)
    if read(files.fullchain) != fullchain or read(files.combined) != read(files.privkey) + fullchain:
        raise KeyMaterialError(f"The files beside {files.privkey} do not belong together")

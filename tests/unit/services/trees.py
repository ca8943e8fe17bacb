"""Machines in memory made from fixture folders.

A folder holds `tree/`, copied to the root of the machine (symbolic links as
they are), and what the daemon's programs printed there. The trees are what
Debian's packages install, comments left out, and hand-made configurations on
top of them; the outputs come from the real programs on them.
"""

from __future__ import annotations

from pathlib import Path

from mailseal.model import AbsentWish, DirectoryWish, FileWish, Identifier, KeyFiles, KeyType, LinkWish
from mailseal.services.base import ChallengeWish, Rendering, ServiceWish
from tests.support.memory import MemorySystem

FIXTURES = Path(__file__).parent / "fixtures"
LINEAGE = "/var/lib/mailseal/lineages/mail/current"
CHALLENGES = "/var/lib/mailseal/challenges"


def grown(*folders: Path) -> MemorySystem:
    """A machine with all files of these folders' trees, the later over the earlier."""
    system = MemorySystem()
    system.machine.put("/proc/net/if_inet6", "00000000000000000000000000000001 01 80 10 80 lo\n")
    for folder in folders:
        tree = folder / "tree"
        for path in sorted(tree.rglob("*")):
            at = "/" + str(path.relative_to(tree))
            if path.is_symlink():
                system.machine.put_link(at, str(path.readlink()))
            elif path.is_file():
                system.machine.put(at, path.read_bytes())
    return system


def files_of(key_type: KeyType) -> KeyFiles:
    names = ("privkey", "cert", "chain", "fullchain", "combined")
    return KeyFiles(key_type, *(f"{LINEAGE}/{key_type.value}/{name}.pem" for name in names))


ECDSA, RSA = files_of(KeyType.ECDSA_P256), files_of(KeyType.RSA_2048)


def wish(*names: str, both: bool = False, certificates: bool = True, challenge: bool = False) -> ServiceWish:
    """What a lineage `mail` asks of a service."""
    served = (ECDSA, RSA) if both else (ECDSA,)
    return ServiceWish(
        certificates=served if certificates else (),
        identifiers=tuple(Identifier.parse(name) for name in names),
        primary=names[0] if names else "",
        challenge=ChallengeWish(CHALLENGES) if challenge else None,
    )


def fulfil(system: MemorySystem, rendering: Rendering) -> list[str]:
    """Makes the wishes true as a plan would; the paths at which something had to change."""
    changed = []
    for one in rendering.wishes:
        state = system.files.state(one.path)
        match one:
            case FileWish() if state.content != one.content or state.kind != "file":
                system.machine.put(one.path, one.content)
            case LinkWish() if state.target != one.target:
                system.machine.put_link(one.path, one.target)
            case DirectoryWish() if state.kind != "directory":
                system.machine.put_directory(one.path, mode=one.mode)
            case AbsentWish():
                raise AssertionError("no adapter takes a file away")
            case _:
                continue
        changed.append(one.path)
    return changed

"""The configuration's octets, read only where root alone decides over them."""

from __future__ import annotations

import posixpath

from mailseal.errors import ConfigError
from mailseal.system import Stat, System

LIMIT = 16_777_216  # octets; a hundred thousand certificates of one name each


def trusted(system: System, path: str) -> bytes:
    """The file's content.

    Raises `ConfigError` where it is absent, or could be written or replaced by
    somebody else than root: it decides which files root writes and which
    commands root runs.
    """
    stat = system.files.stat(path, follow=True)
    if stat is None:
        raise ConfigError(
            f"There is no configuration at {path}.",
            next_command="mailseal setup (writes one), or name another by --config",
        )
    if stat.kind != "file":
        raise ConfigError(f"{path} is not a file.", next_command="name the configuration by --config")
    folder = posixpath.dirname(path)
    around = system.files.stat(folder, follow=True)
    for where, found in ((path, stat), (folder, around)):
        if found is not None and _writable_by_others(found):
            raise ConfigError(
                f"{where} can be written by others than root (owner {found.uid}, mode {found.mode:04o}), "
                f"and {path} decides what root does.",
                next_command=f"chown root:root {where} && chmod go-w {where}",
            )
    return system.files.read(path, LIMIT)


def _writable_by_others(stat: Stat) -> bool:
    """Whether anybody but root may change it; in a sticky directory such as /tmp nobody replaces root's files."""
    if stat.uid != 0:
        return True
    by_mode = bool(stat.mode & 0o002) or (bool(stat.mode & 0o020) and stat.gid != 0)
    return by_mode and not (stat.kind == "directory" and stat.mode & 0o1000)

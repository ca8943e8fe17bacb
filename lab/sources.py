"""Where the host gets its Debian packages, told for any release.

sources.list(5) has two formats and many ways to write one archive. apt itself
knows them all: `apt-get indextargets` lists what it reads, with the origin each
Release file claims. What Debian signs for the host's release is there for
every other release too, under the same address; so only the codename changes.
No registry is named here: a host with a mirror of its own uses that one.
"""

from __future__ import annotations

import subprocess
from dataclasses import dataclass

from lab.guard import Unavailable

_FORMAT = "$(ORIGIN)|$(REPO_URI)|$(CODENAME)|$(COMPONENT)"


@dataclass(frozen=True)
class Source:
    """One suite of a Debian archive."""

    uri: str
    suite: str
    component: str

    def line(self) -> str:
        """As sources.list has it."""
        return f"deb {self.uri} {self.suite} {self.component}"


def host_release() -> str:
    """The host's own codename, "bookworm" or the like; Unavailable if it tells none."""
    with open("/etc/os-release", encoding="utf-8") as told:
        for line in told:
            key, _, value = line.strip().partition("=")
            if key == "VERSION_CODENAME":
                return value.strip('"')
    raise Unavailable("/etc/os-release names no codename; the lab needs a Debian host.")


def sources_for(release: str) -> list[Source]:
    """The archives of `release`, the main one first, by the host's own sources."""
    own = host_release()
    found = _targets()
    if not found:
        subprocess.run(["apt-get", "update", "-q"], check=False, capture_output=True)
        found = _targets()
    wanted = []
    for uri, codename, component in found:
        suite = release + codename.removeprefix(own)
        if component == "main" and codename.startswith(own) and "backports" not in codename:
            wanted.append(Source(uri, suite, component))
    wanted.sort(key=lambda source: source.suite != release)
    if not wanted or wanted[0].suite != release:
        raise Unavailable(f"apt on this host has no Debian archive for {own}. Next: apt-get update")
    return list(dict.fromkeys(wanted))


def _targets() -> list[tuple[str, str, str]]:
    told = subprocess.run(
        ["apt-get", "indextargets", "--format", _FORMAT, "Created-By: Packages"],
        capture_output=True,
        text=True,
        check=True,
    )
    rows = [line.split("|") for line in told.stdout.splitlines()]
    return [(uri, codename, component) for origin, uri, codename, component in rows if origin == "Debian"]

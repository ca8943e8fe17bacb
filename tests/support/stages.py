"""Where a contract of the port `System` is asked of: the real machine, and the one in memory.

A `Stage` sets up what no port method does: a directory that is somebody
else's, a stranger's link on the way. Where that needs root and we are not, the
test is skipped.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import pytest

from mailseal.errors import SystemFault
from mailseal.model import FileState
from mailseal.system import Completed, System
from mailseal.system.local import LocalSystem
from tests.support.memory import MemorySystem
from tests.support.memory_disk import Metadata

STRANGER = 65_533
Play = Callable[[MemorySystem, tuple[str, ...], bytes], Completed | str | int | None]


class Stage(Protocol):
    """A system, and a folder of its own on it."""

    name: str
    root: str

    @property
    def system(self) -> System: ...

    @property
    def pid(self) -> int: ...

    def other(self) -> System:
        """Another process on the same machine."""
        ...

    def give(self, path: str, uid: int, gid: int = STRANGER) -> None:
        """lchown(2)."""
        ...

    def widen(self, path: str, mode: int) -> None:
        """chmod(2)."""
        ...

    def program(self, name: str, script: str, play: Play) -> str:
        """Installs a program: on the real machine a shell script, in memory a function. Returns its path."""
        ...


class LocalStage:
    """The real machine."""

    name = "local"

    def __init__(self, root: Path) -> None:
        self.root = str(root)
        self.system = LocalSystem()
        self.pid = os.getpid()

    def other(self) -> System:
        return LocalSystem()

    def give(self, path: str, uid: int, gid: int = STRANGER) -> None:
        require_root()
        os.lchown(path, uid, gid)

    def widen(self, path: str, mode: int) -> None:
        os.chmod(path, mode)

    def program(self, name: str, script: str, play: Play) -> str:
        path = Path(self.root, name)
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)
        return str(path)


class MemoryStage:
    """The machine in memory."""

    name = "memory"
    root = "/srv/stage"

    def __init__(self) -> None:
        self.system = MemorySystem()
        self.system.machine.put_directory(self.root)
        self.pid = self.system.pid

    def other(self) -> System:
        return MemorySystem(self.system.machine)

    def give(self, path: str, uid: int, gid: int = STRANGER) -> None:
        inode = self.system.machine.disk.find(path, follow=False)
        inode.metadata = Metadata(inode.metadata.mode, uid, gid)

    def widen(self, path: str, mode: int) -> None:
        inode = self.system.machine.disk.find(path, follow=False)
        inode.metadata = Metadata(mode, inode.metadata.uid, inode.metadata.gid)

    def program(self, name: str, script: str, play: Play) -> str:
        path = f"{self.root}/{name}"
        self.system.machine.put(path, f"#!/bin/sh\n{script}\n", mode=0o755)
        self.system.machine.programs.on(path)(play)
        return path


def require_root() -> None:
    """Skips the test where we may not give files away."""
    if os.geteuid() != 0:
        pytest.skip("only root may give files away")


def refused(stage: Stage, number: int, act: Callable[[], object]) -> SystemFault:
    """The fault, after a look that it changed nothing."""
    before = below(stage)
    with pytest.raises(SystemFault) as caught:
        act()
    assert caught.value.errno == number
    assert below(stage) == before, "a refused effect left something behind"
    return caught.value


def below(stage: Stage, path: str = "") -> dict[str, FileState]:
    """All that stands in the stage's folder."""
    files, found = stage.system.files, dict[str, FileState]()
    for name in files.listdir(path or stage.root):
        child = f"{path or stage.root}/{name}"
        found[child] = files.state(child)
        if found[child].kind == "directory":
            found.update(below(stage, child))
    return found

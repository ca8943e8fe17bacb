"""A machine in memory behind the port `System`, in which months pass in a second and anything may go wrong.

`MemorySystem` is one process of ours on a `Machine`; the machine outlives it:

    system = MemorySystem()
    system.machine.put("/etc/postfix/main.cf", b"…")
    system.machine.programs.says("postfix", "check")
    system.machine.goes_wrong(Killed(), at=7)
    with system.machine.death():
        apply(system)
    recover(MemorySystem(system.machine))

Every effect is written down in `machine.effects`, in order. `goes_wrong` puts a
fault in the place of one of them: an errno, any exception, `Killed`,
`PowerLoss`. After a power loss, `machine.power_on` decides what the disk kept
(`memory_disk` has the rules), and `machine.power_losses` gives a machine for
each state that it may be in.
"""

from __future__ import annotations

import asyncio
import copy
import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

from mailseal.model import FileState
from mailseal.system import System
from mailseal.system.dns import Dns
from mailseal.system.faults import file_fault
from mailseal.system.http import Http
from mailseal.system.lock import held_by_another
from tests.support.memory_disk import Choose, Disk, Inode, Metadata
from tests.support.memory_effects import Dead, Effect, Fault, Killed, PowerLoss, find_death, refusal
from tests.support.memory_files import MemoryFiles
from tests.support.memory_network import MemoryDns, MemoryHttp, MemoryNetwork, World
from tests.support.memory_processes import Hangs, MemoryProcesses, Programs, Ran, said
from tests.support.memory_walk import parent_of, require_own

__all__ = ["Dead", "Effect", "Hangs", "Killed", "Machine", "MemorySystem", "PowerLoss", "Ran", "said"]

START = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
_DIRECTORIES = {
    "/etc": 0o755,
    "/run": 0o755,
    "/run/lock": 0o1777,
    "/tmp": 0o1777,
    "/usr": 0o755,
    "/usr/sbin": 0o755,
    "/var": 0o755,
    "/var/lib": 0o755,
}


class Machine:
    """What stays when a process of ours ends: disk, clock, programs, the world around, and who holds which lock."""

    def __init__(self, *, seed: int = 0, now: datetime = START) -> None:
        self.disk = Disk()
        self.programs = Programs()
        self.world = World()
        self.effects: list[Effect] = []
        self.now = now
        self.uptime = 1000.0
        self.random = random.Random(seed)
        self.locks: dict[str, tuple[MemorySystem, str]] = {}
        self.sleepers: list[float] = []  # at which uptime they wake
        self.processes = 0
        self.on = True
        self._faults: list[Fault] = []
        self._tasks: set[asyncio.Future[None]] = set()
        for path, mode in _DIRECTORIES.items():
            self.put_directory(path, mode=mode)

    # Setting the scene: no effects, durable at once.

    def put(
        self, path: str, content: bytes | str, *, mode: int = 0o644, owner: tuple[int, int] = (0, 0)
    ) -> None:
        """A file, as it stood before the test began; directories above it are made."""
        inode = self._place(path, "file", Metadata(mode, *owner))
        inode.content = content.encode() if isinstance(content, str) else content
        self.disk.settle()

    def put_link(self, path: str, target: str, *, owner: tuple[int, int] = (0, 0)) -> None:
        self._place(path, "link", Metadata(0o777, *owner)).target = target
        self.disk.settle()

    def put_directory(self, path: str, *, mode: int = 0o755, owner: tuple[int, int] = (0, 0)) -> None:
        self._place(path, "directory", Metadata(mode, *owner)).metadata = Metadata(mode, *owner)
        self.disk.settle()

    def tree(self, path: str = "/") -> dict[str, FileState]:
        """All that stands below a path, for comparing before and after."""
        found: dict[str, FileState] = {}

        def walk(at: str, inode: Inode) -> None:
            data = inode.metadata
            found[at or "/"] = FileState(
                inode.kind, inode.content, inode.target, data.mode, data.uid, data.gid
            )
            for name, number in sorted(inode.entries.items()):
                walk(f"{at}/{name}", self.disk.inodes[number])

        walk(path.rstrip("/"), self.disk.find(path, follow=False))
        return found

    def advance(self, seconds: float) -> None:
        """Time passes."""
        self.now += timedelta(seconds=seconds)
        self.uptime += seconds

    def jump(self, by: timedelta) -> None:
        """The clock is set: it shows another time, and no time passes."""
        self.now += by

    # Things going wrong.

    def goes_wrong(
        self,
        error: int | BaseException,
        *,
        at: int = 0,
        when: Callable[[Effect], bool] = lambda effect: True,
        torn: bool = False,
        lasting: bool = False,
    ) -> None:
        """In place of the effect that matches `when` after `at` others that do, from now: an errno or an exception."""
        raised = refusal(error) if isinstance(error, int) else error
        self._faults.append(Fault(raised, when, at, torn, lasting))

    def all_well(self) -> None:
        """Nothing goes wrong from now on."""
        self._faults.clear()

    @contextmanager
    def death(self) -> Iterator[None]:
        """Survives the death of a process within, also inside a task group; a block that nobody died in is fine."""
        try:
            yield
        except BaseException as error:
            if find_death(error) is None:
                raise

    def power_on(self, choose: Choose = lambda n: 0) -> None:
        """After a power loss: the disk kept what it had to, and of the rest what `choose` says (default: nothing).

        Daemons are gone, and so is what was below /run.
        """
        self._boot(self.disk.after_power_loss(choose))

    def power_losses(self, most: int = 256) -> Iterator[Machine]:
        """For each state that the disk may be in, a machine that was just switched on, independent of this one.

        The world and the table of programs are shared between them.
        """
        for disk in self.disk.power_losses(most):
            other = copy.copy(self)
            other.programs = copy.copy(self.programs)
            other.effects, other._faults, other._tasks, other.sleepers = [], [], set(), []
            other.random = copy.copy(self.random)
            other._boot(disk)
            yield other

    def _boot(self, disk: Disk) -> None:
        self.disk = disk
        self.locks = {}
        self.programs.spawned = []
        self.on = True
        run = disk.root.entries.pop("run", None)
        if run is not None:
            self.put_directory("/run")
            self.put_directory("/run/lock", mode=0o1777)

    # For the ports.

    def happens(self, effect: Effect) -> Fault | None:
        """Writes it down, or raises what goes wrong; a fault that tears a write is handed to the writer."""
        for fault in self._faults:
            if fault.strikes(effect):
                if fault.torn and effect.kind == "write":
                    return fault
                raise fault.error
        self.effects.append(effect)
        return None

    def keep(self, task: asyncio.Future[None]) -> None:
        """Holds a reference to what runs."""
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _place(self, path: str, kind: str, metadata: Metadata) -> Inode:
        *above, name = [part for part in path.split("/") if part]
        here = self.disk.root
        for part in above:
            if part in here.entries:
                here = self.disk.below(here, part)
            else:
                here = self.disk.new(here, part, "directory", Metadata(0o755))
        if name in here.entries:
            there = self.disk.below(here, name)
            if there.kind == kind:
                there.metadata = metadata
                return there
            self.disk.drop(here, name)
        assert kind in ("file", "link", "directory")
        made = self.disk.new(here, name, kind, metadata)  # type: ignore[arg-type]
        made.modified = self.now
        return made


class MemorySystem:
    """The port `System`: one process of ours on a machine in memory."""

    def __init__(
        self, machine: Machine | None = None, *, uid: int = 0, command: str = "mailseal renew"
    ) -> None:
        self.machine = machine or Machine()
        self.machine.processes += 1
        self.pid = 500 + self.machine.processes
        self.uid = uid
        self.command = command
        self.died: Dead | None = None
        self.held_back: list[KeyboardInterrupt] | None = None  # inside `uninterrupted`: what came
        self.files = MemoryFiles(self)
        self.processes = MemoryProcesses(self)
        self.network = MemoryNetwork(self)
        self.clock = MemoryClock(self)
        self.random = MemoryRandom(self)

    def http(self, *, ca_file: str | None = None) -> Http:
        return MemoryHttp(self)

    def dns(self, nameservers: Sequence[str] = ()) -> Dns:
        return MemoryDns(self)

    @contextmanager
    def lock(self, path: str, *, wait: float = 0.0) -> Iterator[None]:
        self._take_lock(path, wait)
        try:
            yield
        finally:
            if self.died is None:
                del self.machine.locks[path]

    @contextmanager
    def uninterrupted(self) -> Iterator[None]:
        """A KeyboardInterrupt from within is raised at the end; the effect in whose place it came happens."""
        outer, self.held_back = self.held_back, []
        try:
            yield
        finally:
            came, self.held_back = self.held_back, outer
            if came and outer is not None:
                outer.extend(came)
            elif came and self.died is None:
                raise came[0]

    def _take_lock(self, path: str, wait: float) -> None:
        try:
            directory, name = parent_of(self.disk, self.uid, path)
            self.effect("lock", path)
            if name not in directory.entries:
                self.disk.new(directory, name, "file", Metadata(0o600, self.uid, self.uid))
            require_own(self.disk.below(directory, name), self.uid, path)
        except OSError as error:
            raise file_fault("lock", path, error) from error
        holder, since = self.machine.locks.get(path, (None, ""))
        if holder is not None and holder.died is None:
            self.clock.sleep(wait)  # nobody else runs meanwhile
            raise held_by_another(path, str(holder.pid), since, holder.command)
        self.machine.locks[path] = (self, self.now().strftime("%Y-%m-%d %H:%M:%S UTC"))

    # For the ports.

    @property
    def disk(self) -> Disk:
        return self.machine.disk

    def alive(self) -> None:
        if self.died is not None:
            raise self.died
        if not self.machine.on:
            self.died = PowerLoss()
            raise self.died

    def effect(self, kind: str, subject: str) -> Fault | None:
        self.alive()
        try:
            fault = self.machine.happens(Effect(kind, subject))
        except Dead as death:
            self._die(death)
            raise
        except KeyboardInterrupt as interrupt:
            if self.held_back is None:
                raise
            self.held_back.append(interrupt)
            self.machine.effects.append(Effect(kind, subject))
            return None
        if fault is not None and isinstance(fault.error, Dead):
            self._die(fault.error)
        return fault

    def _die(self, death: Dead) -> None:
        self.died = death
        if isinstance(death, PowerLoss):
            self.machine.on = False

    def now(self) -> datetime:
        return self.machine.now

    def token(self) -> str:
        return self.machine.random.randbytes(8).hex()


class MemoryClock:
    """The port `Clock`: whoever sleeps is woken at once, later."""

    def __init__(self, system: MemorySystem) -> None:
        self._system = system

    def now(self) -> datetime:
        self._system.alive()
        return self._system.machine.now

    def monotonic(self) -> float:
        return self._system.machine.uptime

    def sleep(self, seconds: float) -> None:
        self._system.alive()
        self._system.machine.advance(max(0.0, seconds))

    async def sleep_async(self, seconds: float) -> None:
        """Time passes only when everybody sleeps: the earliest to wake is let go, after the others had their turns."""
        self._system.alive()
        machine = self._system.machine
        until = machine.uptime + max(0.0, seconds)
        machine.sleepers.append(until)
        try:
            while True:
                for _ in range(8):
                    await asyncio.sleep(0)
                if until <= min(machine.sleepers):
                    break
        finally:
            machine.sleepers.remove(until)
        self._system.alive()
        if until > machine.uptime:
            machine.advance(until - machine.uptime)


class MemoryRandom:
    """The port `Random`: the same at every run with the same seed."""

    def __init__(self, system: MemorySystem) -> None:
        self._system = system

    def token(self, octets: int) -> str:
        return self._system.machine.random.randbytes(octets).hex()

    def uniform(self, low: float, high: float) -> float:
        return self._system.machine.random.uniform(low, high)


def _is_a_system(system: MemorySystem) -> System:
    return system

"""What stands after a refusal, a kill or a power loss at each single effect of each write.

Asked of the machine in memory, whose disk forgets all that it is allowed to
forget. That the real one makes the same calls in the same order is asked by
`test_system_local.test_the_calls_of_a_write`.
"""

from __future__ import annotations

import asyncio
import errno
from collections.abc import Callable, Iterator

import pytest

from mailseal.errors import Locked, NetworkFault, SystemFault
from mailseal.system import System
from tests.support.memory import Killed, Machine, MemorySystem, PowerLoss
from tests.support.memory_disk import Disk, Metadata

OLD, NEW = b"old content, rather long", b"new"
LINEAGE = "/var/lib/mailseal"


def prepared() -> MemorySystem:
    machine = Machine()
    machine.put_directory(f"{LINEAGE}/0001", mode=0o700)
    machine.put_directory(f"{LINEAGE}/.0002", mode=0o700)
    machine.put(f"{LINEAGE}/.0002/cert.pem", NEW, mode=0o600)
    machine.put(f"{LINEAGE}/file", OLD, mode=0o600)
    machine.put_link(f"{LINEAGE}/current", "0001")
    machine.put_directory(f"{LINEAGE}/tree/inner", mode=0o700)
    return MemorySystem(machine)


def _link_and_sync(system: System) -> None:
    system.files.symlink(f"{LINEAGE}/current", ".0002", durable=False)
    system.files.sync([LINEAGE])


ACTS: dict[str, Callable[[System], None]] = {
    "create": lambda system: system.files.create(f"{LINEAGE}/new", NEW, mode=0o640, owner=(0, 7)),
    "replace": lambda system: system.files.replace(f"{LINEAGE}/file", NEW, mode=0o640, owner=(0, 7)),
    "append": lambda system: system.files.append(f"{LINEAGE}/file", NEW),
    "symlink": lambda system: system.files.symlink(f"{LINEAGE}/current", ".0002"),
    "symlinks": _link_and_sync,
    "mkdir": lambda system: system.files.mkdir(f"{LINEAGE}/new", mode=0o750, owner=(0, 7)),
    "create_tree": lambda system: system.files.create_tree(
        f"{LINEAGE}/new", {"ec/key.pem": NEW, "meta.json": OLD}, mode=0o600
    ),
    "rename": lambda system: system.files.rename(f"{LINEAGE}/.0002", f"{LINEAGE}/0001"),
    "across": lambda system: system.files.rename(f"{LINEAGE}/.0002/cert.pem", f"{LINEAGE}/0001/cert.pem"),
    "remove": lambda system: system.files.remove(f"{LINEAGE}/file"),
    "rmdir": lambda system: system.files.rmdir(f"{LINEAGE}/0001"),
    "remove_tree": lambda system: system.files.remove_tree(f"{LINEAGE}/tree"),
}


def shown(machine: Machine) -> dict[str, tuple[object, ...]]:
    """What a program sees below the lineage: hidden neighbours of an interrupted write left out."""
    return {
        path: (state.kind, state.content, state.target, state.mode, state.uid, state.gid)
        for path, state in machine.tree(LINEAGE).items()
        if ".mailseal-" not in path
    }


def before_and_after(name: str) -> tuple[dict[str, tuple[object, ...]], dict[str, tuple[object, ...]], int]:
    system = prepared()
    before = shown(system.machine)
    ACTS[name](system)
    return before, shown(system.machine), len(system.machine.effects)


def each_moment(name: str) -> Iterator[int]:
    yield from range(before_and_after(name)[2])


@pytest.mark.parametrize("name", ACTS)
def test_what_returned_survives_any_power_loss(name: str) -> None:
    _, after, _ = before_and_after(name)
    system = prepared()
    ACTS[name](system)
    for machine in system.machine.power_losses():
        assert shown(machine) == after


@pytest.mark.parametrize("name", sorted({*ACTS} - {"create", "mkdir", "append", "remove_tree"}))
def test_a_power_loss_at_any_moment_leaves_the_old_or_the_new(name: str) -> None:
    before, after, effects = before_and_after(name)
    for moment in range(effects):
        system = prepared()
        system.machine.goes_wrong(PowerLoss(), at=moment, torn=True)
        with system.machine.death():
            ACTS[name](system)
        assert system.died is not None
        for machine in system.machine.power_losses():
            assert shown(machine) in (before, after)


@pytest.mark.parametrize("name", sorted({*ACTS} - {"create", "mkdir", "append", "remove_tree"}))
def test_a_kill_at_any_moment_leaves_the_old_or_the_new(name: str) -> None:
    before, after, effects = before_and_after(name)
    for moment in range(effects):
        system = prepared()
        system.machine.goes_wrong(Killed(), at=moment, torn=True)
        with system.machine.death():
            ACTS[name](system)
        assert shown(system.machine) in (before, after)


@pytest.mark.parametrize("torn", [False, True])
def test_a_new_file_is_never_wider_than_asked_for_at_any_moment(torn: bool) -> None:
    for name in ("create", "replace", "append"):
        for moment in each_moment(name):
            system = prepared()
            system.machine.goes_wrong(PowerLoss(), at=moment, torn=torn)
            with system.machine.death():
                ACTS[name](system)
            for machine in system.machine.power_losses():
                for state in machine.tree(LINEAGE).values():
                    if state.kind == "file":
                        assert state.mode == 0o600 or (state.mode, state.gid) == (0o640, 7)


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO, errno.EROFS, errno.EDQUOT])
@pytest.mark.parametrize("name", ["create", "replace", "symlink", "mkdir", "append"])
def test_a_refusal_before_the_name_is_there_leaves_nothing(name: str, number: int) -> None:
    before, after, effects = before_and_after(name)
    for moment in range(effects):
        system = prepared()
        system.machine.goes_wrong(number, at=moment, torn=True)
        with pytest.raises(SystemFault) as caught:
            ACTS[name](system)
        assert caught.value.errno == number
        if moment < effects - 1:
            assert system.machine.tree(LINEAGE).keys() == before.keys()
        assert shown(system.machine) in (before, after)


def test_append_may_be_torn_but_never_loses_what_was_there() -> None:
    for moment in each_moment("append"):
        system = prepared()
        system.machine.goes_wrong(PowerLoss(), at=moment, torn=True)
        with system.machine.death():
            ACTS["append"](system)
        for machine in system.machine.power_losses():
            content = MemorySystem(machine).files.read(f"{LINEAGE}/file")
            assert content.startswith(OLD)
            assert (OLD + NEW).startswith(content)


# That the disk does forget: a careless writer would be caught.


def careless(disk: Disk, *, sync_file: bool, sync_directory: bool) -> set[bytes | None]:
    """Writes beside and renames, with or without syncing; what may stand there afterwards."""
    folder = disk.find(LINEAGE, follow=True)
    new = disk.new(folder, "tmp", "file", Metadata(0o600))
    disk.write(new, NEW)
    if sync_file:
        disk.sync(new)
    disk.move(folder, "tmp", folder, "file")
    if sync_directory:
        disk.sync(folder)
    return {left.find(f"{LINEAGE}/file", follow=True).content for left in disk.power_losses()}


def test_the_disk_forgets_what_was_not_synced() -> None:
    assert careless(prepared().disk, sync_file=True, sync_directory=True) == {NEW}
    assert careless(prepared().disk, sync_file=True, sync_directory=False) == {OLD, NEW}
    assert careless(prepared().disk, sync_file=False, sync_directory=True) == {b"", b"n", NEW}
    assert careless(prepared().disk, sync_file=False, sync_directory=False) == {OLD, b"", b"n", NEW}


def test_changes_of_one_directory_are_forgotten_apart() -> None:
    disk = prepared().disk
    folder = disk.find(LINEAGE, follow=True)
    for name in ("a", "b"):
        disk.new(folder, name, "file", Metadata(0o600))
    found = {
        tuple(name for name in ("a", "b") if name in left.find(LINEAGE, follow=True).entries)
        for left in disk.power_losses()
    }
    assert found == {(), ("a",), ("b",), ("a", "b")}


def test_many_open_questions_are_sampled_with_the_extremes() -> None:
    disk = prepared().disk
    folder = disk.find(LINEAGE, follow=True)
    for number in range(40):
        disk.new(folder, f"n{number}", "file", Metadata(0o600))
    kept = [len(left.find(LINEAGE, follow=True).entries) for left in disk.power_losses(100)]
    assert len(kept) == 100
    standing = min(kept)
    assert max(kept) == standing + 40


# The dead.


def test_the_dead_have_no_more_effects_whatever_they_try() -> None:
    system = prepared()
    system.machine.goes_wrong(Killed(), at=1)
    with system.machine.death():
        try:
            system.files.replace(f"{LINEAGE}/file", NEW, mode=0o600)
        finally:
            system.files.remove(f"{LINEAGE}/file")
    assert MemorySystem(system.machine).files.read(f"{LINEAGE}/file") == OLD


def test_a_task_group_dies_whole() -> None:
    system = prepared()
    system.machine.goes_wrong(Killed(), when=lambda effect: effect.kind == "http", at=1)

    async def work() -> None:
        http = system.http()
        async with asyncio.TaskGroup() as group:
            for _ in range(3):
                group.create_task(quietly(http.request("GET", "https://ca.test/dir")))

    async def quietly(request: object) -> None:
        try:
            await request  # type: ignore[misc]
        except NetworkFault:
            return

    with system.machine.death():
        asyncio.run(work())
    assert system.died is not None


def test_the_lock_of_the_dead_is_free() -> None:
    system = prepared()
    system.machine.goes_wrong(Killed(), when=lambda effect: effect.kind == "create")
    with system.machine.death(), system.lock("/run/lock/mailseal.lock"):
        with pytest.raises(Locked), MemorySystem(system.machine).lock("/run/lock/mailseal.lock"):
            pass
        system.files.create(f"{LINEAGE}/new", NEW, mode=0o600)
    with MemorySystem(system.machine).lock("/run/lock/mailseal.lock"):
        pass


def test_after_a_power_loss_daemons_and_run_are_gone() -> None:
    system = prepared()
    system.machine.put("/run/apache2.pid", "7")
    system.machine.programs.on("apache2")(lambda system, argv, stdin: None)
    system.processes.spawn(["apache2"])
    system.machine.goes_wrong(PowerLoss())
    with system.machine.death():
        system.files.remove(f"{LINEAGE}/file")
    system.machine.power_on()
    again = MemorySystem(system.machine)
    assert system.machine.programs.spawned == []
    assert again.files.listdir("/run") == ("lock",)
    assert again.files.read(f"{LINEAGE}/file") == OLD

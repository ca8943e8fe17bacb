"""What the port `Files` promises of reading, creating, replacing and removing."""

from __future__ import annotations

import asyncio
import errno
import os
import threading
from collections.abc import Callable
from datetime import UTC, timedelta
from pathlib import Path

import pytest

from mailseal.model import FileState
from mailseal.system.files import LocalFiles
from tests.support.stages import STRANGER, Stage, refused, require_root

# Files: reading.


def test_what_is_created_can_be_read(stage: Stage) -> None:
    files, path = stage.system.files, f"{stage.root}/main.cf"
    files.create(path, b"\x00 all octets \xff", mode=0o640)
    assert files.read(path) == b"\x00 all octets \xff"
    state = files.state(path)
    assert (state.kind, state.content, state.mode) == ("file", b"\x00 all octets \xff", 0o640)
    told = files.stat(path)
    assert told is not None
    assert (told.kind, told.mode, told.size) == ("file", 0o640, 14)
    assert told.mtime.tzinfo is UTC
    assert abs(told.mtime - stage.system.clock.now()) < timedelta(minutes=1)


def test_absence_is_an_answer(stage: Stage) -> None:
    files = stage.system.files
    files.create(f"{stage.root}/file", b"", mode=0o600)
    for path in (f"{stage.root}/nothing", f"{stage.root}/no/where", f"{stage.root}/file/below"):
        assert files.state(path) == FileState("absent")
        assert files.stat(path) is None
        assert files.listdir(path) == ()
        files.remove(f"{stage.root}/nothing")


def test_reading_what_is_not_there_is_a_fault_that_names_the_path(stage: Stage) -> None:
    fault = refused(stage, errno.ENOENT, lambda: stage.system.files.read(f"{stage.root}/nothing"))
    assert f"{stage.root}/nothing" in fault.message
    assert "No such file" in fault.reason
    assert fault.next_command


def test_reading_a_directory_is_a_fault(stage: Stage) -> None:
    refused(stage, errno.EISDIR, lambda: stage.system.files.read(stage.root))


def test_more_than_the_limit_is_a_fault(stage: Stage) -> None:
    files, path = stage.system.files, f"{stage.root}/long"
    files.create(path, b"x" * 101, mode=0o600)
    assert files.read(path, limit=101) == b"x" * 101
    refused(stage, errno.EFBIG, lambda: files.read(path, limit=100))
    refused(stage, errno.EFBIG, lambda: files.state(path, limit=100))


def test_read_and_resolve_follow_links_and_state_does_not(stage: Stage) -> None:
    files = stage.system.files
    files.mkdir(f"{stage.root}/0001", mode=0o700)
    files.create(f"{stage.root}/0001/cert.pem", b"leaf", mode=0o600)
    files.symlink(f"{stage.root}/current", "0001")
    files.symlink(f"{stage.root}/deep", f"{stage.root}/current/cert.pem")
    real = files.resolve(f"{stage.root}/0001/cert.pem")
    assert files.read(f"{stage.root}/deep") == b"leaf"
    assert files.resolve(f"{stage.root}/deep") == real
    assert files.resolve(f"{stage.root}/current/none/x") == f"{os.path.dirname(real)}/none/x"
    state = files.state(f"{stage.root}/current")
    assert (state.kind, state.target, state.content) == ("link", "0001", b"")
    assert files.listdir(f"{stage.root}/current") == ("cert.pem",)
    followed, itself = files.stat(f"{stage.root}/deep", follow=True), files.stat(f"{stage.root}/deep")
    assert followed is not None and followed.kind == "file"
    assert itself is not None and itself.kind == "link"


def test_links_in_a_circle_are_a_fault(stage: Stage) -> None:
    files = stage.system.files
    files.symlink(f"{stage.root}/a", "b")
    files.symlink(f"{stage.root}/b", "a")
    refused(stage, errno.ELOOP, lambda: files.read(f"{stage.root}/a"))
    refused(stage, errno.ELOOP, lambda: files.resolve(f"{stage.root}/a"))
    refused(stage, errno.ELOOP, lambda: files.create(f"{stage.root}/a/file", b"", mode=0o600))


def test_listing_is_sorted(stage: Stage) -> None:
    for name in ("b", "a", "C", ".hidden"):
        stage.system.files.create(f"{stage.root}/{name}", b"", mode=0o600)
    assert stage.system.files.listdir(stage.root) == (".hidden", "C", "a", "b")


def test_a_stamp_stays_until_anything_changes(stage: Stage) -> None:
    files, root = stage.system.files, stage.root
    files.mkdir(f"{root}/folder", mode=0o700)
    files.create(f"{root}/folder/file", b"one", mode=0o600)
    files.symlink(f"{root}/link", "folder")
    paths = [
        f"{root}/folder",
        f"{root}/folder/file",
        f"{root}/link",
        f"{root}/nothing",
        f"{root}/link/file/x",
    ]

    def stamp() -> int:
        for _ in range(100):
            told = files.stamp(paths)
            if told:
                return told
            stage.system.clock.sleep(0.01)
        raise AssertionError("nothing is told of files that have long been as they are")

    seen = [stamp()]
    assert stamp() == seen[0]
    changes: list[Callable[[], None]] = [
        lambda: files.append(f"{root}/folder/file", b"two"),
        lambda: files.replace(f"{root}/folder/file", b"one", mode=0o640),
        lambda: files.create(f"{root}/folder/other", b"", mode=0o600),
        lambda: files.symlink(f"{root}/link", "folder/"),
        lambda: files.create(f"{root}/nothing", b"", mode=0o600),
        lambda: files.remove(f"{root}/folder/file"),
    ]
    for change in changes:
        change()
        seen.append(stamp())
    assert len(set(seen)) == len(seen)


def test_what_changed_this_very_moment_has_no_stamp_on_a_real_disk(tmp_path: Path) -> None:
    files = LocalFiles()
    for _ in range(50):
        (tmp_path / "file").write_text("x")
        if not files.stamp([str(tmp_path / "file")]):
            return
    raise AssertionError("a change that might be followed by one with the same time was given a stamp")


# Files: creating and replacing.


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077, 0o777])
@pytest.mark.parametrize("mode", [0o600, 0o640, 0o644, 0o400])
def test_the_mode_is_the_mode_asked_for_whatever_the_umask(stage: Stage, mode: int, umask: int) -> None:
    files = stage.system.files
    if umask == 0o777:
        require_root()  # anybody else could not open the directory that was just made
    os.umask(umask)
    files.create(f"{stage.root}/file", b"x", mode=mode)
    files.replace(f"{stage.root}/other", b"x", mode=mode)
    files.append(f"{stage.root}/log", b"x", mode=mode)
    files.mkdir(f"{stage.root}/folder", mode=mode | 0o111)
    assert [files.state(f"{stage.root}/{name}").mode for name in ("file", "other", "log")] == [mode] * 3
    assert files.state(f"{stage.root}/folder").mode == mode | 0o111


def test_owner_and_mode_are_set_together(stage: Stage) -> None:
    if stage.name == "local":
        require_root()
    files = stage.system.files
    for make in (files.create, files.replace):
        path = f"{stage.root}/{make.__name__}"
        make(path, b"x", mode=0o640, owner=(0, STRANGER))
        state = files.state(path)
        assert (state.mode, state.uid, state.gid) == (0o640, 0, STRANGER)
    files.mkdir(f"{stage.root}/folder", mode=0o750, owner=(STRANGER, STRANGER))
    state = files.state(f"{stage.root}/folder")
    assert (state.mode, state.uid, state.gid) == (0o750, STRANGER, STRANGER)


def test_create_never_overwrites(stage: Stage) -> None:
    files = stage.system.files
    files.create(f"{stage.root}/file", b"first", mode=0o600)
    files.symlink(f"{stage.root}/link", "target")
    files.mkdir(f"{stage.root}/folder", mode=0o700)
    for name in ("file", "link", "folder"):
        path = f"{stage.root}/{name}"
        refused(stage, errno.EEXIST, lambda path=path: files.create(path, b"second", mode=0o600))  # type: ignore[misc]
    assert files.state(f"{stage.root}/target").kind == "absent"


def test_replace_puts_a_new_file_in_the_place_of_file_or_link(stage: Stage) -> None:
    files = stage.system.files
    files.create(f"{stage.root}/file", b"first", mode=0o644)
    files.create(f"{stage.root}/target", b"untouched", mode=0o644)
    files.symlink(f"{stage.root}/link", "target")
    before = files.stat(f"{stage.root}/file")
    for name in ("file", "link", "new"):
        files.replace(f"{stage.root}/{name}", b"second", mode=0o600)
        state = files.state(f"{stage.root}/{name}")
        assert (state.kind, state.content, state.mode) == ("file", b"second", 0o600)
    after = files.stat(f"{stage.root}/file")
    assert before is not None and after is not None
    assert before.inode != after.inode, "it is another file, not the old one rewritten"
    assert files.read(f"{stage.root}/target") == b"untouched"
    assert files.listdir(stage.root) == ("file", "link", "new", "target"), "no neighbour stays behind"


def test_a_failed_replace_leaves_everything_as_it_was(stage: Stage) -> None:
    files = stage.system.files
    files.mkdir(f"{stage.root}/folder", mode=0o700)
    refused(stage, errno.EISDIR, lambda: files.replace(f"{stage.root}/folder", b"x", mode=0o600))
    refused(stage, errno.EISDIR, lambda: files.symlink(f"{stage.root}/folder", "x"))
    refused(stage, errno.ENOENT, lambda: files.replace(f"{stage.root}/no/file", b"x", mode=0o600))


def test_readers_meet_the_old_or_the_new_never_a_part(stage: Stage) -> None:
    files, path = stage.system.files, f"{stage.root}/map"
    old, new = b"o" * 200_000, b"n" * 300_000
    files.create(path, old, mode=0o600)
    seen: set[bytes] = set()
    done = threading.Event()

    def look() -> None:
        while not done.is_set():
            seen.add(files.read(path))

    reader = threading.Thread(target=look)
    reader.start()
    try:
        for _ in range(10):
            files.replace(path, new, mode=0o600)
            files.replace(path, old, mode=0o600)
    finally:
        done.set()
        reader.join()
    assert seen <= {old, new}


def test_a_name_too_long_is_a_fault(stage: Stage) -> None:
    path = f"{stage.root}/{'x' * 256}"
    refused(stage, errno.ENAMETOOLONG, lambda: stage.system.files.create(path, b"", mode=0o600))
    files = stage.system.files
    files.replace(f"{stage.root}/{'y' * 255}", b"z", mode=0o600)  # its hidden neighbour's name must fit too
    assert files.read(f"{stage.root}/{'y' * 255}") == b"z"


def test_append_adds_and_follows_no_link(stage: Stage) -> None:
    files, path = stage.system.files, f"{stage.root}/history.jsonl"
    files.append(path, b"one\n", mode=0o640)
    files.append(path, b"two\n")
    assert files.read(path) == b"one\ntwo\n"
    assert files.state(path).mode == 0o640
    files.symlink(f"{stage.root}/link", "history.jsonl")
    refused(stage, errno.ELOOP, lambda: files.append(f"{stage.root}/link", b"three\n"))


# Files: links, directories, renames, removal.


def test_a_link_is_turned_in_one_step(stage: Stage) -> None:
    files, path = stage.system.files, f"{stage.root}/current"
    files.symlink(path, "0001")
    files.symlink(path, "0002")
    assert files.state(path).target == "0002"
    assert files.listdir(stage.root) == ("current",)


def test_mkdir(stage: Stage) -> None:
    files, path = stage.system.files, f"{stage.root}/lineages"
    files.mkdir(path, mode=0o711)
    refused(stage, errno.EEXIST, lambda: files.mkdir(path, mode=0o700))
    files.mkdir(path, mode=0o700, exist_ok=True)
    assert files.state(path).mode == 0o711, "one that stands is left as it is"
    files.create(f"{stage.root}/file", b"", mode=0o600)
    files.symlink(f"{stage.root}/link", "lineages")
    for name in ("file", "link"):
        refused(
            stage,
            errno.EEXIST,
            lambda name=name: files.mkdir(f"{stage.root}/{name}", mode=0o700, exist_ok=True),  # type: ignore[misc]
        )
    refused(stage, errno.ENOENT, lambda: files.mkdir(f"{stage.root}/a/b", mode=0o700))


def test_rename_moves_files_and_directories(stage: Stage) -> None:
    files = stage.system.files
    files.mkdir(f"{stage.root}/.0007", mode=0o700)
    files.create(f"{stage.root}/.0007/cert.pem", b"leaf", mode=0o600)
    files.rename(f"{stage.root}/.0007", f"{stage.root}/0007")
    files.create(f"{stage.root}/new", b"new", mode=0o600)
    files.rename(f"{stage.root}/new", f"{stage.root}/0007/cert.pem")
    assert files.read(f"{stage.root}/0007/cert.pem") == b"new"
    assert files.listdir(stage.root) == ("0007",)
    refused(stage, errno.ENOENT, lambda: files.rename(f"{stage.root}/gone", f"{stage.root}/x"))


def test_removing(stage: Stage) -> None:
    files = stage.system.files
    files.mkdir(f"{stage.root}/tree", mode=0o700)
    files.mkdir(f"{stage.root}/tree/inner", mode=0o700)
    files.create(f"{stage.root}/tree/inner/file", b"", mode=0o600)
    files.create(f"{stage.root}/kept", b"", mode=0o600)
    files.symlink(f"{stage.root}/tree/link", f"{stage.root}/kept")
    files.symlink(f"{stage.root}/way", "tree")
    refused(stage, errno.ENOTEMPTY, lambda: files.rmdir(f"{stage.root}/tree"))
    refused(stage, errno.EISDIR, lambda: files.remove(f"{stage.root}/tree"))
    refused(stage, errno.ENOTDIR, lambda: files.remove_tree(f"{stage.root}/way"))
    files.remove(f"{stage.root}/way")
    files.remove_tree(f"{stage.root}/tree")
    files.remove_tree(f"{stage.root}/tree")
    assert files.listdir(stage.root) == ("kept",)
    files.mkdir(f"{stage.root}/empty", mode=0o700)
    files.rmdir(f"{stage.root}/empty")
    refused(stage, errno.ENOENT, lambda: files.rmdir(f"{stage.root}/empty"))


def test_free_bytes_of_a_path_that_is_not_there_yet(stage: Stage) -> None:
    assert stage.system.files.free_bytes(f"{stage.root}/not/yet") > 0


# Files: a whole directory.


def test_a_tree_is_there_with_all_its_files(stage: Stage) -> None:
    files, path = stage.system.files, f"{stage.root}/0001"
    files.create_tree(path, {"ec/key.pem": b"KEY", "ec/deep/x": b"", "meta.json": b"{}"}, mode=0o600)
    assert files.listdir(stage.root) == ("0001",)
    assert files.listdir(path) == ("ec", "meta.json") and files.listdir(f"{path}/ec") == ("deep", "key.pem")
    assert files.read(f"{path}/ec/key.pem") == b"KEY" and files.read(f"{path}/meta.json") == b"{}"
    modes = {
        name: files.state(f"{path}{name}").mode
        for name in ("", "/ec", "/ec/deep", "/ec/key.pem", "/meta.json")
    }
    assert modes == {"": 0o700, "/ec": 0o700, "/ec/deep": 0o700, "/ec/key.pem": 0o600, "/meta.json": 0o600}


@pytest.mark.parametrize("there", ["file", "directory", "link"])
def test_a_tree_takes_nothings_place(stage: Stage, there: str) -> None:
    files, path = stage.system.files, f"{stage.root}/0001"
    match there:
        case "file":
            files.create(path, b"old", mode=0o600)
        case "directory":
            files.mkdir(path, mode=0o700)
        case _:
            files.symlink(path, "nowhere")
    before = files.state(path)
    refused(stage, errno.EEXIST, lambda: files.create_tree(path, {"key.pem": b"KEY"}, mode=0o600))
    assert files.state(path) == before and files.listdir(stage.root) == ("0001",)


def test_a_tree_that_cannot_be_finished_leaves_nothing(stage: Stage) -> None:
    files = stage.system.files
    contents = {"ec/key.pem": b"KEY", f"ec/{'x' * 300}": b"LEAF"}
    refused(stage, errno.ENAMETOOLONG, lambda: files.create_tree(f"{stage.root}/0001", contents, mode=0o600))
    assert files.listdir(stage.root) == ()


def test_work_done_aside_gives_what_it_returns_or_raises(stage: Stage) -> None:
    files, path = stage.system.files, f"{stage.root}/file"

    async def work() -> bytes:
        await files.aside(lambda: files.create(path, b"content", mode=0o600))
        return await files.aside(lambda: files.read(path))

    assert asyncio.run(work()) == b"content"
    refused(
        stage, errno.ENOENT, lambda: asyncio.run(files.aside(lambda: files.rmdir(f"{stage.root}/nothing")))
    )

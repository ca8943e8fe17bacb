"""Whom the way to a file can be trusted to: the port `Files` among directories and links of others."""

from __future__ import annotations

import errno
from collections.abc import Callable

import pytest

from mailseal.errors import SystemFault
from mailseal.system import System
from tests.support.stages import STRANGER, Stage, below, refused

WRITES: dict[str, Callable[[System, str], None]] = {
    "create": lambda system, path: system.files.create(path, b"x", mode=0o600),
    "replace": lambda system, path: system.files.replace(path, b"x", mode=0o600),
    "append": lambda system, path: system.files.append(path, b"x"),
    "symlink": lambda system, path: system.files.symlink(path, "x"),
    "mkdir": lambda system, path: system.files.mkdir(path, mode=0o700),
    "rename": lambda system, path: system.files.rename(path, f"{path}.new"),
    "lock": lambda system, path: system.lock(path).__enter__(),
}


@pytest.mark.parametrize("write", WRITES)
@pytest.mark.parametrize("how", ["stranger's", "group's", "anybody's"])
def test_a_directory_that_others_may_write_is_refused(stage: Stage, write: str, how: str) -> None:
    files = stage.system.files
    files.mkdir(f"{stage.root}/way", mode=0o755)
    files.mkdir(f"{stage.root}/way/inner", mode=0o755)
    if how == "anybody's":
        stage.widen(f"{stage.root}/way", 0o757)
    elif how == "group's":
        stage.give(f"{stage.root}/way", 0)
        stage.widen(f"{stage.root}/way", 0o775)
    else:
        stage.give(f"{stage.root}/way", STRANGER)
    for path in (f"{stage.root}/way/file", f"{stage.root}/way/inner/file"):
        fault = refused(stage, errno.EPERM, lambda path=path: WRITES[write](stage.system, path))  # type: ignore[misc]
        assert path in fault.message
        assert "in its place" in fault.reason


def test_a_sticky_directory_is_fine_and_what_strangers_left_there_is_not(stage: Stage) -> None:
    files = stage.system.files
    files.mkdir(f"{stage.root}/lock", mode=0o755)
    stage.widen(f"{stage.root}/lock", 0o1777)
    files.create(f"{stage.root}/lock/file", b"", mode=0o600)
    with stage.system.lock(f"{stage.root}/lock/mailseal.lock"):
        pass
    files.create(f"{stage.root}/lock/theirs", b"", mode=0o666)
    stage.give(f"{stage.root}/lock/theirs", STRANGER)
    refused(stage, errno.EPERM, lambda: files.append(f"{stage.root}/lock/theirs", b"x"))
    refused(stage, errno.EPERM, lambda: stage.system.lock(f"{stage.root}/lock/theirs").__enter__())


@pytest.mark.parametrize("write", [*WRITES, "remove", "rmdir", "remove_tree"])
def test_a_strangers_link_on_the_way_is_not_followed(stage: Stage, write: str) -> None:
    files = stage.system.files
    files.mkdir(f"{stage.root}/cron.d", mode=0o755)
    files.create(f"{stage.root}/cron.d/file", b"", mode=0o600)
    files.symlink(f"{stage.root}/way", "cron.d")
    stage.give(f"{stage.root}/way", STRANGER)
    act = WRITES.get(write) or (lambda system, path: getattr(system.files, write)(path))
    refused(stage, errno.EPERM, lambda: act(stage.system, f"{stage.root}/way/file"))


def test_links_of_our_own_on_the_way_are_followed(stage: Stage) -> None:
    files = stage.system.files
    files.mkdir(f"{stage.root}/real", mode=0o755)
    files.mkdir(f"{stage.root}/real/inner", mode=0o755)
    files.symlink(f"{stage.root}/relative", "real/inner/../inner")
    files.symlink(f"{stage.root}/absolute", f"{stage.root}/relative")
    files.create(f"{stage.root}/absolute/file", b"x", mode=0o600)
    assert files.read(f"{stage.root}/real/inner/file") == b"x"


@pytest.mark.parametrize(
    "path", ["relative/file", "{root}/../file", "{root}/a/../../file", "/", "{root}/a\0b"]
)
def test_paths_that_are_not_absolute_or_climb_are_refused(stage: Stage, path: str) -> None:
    files = stage.system.files
    refused(stage, errno.EINVAL, lambda: files.create(path.format(root=stage.root), b"", mode=0o600))


def test_removing_from_a_web_root_is_allowed(stage: Stage) -> None:
    files = stage.system.files
    files.mkdir(f"{stage.root}/html", mode=0o755)
    files.create(f"{stage.root}/html/token", b"", mode=0o644)
    stage.give(f"{stage.root}/html", STRANGER)
    files.remove(f"{stage.root}/html/token")
    assert files.listdir(f"{stage.root}/html") == ()


# Web roots.

WELL_KNOWN = (".well-known", "acme-challenge", "token")


def test_what_is_planted_in_a_web_root_belongs_to_its_owner_and_goes_without_a_trace(stage: Stage) -> None:
    files = stage.system.files
    files.mkdir(f"{stage.root}/html", mode=0o755)
    stage.give(f"{stage.root}/html", STRANGER)
    before = below(stage)
    assert files.plant(f"{stage.root}/html", WELL_KNOWN, b"key authorization") == 2
    state = files.state(f"{stage.root}/html/.well-known/acme-challenge/token")
    assert (state.mode, state.uid, state.content) == (0o644, STRANGER, b"key authorization")
    assert files.state(f"{stage.root}/html/.well-known").mode == 0o755
    assert files.plant(f"{stage.root}/html", WELL_KNOWN, b"again") == 0, "what a killed run left is replaced"
    assert files.read(f"{stage.root}/html/.well-known/acme-challenge/token") == b"again"
    files.uproot(f"{stage.root}/html", WELL_KNOWN, directories=2)
    files.uproot(f"{stage.root}/html", WELL_KNOWN, directories=2)
    assert below(stage) == before


def test_what_is_planted_whole_takes_the_place_of_what_stood_there(stage: Stage) -> None:
    files = stage.system.files
    files.create(f"{stage.root}/shadow", b"secret", mode=0o600)
    files.mkdir(f"{stage.root}/metrics", mode=0o755)
    files.symlink(f"{stage.root}/metrics/it.prom", f"{stage.root}/shadow")
    stage.give(f"{stage.root}/metrics/it.prom", STRANGER)
    stage.give(f"{stage.root}/metrics", STRANGER)
    for content in (b"first", b"second"):
        assert files.plant(f"{stage.root}/metrics", ("it.prom",), content, whole=True) == 0
        state = files.state(f"{stage.root}/metrics/it.prom")
        assert (state.kind, state.mode, state.uid, state.content) == ("file", 0o644, STRANGER, content)
    assert files.listdir(f"{stage.root}/metrics") == ("it.prom",)
    assert files.read(f"{stage.root}/shadow") == b"secret"


def test_what_cannot_be_planted_whole_leaves_nothing_behind(stage: Stage) -> None:
    files = stage.system.files
    files.mkdir(f"{stage.root}/metrics", mode=0o755)
    files.mkdir(f"{stage.root}/metrics/it.prom", mode=0o755)
    before = below(stage)
    with pytest.raises(SystemFault):
        files.plant(f"{stage.root}/metrics", ("it.prom",), b"x", whole=True)
    assert below(stage) == before


def test_what_the_owner_put_in_the_way_of_a_token_is_not_written_through(stage: Stage) -> None:
    files = stage.system.files
    files.create(f"{stage.root}/shadow", b"secret", mode=0o600)
    files.mkdir(f"{stage.root}/etc", mode=0o755)
    files.mkdir(f"{stage.root}/html", mode=0o755)
    files.symlink(f"{stage.root}/html/token", f"{stage.root}/shadow")
    files.symlink(f"{stage.root}/html/.well-known", f"{stage.root}/etc")
    for link in ("token", ".well-known"):
        stage.give(f"{stage.root}/html/{link}", STRANGER)
    stage.give(f"{stage.root}/html", STRANGER)
    files.plant(f"{stage.root}/html", ("token",), b"token")
    assert files.read(f"{stage.root}/shadow") == b"secret"
    with pytest.raises(SystemFault):
        files.plant(f"{stage.root}/html", WELL_KNOWN, b"token")
    assert files.listdir(f"{stage.root}/etc") == ()


def test_uproot_leaves_directories_that_others_use(stage: Stage) -> None:
    files = stage.system.files
    files.mkdir(f"{stage.root}/html", mode=0o755)
    files.plant(f"{stage.root}/html", WELL_KNOWN, b"")
    files.create(f"{stage.root}/html/.well-known/security.txt", b"", mode=0o644)
    files.uproot(f"{stage.root}/html", WELL_KNOWN, directories=2)
    assert files.listdir(f"{stage.root}/html/.well-known") == ("security.txt",)


@pytest.mark.parametrize("part", ["..", "", "a/b", "a\0"])
def test_a_token_that_is_no_file_name_is_not_planted(stage: Stage, part: str) -> None:
    before = below(stage)
    with pytest.raises(SystemFault):
        stage.system.files.plant(stage.root, (".well-known", part), b"")
    assert below(stage) == before

"""Planting below other people's directories: what is made, what is removed, and which links are not followed."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from mailseal.errors import SystemFault
from mailseal.system.as_owner import plant, uproot

OTHER = 33  # www-data on Debian; any user but root will do
BELOW = (".well-known", "acme-challenge", "token")

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can take another user's rights")


@pytest.fixture
def strict_umask() -> Iterator[None]:
    before = os.umask(0o077)
    yield
    os.umask(before)


@pytest.fixture
def theirs(tmp_path: Path) -> Path:
    """A web root as guides make it: owned by the web server's user."""
    root = tmp_path / "html"
    root.mkdir(mode=0o755)
    os.chown(root, OTHER, OTHER)
    return root


def mode(path: Path) -> int:
    return stat.S_IMODE(path.lstat().st_mode)


def test_made_readable_and_removed_without_a_trace(tmp_path: Path, strict_umask: None) -> None:
    assert plant(str(tmp_path), BELOW, b"answer") == 2
    file = tmp_path.joinpath(*BELOW)
    assert file.read_bytes() == b"answer"
    assert (mode(file), mode(file.parent), mode(file.parent.parent)) == (0o644, 0o755, 0o755)
    uproot(str(tmp_path), BELOW, directories=2)
    assert list(tmp_path.iterdir()) == []


def test_what_was_there_stays(tmp_path: Path) -> None:
    (tmp_path / ".well-known").mkdir(mode=0o750)
    (tmp_path / ".well-known" / "security.txt").write_text("x")
    assert plant(str(tmp_path), BELOW, b"answer") == 1
    uproot(str(tmp_path), BELOW, directories=2)
    assert [each.name for each in (tmp_path / ".well-known").iterdir()] == ["security.txt"]
    assert mode(tmp_path / ".well-known") == 0o750


def test_a_file_left_behind_is_replaced_and_never_written_into(tmp_path: Path) -> None:
    plant(str(tmp_path), BELOW, b"old")
    victim = tmp_path / "victim"
    victim.write_text("precious")
    file = tmp_path.joinpath(*BELOW)
    file.unlink()
    file.hardlink_to(victim)
    plant(str(tmp_path), BELOW, b"new")
    assert (file.read_bytes(), victim.read_text()) == (b"new", "precious")


def test_whoever_reads_meets_the_old_or_the_new(tmp_path: Path) -> None:
    plant(str(tmp_path), ("it.prom",), b"old", whole=True)
    with (tmp_path / "it.prom").open("rb") as reader:
        plant(str(tmp_path), ("it.prom",), b"new and longer", whole=True)
        assert reader.read() == b"old"
    assert (tmp_path / "it.prom").read_bytes() == b"new and longer"
    assert mode(tmp_path / "it.prom") == 0o644


def test_uprooting_what_is_gone_is_no_fault(tmp_path: Path) -> None:
    uproot(str(tmp_path), BELOW, directories=2)
    uproot(str(tmp_path / "gone"), BELOW)


@needs_root
def test_what_is_made_belongs_to_the_owner(theirs: Path) -> None:
    plant(str(theirs), BELOW, b"answer")
    for path in (theirs.joinpath(*BELOW), theirs / BELOW[0], theirs / BELOW[0] / BELOW[1]):
        assert (path.lstat().st_uid, path.lstat().st_gid) == (OTHER, OTHER)
    uproot(str(theirs), BELOW, directories=2)
    assert list(theirs.iterdir()) == []
    assert os.geteuid() == 0
    (theirs.parent / "root-can-still-write").write_text("x")


@needs_root
@pytest.mark.parametrize("depth", [0, 1])
def test_no_link_below_the_web_root_is_followed(theirs: Path, tmp_path: Path, depth: int) -> None:
    target = tmp_path / "target"
    target.mkdir()
    inner = theirs
    for component in BELOW[:depth]:
        inner = inner / component
        inner.mkdir()
        os.chown(inner, OTHER, OTHER)
    (inner / BELOW[depth]).symlink_to(target)
    with pytest.raises(SystemFault, match="Will not follow the symbolic link"):
        plant(str(theirs), BELOW, b"answer")
    with pytest.raises(SystemFault, match="Will not follow"):
        uproot(str(theirs), BELOW)
    assert list(target.iterdir()) == []


@needs_root
def test_a_link_in_the_place_of_the_token_is_replaced_not_followed(theirs: Path, tmp_path: Path) -> None:
    plant(str(theirs), (*BELOW[:2], "other"), b"x")
    victim = tmp_path / "shadow"
    victim.write_text("precious")
    theirs.joinpath(*BELOW).symlink_to(victim)
    plant(str(theirs), BELOW, b"answer")
    assert victim.read_text() == "precious"
    assert theirs.joinpath(*BELOW).read_bytes() == b"answer"


@needs_root
def test_a_link_on_the_way_is_followed_only_where_root_alone_could_make_it(tmp_path: Path) -> None:
    real = tmp_path / "real"
    real.mkdir()
    mine = tmp_path / "mine"
    mine.mkdir(mode=0o755)
    (mine / "www").symlink_to("../real")
    theirs = tmp_path / "theirs"
    theirs.mkdir()
    (theirs / "www").symlink_to(real)
    os.chown(theirs, OTHER, OTHER)
    for trusted in ("/", str(tmp_path)):
        if os.stat(trusted).st_mode & 0o022:
            pytest.skip(f"{trusted} is writable by others here")
    below_tmp = any(os.stat(parent).st_mode & 0o022 for parent in mine.parents)
    if below_tmp:  # /tmp is anybody's, so nothing below it is root's alone
        with pytest.raises(SystemFault, match="Will not follow"):
            plant(str(mine / "www"), BELOW, b"answer")
    else:
        plant(str(mine / "www"), BELOW, b"answer")
        assert real.joinpath(*BELOW).is_file()
    with pytest.raises(SystemFault, match="Will not follow"):
        plant(str(theirs / "www"), BELOW, b"answer")


@needs_root
def test_the_owners_rights_are_all_there_is(theirs: Path) -> None:
    """Root's own override is gone: a directory that its owner may not write stays as it is."""
    theirs.chmod(0o555)
    with pytest.raises(SystemFault, match="Permission denied"):
        plant(str(theirs), BELOW, b"answer")
    assert list(theirs.iterdir()) == []


@pytest.mark.parametrize("below", [(), ("..", "x"), ("a/b",), ("",), (".",), ("a\0",)])
def test_names_that_are_none(tmp_path: Path, below: tuple[str, ...]) -> None:
    with pytest.raises(SystemFault):
        plant(str(tmp_path), below, b"x")
    assert list(tmp_path.iterdir()) == []


def test_a_web_root_that_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "html").write_text("x")
    with pytest.raises(SystemFault):
        plant(str(tmp_path / "html"), BELOW, b"x")
    with pytest.raises(SystemFault):
        plant(str(tmp_path / "nowhere"), BELOW, b"x")


FLIP = """
import os, sys
root, target = sys.argv[1:]
os.chdir(root)
os.mkdir("real")
while True:
    for name in ("link", "real"):
        try:
            if name == "link" and not os.path.islink("link"):
                os.symlink(target, "link")
            os.rename(".well-known", "away") if os.path.lexists(".well-known") else None
            os.rename(name, ".well-known")
            if os.path.lexists("away"):
                os.rename("away", "real" if name == "link" else "link")
        except OSError:
            pass
"""


@pytest.fixture
def arena() -> Iterator[Path]:
    """A folder that other users can reach, which pytest's own are not."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        yield Path(name)


@needs_root
def test_an_owner_who_swaps_directories_all_the_time_gains_nothing(arena: Path) -> None:
    """The race itself: the web server's user turns `.well-known` into a link and back as fast as it can."""
    root, target = arena / "html", arena / "target"
    for folder in (root, target):
        folder.mkdir()
    os.chown(root, OTHER, OTHER)
    target.chmod(0o777)
    flipping = subprocess.Popen([sys.executable, "-c", FLIP, str(root), str(target)], user=OTHER, group=OTHER)
    outcomes = set()
    try:
        for _ in range(400):
            try:
                plant(str(root), BELOW, b"answer")
                uproot(str(root), BELOW, directories=2)
                outcomes.add("written")
            except SystemFault:
                outcomes.add("refused")
        assert flipping.poll() is None
    finally:
        flipping.kill()
        flipping.wait()
    assert list(target.iterdir()) == []
    assert outcomes == {"written", "refused"}, "the swapping did not meet the writing"

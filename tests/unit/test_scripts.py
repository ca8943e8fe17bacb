"""What the installing scripts refuse; that they install is shown on whole machines (tests/machine)."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

SCRIPTS = Path(__file__).parents[2] / "script"
pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="the scripts ask for root first")


def run(name: str, *arguments: object) -> tuple[int, str]:
    command = [str(SCRIPTS / name), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.returncode, done.stderr


def test_a_program_of_somebody_else_is_not_replaced(tmp_path: Path) -> None:
    link = tmp_path / "mailseal"
    link.write_text("another program")
    status, told = run("install", "--prefix", tmp_path / "opt", "--link", link)
    assert status == 2
    assert "not ours" in told and "Nothing was changed" in told
    assert link.read_text() == "another program"
    assert not (tmp_path / "opt").exists()


@pytest.mark.parametrize("arguments", [("--here",), ("--prefix", "opt")])
def test_a_wrong_argument_changes_nothing(arguments: tuple[str, ...]) -> None:
    assert run("install", *arguments)[0] == 2


def test_there_is_nothing_to_uninstall(tmp_path: Path) -> None:
    status, told = run("uninstall", "--prefix", tmp_path / "opt", "--link", tmp_path / "mailseal")
    assert status == 2
    assert "Nothing was changed" in told


def test_uninstalling_leaves_what_is_not_ours(tmp_path: Path) -> None:
    folder = tmp_path / "opt" / "20261123T160000Z-7"
    folder.mkdir(parents=True)
    (tmp_path / "opt" / "current").symlink_to(folder.name)
    (tmp_path / "opt" / "notes").write_text("mine")
    link = tmp_path / "mailseal"
    link.symlink_to(tmp_path / "opt" / "current" / "bin" / "mailseal")
    status, told = run("uninstall", "--prefix", tmp_path / "opt", "--link", link)
    assert status == 0
    assert not link.is_symlink() and not folder.exists()
    assert (tmp_path / "opt" / "notes").read_text() == "mine"
    assert "not ours and stays" in told


def test_every_script_says_what_it_does() -> None:
    for path in SCRIPTS.iterdir():
        lines = path.read_text(encoding="utf-8").splitlines()
        assert lines[1 if lines[0].startswith("#!") else 0].startswith("# "), path.name

"""The cache of images: what its names depend on, and what goes when a new one came."""

from __future__ import annotations

import fcntl
import subprocess
import sys
from pathlib import Path

import pytest

from lab import image, recipe
from lab.guard import CHECKOUT, Unavailable
from lab.sources import host_release, sources_for

# Takes the place of the recipe in a process of its own: as slow as needed, and tells when it ran.
_RACE = """
import sys, time
from pathlib import Path
from lab import image
import subprocess

def slow(argv, **given):
    time.sleep(1)
    (Path(argv[-2]) / "whole").touch()
    with open(sys.argv[1], "a") as runs:
        runs.write("made\\n")
    return subprocess.CompletedProcess(argv, 0)

image.subprocess.run, real = slow, image.subprocess.run
image.require = lambda *_: None
print(image.ensure("trixie").root)
"""


def test_the_name_changes_with_what_is_in_it(monkeypatch: pytest.MonkeyPatch) -> None:
    before = image.key("trixie")
    assert before != image.key("bookworm")
    monkeypatch.setattr(recipe, "PACKAGES", (*recipe.PACKAGES, "nginx-light"))
    assert image.key("trixie") != before


def test_an_unknown_release_is_refused() -> None:
    with pytest.raises(Unavailable, match="knows no release 'sid', only bookworm, trixie"):
        image.ensure("sid")


def test_an_older_image_goes_unless_somebody_uses_it(tmp_path: Path) -> None:
    images = [tmp_path / f"trixie-{name}" for name in ("old", "used", "new")]
    for directory in (*images, tmp_path / "bookworm-old"):
        (directory / "etc").mkdir(parents=True)
    with open(tmp_path / "trixie-used.lock", "wb") as lease:
        fcntl.flock(lease, fcntl.LOCK_SH)
        image.prune("trixie", images[2])
    assert sorted(path.name for path in tmp_path.iterdir() if path.is_dir()) == [
        "bookworm-old",
        "trixie-new",
        "trixie-used",
    ]


def test_two_runs_at_once_make_one_image(tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    argv = [sys.executable, "-c", _RACE, str(runs)]
    env = {"MAILSEAL_LAB_CACHE": str(tmp_path / "cache"), "PATH": "/usr/bin:/usr/sbin:/bin"}
    both = [
        subprocess.Popen(argv, cwd=CHECKOUT, env=env, stdout=subprocess.PIPE, text=True) for _ in range(2)
    ]
    told = {process.communicate(timeout=30)[0].strip() for process in both}
    assert len(told) == 1
    assert (Path(told.pop()) / "whole").exists()
    assert runs.read_text() == "made\n"


def test_the_hosts_own_archives_serve_every_release(namespaces: None) -> None:
    own = [source.uri for source in sources_for(host_release())]
    for release in image.RELEASES:
        found = sources_for(release)
        assert [source.uri for source in found] == own
        assert found[0].suite == release
        assert all(source.suite.startswith(release) and source.component == "main" for source in found)

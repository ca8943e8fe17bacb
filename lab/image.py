"""Cached root images, one per Debian release, made once and shared by all runs.

An image is a directory that only ever serves as the lower layer of an overlay
(overlayfs: a lower layer must not change while it is used), so nothing writes
to it after it is whole. Its name carries the hash of everything it was made
from; a change of packages, pins or recipe makes a new one.

Promises: two runs at once make one image (flock(2) around the making, and the
second looks again once it has the lock); a half-made image is never seen, since
it is renamed into place last; an older image of the release goes when nobody
uses it. Does not promise the same package versions on two hosts: what the
release's archive holds that day is what gets installed.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from lab import recipe
from lab.guard import CHECKOUT, Unavailable, require

RELEASES = ("bookworm", "trixie")


@dataclass(frozen=True)
class Image:
    """A whole root directory of one release; `lease`, a locked file, keeps it there while this process lives."""

    release: str
    root: Path
    lease: int


def cache_root() -> Path:
    """Where images are kept; MAILSEAL_LAB_CACHE overrides."""
    return Path(os.environ.get("MAILSEAL_LAB_CACHE", "/var/cache/mailseal-lab"))


def key(release: str) -> str:
    """The name of what an image of `release` is made from."""
    runtime, build = recipe.pins()
    parts = (release, str(recipe.VERSION), " ".join(recipe.PACKAGES), runtime, build)
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:12]


@cache
def ensure(release: str) -> Image:
    """The image of `release`, made now if it is not there (about two minutes); raises Unavailable."""
    if release not in RELEASES:
        raise Unavailable(f"The lab knows no release {release!r}, only {', '.join(RELEASES)}.")
    name = f"{release}-{key(release)}"
    images = cache_root() / "images"
    images.mkdir(parents=True, exist_ok=True)
    root = images / name
    lease = os.open(images / f"{name}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    fcntl.flock(lease, fcntl.LOCK_SH)
    if not root.exists():
        require("debootstrap", "setpriv")
        with _locked(images / f"{release}.making") as lock:
            if not root.exists():
                _make(release, root, lock)
                prune(release, root)
    return Image(release, root, lease)


def ensure_all(*releases: str) -> list[Image]:
    """Several images, those that are missing made side by side."""
    wanted = list(dict.fromkeys(releases))
    with ThreadPoolExecutor(len(wanted)) as pool:
        made = dict(zip(wanted, pool.map(ensure, wanted), strict=True))
    return [made[release] for release in releases]


def _make(release: str, root: Path, lock: int) -> None:
    """The builder inherits the lock: should this process die, nobody starts over while it still runs."""
    making = root.with_name(f".making-{release}")
    if making.exists():
        shutil.rmtree(making)
    making.mkdir()
    log = cache_root() / f"{release}.log"
    print(f"Making the {release} image in {cache_root()}; its log is {log}", file=sys.stderr, flush=True)
    argv = ["unshare", "--mount", "--pid", "--uts", "--fork", "--kill-child", "--mount-proc", "--"]
    argv += [sys.executable, "-m", "lab.recipe", release, str(making), str(cache_root())]
    with open(log, "wb") as out:
        made = subprocess.run(
            argv, cwd=CHECKOUT, stdout=out, stderr=out, stdin=subprocess.DEVNULL, check=False
        )
    if made.returncode != 0:
        tail = log.read_text(encoding="utf-8", errors="replace").splitlines()[-15:]
        raise Unavailable("\n".join([f"Making the {release} image failed; the end of {log}:", *tail]))
    making.rename(root)


def prune(release: str, keep: Path) -> None:
    """Takes away older images of the release that no process has a lease on."""
    for old in keep.parent.glob(f"{release}-*"):
        if old.is_dir() and old != keep:
            with open(old.with_name(f"{old.name}.lock"), "ab") as lease:
                try:
                    fcntl.flock(lease, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    continue
                shutil.rmtree(old)


@contextmanager
def _locked(path: Path) -> Iterator[int]:
    with open(path, "ab") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield lock.fileno()

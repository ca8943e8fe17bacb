"""Other clients as shipped, for comparison: where they are, installed on first use outside of the checkout.

certbot comes from its Python packages, pinned with hashes in
requirements/bench.txt, into a virtual environment below the user's cache
folder; the folder's name carries a digest of the pins, so that new pins make a
new one. lego and dehydrated come from the host's own Debian archive: fetched
by apt-get(8), unpacked by dpkg-deb(1) beside it, and installed nowhere.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
PINS = ROOT / "requirements" / "bench.txt"
PACKAGES = ("lego", "dehydrated")


def cache() -> Path:
    """The folder that installed peers are kept in."""
    home = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(home) / "mailseal-bench"


def certbot() -> Path:
    """The program certbot of the pinned version; installs it if it is not there yet."""
    folder = cache() / f"certbot-{hashlib.sha256(PINS.read_bytes()).hexdigest()[:12]}"
    program = folder / "bin" / "certbot"
    if not (folder / "ready").exists():
        print(f"Installing certbot into {folder}", file=sys.stderr)
        subprocess.run(["/usr/bin/python3", "-m", "venv", "--clear", str(folder)], check=True)
        pip = [str(folder / "bin" / "pip"), "install", "-qq", "--disable-pip-version-check"]
        subprocess.run([*pip, "--require-hashes", "-r", str(PINS)], check=True, stdout=sys.stderr)
        (folder / "ready").touch()
    return program


def debian(release: str) -> Path:
    """The folder that the Debian packages of the other peers are unpacked in, as `usr/bin/lego` and so on.

    `release` is the host's own, whose archive they come from.
    """
    folder = cache() / f"debian-{release}"
    if not (folder / "ready").exists():
        print(f"Fetching {' and '.join(PACKAGES)} into {folder}", file=sys.stderr)
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        fetch = ["apt-get", "download", "-q", *PACKAGES]
        if subprocess.run(fetch, cwd=folder, stdout=sys.stderr, check=False).returncode:
            subprocess.run(["apt-get", "update", "-q"], check=True, stdout=sys.stderr)
            subprocess.run(fetch, cwd=folder, stdout=sys.stderr, check=True)
        for package in folder.glob("*.deb"):
            subprocess.run(["dpkg-deb", "--extract", str(package), str(folder)], check=True)
            name, version, _ = package.stem.split("_")
            (folder / f"{name}.version").write_text(version, encoding="utf-8")
            package.unlink()
        (folder / "ready").touch()
    return folder

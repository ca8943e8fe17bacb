"""Other clients as shipped, for comparison: where they are, installed on first use outside of the checkout.

certbot comes from its Python packages, pinned with hashes in
requirements/bench.txt, into a virtual environment below the user's cache
folder; the folder's name carries a digest of the pins, so that new pins make a
new one.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
PINS = ROOT / "requirements" / "bench.txt"


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

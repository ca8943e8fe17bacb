"""What the contract suites share: each system that a promise is asked of."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from tests.support.stages import LocalStage, MemoryStage, Stage


@pytest.fixture(params=["local", "memory"])
def stage(request: pytest.FixtureRequest) -> Iterator[Stage]:
    """A system under umask 022, which is what most have, and a folder of its own."""
    before = os.umask(0o022)
    with TemporaryDirectory(prefix="mailseal-") as root:
        os.chmod(root, 0o755)  # pytest's own folders can be entered by nobody else, which web roots need
        yield LocalStage(Path(root)) if request.param == "local" else MemoryStage()
    os.umask(before)

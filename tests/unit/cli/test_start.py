"""How little is loaded before there is something to do (each case in a process of its own)."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from mailseal import __version__
from mailseal.cli.group import COMMANDS
from mailseal.cli.options import DEFAULT_CONFIG
from mailseal.config import DEFAULT_PATH

ROOT = Path(__file__).parents[3]
HEAVY = {"aiohttp", "dns", "jinja2", "rich", "OpenSSL", "josepy"}
# These read no certificate, so that not even the key library is needed.
LIGHTER = HEAVY | {"cryptography", "asyncio", "msgspec", "tomllib"}

_SCRIPT = """
import json, sys
from mailseal.cli.main import main
status = main(sys.argv[1:])
print(json.dumps([status, sorted({name.partition(".")[0] for name in sys.modules})]), file=sys.stderr)
"""


ENVIRONMENT = {**os.environ, "PYTHONPATH": f"{ROOT / 'src'}:{ROOT}"}


def loaded(*arguments: str) -> tuple[int, set[str], str]:
    done = subprocess.run(
        [sys.executable, "-c", _SCRIPT, *arguments],
        capture_output=True,
        text=True,
        check=True,
        env=ENVIRONMENT,
    )
    status, modules = json.loads(done.stderr.splitlines()[-1])
    return status, set(modules), done.stdout


@pytest.mark.parametrize("arguments", [("--version",), ("--help",), ("-h",), ()])
def test_help_and_version_load_no_heavy_library(arguments: tuple[str, ...]) -> None:
    status, modules, _ = loaded(*arguments)
    assert status == 0
    assert not modules & LIGHTER


_STATUS = """
import sys
before = set(sys.modules)
from tests.unit.cli.test_status import SMALLEST, DEFAULT_PATH, LineageStore, MemorySystem, issue
heavy = {name for name in sys.argv[1:] if name in sys.modules}
assert not heavy, f"the test itself loads {heavy}"
system = MemorySystem()
system.machine.put_directory("/etc/mailseal")
system.machine.put(DEFAULT_PATH, SMALLEST)
LineageStore(system).prepare()
issue(system)
from mailseal.cli.main import main
assert main(["status"], system=system) == 1
print(*sorted(name for name in sys.argv[1:] if name in sys.modules), file=sys.stderr)
"""


def test_status_of_a_certificate_loads_no_heavy_library() -> None:
    arguments = [sys.executable, "-c", _STATUS, *sorted(HEAVY | {"cryptography"})]
    done = subprocess.run(arguments, capture_output=True, text=True, check=True, env=ENVIRONMENT)
    assert "generation 0001" in done.stdout
    assert done.stderr.split() == []


@pytest.mark.parametrize("name", list(COMMANDS))
def test_the_help_of_a_command_loads_no_heavy_library(name: str) -> None:
    status, modules, text = loaded(name, "--help")
    assert status == 0
    assert f"mailseal {name}" in text
    assert not modules & HEAVY


def test_python_dash_m() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "mailseal", "--version"],
        capture_output=True,
        text=True,
        check=True,
        env=ENVIRONMENT,
    )
    assert done.stdout == f"mailseal {__version__}\n"


def test_the_default_path_is_the_configurations_own() -> None:
    assert DEFAULT_CONFIG == DEFAULT_PATH

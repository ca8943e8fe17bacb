"""Effects have one door: outside of `mailseal.system` nothing touches the machine, the clock or chance.

A rule for the linter, written as a test because it is ours: the tree is read,
not run. What is forbidden stands in the tables; the few exceptions stand
below, each with its reason.
"""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[2] / "src" / "mailseal"

# Modules whose purpose is an effect. Names after a colon are pure and may be imported from them.
MODULES: dict[str, frozenset[str]] = {
    "aiohttp": frozenset(),
    "fcntl": frozenset(),
    "ftplib": frozenset(),
    "getpass": frozenset(),
    "glob": frozenset(),
    "http.client": frozenset(),
    "http.server": frozenset(),
    "imaplib": frozenset(),
    "multiprocessing": frozenset(),
    "os": frozenset({"fspath"}),
    "pathlib": frozenset({"PurePath", "PurePosixPath"}),
    "poplib": frozenset(),
    "pty": frozenset(),
    "random": frozenset(),
    "secrets": frozenset({"compare_digest"}),
    "selectors": frozenset(),
    "shutil": frozenset(),
    "signal": frozenset(),
    "smtplib": frozenset(),
    "socket": frozenset(),
    "socketserver": frozenset(),
    "sqlite3": frozenset(),
    "subprocess": frozenset(),
    "tempfile": frozenset(),
    "time": frozenset(),
    "urllib.request": frozenset(),
    "uuid": frozenset({"UUID"}),
}

# What may not be called, by the end of its dotted name.
CALLS = {
    "open": "opens a file",
    "input": "reads the terminal",
    "datetime.now": "reads the clock",
    "datetime.utcnow": "reads the clock",
    "datetime.today": "reads the clock",
    "date.today": "reads the clock",
    "asyncio.sleep": "sleeps",
    "asyncio.open_connection": "opens a connection",
    "asyncio.open_unix_connection": "opens a connection",
    "asyncio.start_server": "listens",
    "asyncio.create_subprocess_exec": "starts a process",
    "asyncio.create_subprocess_shell": "starts a process",
    "loop.create_connection": "opens a connection",
    "loop.create_server": "listens",
    "SSLContext.load_default_certs": "reads the machine's roots",
    "ssl.create_default_context": "reads the machine's roots",
    "importlib.metadata": "reads files",
}

EXCEPTIONS = {
    ("cli/main.py", "os"): "points its own closed stdout at nothing, and asks whether the journal listens",
    ("cli/main.py", "signal"): "has SIGTERM and SIGHUP raise what Ctrl-C raises",
    ("cli/options.py", "os"): "asks whether we are root",
    ("cli/output.py", "os"): "asks the environment whether colours are wanted",
    ("cli/output.py", "shutil"): "asks the terminal for its width",
}


def sources() -> list[Path]:
    return sorted(path for path in SOURCE.rglob("*.py") if path.relative_to(SOURCE).parts[0] != "system")


def effects(tree: ast.Module) -> list[tuple[int, str, str]]:
    """Line, the module or call, and what is wrong, for everything that goes past the door."""
    found = []
    for node in ast.walk(tree):
        match node:
            case ast.Import(names=names):
                for one in names:
                    if one.name in MODULES:
                        found.append((node.lineno, one.name, f"import {one.name}"))
            case ast.ImportFrom(module=str(module), names=names):
                for one in names:
                    whole = f"{module}.{one.name}"
                    if module in MODULES and one.name not in MODULES[module]:
                        found.append((node.lineno, module, f"from {module} import {one.name}"))
                    elif whole in MODULES or whole in CALLS:
                        found.append((node.lineno, whole, f"from {module} import {one.name}"))
            case ast.Call(func=func):
                name = _dotted(func)
                for call, what in CALLS.items():
                    if name == call or ("." in call and name.endswith(f".{call}")):
                        found.append((node.lineno, call, f"{name}() {what}"))
    return found


def _dotted(node: ast.expr) -> str:
    match node:
        case ast.Name(id=name):
            return name
        case ast.Attribute(value=value, attr=attribute):
            return f"{_dotted(value)}.{attribute}"
        case ast.Call(func=func):
            return _dotted(func)
    return ""


@pytest.mark.parametrize("path", sources(), ids=lambda path: str(path.relative_to(SOURCE)))
def test_effects_have_one_door(path: Path) -> None:
    name = str(path.relative_to(SOURCE))
    tree = ast.parse(path.read_text(encoding="utf-8"))
    past = [f"{name}:{line}: {what}" for line, key, what in effects(tree) if (name, key) not in EXCEPTIONS]
    assert not past, "ask the System that was handed in instead:\n" + "\n".join(past)


def test_no_exception_outlives_its_use() -> None:
    for name, key in EXCEPTIONS:
        tree = ast.parse((SOURCE / name).read_text(encoding="utf-8"))
        assert any(used == key for _, used, _ in effects(tree)), f"{name} no longer needs {key}"


@pytest.mark.parametrize(
    "line",
    [
        "import os",
        "from pathlib import Path",
        "from os import path",
        "import datetime; datetime.datetime.now()",
        "from datetime import datetime; datetime.now(UTC)",
        "open('/etc/passwd')",
        "async def f(): await asyncio.sleep(1)",
        "from asyncio import sleep",
        "from http import client",
    ],
)
def test_the_rule_sees(line: str) -> None:
    assert effects(ast.parse(line))


@pytest.mark.parametrize(
    "line", ["from pathlib import PurePosixPath", "system.files.open('x')", "clock.now()"]
)
def test_the_rule_lets_pass(line: str) -> None:
    assert not effects(ast.parse(line))

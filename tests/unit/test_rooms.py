"""A file is a room: short enough to be seen whole, and it says first what it is about."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FILE_LINES = 400
FUNCTION_LINES = 50


def rooms() -> list[Path]:
    return sorted(path for folder in ("src", "lab", "bench") for path in (ROOT / folder).rglob("*.py"))


@pytest.mark.parametrize("path", rooms(), ids=lambda path: str(path.relative_to(ROOT)))
def test_a_room(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    tree = ast.parse(text)
    assert text.count("\n") <= FILE_LINES, "it holds two things: part them"
    assert ast.get_docstring(tree) or not text, "it does not say what it is about"
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            lines = (node.end_lineno or 0) - node.lineno + 1
            assert lines <= FUNCTION_LINES, f"{node.name} (line {node.lineno}) is {lines} lines long"

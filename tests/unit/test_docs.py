"""What is written in docs/ and examples/ is what the code prints, and every finding's code is explained."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from docs.generate import pages
from mailseal.cli.group import COMMANDS, EXIT_MEANINGS
from mailseal.config import load
from mailseal.config.reference import SMALLEST
from mailseal.errors import ExitCode
from mailseal.findings import CODES

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "src" / "mailseal"
CARRIERS = {"Finding", "Preflight"}  # what carries a code, each in a field `code`
POSITION = {"Finding": 0, "Preflight": 3}


@pytest.mark.parametrize("name", list(pages()))
def test_a_page_is_what_the_code_prints(name: str) -> None:
    path = ROOT / name
    assert path.exists() and path.read_text(encoding="utf-8") == pages()[name], "run script/docs"


def test_the_examples_are_good() -> None:
    for path in sorted((ROOT / "examples").glob("*.toml")):
        assert load(path.read_text(encoding="utf-8"), str(path)).specs()


def test_every_commented_key_of_the_sample_is_good_too() -> None:
    text = (ROOT / "examples" / "mailseal.toml").read_text(encoding="utf-8")
    whole = re.sub(r"^#(?=[a-z0-9_]+ = |\[\[)", "", text, flags=re.MULTILINE)
    whole = whole.replace('method = "auto"', 'method = "auto"  # takes listen and webroot both')
    assert whole.count("\n#") < text.count("\n#")
    assert load(whole).acme.eab_key_id


def test_every_exit_status_has_a_meaning() -> None:
    assert set(EXIT_MEANINGS) == set(ExitCode)


def test_the_readme_knows_the_commands() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert re.findall(r"^\| `mailseal (\w+)", text, flags=re.MULTILINE) == list(COMMANDS)
    assert SMALLEST in text


def test_the_architecture_names_every_room() -> None:
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    rooms = {path.stem for path in SOURCE.iterdir() if not path.name.startswith(("__", "py."))}
    assert not {room for room in rooms if f"`{room}`" not in text and f"`{room}/`" not in text}


def test_links_lead_somewhere() -> None:
    for page in [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]:
        for target in re.findall(r"\]\(([^)#]+)", page.read_text(encoding="utf-8")):
            assert target.startswith("http") or (page.parent / target).exists(), f"{page.name}: {target}"


def codes_in(tree: ast.Module) -> Iterator[str]:
    """The codes written in a module: at a carrier, or handed to a function of the module that makes one."""
    makers: dict[str, int] = {}
    functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]
    for call, code in _coded(tree, POSITION):
        yield from _texts(code)
        if isinstance(code, ast.Name):
            for function in functions:
                arguments = [argument.arg for argument in function.args.args]
                if code.id in arguments and call in ast.walk(function):
                    makers[function.name] = arguments.index(code.id)
    for _, code in _coded(tree, makers):
        yield from _texts(code)


def _coded(tree: ast.Module, makers: dict[str, int]) -> Iterator[tuple[ast.Call, ast.expr]]:
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        name = node.func.id if isinstance(node.func, ast.Name) else getattr(node.func, "attr", "")
        if name not in makers:
            continue
        named = [keyword.value for keyword in node.keywords if keyword.arg == "code"]
        if named:
            yield node, named[0]
        elif len(node.args) > makers[name]:
            yield node, node.args[makers[name]]


def _texts(node: ast.expr) -> list[str]:
    if isinstance(node, ast.IfExp):
        return _texts(node.body) + _texts(node.orelse)
    return [node.value] if isinstance(node, ast.Constant) and isinstance(node.value, str) else []


def used() -> dict[str, str]:
    found: dict[str, str] = {}
    for path in sorted(SOURCE.rglob("*.py")):
        for code in codes_in(ast.parse(path.read_text(encoding="utf-8"))):
            found.setdefault(code, str(path.relative_to(ROOT)))
    return found


def test_every_code_is_explained() -> None:
    unknown = {code: where for code, where in used().items() if code not in CODES}
    assert not unknown, "explain them in src/mailseal/findings/"


def test_every_explained_code_is_used() -> None:
    texts = {
        path: path.read_text(encoding="utf-8")
        for path in SOURCE.rglob("*.py")
        if not path.name.startswith("findings")
    }
    for code in CODES:
        assert any(f'"{code}"' in text for text in texts.values()), f"{code} is found by nobody"


@pytest.mark.parametrize("code", list(CODES))
def test_a_code_is_spelt_like_the_others(code: str) -> None:
    assert re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", code)
    assert not CODES[code].title.endswith(".")
    assert CODES[code].meaning.endswith(".")

"""Postfix's two files as text: main.cf (postconf(5)) and master.cf (master(5)), read and edited.

Both are made of logical lines. A line that begins with whitespace continues
the one before it; empty lines and lines whose first character that is not
whitespace is `#` are left out wherever they stand, also amid a logical line
(postconf(5), "main.cf file format"). In main.cf a logical line is `name =
value`; of several with one name the last is in force. In master.cf it is eight
fields and arguments; `-o name=value`, `-oname=value` and `-o { name = value }`
set a parameter for that service alone.

Edits are edits of text: only the physical lines that carry the value change.
Comments, order, spacing around `=`, line endings and every other parameter
stay as they are, and an edit that is asked for twice changes nothing the
second time. Nothing is promised for text that Postfix itself refuses, but that
it is kept: such a line is no setting here, and is left standing.

Bytes go in and out through `decode` and `encode`, which lose nothing.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

_SPACE = " \t\r\v\f"  # what isspace(3) takes for blank within a line
_BLANKS = re.compile(r"[ \t\r\n\v\f]+")
_FIELDS = ("name", "type", "private", "unprivileged", "chroot", "wakeup", "maxproc", "command")


@dataclass(frozen=True, slots=True)
class Setting:
    """A parameter of main.cf as it is written: `value` with runs of whitespace as one blank, as postconf(1) shows it.

    `lines` are the physical lines that carry it, counted from 0.
    """

    name: str
    value: str
    lines: tuple[int, ...] = ()

    @property
    def line(self) -> int:
        """The line number that an editor shows."""
        return self.lines[0] + 1 if self.lines else 0


@dataclass(frozen=True, slots=True)
class Override:
    """A parameter that master.cf sets for one service."""

    name: str
    value: str


@dataclass(frozen=True, slots=True)
class MasterService:
    """A service of master.cf; `name` is `port`, `address:port` or a socket's name, `line` as an editor shows it."""

    name: str
    type: str
    private: str
    unprivileged: str
    chroot: str
    wakeup: str
    maxproc: str
    command: str
    overrides: tuple[Override, ...]
    line: int

    @property
    def key(self) -> str:
        """What postconf(1) calls it: `submission/inet`."""
        return f"{self.name}/{self.type}"

    def override(self, name: str) -> str | None:
        """The value that it sets for itself, or None; the last one counts."""
        return next((o.value for o in reversed(self.overrides) if o.name == name), None)


@dataclass(frozen=True, slots=True)
class _Logical:
    """A logical line: its text without line ends, and the physical lines that it is made from."""

    text: str
    lines: tuple[int, ...]


def decode(content: bytes) -> str:
    """Text of any bytes."""
    return content.decode("utf-8", "surrogateescape")


def encode(text: str) -> bytes:
    """The bytes that `decode` read."""
    return text.encode("utf-8", "surrogateescape")


def squeeze(value: str) -> str:
    """A value as postconf(1) prints it: runs of whitespace as one blank, none at the ends."""
    return _BLANKS.sub(" ", value).strip(" ")


def items(value: str) -> tuple[str, ...]:
    """A list in a value: commas and whitespace separate."""
    return tuple(item for item in squeeze(value.replace(",", " ")).split(" ") if item)


def _physical(text: str) -> list[str]:
    """The lines with their ends; only a newline ends one."""
    lines = text.split("\n")
    ended = [line + "\n" for line in lines[:-1]]
    return ended + ([lines[-1]] if lines[-1] else [])


def _logical(physical: list[str]) -> Iterator[_Logical]:
    text, lines = "", list[int]()
    for index, line in enumerate(physical):
        bare = line.rstrip("\n")
        words = bare.strip(_SPACE)
        if not words or words.startswith("#"):
            continue
        if bare[0] not in _SPACE and lines:
            yield _Logical(text, tuple(lines))
            text, lines = "", []
        text += bare
        lines.append(index)
    if lines:
        yield _Logical(text, tuple(lines))


def settings(text: str) -> tuple[Setting, ...]:
    """Every parameter of a main.cf in the order of the file."""
    found = []
    for logical in _logical(_physical(text)):
        name, equals, value = logical.text.partition("=")
        name = name.strip(_SPACE)
        if equals and name and not _BLANKS.search(name) and logical.text[0] not in _SPACE:
            found.append(Setting(name, squeeze(value), logical.lines))
    return tuple(found)


def find(text: str, name: str) -> Setting | None:
    """The definition that is in force: the last."""
    return next((s for s in reversed(settings(text)) if s.name == name), None)


def with_settings(text: str, changes: Iterable[Setting], comment: str = "") -> str:
    """The text with these parameters in force.

    A parameter that is defined is changed where its last definition stands;
    others are added at the end, below `comment`.
    """
    added = []
    for change in changes:
        present = find(text, change.name)
        if present is None:
            added.append(change)
        elif present.value != squeeze(change.value):
            text = _replaced(text, present, change.value)
    if not added:
        return text
    end = line_end(text)
    if text and not text.endswith("\n"):
        text += end
    lines = ([f"# {comment}"] if comment else []) + [_line(s.name, s.value) for s in added]
    return text + "".join(line + end for line in lines)


def line_end(text: str) -> str:
    """The line ending that most lines have."""
    crlf = text.count("\r\n")
    return "\r\n" if crlf * 2 > text.count("\n") else "\n"


def _line(name: str, value: str) -> str:
    return f"{name} = {value}".rstrip()


def _replaced(text: str, present: Setting, value: str) -> str:
    physical = _physical(text)
    first, *rest = present.lines
    line = physical[first]
    body = line.rstrip("\r\n")
    ending = line[len(body) :]
    head, equals, old = body.partition("=")
    if equals:
        blank = old[: len(old) - len(old.lstrip(_SPACE))] if old.strip(_SPACE) else " "
        physical[first] = f"{head}={blank}{value}".rstrip(_SPACE) + ending
    else:  # the sign itself stands on a continuation line
        physical[first] = _line(present.name, value) + ending
    for index in rest:
        physical[index] = ""
    return "".join(physical)


def services(text: str) -> tuple[MasterService, ...]:
    """Every service of a master.cf in the order of the file."""
    found = []
    for logical in _logical(_physical(text)):
        words = _words(logical.text)
        if len(words) >= 8 and logical.text[0] not in _SPACE:
            overrides = tuple(_overrides(words[8:]))
            fields = dict(zip(_FIELDS, words, strict=False))
            found.append(MasterService(**fields, overrides=overrides, line=logical.lines[0] + 1))
    return tuple(found)


def _words(text: str) -> list[str]:
    """The words of a logical line; whitespace within braces does not separate."""
    words, word, depth = [], "", 0
    for char in text:
        if char in _SPACE and depth == 0:
            if word:
                words.append(word)
            word = ""
            continue
        if char == "{" and (depth or not word):
            depth += 1
        elif char == "}" and depth:
            depth -= 1
        word += char
    return [*words, word] if word else words


def _overrides(arguments: list[str]) -> Iterator[Override]:
    waiting = iter(arguments)
    for argument in waiting:
        if not argument.startswith("-o"):
            continue
        assignment = argument[2:] or next(waiting, "")
        if assignment.startswith("{"):
            assignment = assignment.strip("{}")
        name, equals, value = assignment.partition("=")
        if equals:
            yield Override(name.strip(), squeeze(value))


def with_service(text: str, block: str) -> str:
    """A master.cf with a service more at its end."""
    end = line_end(text)
    if text and not text.endswith("\n"):
        text += end
    return text + block.replace("\n", end)


def expanded(found: Iterable[MasterService], told: str) -> tuple[MasterService, ...]:
    """The services with the overrides that `postconf -x -P` told: `submission/inet/name = value`."""
    values = {setting.name: setting.value for setting in settings(told)}
    return tuple(
        replace(
            service,
            overrides=tuple(
                replace(o, value=values.get(f"{service.key}/{o.name}", o.value)) for o in service.overrides
            ),
        )
        for service in found
    )

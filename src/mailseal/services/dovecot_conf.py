"""Dovecot's configuration language, read as a flat list of settings.

The language (doveconf(1); both 2.3 and 2.4): `name = value`, sections
`kind title { … }`, comments from `#` to the end of the line, values that may
be quoted, a backslash at the end of a line that joins it with the next, and
`!include` / `!include_try` of a path or a shell pattern, relative to the file
that holds it. The last assignment in a scope wins; a setting inside a filter
(`protocol imap`, `local_name …`, `local …`, `remote …`) wins over a global
one wherever it stands.

`doveconf -n` prints the effective configuration in the same language, so one
reader serves for both. 2.4 prints `ssl_server { cert_file = … }` for what is
written `ssl_server_cert_file = …`; both are told here by the long name.

Promises: every setting keeps its file and line; nothing is evaluated. Does
not know 2.4's `!include` inside quotes nor variables in paths.
"""

from __future__ import annotations

import fnmatch
import posixpath
from collections.abc import Iterator
from dataclasses import dataclass

from mailseal.system import Files

Scope = tuple[str, ...]

SECTION = "{"  # the name of the entry that says a section was opened
INCLUDE = "!include"
HERE = "!here"  # the name of the entry that marks where the planned file stands

_MAX_DEPTH = 10
_PREFIX_SECTIONS = ("ssl_server",)


@dataclass(frozen=True, slots=True)
class Setting:
    """One assignment: in which sections, its name and value, and where it is written."""

    scope: Scope
    name: str
    value: str
    path: str = ""
    line: int = 0

    @property
    def place(self) -> str:
        return f"{self.path}:{self.line}" if self.path else "doveconf"


def parse(text: str, path: str = "", scope: Scope = ()) -> Iterator[Setting]:
    """The settings of a text in their order; a line that is none of the language is passed over."""
    sections = list(scope)
    for number, line in _logical_lines(text):
        if line == "}":
            if len(sections) > len(scope):
                sections.pop()
        elif line.startswith(("!include_try ", "!include ", "!include_try\t", "!include\t")):
            yield Setting(tuple(sections), INCLUDE, line.split(None, 1)[1], path, number)
        elif line.endswith("{") and "=" not in line.split("{")[0]:
            sections.append(_section_name(line[:-1]))
            yield _flattened(Setting(tuple(sections), SECTION, "", path, number))
        elif "=" in line:
            name, _, value = line.partition("=")
            yield _flattened(Setting(tuple(sections), name.strip(), _value(value), path, number))


def _logical_lines(text: str) -> Iterator[tuple[int, str]]:
    pending, start = "", 0
    for number, raw in enumerate(text.splitlines(), 1):
        line = raw.strip()
        if line.startswith("#") and not pending:
            continue
        start = start or number
        if line.endswith("\\") and not line.endswith("\\\\"):
            pending += line[:-1].rstrip() + " "
            continue
        line = pending + line
        if line:
            yield start, _without_comment(line)
        pending, start = "", 0
    if pending:
        yield start, pending.strip()


def _without_comment(line: str) -> str:
    quoted = ""
    for index, character in enumerate(line):
        if quoted:
            if character == quoted and line[index - 1] != "\\":
                quoted = ""
        elif character in "\"'" and (index == 0 or line[index - 1] in " \t="):
            quoted = character
        elif character == "#" and line[index - 1] in " \t":
            return line[:index].rstrip()
    return line


def _section_name(head: str) -> str:
    kind, _, title = head.strip().partition(" ")
    title = _value(title)
    return f"{kind} {title}" if title else kind


def _value(text: str) -> str:
    text = text.strip()
    if len(text) >= 2 and text[0] == text[-1] and text[0] in "\"'":
        return text[1:-1].replace('\\"', '"').replace("\\\\", "\\")
    return text


def _flattened(setting: Setting) -> Setting:
    """`ssl_server { cert_file }` is `ssl_server_cert_file`, as 2.4 documents it."""
    if setting.name != SECTION and setting.scope and setting.scope[-1] in _PREFIX_SECTIONS:
        prefix = setting.scope[-1]
        name = setting.name if setting.name.startswith(prefix) else f"{prefix}_{setting.name}"
        return Setting(setting.scope[:-1], name, setting.value, setting.path, setting.line)
    return setting


def read(files: Files, main: str, planned: str = "") -> tuple[Setting, ...]:
    """All settings from `main` on, included files in place, in the order in which Dovecot reads them.

    Where `planned` is (or, once written, would be) included, an entry named
    `HERE` stands; the planned file itself need not be there.
    """
    return tuple(_read(files, main, planned, (), (), 0))


def _read(
    files: Files, path: str, planned: str, scope: Scope, above: tuple[str, ...], depth: int
) -> Iterator[Setting]:
    if path == planned:
        yield Setting(scope, HERE, "", path, 0)
    if path in above or depth > _MAX_DEPTH or files.stat(path, follow=True) is None:
        return
    text = files.read(path).decode("utf-8", "replace")
    for setting in parse(text, path, scope):
        yield setting
        if setting.name == INCLUDE:
            for inner in _included(files, setting, planned):
                yield from _read(files, inner, planned, setting.scope, (*above, path), depth + 1)


def _included(files: Files, include: Setting, planned: str) -> list[str]:
    pattern = absolute(include)
    directory, base = posixpath.split(pattern)
    if not any(sign in base for sign in "*?["):
        return [pattern]
    names = [
        posixpath.join(directory, name)
        for name in files.listdir(directory)
        if fnmatch.fnmatchcase(name, base)
    ]
    names = [name for name in names if not posixpath.basename(name).startswith(".")]
    if (
        planned
        and posixpath.dirname(planned) == directory
        and fnmatch.fnmatchcase(posixpath.basename(planned), base)
    ):
        names.append(planned)
    return sorted(set(names))


def absolute(include: Setting) -> str:
    """The pattern of an include line as an absolute path."""
    return posixpath.normpath(posixpath.join(posixpath.dirname(include.path), _value(include.value)))


def effective(settings: tuple[Setting, ...], name: str, scope: Scope = ()) -> Setting | None:
    """The last assignment of a name in exactly this scope."""
    found = None
    for setting in settings:
        if setting.name == name and setting.scope == scope:
            found = setting
    return found


def with_include(content: bytes, file_name: str, comment: str) -> bytes:
    """A main file that includes `file_name` at its end; the same bytes where it does so already.

    Comments, order and line endings are kept; a last line without an end gets one.
    """
    line = f"!include_try {file_name}"
    text = content.decode("utf-8", "surrogateescape")
    if any(known.strip() == line for known in text.splitlines()):
        return content
    end = "\r\n" if "\r\n" in text else "\n"
    if text and not text.endswith(("\n", "\r")):
        text += end
    text += f"{end}# {comment}{end}{line}{end}"
    return text.encode("utf-8", "surrogateescape")

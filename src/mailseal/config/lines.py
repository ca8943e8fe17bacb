"""In which line of a TOML document each table, key and list entry stands.

tomllib gives values without their places. This is a second, lenient reading
of a document that tomllib has accepted already (TOML 1.0: comments, the four
kinds of strings, arrays over several lines, inline tables, dotted and quoted
keys, `[table]`, `[[array of tables]]`). It promises the right line for what
people write; where it cannot tell it says nothing, and a fault is then told
without its line.
"""

from __future__ import annotations

import re

Place = tuple[str | int, ...]

_TOKEN = re.compile(
    r'''
    (?P<comment>\#[^\n]*)
  | (?P<string>"""(?:\\.|[^\\])*?"{3,5} | \'\'\'.*?\'{3,5} | "(?:\\.|[^"\\\n])*" | '[^'\n]*')
  | (?P<newline>\n)
  | (?P<space>[ \t\r]+)
  | (?P<mark>[\[\]{},=.])
  | (?P<bare>[^\s\[\]{},=."'\#]+)
    ''',
    re.VERBOSE | re.DOTALL,
)
_ESCAPE = re.compile(r'\\(["\\])')


def places(text: str) -> dict[Place, int]:
    """Maps the path of each table, key and list entry to its line, from 1.

    A path is made of keys and, in lists and arrays of tables, of indexes from
    0: `("certificate", 0, "identifiers", 2)`.
    """
    return _Scan(text).run()


class _Scan:
    def __init__(self, text: str) -> None:
        self._text = text
        self._found: dict[Place, int] = {}
        self._counts: dict[Place, int] = {}
        self._line = 1
        self._tokens: list[tuple[str, str, int]] = []

    def run(self) -> dict[Place, int]:
        self._tokenize()
        table: Place = ()
        for statement in self._statements():
            if statement[0][1] == "[":
                table = self._header(statement)
            else:
                self._assignment(statement, table)
        return self._found

    def _tokenize(self) -> None:
        position = 0
        while position < len(self._text):
            match = _TOKEN.match(self._text, position)
            if match is None:  # not a document that tomllib took
                return
            kind = str(match.lastgroup)
            if kind not in ("comment", "space"):
                self._tokens.append((kind, match.group(), self._line))
            self._line += match.group().count("\n")
            position = match.end()

    def _statements(self) -> list[list[tuple[str, str, int]]]:
        """The tokens of each header and each assignment; a newline ends one only outside of brackets."""
        statements: list[list[tuple[str, str, int]]] = [[]]
        depth = 0
        for token in self._tokens:
            kind, text, _ = token
            if kind == "newline":
                if depth == 0:
                    statements.append([])
                continue
            if kind == "mark":
                depth += {"[": 1, "{": 1, "]": -1, "}": -1}.get(text, 0)
            statements[-1].append(token)
        return [statement for statement in statements if statement]

    def _header(self, statement: list[tuple[str, str, int]]) -> Place:
        array = len(statement) > 1 and statement[1][1] == "["
        place = self._resolve(_keys(statement))
        if array:
            index = self._counts.get(place, -1) + 1
            self._counts[place] = index
            self._found.setdefault(place, statement[0][2])
            place = (*place, index)
        self._found.setdefault(place, statement[0][2])
        return place

    def _resolve(self, names: tuple[str, ...]) -> Place:
        """A header's path, with the index of the latest entry after each array of tables above it."""
        place: Place = ()
        for number, name in enumerate(names):
            place = (*place, name)
            if number < len(names) - 1 and place in self._counts:
                place = (*place, self._counts[place])
        return place

    def _assignment(self, statement: list[tuple[str, str, int]], table: Place) -> None:
        equals = next((i for i, token in enumerate(statement) if token[:2] == ("mark", "=")), None)
        if equals is None:
            return
        place = (*table, *_keys(statement[:equals]))
        self._found.setdefault(place, statement[0][2])
        self._value(statement[equals + 1 :], place)

    def _value(self, tokens: list[tuple[str, str, int]], place: Place) -> None:
        """Notes the entries of a list, and the keys of an inline table, one level deep."""
        if not tokens or tokens[0][1] not in ("[", "{"):
            return
        inside, parts = 0, [[]]  # type: tuple[int, list[list[tuple[str, str, int]]]]
        for token in tokens[1:-1]:
            if token[0] == "mark":
                inside += {"[": 1, "{": 1, "]": -1, "}": -1}.get(token[1], 0)
                if token[1] == "," and inside == 0:
                    parts.append([])
                    continue
            parts[-1].append(token)
        for index, part in enumerate(part for part in parts if part):
            if tokens[0][1] == "{":
                self._assignment(part, place)
            else:
                self._found.setdefault((*place, index), part[0][2])


def _keys(tokens: list[tuple[str, str, int]]) -> tuple[str, ...]:
    return tuple(_bare(kind, text) for kind, text, _ in tokens if kind in ("bare", "string"))


def _bare(kind: str, text: str) -> str:
    if kind == "bare":
        return text
    return _ESCAPE.sub(r"\1", text[1:-1]) if text.startswith('"') else text[1:-1]

"""Each key's line, in documents as people write them."""

from __future__ import annotations

import tomllib
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from mailseal.config.lines import Place, places

DOCUMENT = '''\
# [not.a.table]
top = "a # b" # and "c"

[one]
key = """
x = 1
[two]
"""
"quo.ted" = 1
dotted . key = 'c:\\'
list = [ # comment ]
  "a",
  # "b",
  ["c", "d"], { x = [1,2], y = 2 },
]

[one.sub]
z = 1.5

[[many]]
a = 1
[[many]]
a = 2
[many.below]
b = 1
[[many.deep]]
[[many.deep]]
c = { "k.x" = 1 }
'''


def test_places() -> None:
    found = places(DOCUMENT)
    expected: dict[Place, int] = {
        ("top",): 2,
        ("one",): 4,
        ("one", "key"): 5,
        ("one", "quo.ted"): 9,
        ("one", "dotted", "key"): 10,
        ("one", "list"): 11,
        ("one", "list", 0): 12,
        ("one", "list", 1): 14,
        ("one", "list", 2): 14,
        ("one", "sub"): 17,
        ("one", "sub", "z"): 18,
        ("many",): 20,
        ("many", 0): 20,
        ("many", 0, "a"): 21,
        ("many", 1, "a"): 23,
        ("many", 1, "below", "b"): 25,
        ("many", 1, "deep", 1, "c"): 28,
        ("many", 1, "deep", 1, "c", "k.x"): 28,
    }
    assert {place: found.get(place) for place in expected} == expected
    assert not any("not" in place or "x = 1" in place for place in found)
    assert ("two",) not in found


def _paths(value: Any, place: Place = ()) -> list[Place]:
    found = []
    if isinstance(value, dict):
        for name, one in value.items():
            found += [(*place, name), *_paths(one, (*place, name))]
    return found


@given(st.text(alphabet="ab[]{}=.,\"'#\n \\1", max_size=60))
def test_whatever_tomllib_takes_is_read_without_an_error(text: str) -> None:
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        places(text)  # a lenient reading never raises
        return
    found = places(text)
    for line in found.values():
        assert 1 <= line <= text.count("\n") + 1
    assert {place[0] for place in found} >= {
        place[0] for place in _paths(document) if "\\" not in str(place[0])
    }

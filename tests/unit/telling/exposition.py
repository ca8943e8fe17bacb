"""The text format of Prometheus, version 0.0.4, read strictly: what its grammar does not allow is an error.

prometheus.io/docs/instrumenting/exposition_formats
"""

from __future__ import annotations

import re
from dataclasses import dataclass

NAME = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*")
LABEL = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*")
NUMBER = re.compile(r"[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:e[+-]?[0-9]+)?|[+-]?Inf|NaN", re.I)
TYPES = {"counter", "gauge", "histogram", "summary", "untyped"}


class Wrong(ValueError):
    """The text breaks the grammar."""


@dataclass(frozen=True)
class Sample:
    """One number."""

    name: str
    labels: frozenset[tuple[str, str]]
    value: float

    def label(self, name: str) -> str:
        return dict(self.labels)[name]


def parse(text: str) -> list[Sample]:
    """Every sample; raises `Wrong`."""
    if text and not text.endswith("\n"):
        raise Wrong("the last line does not end")
    samples: list[Sample] = []
    helped: set[str] = set()
    typed: set[str] = set()
    closed: set[str] = set()
    current = ""
    for line in text.split("\n")[:-1]:
        if line.startswith("# "):
            name = _comment(line, helped, typed, {one.name for one in samples})
        elif line and not line.startswith("#"):
            samples.append(_sample(line))
            name = samples[-1].name
        else:
            continue
        if name and name != current:
            if name in closed:
                raise Wrong(f"the lines of {name} do not stand together")
            closed.add(current)
            current = name
    seen = [(one.name, one.labels) for one in samples]
    if len(set(seen)) != len(seen):
        raise Wrong("a sample stands there twice")
    return samples


def _comment(line: str, helped: set[str], typed: set[str], sampled: set[str]) -> str:
    word, _, rest = line[2:].partition(" ")
    if word not in ("HELP", "TYPE"):
        return ""
    name, _, text = rest.partition(" ")
    if not NAME.fullmatch(name):
        raise Wrong(f"{name!r} is no name")
    seen = helped if word == "HELP" else typed
    if name in seen:
        raise Wrong(f"a second {word} of {name}")
    seen.add(name)
    if word == "HELP" and re.search(r"\\[^\\n]|\\$", text.replace("\\\\", "")):
        raise Wrong(f"a wrong escape in {text!r}")
    if word == "TYPE" and (text not in TYPES or name in sampled):
        raise Wrong(f"the type of {name}")
    return name


def _sample(line: str) -> Sample:
    found = NAME.match(line)
    if found is None:
        raise Wrong(f"no name: {line!r}")
    at = found.end()
    labels: list[tuple[str, str]] = []
    if line[at : at + 1] == "{":
        at, labels = _labels(line, at + 1)
    rest = re.fullmatch(rf" +({NUMBER.pattern})(?: +(-?[0-9]+))?", line[at:], re.I)
    if rest is None:
        raise Wrong(f"no number: {line!r}")
    if len(dict(labels)) != len(labels):
        raise Wrong(f"a label twice: {line!r}")
    return Sample(found[0], frozenset(labels), float(rest[1]))


def _labels(line: str, at: int) -> tuple[int, list[tuple[str, str]]]:
    labels: list[tuple[str, str]] = []
    while line[at : at + 1] != "}":
        name = LABEL.match(line, at)
        if name is None or line[name.end() : name.end() + 2] != '="':
            raise Wrong(f"no label: {line[at:]!r}")
        at, value = name.end() + 2, ""
        while line[at : at + 1] != '"':
            if at >= len(line):
                raise Wrong("a label's value does not end")
            if line[at] == "\\":
                at += 1
                if line[at : at + 1] not in ("\\", '"', "n"):
                    raise Wrong(f"a wrong escape: {line!r}")
                value += "\n" if line[at] == "n" else line[at]
            else:
                value += line[at]
            at += 1
        at += 1
        labels.append((name[0], value))
        if line[at : at + 1] == ",":
            at += 1
        elif line[at : at + 1] != "}":
            raise Wrong(f"no end of the labels: {line!r}")
    return at + 1, labels

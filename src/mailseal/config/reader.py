"""Text → `Config`, or every fault in it at once (TOML 1.0, toml.io).

msgspec stops at a table's first fault, so tables are converted key by key:
what one key has wrong hides no fault of another, and the rules between keys
run on whatever came through. Nothing is guessed: a faulty file is never half
used.
"""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass, field
from functools import cache
from typing import Any, get_args

import msgspec

from mailseal.config import authorities, nested, rules
from mailseal.config.acme import AcmeKeys
from mailseal.config.faults import Fault, close, looks_secret, shown
from mailseal.config.lines import Place, places
from mailseal.config.rules import Reading
from mailseal.config.schema import (
    Certificate,
    Config,
    Dns,
    Http01,
    PostfixService,
    Proof,
    Service,
    Services,
    State,
    WebService,
)
from mailseal.config.shapes import SHAPES
from mailseal.config.telling import Hooks, Metrics
from mailseal.config.timer import Timer
from mailseal.config.trusted import trusted
from mailseal.errors import ConfigError, MailsealError
from mailseal.system import System

DEFAULT_PATH = "/etc/mailseal/mailseal.toml"

TABLES: dict[str, type[msgspec.Struct]] = {
    "acme": AcmeKeys,
    "http01": Http01,
    "state": State,
    "proof": Proof,
    "dns": Dns,
    "hooks": Hooks,
    "metrics": Metrics,
    "timer": Timer,
}
SERVICES: dict[str, type[Service]] = {"postfix": PostfixService, "dovecot": Service, "apache": WebService}
_TOP = (*TABLES, "certificate", "services", "notify")
_AT_LINE = re.compile(
    r"^(?P<what>.*?) \(at (?:line (?P<line>\d+), column (?P<column>\d+)|end of document)\)$", re.S
)


@dataclass(frozen=True, slots=True)
class FieldDoc:
    """A key of a table as the schema has it: its type and what its documentation says."""

    name: str
    type: Any
    required: bool
    description: str
    expects: str
    shape: str
    example: object
    default: object


@cache
def field_docs(struct: type[msgspec.Struct]) -> tuple[FieldDoc, ...]:
    """The keys of a table, in the order of the schema."""
    docs = []
    for info in msgspec.structs.fields(struct):
        metas = [meta for meta in get_args(info.type)[1:] if isinstance(meta, msgspec.Meta)]
        doc = next((meta for meta in metas if meta.description), msgspec.Meta(description="", extra={}))
        extra = doc.extra or {}
        default = info.default if info.default_factory is msgspec.NODEFAULT else info.default_factory()
        shape = str(extra.get("shape") or "")
        docs.append(
            FieldDoc(
                name=info.encode_name,
                type=info.type,
                required=info.required,
                description=doc.description or "",
                expects=str(extra.get("expects") or "") or _expects(info.type, shape),
                shape=shape,
                example=extra.get("example"),
                default=default,
            )
        )
    return tuple(docs)


def _expects(kind: Any, shape: str) -> str:
    """What a type takes, in a phrase."""
    while hasattr(kind, "__metadata__"):
        kind = kind.__origin__
    choices = [choice for choice in get_args(kind) if isinstance(choice, str)]
    if choices:
        return ("one of " if len(choices) > 1 else "") + ", ".join(f'"{choice}"' for choice in choices)
    if kind is bool:
        return "true or false"
    phrase = SHAPES[shape].expects if shape else "a text"
    if "tuple" in str(kind):
        return f"a list, each {phrase}"
    return phrase


def load(text: str, path: str = DEFAULT_PATH) -> Config:
    """Reads a configuration. Pure; `path` is only told.

    Raises `ConfigError` that holds every fault.
    """
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise _error(path, [_syntax(str(error))]) from None
    config = _Reader(document, {}).config()
    if config is not None:
        return config
    reader = _Reader(document, places(text))  # once more with the lines; a sound file does without them
    config = reader.config()
    if config is None:
        raise _error(path, reader.faults)
    return config


def find(system: System, path: str = DEFAULT_PATH) -> Config | None:
    """Reads the configuration file; None where there is none. Raises as `read`."""
    return None if system.files.stat(path, follow=True) is None else read(system, path)


def read(system: System, path: str = DEFAULT_PATH) -> Config:
    """Reads the configuration file.

    Raises `ConfigError` where it has faults, and as `mailseal.config.trusted`.
    """
    return load(decoded(trusted(system, path), path), path)


def decoded(raw: bytes, path: str = DEFAULT_PATH) -> str:
    """The file's text. Raises `ConfigError` where it is none."""
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise _error(path, [Fault(line, "", "", "the file is not UTF-8 text")]) from None


def _error(path: str, faults: list[Fault]) -> MailsealError:
    told = tuple(str(fault) for fault in sorted(faults))
    count = "a fault" if len(told) == 1 else f"{len(told)} faults"
    return ConfigError(
        f"The configuration {path} has {count}:",
        faults=told,
        next_command=f"mend {path}, then: mailseal plan",
    )


def _syntax(message: str) -> Fault:
    match = _AT_LINE.match(message)
    if match is None or match["line"] is None:
        return Fault(0, "", "", f"not TOML: {match['what'] if match else message} at the end of the file")
    advice = f"Look at column {match['column']} and before it: a quote, a comma or a bracket may be missing"
    return Fault(int(match["line"]), "", "", f"not TOML: {match['what']}", advice)


@dataclass
class _Reader:
    document: dict[str, Any]
    lines: dict[Place, int]
    faults: list[Fault] = field(default_factory=list)

    def config(self) -> Config | None:
        """The whole, or None where there is any fault."""
        for name in self.document:
            if name not in _TOP:
                self._unknown_table(name)
        readings = {name: self._table(name, (name,), struct) for name, struct in TABLES.items()}
        fallbacks = authorities.fallbacks(self.document.get("acme"), self._reading)
        certificates = self._certificates()
        services = self._services()
        notify = nested.notify(self.document.get("notify", {}), self._reading, self.lines)
        self.faults += rules.check(readings["acme"], readings["http01"], certificates)
        self.faults += authorities.check(readings["acme"], fallbacks)
        self.faults += nested.check(notify, contact=("acme", "contact") in self.lines)
        if self.faults:
            return None
        found: dict[str, Any] = {kind: SERVICES[kind](**reading.values) for kind, reading in services.items()}
        built: dict[str, Any] = {name: TABLES[name](**reading.values) for name, reading in readings.items()}
        built["acme"] = authorities.build(readings["acme"], fallbacks)
        return Config(
            **built,
            certificate=tuple(Certificate(**reading.values) for reading in certificates),
            services=Services(**found),
            notify=notify.build(),
        )

    def _certificates(self) -> list[Reading]:
        raw = self.document.get("certificate", [])
        if not isinstance(raw, list):
            self._fault(
                ("certificate",),
                "[certificate]",
                "",
                "is a single table",
                "Write [[certificate]], in double brackets",
            )
            raw = [raw]
        return [
            self._reading(one, ("certificate", i), "[[certificate]]", Certificate)
            for i, one in enumerate(raw)
        ]

    def _services(self) -> dict[str, Reading]:
        raw = self.document.get("services", {})
        if not isinstance(raw, dict):
            self._fault(("services",), "[services]", "", "expected tables such as [services.postfix]")
            return {}
        for name in raw:
            if name not in SERVICES:
                guess = close(name, SERVICES)
                advice = f"Did you mean [services.{guess}]?" if guess else "Known are: " + ", ".join(SERVICES)
                self._fault(
                    ("services", name), f"[services.{name}]", "", "is no service that mailseal knows", advice
                )
        return {
            kind: self._reading(raw[kind], ("services", kind), f"[services.{kind}]", struct)
            for kind, struct in SERVICES.items()
            if kind in raw
        }

    def _table(self, name: str, place: Place, struct: type[msgspec.Struct]) -> Reading:
        raw = self.document.get(name, {})
        return self._reading(authorities.own(raw) if name == "acme" else raw, place, f"[{name}]", struct)

    def _reading(self, raw: object, place: Place, label: str, struct: type[msgspec.Struct]) -> Reading:
        reading = Reading(label, place, {}, {}, self.lines)
        if not isinstance(raw, dict):
            self._fault(
                place,
                label,
                "",
                f"expected a table, found {shown(raw)}",
                f"Write {label} on a line of its own",
            )
            return reading
        if isinstance(raw.get("name"), str) and struct is Certificate:
            reading = Reading(f"{label} {shown(raw['name'])}", place, {}, {}, self.lines)
        docs = {doc.name: doc for doc in field_docs(struct)}
        for name, value in raw.items():
            if name not in docs:
                self._unknown_key(reading, name, docs)
            else:
                self._key(reading, docs[name], value)
        for doc in docs.values():
            if doc.required and doc.name not in raw:
                self._fault(
                    place, reading.label, doc.name, f"is missing; expected {doc.expects}", _example(doc)
                )
        return reading

    def _key(self, reading: Reading, doc: FieldDoc, value: object) -> None:
        """Puts what is good of a value into the reading; of a list or table also when other entries are not."""
        place = (*reading.place, doc.name)
        try:
            converted = msgspec.convert(value, doc.type)
        except msgspec.ValidationError:
            wrong = f"expected {doc.expects}, found {shown(value)}"
            self._fault(place, reading.label, doc.name, wrong, _advice(doc, value))
            return
        bad: set[str | int] = set()
        for entry, text in _texts(value, place):
            told = "holds key material: secrets are never in this file" if "-----BEGIN" in text else ""
            if not told and doc.shape:
                told = SHAPES[doc.shape].wrong(text)
            if told:
                bad.add(entry[-1])
                self._fault(
                    entry if entry in self.lines else place, reading.label, doc.name, f"{shown(text)} {told}"
                )
        if isinstance(converted, tuple):
            reading.indexes[doc.name] = tuple(i for i in range(len(converted)) if i not in bad)
            reading.values[doc.name] = tuple(converted[i] for i in reading.indexes[doc.name])
        elif isinstance(converted, dict):
            reading.values[doc.name] = {name: one for name, one in converted.items() if name not in bad}
        elif not bad:
            reading.values[doc.name] = converted

    def _unknown_key(self, reading: Reading, name: str, docs: dict[str, FieldDoc]) -> None:
        place = (*reading.place, name)
        if looks_secret(name):
            files = [known for known in docs if known.endswith("_file") and known != "ca_file"]
            meant = close(f"{name}_file", files) or next(iter(files), "")
            advice = (
                f"Put it into a file that only root can read and name that file by {meant}" if meant else ""
            )
            self._fault(
                place, reading.label, name, "looks like a secret, and secrets are never in this file", advice
            )
            return
        guess = close(name, docs)
        elsewhere = [f"[{table}]" for table, struct in TABLES.items() if name in struct.__struct_fields__]
        if name in Certificate.__struct_fields__:
            elsewhere.append("[[certificate]]")
        if name in WebService.__struct_fields__:
            elsewhere += [f"[services.{kind}]" for kind, struct in SERVICES.items() if struct is WebService]
        if guess:
            advice = f"Did you mean {guess}?"
        elif elsewhere:
            advice = f"It belongs into {' or '.join(elsewhere)}"
        else:
            advice = "Known are: " + ", ".join(docs)
        self._fault(place, reading.label, name, "is not a key of this table", advice)

    def _unknown_table(self, name: str) -> None:
        value = self.document[name]
        is_table = isinstance(value, dict) or (
            isinstance(value, list) and bool(value) and isinstance(value[0], dict)
        )
        owners = [f"[{table}]" for table, struct in TABLES.items() if name in struct.__struct_fields__]
        guess = close(name, _TOP) or ("services" if name in SERVICES else "")
        if not is_table and owners:
            advice = f"It belongs below {' or '.join(owners)}"
        elif name in SERVICES:
            advice = f"Did you mean [services.{name}]?"
        elif guess:
            advice = f"Did you mean {'[[certificate]]' if guess == 'certificate' else f'[{guess}]'}?"
        else:
            advice = "Known are: " + ", ".join(f"[[{t}]]" if t == "certificate" else f"[{t}]" for t in _TOP)
        told = "is not a table that mailseal knows" if is_table else "stands outside of any table"
        self._fault((name,), f"[{name}]" if is_table else "", "" if is_table else name, told, advice)

    def _fault(self, place: Place, table: str, name: str, wrong: str, advice: str = "") -> None:
        self.faults.append(Fault(self.lines.get(place, 0), table, name, wrong, advice))


def _texts(value: object, place: Place) -> list[tuple[Place, str]]:
    """Every text in a value, with its place."""
    if isinstance(value, str):
        return [(place, value)]
    if isinstance(value, list):
        found = [((*place, i), text) for i, text in enumerate(value) if isinstance(text, str)]
        lists = [(i, one) for i, one in enumerate(value) if isinstance(one, list)]
        return found + [((*place, i), text) for i, one in lists for _, text in _texts(one, ())]
    if isinstance(value, dict):
        return [((*place, name), text) for name, text in value.items() if isinstance(text, str)]
    return []


def _advice(doc: FieldDoc, value: object) -> str:
    """What was probably meant by a value of the wrong type."""
    wants_list = isinstance(doc.default, tuple) or isinstance(doc.example, tuple)
    if wants_list and isinstance(value, str):
        return f"Put it in brackets: {doc.name} = [{shown(value)}]"
    if isinstance(doc.default, bool) and isinstance(value, str):
        return f"Write {doc.name} = true or {doc.name} = false, without quotes"
    if isinstance(doc.default, int | float) and isinstance(value, str) and value.strip().isdigit():
        return f"Write it without quotes: {doc.name} = {value.strip()}"
    words = re.findall(r'"([^"]+)"', doc.expects)
    guess = close(value, words) if isinstance(value, str) and words else ""
    return f'Did you mean "{guess}"?' if guess else _example(doc)


def _example(doc: FieldDoc) -> str:
    return f"For example: {doc.name} = {shown(doc.example)}" if doc.example is not None else ""

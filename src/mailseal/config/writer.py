"""`Config` → the text of a configuration file that reads back as the same `Config`.

Only what differs from the defaults is written, so that a new file is as short
as it can be and follows better defaults of later versions.
"""

from __future__ import annotations

import re

import msgspec

from mailseal.config.acme import Acme
from mailseal.config.notify import SEVERAL, SINGLE, Notify
from mailseal.config.schema import Certificate, Config, Services

HEADER = (
    "# Certificates of this mail server, kept by mailseal.\n"
    "# Every key is explained in docs/reference/configuration.md; after a change: mailseal plan, mailseal apply\n"
)
_BARE = re.compile(r"[A-Za-z0-9_-]+")
_ESCAPES = {"\b": "\\b", "\t": "\\t", "\n": "\\n", "\f": "\\f", "\r": "\\r", '"': '\\"', "\\": "\\\\"}


def render(config: Config) -> str:
    """The file's text. `load(render(config)) == config`."""
    parts = [HEADER]
    for name in Config.__struct_fields__:
        value = getattr(config, name)
        if isinstance(value, Services):
            parts += [
                _table(f"[services.{kind}]", getattr(value, kind)) for kind in Services.__struct_fields__
            ]
        elif isinstance(value, Acme):
            parts.append(_table("[acme]", value, leave_out=("fallback",)))
            parts += [_table("[[acme.fallback]]", one) for one in value.fallback]
        elif isinstance(value, Notify):
            parts += _notify(value)
        elif isinstance(value, tuple):
            parts += [_table("[[certificate]]", one) for one in value if isinstance(one, Certificate)]
        else:
            parts.append(_table(f"[{name}]", value))
    return "\n".join(part for part in parts if part)


def _notify(notify: Notify) -> list[str]:
    own = _table("[notify]", notify, leave_out=(*SINGLE, *SEVERAL))
    single = [_table(f"[notify.{name}]", getattr(notify, name)) for name in SINGLE]
    return [own, *single, *(_table(f"[[notify.{n}]]", one) for n in SEVERAL for one in getattr(notify, n))]


def _table(head: str, struct: msgspec.Struct, *, leave_out: tuple[str, ...] = ()) -> str:
    lines = [head]
    for info in msgspec.structs.fields(type(struct)):
        if info.name in leave_out:
            continue
        value = getattr(struct, info.name)
        default = info.default if info.default_factory is msgspec.NODEFAULT else info.default_factory()
        if value != default:
            lines.append(f"{info.encode_name} = {toml(value)}")
    return "\n".join(lines) + "\n" if len(lines) > 1 else ""


def toml(value: object) -> str:
    """A value as TOML writes it."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return str(value)
    if isinstance(value, str):
        return _text(str(value))
    if isinstance(value, tuple | list):
        whole = "[" + ", ".join(toml(one) for one in value) + "]"
        if len(whole) <= 90:
            return whole
        return "[\n" + "".join(f"    {toml(one)},\n" for one in value) + "]"
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{_key(name)} = {toml(one)}" for name, one in value.items()) + " }"
    raise TypeError(f"no TOML for {type(value).__name__}")


def _key(name: str) -> str:
    return name if _BARE.fullmatch(name) else _text(name)


def _text(text: str) -> str:
    return '"' + "".join(_escape(character) for character in text) + '"'


def _escape(character: str) -> str:
    if character in _ESCAPES:
        return _ESCAPES[character]
    return character if character.isprintable() else f"\\U{ord(character):08x}"

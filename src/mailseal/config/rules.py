"""What must hold between keys and between tables.

Rules see what came through the reading key by key, so they run also when
other keys have faults; each looks only at values that are there.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from mailseal.config.faults import Fault
from mailseal.config.lines import Place
from mailseal.model import Identifier


@dataclass(frozen=True, slots=True)
class Reading:
    """A table as far as it could be read: its name as told, its place, its good values, the lines of the file.

    Of a list only the good entries are in `values`; `indexes` says where each stood.
    """

    label: str
    place: Place
    values: dict[str, Any]
    indexes: dict[str, tuple[int, ...]]
    lines: dict[Place, int]

    def fault(self, key: str, wrong: str, advice: str = "", *, entry: int | str | None = None) -> Fault:
        """A fault at a key of this table, or at an entry of its list."""
        place = (*self.place, key) if key in self.values else self.place
        if isinstance(entry, int) and key in self.indexes:
            entry = self.indexes[key][entry]
        line = self.lines.get((*place, entry), 0) if entry is not None else 0
        return Fault(line or self.lines.get(place, 0), self.label, key, wrong, advice)


def check(acme: Reading, http01: Reading, certificates: list[Reading]) -> list[Fault]:
    """Every rule."""
    return [
        *_acme(acme),
        *_some(certificates),
        *_names(certificates),
        *_identifiers(certificates),
        *_key_types(certificates),
        *_http01(http01, certificates),
    ]


def _acme(acme: Reading) -> Iterator[Fault]:
    present = [key for key in ("eab_key_id", "eab_hmac_file") if acme.values.get(key)]
    if len(present) == 1:
        other = "eab_hmac_file" if present[0] == "eab_key_id" else "eab_key_id"
        yield acme.fault(present[0], f"stands without {other}; an external account binding needs both")
    seen: set[str] = set()
    for index, address in enumerate(acme.values.get("contact", ())):
        if address.lower() in seen:
            yield acme.fault("contact", f'"{address}" stands there twice', entry=index)
        seen.add(address.lower())


def _some(certificates: list[Reading]) -> Iterator[Fault]:
    if not certificates:
        yield Fault(
            0,
            "[[certificate]]",
            "",
            "is missing: no certificate is asked for",
            'For example: [[certificate]] with name = "mail" and identifiers = ["mail.example.org"]',
        )


def _names(certificates: list[Reading]) -> Iterator[Fault]:
    seen: dict[str, Reading] = {}
    for one in certificates:
        name = one.values.get("name")
        if name is None:
            continue
        first = seen.setdefault(name.lower(), one)
        if first is not one:
            line = first.lines.get((*first.place, "name"), 0)
            at = f" (line {line})" if line else ""
            yield one.fault(
                "name", f"another certificate has this name already{at}", "Give each a name of its own"
            )


def _identifiers(certificates: list[Reading]) -> Iterator[Fault]:
    """An identifier stands once: in two certificates, which of them is served would be chance."""
    seen: dict[Identifier, tuple[Reading, str]] = {}
    for one in certificates:
        for index, text in enumerate(one.values.get("identifiers", ())):
            identifier = Identifier.parse(text)
            if identifier not in seen:
                seen[identifier] = (one, text)
                continue
            first, spelt = seen[identifier]
            where = "twice" if first is one else f"also in {first.label}"
            as_ = f' (as "{spelt}")' if spelt != text else ""
            yield one.fault(
                "identifiers", f'"{text}" stands {where}{as_}', "Leave one of them out", entry=index
            )


def _key_types(certificates: list[Reading]) -> Iterator[Fault]:
    for one in certificates:
        families = [key_type.family for key_type in one.values.get("key_types", ())]
        if len(set(families)) < len(families):
            yield one.fault(
                "key_types",
                f"holds two of the family {families[0].upper()}; a client can tell only ECDSA and RSA apart",
                'For example: key_types = ["ecdsa-p256", "rsa-2048"]',
            )


def _http01(http01: Reading, certificates: list[Reading]) -> Iterator[Fault]:
    values = http01.values
    method = values.get("method", "auto")
    names: list[str] = []
    for one in certificates:
        names += [str(Identifier.parse(text)) for text in one.values.get("identifiers", ())]
    mapped = set()
    for text in values.get("webroots", {}):
        try:
            name = str(Identifier.parse(text))
        except ValueError as error:
            yield http01.fault("webroots", f'"{text}" is no host name: {error}', entry=text)
            continue
        mapped.add(name)
        if names and name not in names:
            yield http01.fault("webroots", f'"{text}" is an identifier of no certificate', entry=text)
    if method == "webroot" and not values.get("webroot"):
        missing = [name for name in names if name not in mapped]
        if missing:
            yield http01.fault(
                "method",
                f"webroot needs a directory for {', '.join(missing[:3])}{' and others' if len(missing) > 3 else ''}",
                'For example: webroot = "/var/www/html"',
            )
    for key in ("webroot", "webroots"):
        if values.get(key) and method in ("apache", "listener"):
            yield http01.fault(
                key, f'has no effect with method = "{method}"', 'Write method = "webroot", or leave it out'
            )
    for key in ("listen", "port"):
        if key in values and method in ("apache", "webroot"):
            yield http01.fault(
                key, f'has no effect with method = "{method}"', 'Write method = "listener", or leave it out'
            )

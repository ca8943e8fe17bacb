"""`[[acme.fallback]]`, read key by key like every other table; and what must hold between the CAs."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import msgspec

from mailseal.config.acme import DIRECTORIES, Acme, Fallback
from mailseal.config.faults import Fault
from mailseal.config.lines import Place
from mailseal.config.rules import Reading

ReadTable = Callable[[object, Place, str, type[msgspec.Struct]], Reading]
_HEAD = "[[acme.fallback]]"


def own(acme: object) -> object:
    """[acme] without the tables below it: its single keys."""
    return {name: one for name, one in acme.items() if name != "fallback"} if isinstance(acme, dict) else acme


def fallbacks(acme: object, read: ReadTable) -> list[Reading]:
    """The fallback CAs below [acme]; `read` reads one table, and tells its faults itself."""
    entries = acme.get("fallback", []) if isinstance(acme, dict) else []
    many = entries if isinstance(entries, list) else [entries]
    return [read(one, ("acme", "fallback", index), _HEAD, Fallback) for index, one in enumerate(many)]


def check(acme: Reading, others: list[Reading]) -> Iterator[Fault]:
    """The rules: each CA once, and nothing left to be agreed to on the day when it is needed."""
    seen = {_url(acme.values.get("directory", "letsencrypt")): "[acme]"}
    for one in others:
        directory = one.values.get("directory")
        if directory is not None and _url(directory) in seen:
            yield one.fault("directory", f"is that of {seen[_url(directory)]} too", "Name another CA")
        elif directory is not None:
            seen[_url(directory)] = "another [[acme.fallback]]"
        if one.values and not one.values.get("agree_to_terms"):
            wrong = "is not true: on the day when this CA is needed nobody is there to agree to its terms"
            yield one.fault("agree_to_terms", wrong, "Read its terms, then write agree_to_terms = true")
        if bool(one.values.get("eab_key_id")) != bool(one.values.get("eab_hmac_file")):
            alone = "eab_key_id" if one.values.get("eab_key_id") else "eab_hmac_file"
            yield one.fault(alone, "stands without the other half; an external account binding needs both")


def build(acme: Reading, others: list[Reading]) -> Acme:
    """The struct; only when nothing was found wrong."""
    return Acme(**acme.values, fallback=tuple(Fallback(**one.values) for one in others))


def _url(directory: str) -> str:
    return DIRECTORIES.get(directory, directory)

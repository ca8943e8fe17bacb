"""A fault in the configuration, as a value, and how it is told."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable
from dataclasses import dataclass

_SECRET_WORDS = {
    "password",
    "passwd",
    "passphrase",
    "secret",
    "token",
    "hmac",
    "tsig",
    "apikey",
    "credentials",
}
_SECRET_PAIRS = ("private_key", "api_key", "hmac_key", "secret_key", "key_pem", "account_key")


@dataclass(frozen=True, slots=True, order=True)
class Fault:
    """One fault: the line it stands in (0: not told), the table as written, the key, what is wrong, what to do.

    Ordered by line, so that faults are told as the file is read.
    """

    line: int
    table: str
    key: str
    wrong: str
    advice: str = ""

    def __str__(self) -> str:
        where = " ".join(part for part in (self.table, self.key) if part)
        place = f"line {self.line}" if self.line else ""
        head = ", ".join(part for part in (place, where) if part)
        told = f"{head}: {self.wrong}" if head else self.wrong
        return f"{told}. {self.advice}" if self.advice else told


def close(word: str, known: Iterable[str]) -> str:
    """The known word that was probably meant, or an empty text."""
    normal = word.lower().replace("-", "_")
    names = list(known)
    if normal in names:
        return normal
    return next(iter(difflib.get_close_matches(normal, names, n=1, cutoff=0.6)), "")


def looks_secret(name: str) -> bool:
    """Whether a key of this name would hold a secret itself (and not the path of a file that does)."""
    normal = name.lower().replace("-", "_")
    if normal.endswith(("_file", "_path")):
        return False
    return bool(_SECRET_WORDS & set(re.split("_", normal))) or any(pair in normal for pair in _SECRET_PAIRS)


def shown(value: object) -> str:
    """A value as TOML writes it, short; what looks like key material is not shown at all."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        if "-----BEGIN" in value:
            return "a PEM block (not shown)"
        return f'"{value}"' if len(value) <= 60 else f'"{value[:57]}…"'
    if isinstance(value, list | tuple):
        inner = [shown(one) for one in value[:4]]
        return "[" + ", ".join([*inner, "…"] if len(value) > 4 else inner) + "]"
    if isinstance(value, dict):
        return "a table"
    return str(value)

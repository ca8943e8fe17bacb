"""Configuration: one TOML file, `/etc/mailseal/mailseal.toml`, read into frozen structs.

    schema.py     the structs (acme.py, notify.py: of these tables); each key's documentation stands on its field
    shapes.py     what a text must look like: a path, an address, a mail address …
    lines.py      in which line of a TOML document each key stands
    reader.py     text → `Config`, or every fault in it at once
    rules.py      what must hold between keys and between tables
    writer.py     `Config` → text that reads back as the same `Config`
    reference.py  docs/reference/configuration.md and the annotated sample

Promises: all faults are told together, each with its table, key and line,
what was expected and, where one can be made, a suggestion. No secret is ever
in the file or in a message about it: what is secret has a `…_file` key.

Not here: whether a path that the file names is there, and what the daemons of
the machine say; whoever uses a path looks.
"""

from __future__ import annotations

from mailseal.config.acme import Acme, Authority, Fallback
from mailseal.config.reader import DEFAULT_PATH, find, load, read
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
from mailseal.config.writer import render

__all__ = [
    "DEFAULT_PATH",
    "Acme",
    "Authority",
    "Certificate",
    "Config",
    "Dns",
    "Fallback",
    "Http01",
    "PostfixService",
    "Proof",
    "Service",
    "Services",
    "State",
    "WebService",
    "find",
    "load",
    "read",
    "render",
]

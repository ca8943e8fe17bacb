"""The daemons that serve certificates, one file each (`mailseal.services.base` is their contract).

`ADAPTERS` is the whole registry: kind → "module:Class", imported on use, so
that a machine without Apache never loads Apache's adapter. A new service is
one file, one line here, one fixture folder (tests/unit/services/fixtures/) and
one page (docs/services/); a contract test walks the table.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, cast

from mailseal.errors import UsageError

if TYPE_CHECKING:
    from mailseal.services.base import ServiceAdapter

ADAPTERS = {
    "postfix": "mailseal.services.postfix:Postfix",
    "dovecot": "mailseal.services.dovecot:Dovecot",
    "apache": "mailseal.services.apache:Apache",
}


def load(kind: str) -> ServiceAdapter:
    """The adapter of one kind; raises `UsageError` for a kind that is not in the table."""
    if kind not in ADAPTERS:
        raise UsageError(f"there is no service {kind!r}", reason=f"known are: {', '.join(ADAPTERS)}")
    module, _, name = ADAPTERS[kind].partition(":")
    return cast("ServiceAdapter", getattr(import_module(module), name)())

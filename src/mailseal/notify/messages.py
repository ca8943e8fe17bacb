"""What is told, as data: the same for every channel. Webhooks and commands get it as JSON.

Its fields are a promise to whoever reads that JSON: they may grow, and none
changes its meaning. Times are RFC 3339 in UTC.
"""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum

import msgspec


class Kind(StrEnum):
    """What it is about."""

    TROUBLE = "trouble"
    MENDED = "mended"
    RENEWED = "renewed"
    TEST = "test"


class Item(msgspec.Struct, frozen=True, omit_defaults=True):
    """One trouble, one that is mended, or one certificate that was renewed.

    `certificate` is the name in the configuration, empty where it is about none; `kind` is "order",
    "deployment", "expiring", a finding's code or an error's name. `expires`: until when what is served is
    valid. `next` is what to type.
    """

    certificate: str
    kind: str
    what: str
    why: str = ""
    state: str = ""
    next: str = ""
    names: tuple[str, ...] = ()
    since: datetime | None = None
    expires: datetime | None = None
    again: datetime | None = None
    told: int = 0


class Message(msgspec.Struct, frozen=True, omit_defaults=True):
    """What is sent. `text` says all of it in plain words, 72 columns wide.

    `urgency` is normal, urgent, last or expired; `id` is no other message's.
    """

    id: str
    kind: Kind
    urgency: str
    host: str
    at: datetime
    command: str
    subject: str
    text: str
    items: tuple[Item, ...] = ()

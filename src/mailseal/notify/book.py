"""What notification remembers between runs: `<state>/notify.json`, written only when it changes.

Which troubles there are, since when, how often and how urgently each was told;
and what could not be sent yet. A file that is damaged counts as empty: then a
trouble is told once more.
"""

from __future__ import annotations

from datetime import datetime

import msgspec

from mailseal.notify.messages import Message
from mailseal.notify.schedule import Urgency
from mailseal.system import System
from mailseal.unreadable import UNREADABLE

MOST_UNSENT = 20  # messages a channel; the oldest give way


class Entry(msgspec.Struct, frozen=True, omit_defaults=True):
    """One trouble: since when (UTC), when it was last told, how often, how urgently; `mended` when it went away.

    What is mended is kept for a while: trouble that comes and goes is one trouble. `closed`: the last that was
    told of it is that it is mended.
    """

    about: str
    kind: str
    since: datetime
    told: datetime
    times: int = 1
    urgency: Urgency = Urgency.NORMAL
    what: str = ""
    of_lineage: bool = False
    mended: datetime | None = None
    closed: bool = False

    @property
    def key(self) -> tuple[str, str]:
        return (self.about, self.kind)


class Unsent(msgspec.Struct, frozen=True, omit_defaults=True):
    """A message that a channel (by its id) has still to send; `tries` failed so far."""

    channel: str
    message: Message
    tries: int = 0


class Book(msgspec.Struct, frozen=True, omit_defaults=True):
    """All of it."""

    entries: tuple[Entry, ...] = ()
    unsent: tuple[Unsent, ...] = ()

    def entry(self, key: tuple[str, str]) -> Entry | None:
        return next((entry for entry in self.entries if entry.key == key), None)


class Bookcase:
    """Where the book lies; `root` is the state directory."""

    def __init__(self, system: System, root: str) -> None:
        self._files = system.files
        self.path = f"{root.rstrip('/')}/notify.json"
        self.lock = f"{root.rstrip('/')}/notify.lock"

    def load(self) -> Book:
        """An empty book where there is none, or none that can be read as such. Raises `SystemFault`."""
        if self._files.stat(self.path) is None:
            return Book()
        try:
            return msgspec.json.decode(self._files.read(self.path), type=Book)
        except UNREADABLE:
            return Book()

    def save(self, book: Book) -> None:
        """Writes it anew. Raises `SystemFault`."""
        content = msgspec.json.format(msgspec.json.encode(book))
        self._files.replace(self.path, content + b"\n", mode=0o600)

"""What an order needs to be taken up again after a crash: one file for each key type.

    <root>/pending/<name>.<keytype>.json     (0600): wish, order URL, private key, and the chain once it is there

It is durable before anything is shown or answered to a CA, and long before the
order is finalized, so that nothing is bought twice. What is pending belongs to
one wish (a hash of all that the order depends on): for another it is void. A
crash amid a write leaves a hidden neighbour with a key in it; it is swept away
when the folder is opened. Run it with the lock held.
"""

from __future__ import annotations

import msgspec

from mailseal.model import KeyType, Secret
from mailseal.system import System
from mailseal.unreadable import UNREADABLE


class PendingOrder(msgspec.Struct, frozen=True):
    """A key and the order that it is for; `url` is empty until the order is placed, `chain` until it is issued.

    `key` is a private key (PEM): never log or print one of these.
    """

    wish: str
    key: str
    url: str = ""
    chain: str = ""

    def __repr__(self) -> str:
        return f"PendingOrder({self.url or 'not placed yet'})"

    @property
    def secret(self) -> Secret:
        return Secret(self.key.encode("ascii"))


class PendingOrders:
    """The folder of one machine's pending orders."""

    def __init__(self, system: System, root: str) -> None:
        self._files = system.files
        self._folder = f"{root}/pending"
        for entry in self._files.listdir(self._folder):
            if entry.startswith("."):
                self._files.remove(f"{self._folder}/{entry}")

    def load(self, name: str, key_type: KeyType, wish: str) -> PendingOrder | None:
        """What an earlier run left for exactly this wish; None where there is nothing that can be used."""
        path = self._path(name, key_type)
        if self._files.stat(path) is None:
            return None
        try:
            left = msgspec.json.decode(self._files.read(path, 2_097_152), type=PendingOrder)
        except UNREADABLE:
            return None
        return left if left.wish == wish and left.url else None

    def keep(self, name: str, key_type: KeyType, order: PendingOrder) -> None:
        """Makes it durable, in place of what was kept before."""
        self._files.replace(self._path(name, key_type), msgspec.json.encode(order), mode=0o600)

    def drop(self, name: str, key_type: KeyType, *, durable: bool = True) -> None:
        """Forgets it. Without `durable` a power loss may bring it back, void."""
        self._files.remove(self._path(name, key_type), durable=durable)

    def _path(self, name: str, key_type: KeyType) -> str:
        return f"{self._folder}/{name}.{key_type}.json"

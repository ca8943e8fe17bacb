"""The limits of a CA that this machine has met, kept beside its account: `<root>/accounts/<ca>/limits.json`.

A limit stops more than the order that met it: the account's other orders, or
every name below a domain. So it is kept for all, over runs, and an order that
it concerns is refused here, without a request: asking again counts too.
"""

from __future__ import annotations

from datetime import datetime

import msgspec

from mailseal.acme.limits import Limit, Scope
from mailseal.errors import ExitCode, IssueError
from mailseal.model import CertificateSpec
from mailseal.stores.state import holds
from mailseal.system import Files
from mailseal.unreadable import UNREADABLE

MOST = 200


class KnownLimit(msgspec.Struct, frozen=True):
    """A limit, with the time at which it was met."""

    what: str
    scope: Scope
    subject: str
    at: datetime
    until: datetime
    busy: bool = False


class LimitReached(IssueError):
    """An order that was not placed, since a limit met before concerns it."""

    exit_code = ExitCode.WAITING

    def __init__(self, spec: CertificateSpec, limit: Limit) -> None:
        super().__init__(
            f"No order for {spec.name!r} was placed",
            reason=f"the CA's limit is reached ({limit.what})",
            state="Nothing was ordered. The certificate in use stays where it is.",
            next_command=f"wait until {limit.until:%F %H:%M} UTC; the next run after that orders it",
        )
        self.limit = limit


class LimitBook:
    """What is known of one CA's limits; `folder` is that of its account."""

    def __init__(self, files: Files, folder: str) -> None:
        self._files = files
        self._path = f"{folder}/limits.json"
        self._known = self._read()

    def refuse(self, spec: CertificateSpec, now: datetime, *, exempt: bool) -> None:
        """Raises `LimitReached` where one concerns an order for this spec now.

        `exempt`: it names its predecessor inside its window, which only a CA without time does not serve.
        """
        for known in self._known:
            if not holds(known.at, known.until, now) or (exempt and known.scope != "everything"):
                continue
            if _concerns(known, spec):
                raise LimitReached(
                    spec, Limit(known.what, known.scope, known.subject, known.until, known.busy)
                )

    def note(self, limit: Limit, now: datetime) -> None:
        """Keeps a limit that was just met; one that stops only the very set of names is the lineage's own to keep.

        That the CA has no time now is kept for this run, not over runs.
        """
        if limit.scope == "set" or limit.until <= now:
            return
        met = KnownLimit(limit.what, limit.scope, limit.subject, now, limit.until, limit.busy)
        others = [one for one in self._known if (one.scope, one.subject) != (met.scope, met.subject)]
        self._known = [*(one for one in others if holds(one.at, one.until, now)), met][-MOST:]
        kept = [one for one in self._known if not one.busy]
        if kept != self._read():
            self._files.replace(self._path, msgspec.json.format(msgspec.json.encode(kept)), mode=0o600)

    def _read(self) -> list[KnownLimit]:
        if self._files.stat(self._path) is None:
            return []
        try:
            return msgspec.json.decode(self._files.read(self._path), type=list[KnownLimit])
        except UNREADABLE:
            return []  # a memory, not a record: losing it costs one refusal


def _concerns(known: KnownLimit, spec: CertificateSpec) -> bool:
    if known.scope in ("everything", "orders"):
        return True
    names = [identifier.value.removeprefix("*.") for identifier in spec.identifiers]
    if known.scope == "domain":
        return any(name == known.subject or name.endswith(f".{known.subject}") for name in names)
    return known.subject in names

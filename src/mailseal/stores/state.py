"""What mailseal remembers of a lineage beside its generations: proven, rejected, suggested, failed.

One small file a lineage, `<root>/state/<name>.json`, written only when it
changes. Generations themselves are never touched for it.
"""

from __future__ import annotations

from datetime import datetime

import msgspec

from mailseal.model import KeyType
from mailseal.system import System
from mailseal.unreadable import UNREADABLE


class Rejection(msgspec.Struct, frozen=True):
    """A generation that was taken back or refused: when, why, how often, and when it may be tried again.

    `unusable`: its own files are at fault, so it is never tried again and another takes its place.
    """

    number: int
    at: datetime
    reason: str
    attempts: int
    again: datetime
    unusable: bool = False


class Suggestion(msgspec.Struct, frozen=True):
    """Renewal information (RFC 9773), bound to the certificate that it was given for (`fingerprint` of its leaf).

    `chosen` is the instant drawn once inside the window, `ask_again` the
    earliest time at which the CA wants to be asked anew.
    """

    certificate_id: str
    fingerprint: str
    start: datetime
    end: datetime
    chosen: datetime
    ask_again: datetime
    explanation_url: str = ""


def holds(at: datetime, again: datetime, now: datetime) -> bool:
    """Whether a pause from `at` until `again` holds now. One that begins in the future was a clock's error."""
    return at <= now < again


class Unanswered(msgspec.Struct, frozen=True):
    """Renewal information that could not be had for a certificate: why, and when the CA may be asked again."""

    fingerprint: str
    reason: str
    at: datetime
    ask_again: datetime


class Failure(msgspec.Struct, frozen=True, omit_defaults=True):
    """Tries that failed in a row: how many, the last one's time and reason, and when the next may be made.

    `limited`: the CA itself said until when (a rate limit), so nobody may insist on an earlier try; `limit` says
    which it is. `busy`: it only had no time, which a certificate that nearly expires does not wait out.
    `since` is when the row began. `validation`: the CA could not confirm control of the names.
    """

    attempts: int
    at: datetime
    reason: str
    again: datetime
    limited: bool = False
    limit: str = ""
    busy: bool = False
    since: datetime | None = None
    validation: bool = False

    @property
    def began(self) -> datetime:
        return self.since or self.at


class Pin(msgspec.Struct, frozen=True):
    """The generation `number` was chosen by a person (`mailseal rollback`), though those up to `beyond` were there.

    Until `until` nothing is ordered in its place, as long as the wish is still `wish` (`mailseal.pinning`).
    """

    number: int
    beyond: int
    at: datetime
    until: datetime
    wish: str


class Withdrawal(msgspec.Struct, frozen=True, omit_defaults=True):
    """A generation that must not be served any more: since when, the reason; `revoked`: the CA has revoked it."""

    at: datetime
    why: str
    revoked: bool = False


class LineageState(msgspec.Struct, frozen=True, omit_defaults=True):
    """The memory of one lineage.

    `proven` holds generation numbers with the time of their proof,
    `suggestions` the CA's renewal information for each key type's certificate
    (`unanswered` where it gave none), `failures` the orders that failed by the
    CA's directory, `deployment` the changes of the services' configuration that
    were taken back though they brought no generation, `pin` a person's choice
    of an earlier generation.
    """

    proven: dict[int, datetime] = {}
    rejected: list[Rejection] = []
    suggestions: dict[KeyType, Suggestion] = {}
    unanswered: dict[KeyType, Unanswered] = {}
    failures: dict[str, Failure] = {}
    deployment: Failure | None = None
    pin: Pin | None = None
    withdrawn: dict[int, Withdrawal] = {}

    def rejection(self, number: int) -> Rejection | None:
        return next((r for r in self.rejected if r.number == number), None)

    @property
    def failure(self) -> Failure | None:
        """What failed last, at whichever CA; None where the last order went well."""
        return max(self.failures.values(), key=lambda one: one.at, default=None)

    def explained(self, fingerprints: frozenset[str]) -> str:
        """The page on which the CA says why it suggests to renew these certificates; empty without one."""
        fresh = [s for s in self.suggestions.values() if s.fingerprint in fingerprints and s.explanation_url]
        return min(fresh, key=lambda s: s.chosen).explanation_url if fresh else ""

    def renewal_instant(self, fingerprints: frozenset[str]) -> datetime | None:
        """The earliest instant chosen from what the CA suggested for these certificates; None without any."""
        fresh = (s.chosen for s in self.suggestions.values() if s.fingerprint in fingerprints)
        return min(fresh, default=None)


class StateStore:
    """The state files under one root."""

    def __init__(self, system: System, root: str) -> None:
        self._files = system.files
        self._folder = f"{root.rstrip('/')}/state"

    def path(self, name: str) -> str:
        """Where the memory of a lineage lies, if there is any."""
        return f"{self._folder}/{name}.json"

    def load(self, name: str) -> LineageState:
        """The memory of a lineage; an empty one where nothing is remembered, or the file is damaged.

        It is a memory, not a record: losing it costs one more look at the CA.
        """
        path = self.path(name)
        if self._files.stat(path) is None:
            return LineageState()
        try:
            return msgspec.json.decode(self._files.read(path), type=LineageState)
        except UNREADABLE:
            return LineageState()

    def save(self, name: str, state: LineageState) -> None:
        """Writes it if it differs from what is there."""
        if state != self.load(name):
            content = msgspec.json.format(msgspec.json.encode(state))
            self._files.replace(self.path(name), content, mode=0o600)

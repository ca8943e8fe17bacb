"""Which lineages need nothing until when: what a run writes into the index for the next one (`mailseal.index`).

A lineage is settled that serves what it should, whose files were vetted in this
very run and have not been touched since, against which nothing is remembered,
and of which nothing is due. It stays so until its renewal comes near, until its
CA is to be asked for renewal information (RFC 9773), or for some days, after
which it is looked at whole whatever the stamps say: a disk forgets.

With thousands of lineages the instants of asking are drawn apart, within a
twentieth of the lifetime and at most 18 hours, so that no run asks for all; a
day is as long as RFC 9773 (section 4.3.2) would have a client wait.

Not settled, whatever they are: the first, which the services serve, the one
that is due next, and the one with the shortest life. So the least of every time
is among what a run looks at, for whoever tells of it or sets the timer by it.
Where there are few lineages, none is passed over.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta

import msgspec

from mailseal.config.schema import Config
from mailseal.due import due
from mailseal.index import FORMAT, Index, Overview, Row, save, wish
from mailseal.model import CertificateSpec, Generation
from mailseal.observe import Lineage
from mailseal.renewal import lifetime, renewal_time
from mailseal.stores.filesystem import LineageStore
from mailseal.stores.state import LineageState, StateStore
from mailseal.system import System

FEW = 20
NEAR = timedelta(
    days=2
)  # or a tenth of the lifetime: a lineage whose renewal is nearer is looked at by every run
LONGEST = timedelta(days=7)
APART = timedelta(hours=18)


def remember(
    system: System,
    seen: Overview,
    issuers: tuple[str, ...],
    lineages: Sequence[Lineage],
    vetted: Mapping[str, int],
) -> None:
    """Writes the index anew after a run that looked at `lineages`. Only whoever holds mailseal's lock may.

    `issuers` are the directory URLs of the CAs; `vetted` has the stamp of each lineage's files from before they
    were vetted.
    """
    if len(lineages) + len(seen.rows) <= FEW:
        return
    look = _Look(system, seen.config, issuers, vetted)
    rows = {row.name: row for row in (*seen.rows, *look.rows(lineages))}
    always = _always(lineages, rows)
    left = tuple(one for one in seen.config.certificate if one.name not in rows or one.name in always)
    known = always <= {one.name for one in left}  # else the next run reads the configuration whole
    head = msgspec.structs.replace(seen.config, certificate=left)
    kept = [row for row in rows.values() if row.name not in always]
    save(system, Index(FORMAT, seen.digest if known else b"", head, kept))


def _always(lineages: Sequence[Lineage], rows: Mapping[str, Row]) -> frozenset[str]:
    """The names of those that every run looks at."""
    held = [(one.name, one.target, one.state) for one in lineages if one.target is not None]
    renewals = {name: _renewal(generation, state).timestamp() for name, generation, state in held}
    lives = {name: lifetime(generation).total_seconds() for name, generation, _ in held}
    renewals |= {row.name: row.renewal for row in rows.values()}
    lives |= {row.name: row.life for row in rows.values()}
    least = [min(found, key=found.__getitem__) for found in (renewals, lives) if found]
    return frozenset((*(one.name for one in lineages[:1]), *least))


def _renewal(generation: Generation, state: LineageState) -> datetime:
    return renewal_time(generation, state.renewal_instant(generation.fingerprints())).at


class _Look:
    """One look over the lineages of a run that has ended."""

    def __init__(
        self, system: System, config: Config, issuers: tuple[str, ...], vetted: Mapping[str, int]
    ) -> None:
        self._system = system
        self._config = config
        self._issuers = issuers
        self._vetted = vetted
        self._now = system.clock.now()
        directory = config.state.directory
        self._store, self._states = LineageStore(system, directory), StateStore(system, directory)

    def rows(self, lineages: Sequence[Lineage]) -> Iterator[Row]:
        """A row for each that is settled."""
        certificates = {one.name: one for one in self._config.certificate}
        specs = {spec.name: spec for spec in self._config.specs()}
        for lineage in lineages:
            generation, spec = lineage.target, specs.get(lineage.name)
            if generation is None or spec is None or not self._well(spec, lineage, generation):
                continue
            until = self._until(generation, lineage.state)
            kinds = " ".join(kind for kind, _ in generation.leaves)
            watched = self._store.watched(spec.name, generation.number, kinds.split())
            material = self._system.files.stamp(watched)
            memory = self._system.files.stamp((self._states.path(spec.name),))
            if until is None or not memory or not material or material != self._vetted.get(spec.name):
                continue
            yield Row(
                spec.name,
                generation.number,
                kinds,
                until.timestamp(),
                _renewal(generation, lineage.state).timestamp(),
                lifetime(generation).total_seconds(),
                material,
                memory,
                wish(self._config, certificates[spec.name]),
            )

    def _well(self, spec: CertificateSpec, lineage: Lineage, generation: Generation) -> bool:
        """Whether nothing is to be done, and nothing is remembered but what every lineage has."""
        state = msgspec.structs.replace(lineage.state, proven={}, suggestions={}, unanswered={})
        if lineage.current != generation.number or lineage.switch or state != LineageState():
            return False
        need = due(spec, lineage, self._issuers, self._now, insist=False)
        return not (need.why or need.wait)

    def _until(self, generation: Generation, state: LineageState) -> datetime | None:
        """Until when it may be passed over; None where it may not."""
        life, renewal = lifetime(generation), _renewal(generation, state)
        near = renewal - min(NEAR, life / 10)
        if near <= self._now:
            return None
        draw = self._system.random.uniform
        asking = max(min(self._questions(generation, state)), self._now) + min(APART, life / 20) * draw(0, 1)
        return min(near, asking, self._now + LONGEST * draw(0.5, 1))

    def _questions(self, generation: Generation, state: LineageState) -> Iterator[datetime]:
        """When the CA may be asked about each certificate."""
        for kind, facts in generation.leaves:
            for known in (state.suggestions.get(kind), state.unanswered.get(kind)):
                if known is not None and known.fingerprint == facts.fingerprint:
                    yield known.ask_again
                    break
            else:
                yield self._now

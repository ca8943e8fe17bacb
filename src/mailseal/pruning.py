"""Old generations removed, when nothing serves them: at the end of a run that proved everything, under its lock.

Kept of each lineage are the live generation, as many older ones as
`[state] keep_generations` leaves room for (they are where `mailseal rollback`
goes), whatever is newer than the live one and may still go live, and the
newest number, so that no number is given twice. Beyond that a generation stays
as long as anything may still need it: an open journal record names it, an
endpoint was seen to serve it, a daemon's configuration or a link of live/
leads to it, or it is still to be revoked.

Generations that can never go live (refused, revoked) take no room: they go
first. A folder that cannot be read as a generation goes only when it is older
than everything that is kept.

Crash-safe: a generation is renamed out of the way (`.0001.mailseal-pruned`),
which is one rename, and then removed. What a crash leaves of that is hidden,
and removed with the next generation that is written or pruned.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence

import msgspec

from mailseal.diary import Diary
from mailseal.history import Deed, Event, of
from mailseal.journal import Journal
from mailseal.observe import Lineage
from mailseal.services.base import Facts
from mailseal.stores.filesystem import LineageStore
from mailseal.stores.revocations import RevocationStore
from mailseal.stores.state import LineageState, StateStore
from mailseal.system import System

ASIDE = ".mailseal-pruned"


def surplus(
    numbers: Sequence[int],
    whole: Iterable[int],
    current: int,
    state: LineageState,
    keep: int,
    needed: frozenset[int] = frozenset(),
) -> tuple[int, ...]:
    """The generations that may go, of those that are there (the oldest first). Pure.

    `whole` are those that can be read, `needed` those that something still leads to, `keep` how many may stay.
    """
    good = set(whole)
    useless = {r.number for r in state.rejected if r.unusable} | {
        number for number, one in state.withdrawn.items() if one.revoked
    }
    useful = [number for number in numbers if number in good and number not in useless]
    older = [number for number in useful if number < current]
    kept = {current, numbers[-1], *needed, *(n for n in useful if n > current), *older[-(keep - 1) :]}
    oldest = min(kept)
    return tuple(n for n in numbers if n not in kept and (n in good or n in useless or n < oldest))


class Pruning:
    """Removes what may go on one machine. Run it with the lock held, after a proof."""

    def __init__(
        self,
        system: System,
        store: LineageStore,
        states: StateStore,
        journal: Journal,
        diary: Diary,
        keep: int,
    ) -> None:
        self._system = system
        self._store = store
        self._states = states
        self._journal = journal
        self._diary = diary
        self._keep = keep

    def carry_out(
        self, lineages: Iterable[Lineage], served: frozenset[str], services: Callable[[], Iterable[Facts]]
    ) -> tuple[str, ...]:
        """Says what was removed, a line each. `served` are the leaves (fingerprints) that endpoints were seen to serve.

        `services` looks at all that are installed, also those that do not run. Raises `SystemFault`.
        """
        crowded = [one for one in lineages if len(one.generations) > self._keep and one.current is not None]
        if not crowded:
            return ()
        named = self._named(services(), [lineage.name for lineage in crowded])
        return tuple(line for lineage in crowded for line in self._one(lineage, served, named))

    def _one(self, lineage: Lineage, served: frozenset[str], named: frozenset[str]) -> Iterator[str]:
        name, folder, numbers = (
            lineage.name,
            self._store.folder(lineage.name),
            self._store.numbers(lineage.name),
        )
        current = self._store.current_number(name)
        if current is None:
            return
        state = self._states.load(name)
        wanted = {(one.lineage, one.number) for one in RevocationStore(self._system, self._store.root).open()}
        needed = frozenset(
            number
            for number in numbers
            if f"{folder}/{number:04d}" in named
            or self._store.fingerprints(name, f"{number:04d}") & served
            or self._in_journal(name, number)
            or (name, number) in wanted
        )
        whole = [generation.number for generation in lineage.generations]
        gone = surplus(numbers, whole, current, state, self._keep, needed)
        self._sweep(folder)
        for number in gone:
            yield self._remove(name, number)
        if gone:
            left = {number: at for number, at in state.proven.items() if number not in gone}
            self._states.save(name, msgspec.structs.replace(state, proven=left))

    def _remove(self, name: str, number: int) -> str:
        folder, label = self._store.folder(name), f"{number:04d}"
        generation = self._store.find(name, label)
        self._system.files.rename(f"{folder}/{label}", f"{folder}/.{label}{ASIDE}")
        self._sweep(folder)
        now = self._system.clock.now()
        told = f"{self._keep} are kept, and nothing serves it"
        self._diary.note(
            of(Deed.PRUNED, now, generation, told)
            if generation
            else Event(Deed.PRUNED, now, name, number, detail=told)
        )
        return f"removed generation {label} of {name!r}: {told}"

    def _sweep(self, folder: str) -> None:
        for entry in self._system.files.listdir(folder):
            if entry.startswith(".") and entry.endswith(ASIDE):
                self._system.files.remove_tree(f"{folder}/{entry}")

    def _in_journal(self, name: str, number: int) -> bool:
        current, label = self._store.current_path(name), f"{number:04d}"
        return any(
            (name, number) in record.generations
            or any(e.path == current and label in (e.before.target, e.after.target) for e in record.entries)
            for record in self._journal.open_records()
        )

    def _named(self, services: Iterable[Facts], lineages: Iterable[str]) -> frozenset[str]:
        """The folders of generations that a configuration or a link of live/ leads to, other than by `current`."""
        live = f"{self._store.root}/live"
        paths = {
            path
            for facts in services
            for one in facts.configured
            for path in (one.cert_file, one.key_file)
            if path
        }
        for name in lineages:
            paths.update(f"{live}/{name}/{entry}" for entry in self._system.files.listdir(f"{live}/{name}"))
        pattern = re.compile(rf"{re.escape(self._store.root)}/lineages/[^/]+/[0-9]{{4,}}(?=/)")
        found = set[str]()
        for path in paths:
            for way in (path, self._system.files.resolve(path)):
                match = pattern.match(way)
                found.update((match[0],) if match else ())
        return frozenset(found)

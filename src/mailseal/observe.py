"""The look: what is true now, on disk and in the services' configuration. Changes nothing.

What each service wishes for is rendered here too (rendering is pure, but the
paths that it names must be looked at), so that planning has both sides of the
comparison in hand and touches nothing itself.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from mailseal import services
from mailseal.desired import SIGN, SIGN_TEXT, Desired
from mailseal.errors import ConfigError
from mailseal.model import (
    CertificateSpec,
    FileWish,
    Finding,
    Generation,
    Identifier,
    KeyFiles,
    KeyType,
    Wish,
)
from mailseal.pinning import eligible
from mailseal.renewal import nearly_expired
from mailseal.services.base import ChallengeWish, Facts, ServiceAdapter, ServiceSettings, ServiceWish
from mailseal.steps import Put, differences
from mailseal.stores.filesystem import LineageStore
from mailseal.stores.state import LineageState, StateStore, holds
from mailseal.system import System


@dataclass(frozen=True, slots=True)
class Lineage:
    """One lineage as it stands: its generations, which is current, what is remembered of it.

    `target` is the generation that should be live: the newest that nothing is
    held against, else the current one; None while there is none. `switch` are
    the puts that make it so (`current`, and the links of live/); none when it
    is. `folders` are those below which its files are read.
    """

    name: str
    generations: tuple[Generation, ...]
    current: int | None
    state: LineageState
    target: Generation | None = None
    switch: tuple[Put, ...] = ()
    folders: tuple[str, ...] = ()

    def generation(self, number: int | None) -> Generation | None:
        return next((g for g in self.generations if g.number == number), None)


@dataclass(frozen=True, slots=True)
class ServiceView:
    """One service: what was found, and which paths differ from its wishes.

    `challenge_gaps` are needed before an order, `gaps` once a generation is
    there (they take in the challenge's). `findings` are what it could not wish for.
    """

    adapter: ServiceAdapter
    facts: Facts
    challenge_gaps: tuple[Put, ...] = ()
    gaps: tuple[Put, ...] = ()
    findings: tuple[Finding, ...] = ()

    @property
    def kind(self) -> str:
        return self.adapter.kind

    def names(self, folders: tuple[str, ...]) -> bool:
        """Whether its configuration names a file below one of these folders."""
        paths = {path for one in self.facts.configured for path in (one.cert_file, one.key_file)}
        return any(path.startswith(f"{folder}/") for path in paths for folder in folders)


@dataclass(frozen=True, slots=True)
class Observed:
    """Everything that planning needs to know."""

    lineages: tuple[Lineage, ...]
    services: tuple[ServiceView, ...]

    def lineage(self, name: str) -> Lineage | None:
        return next((lineage for lineage in self.lineages if lineage.name == name), None)


def observe_lineage(
    system: System, store: LineageStore, states: StateStore, spec: CertificateSpec, *, insist: bool = False
) -> Lineage:
    """One lineage from disk; a generation that is not whole is as if it were not there.

    `insist`: a person asks, so a generation that was taken back may be tried again before its time. It is too
    where the live one is about to expire: nothing would be worse than that.
    """
    labels = (f"{number:04d}" for number in store.numbers(spec.name))
    found = [g for g in (store.find(spec.name, label) for label in labels) if g is not None]
    state, current = states.load(spec.name), store.current_number(spec.name)
    now = system.clock.now()
    live = next((g for g in found if g.number == current), None)
    impatient = insist or (live is not None and nearly_expired(live, now))
    held_back = {
        r.number for r in state.rejected if r.unusable or (not impatient and holds(r.at, r.again, now))
    }
    usable = eligible(found, frozenset(held_back), state, now, insist=insist)
    chosen = usable[-1] if usable else live
    switch: tuple[Put, ...] = ()
    if chosen is not None:
        wishes = (store.current_wish(chosen), *store.live_wishes(spec.name, key_types(spec, chosen)[0]))
        switch = differences(wishes, {wish.path: system.files.state(wish.path) for wish in wishes})
    folders = (store.folder(spec.name), store.live_folder(spec.name))
    return Lineage(spec.name, tuple(found), current, state, chosen, switch, folders)


def observe(
    system: System, wanted: Desired, store: LineageStore, states: StateStore, *, insist: bool = False
) -> Observed:
    """The machine as it is."""
    lineages = tuple(observe_lineage(system, store, states, spec, insist=insist) for spec in wanted.specs)
    files: tuple[KeyFiles, ...] = ()
    if wanted.default is not None:
        files = store.key_files(wanted.default.name, key_types(wanted.default, lineages[0].target))
    names = names_to_serve(wanted, lineages[0].target) if lineages else ()
    views = tuple(
        _view(system, adapter, facts, wanted, files, names)
        for adapter, facts in found_services(system, wanted)
    )
    return Observed(lineages, views)


def found_services(system: System, wanted: Desired) -> tuple[tuple[ServiceAdapter, Facts], ...]:
    """The services that are installed, each with its facts. Raises `ConfigError` where a named path is not there."""
    for settings in wanted.services:
        _require_named(system, services.load(settings.kind), settings)
    return instances(system, wanted.services)


def instances(system: System, wanted: Iterable[ServiceSettings]) -> tuple[tuple[ServiceAdapter, Facts], ...]:
    """Those of these services that are there, each with its facts."""
    found = []
    for settings in wanted:
        adapter = services.load(settings.kind)
        facts = adapter.observe(system, settings)
        if facts is not None:
            found.append((adapter, facts))
    return tuple(found)


def key_types(spec: CertificateSpec, generation: Generation | None) -> tuple[KeyType, ...]:
    """The key types whose files will be there, the preferred first: the generation's, else those wished for."""
    if generation is None:
        return spec.key_types
    have = tuple(key_type for key_type, _ in generation.leaves)
    preferred = tuple(t for t in spec.key_types if t in have)
    return preferred + tuple(t for t in have if t not in preferred)


def names_to_serve(wanted: Desired, generation: Generation | None) -> tuple[Identifier, ...]:
    """The names to serve: those wished for that the certificate has, since a site without one would be refused.

    What it has not yet, an order brings; one that failed or must wait is told as that.
    """
    wished = wanted.default.sorted_identifiers if wanted.default else ()
    if generation is None:
        return wished
    held = frozenset[Identifier].intersection(
        *(frozenset(facts.identifiers) for _, facts in generation.leaves)
    )
    return tuple(name for name in wished if name in held) or wished


def _require_named(system: System, adapter: ServiceAdapter, settings: ServiceSettings) -> None:
    """Raises `ConfigError` where a path that the configuration names is not there: an instance would be passed over."""
    for key, path in (("config_dir", settings.config_dir), ("binary", settings.binary)):
        if path is not None and system.files.stat(path, follow=True) is None:
            raise ConfigError(
                f"There is no {adapter.title} as the configuration names it:",
                faults=(f"[services.{settings.kind}] {key}: {path} is not there",),
                next_command="correct the path, or leave it out for what Debian's package has",
            )


def _view(
    system: System,
    adapter: ServiceAdapter,
    facts: Facts,
    wanted: Desired,
    files: tuple[KeyFiles, ...],
    names: tuple[Identifier, ...],
) -> ServiceView:
    challenge = (
        ChallengeWish(wanted.challenge_directory)
        if adapter.kind == "apache" and wanted.challenges_by_apache
        else None
    )
    first = adapter.render(ServiceWish(identifiers=names, primary=wanted.primary, challenge=challenge), facts)
    full = adapter.render(
        ServiceWish(files, names, wanted.primary, challenge, submission=wanted.submission), facts
    )
    sign: tuple[Wish, ...] = ()
    if challenge is not None:
        sign = (
            FileWish(f"{wanted.challenge_directory}/{SIGN}", SIGN_TEXT, why="shows that the path is served"),
        )
    states = {wish.path: system.files.state(wish.path) for wish in (*sign, *first.wishes, *full.wishes)}
    return ServiceView(
        adapter,
        facts,
        challenge_gaps=differences((*sign, *first.wishes), states),
        gaps=differences((*sign, *full.wishes), states),
        findings=full.findings,
    )

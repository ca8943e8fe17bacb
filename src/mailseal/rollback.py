"""Back to an earlier generation: chosen by a person, refused where it would harm, kept by later runs.

The way back is the way forward: the choice is written down (`mailseal.pinning`),
which makes the earlier generation the one that should be live, and then the
same transaction as ever deploys it: vetted, rehearsed, journalled, switched,
proven, or taken back. A run that is killed in between is ended by the next one,
which finds the choice.

Refused, with the reason and what to type instead: a generation that is not
there whole, that is expired or nearly so, whose files are damaged, or that was
revoked, by `mailseal revoke` or, as far as its revocation list can be had, by
its CA; and, unless it is said explicitly, one that lacks a name or a kind of
key which is served now and still wished for: nothing shrinks silently.

Promises: where the rollback fails, the choice is forgotten and what was served
before stays. Orders nothing, and touches no other lineage.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from mailseal import pinning
from mailseal.certificates import read_pem
from mailseal.config.schema import Config
from mailseal.crls import revocation
from mailseal.errors import ApplyFailed, MailsealError, UsageError
from mailseal.history import Deed, of
from mailseal.model import CertificateSpec, Generation
from mailseal.observe import Lineage, observe_lineage
from mailseal.reconcile import Reconciler
from mailseal.remember import Memory
from mailseal.renewal import nearly_expired
from mailseal.report import Report
from mailseal.stores.filesystem import LineageStore
from mailseal.stores.revocations import RevocationStore
from mailseal.system import System

SMALLER = "--even-if-smaller"


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a person asks for: a lineage ("": the default one), a generation (None: the newest earlier that will do).

    `smaller`: also one that lacks names or kinds of key which are served now.
    """

    name: str = ""
    number: int | None = None
    smaller: bool = False


def rollback(system: System, config: Config, working: Reconciler, wanted: Wanted) -> Report:
    """Deploys an earlier generation and has it stay. Raises `UsageError` where none will do, `ApplyFailed`."""
    spec = spec_of(working, wanted.name)
    with working.lock():
        if working.journal.detached:
            raise ApplyFailed(
                "Nothing can be rolled back",
                reason="the machine was handed back by mailseal detach",
                state="Nothing was changed.",
                next_command="mailseal apply (takes the machine up again)",
            )
        lineage = observe_lineage(system, working.store, working.states, spec)
        chosen = _choice(system, working.store, lineage, spec, wanted)
        memory = Memory(system, working.states, working.wanted.default.name if working.wanted.default else "")
        newest = max(working.store.numbers(spec.name))
        now, issuer = system.clock.now(), config.acme.directory_url
        before = lineage.state.pin
        memory.pinned(spec.name, pinning.pin(spec, chosen, newest, lineage.state, issuer, now))
        try:
            report = working.run_locked(insist=False, only=spec.name)
        finally:
            if working.store.current_number(spec.name) != chosen.number:
                memory.pinned(spec.name, before)
    return _told(report, spec, chosen, working)


def spec_of(working: Reconciler, name: str) -> CertificateSpec:
    """The certificate of that name in the configuration; the default one without a name. Raises `UsageError`."""
    specs = working.wanted.specs
    found = next((spec for spec in specs if spec.name == name), None) if name else working.wanted.default
    if found is None:
        known = ", ".join(spec.name for spec in specs) or "none"
        raise UsageError(
            f"The configuration has no certificate {name!r}"
            if name
            else "The configuration has no certificate",
            reason=f"it has: {known}",
            next_command="mailseal status (shows them)",
        )
    return found


def refusals(system: System, store: LineageStore, lineage: Lineage, chosen: Generation) -> Iterator[str]:
    """Why a generation must not go live again, a sentence each; none where it may. Asks the CA's revocation list."""
    rejection = lineage.state.rejection(chosen.number)
    if nearly_expired(chosen, system.clock.now()):
        tense = "expired" if system.clock.now() >= chosen.not_after else "expires"
        yield f"it {tense} {chosen.not_after:%F %H:%M} UTC"
    if rejection is not None and rejection.unusable:
        yield f"its files are no use ({rejection.reason})"
    withdrawal = lineage.state.withdrawn.get(chosen.number)
    if withdrawal is not None:
        yield f"it {'was' if withdrawal.revoked else 'is to be'} revoked ({withdrawal.why})"
    compromised = RevocationStore(system, store.root).compromised()
    if any(facts.spki_sha256 in compromised for _, facts in chosen.leaves):
        yield "its key is marked compromised"
    elif withdrawal is None and (listed := _listed(system, store, chosen)):
        yield f"its CA has revoked it ({listed})"


def _listed(system: System, store: LineageStore, chosen: Generation) -> str:
    """What the revocation list that a certificate names says of it; empty where it says nothing."""
    for files in store.generation_files(chosen):
        try:
            leaf, *above = read_pem(system.files.read(files.fullchain, 1_048_576))
        except (MailsealError, ValueError):  # the vetting tells it
            continue
        if above and (found := revocation(system, leaf, above[0])):
            return found
    return ""


def lacks(spec: CertificateSpec, live: Generation, chosen: Generation) -> tuple[str, ...]:
    """What is served now, still wished for, and not in the chosen generation: names, then kinds of key."""
    served = frozenset.intersection(*(frozenset(facts.identifiers) for _, facts in live.leaves))
    held = frozenset.intersection(*(frozenset(facts.identifiers) for _, facts in chosen.leaves))
    names = sorted(identifier.unicode for identifier in (served & spec.identifiers) - held)
    kinds = {kind for kind, _ in live.leaves} & set(spec.key_types)
    return (*names, *sorted(f"a key of type {kind}" for kind in kinds - {kind for kind, _ in chosen.leaves}))


def _choice(
    system: System, store: LineageStore, lineage: Lineage, spec: CertificateSpec, wanted: Wanted
) -> Generation:
    live = lineage.generation(lineage.current)
    if live is None:
        raise UsageError(f"No generation of {spec.name!r} is live", next_command="mailseal apply")
    if wanted.number is not None:
        return _named(system, store, lineage, spec, live, wanted)
    told = []
    for earlier in reversed([g for g in lineage.generations if g.number < live.number]):
        why = [*refusals(system, store, lineage, earlier), *_smaller(spec, live, earlier, wanted)]
        if not why:
            return earlier
        told.append(f"{earlier.label}: {'; '.join(why)}")
    raise UsageError(
        f"There is no earlier generation of {spec.name!r} to go back to",
        reason=". ".join(told) or f"{live.label} is the first that is kept",
        next_command="mailseal apply (orders another where one is due)",
    )


def _named(
    system: System,
    store: LineageStore,
    lineage: Lineage,
    spec: CertificateSpec,
    live: Generation,
    wanted: Wanted,
) -> Generation:
    chosen = lineage.generation(wanted.number)
    kept = ", ".join(g.label for g in lineage.generations)
    if chosen is None:
        raise UsageError(
            f"Generation {wanted.number:04d} of {spec.name!r} is not there, or not whole",
            reason=f"these are: {kept}",
            next_command="mailseal status",
        )
    why = [*refusals(system, store, lineage, chosen), *_smaller(spec, live, chosen, wanted)]
    if why:
        raise UsageError(
            f"Generation {chosen.label} of {spec.name!r} must not go live again",
            reason="; ".join(why),
            next_command=f"another generation ({kept}), or mailseal apply",
        )
    if chosen.number == lineage.generations[-1].number:
        served = ", and it is live" if chosen.number == live.number else ""
        raise UsageError(
            f"Generation {chosen.label} of {spec.name!r} is the newest{served}",
            next_command="mailseal apply (deploys the newest)",
        )
    return chosen


def _smaller(spec: CertificateSpec, live: Generation, chosen: Generation, wanted: Wanted) -> Iterator[str]:
    missing = lacks(spec, live, chosen)
    if missing and not wanted.smaller:
        yield f"it lacks {', '.join(missing)}, served now ({SMALLER} takes it all the same)"


def _told(report: Report, spec: CertificateSpec, chosen: Generation, working: Reconciler) -> Report:
    """The report of the run, with what will come of the choice."""
    pin = working.states.load(spec.name).pin
    if pin is None or pin.number != chosen.number:
        return replace(report, errors=report.errors or (_unexplained(spec, chosen),), waits=())
    stays = (
        f"generation {chosen.label} of {spec.name!r} stays until mailseal apply, "
        f"or until another is ordered ({pin.until:%F %H:%M} UTC)"
    )
    event = of(Deed.ROLLED_BACK, pin.at, chosen, stays)
    return replace(report, done=(*report.done, stays), waits=(), events=(*report.events, event))


def _unexplained(spec: CertificateSpec, chosen: Generation) -> MailsealError:
    return ApplyFailed(
        f"Generation {chosen.label} of {spec.name!r} did not go live",
        state="What was served before is served still.",
        next_command="mailseal check",
    )

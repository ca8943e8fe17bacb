"""A certificate revoked because a person says so: replaced first, then revoked at the CA that issued it.

In this order, because whoever looks for revocations turns away from a server
that serves a revoked certificate, and whoever does not look gains nothing by
it. So: the intent is made durable; another generation, with another key, is
ordered, deployed and proven like every other; then the old one is revoked
(`mailseal.revoking`). Killed in between, the next run goes on where it ended.

Where no other certificate can be had, nothing is revoked, and the intent is
forgotten again, unless it was said that it is to be revoked even if it serves
(`--even-if-served`). Whose key leaked may want that: clients that look for
revocations are then turned away until another certificate comes, and those
that do not are as exposed as before, so getting another comes first in any
case and is tried again at every run.

`keyCompromise` marks the key: no generation with it goes live again, whoever
brings it back, and every certificate for it, of any lineage, is revoked too.
What an interrupted order had left is thrown away then, key and all.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from mailseal.errors import UNCHANGED, IssueError, MailsealError, UsageError
from mailseal.model import Generation
from mailseal.reconcile import Reconciler
from mailseal.report import Report
from mailseal.revoking import KEY_COMPROMISE, Revoking, word
from mailseal.stores.revocations import Revocation
from mailseal.system import System
from mailseal.tally import Tally

FORCED = "--even-if-served"


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a person asks for: a lineage, a generation (None: the live one), a code of RFC 5280 section 5.3.1.

    `forced`: also if it still serves.
    """

    name: str
    number: int | None = None
    reason: int = 4
    forced: bool = False


def chosen(working: Reconciler, wanted: Wanted) -> tuple[Generation, ...]:
    """The generations that would be revoked, the asked one first. Raises `UsageError` where there is none."""
    store, revoking = working.store, working.closing.revoking
    if wanted.name not in store.names():
        raise UsageError(
            f"There is no certificate {wanted.name!r}",
            reason=f"there is: {', '.join(store.names()) or 'none'}",
            next_command="mailseal status (shows them)",
        )
    number = wanted.number or _interrupted(revoking, wanted.name) or store.current_number(wanted.name)
    generation = store.find(wanted.name, f"{number:04d}") if number else None
    if generation is None:
        kept = ", ".join(f"{one:04d}" for one in store.numbers(wanted.name)) or "none"
        raise UsageError(
            f"Generation {number or 0:04d} of {wanted.name!r} is not there, or not whole",
            reason=f"these are: {kept}",
            next_command="mailseal status",
        )
    known = {one.fingerprint for one in revoking.revocations.all() if one.revoked is not None}
    if generation.fingerprints() <= known:
        raise UsageError(f"Generation {generation.label} of {wanted.name!r} was revoked already")
    if wanted.reason != KEY_COMPROMISE:
        return (generation,)
    return (generation, *_same_key(working, generation, known))


def revoke(system: System, working: Reconciler, wanted: Wanted) -> Report:
    """Replaces and revokes. What fails is in the report; raises `UsageError` before anything changes."""
    with working.lock():
        generations = chosen(working, wanted)
        if working.journal.detached and not wanted.forced:
            raise IssueError(
                "Nothing was revoked",
                reason="the machine was handed back by mailseal detach, so nothing can be put in its place",
                state=UNCHANGED,
                next_command=f"mailseal apply, then this again; or {_again(wanted)}",
            )
        revoking = working.closing.revoking
        intents = revoking.want(generations, wanted.reason, forced=wanted.forced)
        if wanted.reason == KEY_COMPROMISE:
            for name in {generation.lineage for generation in generations}:
                system.files.remove_tree(f"{working.store.root}/pending/{name}")
        try:
            report = _carried_out(working, generations)
        except KeyboardInterrupt:
            _forget(working, revoking, intents, wanted)
            raise
        if revoking.revocations.open() and not report.lineages:  # no run ended that would have settled it
            tally = Tally()
            working.closing.settle(tally)
            report = replace(
                report,
                done=(*report.done, *tally.done),
                findings=(*report.findings, *tally.findings),
                errors=(*report.errors, *tally.errors),
            )
        kept = _forget(working, revoking, intents, wanted)
    return _refused(report, kept, wanted) if kept else report


def _carried_out(working: Reconciler, generations: Sequence[Generation]) -> Report:
    """A run for each lineage: it replaces what is live, proves, revokes. The last report, with all that was done."""
    whole = Report()
    specs = {spec.name for spec in working.wanted.specs}
    for name in () if working.journal.detached else dict.fromkeys(one.lineage for one in generations):
        current = working.store.current_number(name)
        live = next((one for one in generations if (one.lineage, one.number) == (name, current)), None)
        if name not in specs:
            whole = replace(whole, errors=(*whole.errors, *((_nobody_asks(live),) if live else ())))
            continue
        try:
            report = working.run_locked(insist=live is not None, only=name)
        except MailsealError as error:
            report = Report(errors=(error,))
        whole = replace(
            report,
            done=(*whole.done, *report.done),
            errors=(*whole.errors, *report.errors),
            issued=(*whole.issued, *report.issued),
            waits=(*whole.waits, *report.waits),
        )
    return whole


def _forget(
    working: Reconciler, revoking: Revoking, intents: Sequence[Revocation], wanted: Wanted
) -> tuple[Revocation, ...]:
    """Forgets what is still live, unless it was said that this does not matter; returns what was forgotten."""
    if wanted.forced:
        return ()
    still = {one.fingerprint for one in revoking.revocations.open()}
    kept = tuple(
        one
        for one in intents
        if one.fingerprint in still and working.store.current_number(one.lineage) == one.number
    )
    revoking.forget(kept)
    return kept


def _refused(report: Report, kept: Sequence[Revocation], wanted: Wanted) -> Report:
    """The report of a revocation that did not happen, since nothing could take the certificate's place."""
    first = kept[0]
    reasons = [str(error) for error in report.errors] or list(report.waits)
    error = IssueError(
        f"Generation {first.label} of {first.lineage!r} was not revoked, since no other certificate is in its place",
        reason="; ".join(reasons) or "none could be had",
        state=f"Generation {first.label} is served as before.",
        next_command=f"mend that and type the same again; or, at the price of clients that look for revocations: "
        f"{_again(wanted)}",
    )
    waiting = tuple(finding for finding in report.findings if finding.code != "revocation-waits")
    return replace(report, errors=(*report.errors, error), findings=waiting, waits=())


def _again(wanted: Wanted) -> str:
    return f"mailseal revoke {wanted.name} --reason {word(wanted.reason)} {FORCED}"


def _nobody_asks(generation: Generation) -> MailsealError:
    return IssueError(
        f"Generation {generation.label} of {generation.lineage!r} cannot be replaced",
        reason="the configuration does not ask for this certificate any more",
    )


def _interrupted(revoking: Revoking, name: str) -> int | None:
    """The generation whose revocation an interrupted run began."""
    return next((one.number for one in revoking.revocations.open() if one.lineage == name), None)


def _same_key(working: Reconciler, generation: Generation, known: set[str]) -> tuple[Generation, ...]:
    """Every other generation, of any lineage, with a certificate for one of these keys that is not revoked yet."""
    keys = {facts.spki_sha256 for _, facts in generation.leaves}
    store = working.store
    found = (store.find(name, f"{number:04d}") for name in store.names() for number in store.numbers(name))
    return tuple(
        one
        for one in found
        if one is not None
        and (one.lineage, one.number) != (generation.lineage, generation.number)
        and any(facts.spki_sha256 in keys and facts.fingerprint not in known for _, facts in one.leaves)
    )

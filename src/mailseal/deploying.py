"""Deployments of one run: what changed goes live in as few transactions as it can, so that each service reloads once.

All that concerns services (the default lineage, their configuration, and every
other lineage whose files one of them names) shares a transaction; so does all
that concerns none. Where what is shared cannot go live together, each goes
alone: one that is bad stops no other. What each came to is remembered for the
next run, and told to the diary.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from mailseal.apply import Prover, Rehearser, Transactions
from mailseal.chains import TrustAnchors
from mailseal.daemons import Say, Service
from mailseal.desired import Desired
from mailseal.diary import Diary
from mailseal.errors import UNCHANGED, KeyMaterialError, MailsealError, NotYetValid
from mailseal.journal import Journal
from mailseal.judge.verdict import Verdict
from mailseal.model import Finding, Generation, Severity
from mailseal.observe import Observed, found_services
from mailseal.plan import merged
from mailseal.remember import Memory
from mailseal.renewal import lifetime
from mailseal.steps import Deploy
from mailseal.stores.filesystem import LineageStore
from mailseal.stores.state import StateStore
from mailseal.system import System
from mailseal.tally import Tally
from mailseal.vetting import no_way_back, vet


@dataclass(frozen=True, slots=True)
class Tools:
    """What deployments work with: the same for every one of a run. `prover` and `rehearser` as for `Reconciler`."""

    system: System
    store: LineageStore
    states: StateStore
    journal: Journal
    prover: Callable[[Generation | None], Prover]
    rehearser: Rehearser
    anchors: TrustAnchors
    diary: Diary
    say: Say


class Deploying:
    """Carries deployments out. `wanted` gives the wish as it is now, `more` the services that no adapter finds."""

    def __init__(
        self, tools: Tools, wanted: Callable[[], Desired], more: Callable[[], tuple[Service, ...]]
    ) -> None:
        self._tools = tools
        self._wanted = wanted
        self._more = more
        self._say = tools.say

    def all(self, steps: Sequence[Deploy], seen: Observed, tally: Tally) -> bool:
        """Those that concern services first; whether all of them stand."""
        loud = [step for step in steps if step.services]
        quiet = [step for step in steps if not step.services]
        outcomes = [self._together(some, seen, tally) for some in (loud, quiet)]
        return all(outcomes)

    def one(self, step: Deploy, seen: Observed, tally: Tally, *, challenge: bool = False) -> bool:
        """One transaction; False where it was taken back or never begun, which the tally tells."""
        self._say(step.describe())
        try:
            outcome = self.transactions(step).deploy(step, _services_of(seen))
        except MailsealError as error:
            failure = error
            self._tools.diary.failed(step, failure)
            self.remember(lambda memory: memory.failed(step, failure))
            if _another_helps(step, error) and not tally.refused and not tally.only:
                tally.refused = True
                tally.findings.append(_refused(step, error))
                return True
            tally.errors.append(failure)
            return False
        tally.done.append(step.describe())
        self._tools.diary.deployed(step)
        if challenge:
            tally.challenge_records.append(outcome.record)
        else:
            tally.findings.extend(outcome.notes)
            tally.verdict = outcome.verdict
        self._stands(step, proven=outcome.proven and bool(outcome.verdict.judged))
        return True

    def sound(self, seen: Observed, tally: Tally) -> bool:
        """Whether the daemons accept their configuration as it stands: nothing is bought that could not be deployed."""
        services = [Service(view.adapter, view.facts) for view in seen.services if view.facts.running]
        try:
            self.transactions().daemons.refuse_broken(services)
        except MailsealError as error:
            tally.errors.append(error)
            return False
        return True

    def transactions(self, step: Deploy | None = None) -> Transactions:
        """The transaction machinery, its prover set to what should be served once the step is done."""
        tools = self._tools
        return Transactions(
            tools.system,
            tools.journal,
            tools.prover(self.served(step)),
            tools.rehearser,
            look_again=self.services,
            vet=self._vet,
            no_way_back=lambda step: no_way_back(tools.system, tools.store, step),
            say=self._say,
        )

    def services(self) -> tuple[Service, ...]:
        """The services as they are now."""
        return (*self.found(), *self._more())

    def found(self) -> tuple[Service, ...]:
        """Those of them that adapters find."""
        found = found_services(self._tools.system, self._wanted())
        return tuple(Service(adapter, facts) for adapter, facts in found)

    def served(self, step: Deploy | None) -> Generation | None:
        """The generation that every endpoint should serve once the step is done; None while there is none."""
        default, store = self._wanted().default, self._tools.store
        if default is None:
            return None
        number = dict(step.generations).get(default.name) if step else None
        if number is None:
            number = store.current_number(default.name)
            rejection = self._tools.states.load(default.name).rejection(number or 0)
            if rejection is not None and rejection.unusable:
                return None
        return store.find(default.name, f"{number:04d}") if number else None

    def stale(self, verdict: Verdict, served: Generation) -> tuple[str, ...]:
        """The services of which an endpoint serves an older generation of the same lineage."""
        store = self._tools.store
        labels = (f"{number:04d}" for number in store.numbers(served.lineage) if number != served.number)
        older = {leaf for label in labels for leaf in store.fingerprints(served.lineage, label)}
        found = {one.question.endpoint.service for one in verdict.judged if one.fingerprint in older}
        return tuple(sorted(found))

    def note_proof(self, generation: Generation | None) -> None:
        """The first proof of a generation is worth a line in the history; the others say nothing new."""
        if generation and generation.number not in self._tools.states.load(generation.lineage).proven:
            self._tools.diary.proven(generation)

    def remember(self, what: Callable[[Memory], None]) -> None:
        """A memory that cannot be written (a full disk) is no reason to stop: it costs a try too many."""
        wanted = self._wanted()
        default = wanted.default.name if wanted.default else ""
        try:
            what(Memory(self._tools.system, self._tools.states, default, self._lifetime))
        except MailsealError as fault:
            self._say(f"not remembered: {fault}")

    def abandon_unused_challenge(self, tally: Tally, why: str, *, stays: bool) -> None:
        """A machine that has no certificate of ours keeps nothing of a run that failed; the errors tell its state."""
        told = "What is served stays as it is." if stays else UNCHANGED
        for record in () if stays else tuple(reversed(tally.challenge_records)):
            undone = self.transactions().restore(record, self.services(), why)
            left = (*undone.left, *(f"{path} ({reason})" for path, reason in undone.failed))
            told = "Every file is as it was before."
            if left:
                told = f"Could not be taken back: {', '.join(left)}; mailseal detach does it later."
            tally.done = [line for line in tally.done if line != record.purpose]
            try:
                if not left:
                    self._tools.journal.uncommit(record)
            except MailsealError as fault:  # a baseline that names a path as it was found does no harm
                self._say(str(fault))
        for error in tally.errors:
            if error.state in ("", UNCHANGED):
                error.state = told
            elif not stays and tally.challenge_records and told not in error.state:
                error.state = f"{error.state} {told}"

    def _together(self, steps: list[Deploy], seen: Observed, tally: Tally) -> bool:
        """As one transaction; where that fails, each alone."""
        if len(steps) > 1:
            together = merged(steps)
            self._say(together.describe())
            try:
                services = _services_of(seen) if together.services else ()
                outcome = self.transactions(together).deploy(together, services)
            except MailsealError as error:
                self._say(f"one by one, since not all can go live together: {error}")
            else:
                tally.done.extend(step.describe() for step in steps)
                if together.services:
                    tally.findings.extend(outcome.notes)
                    tally.verdict = outcome.verdict
                self._tools.diary.deployed(together)
                proven = together.services and outcome.proven and outcome.verdict.judged
                self._stands(together, proven=bool(proven))
                return True
        outcomes = [self.one(step, seen, tally) for step in steps]
        return all(outcomes)

    def _stands(self, step: Deploy, *, proven: bool) -> None:
        """Remembers a deployment; only the default lineage is what the proof asks for."""
        default = self._wanted().default
        ours = default is not None and default.name in dict(step.generations)
        if proven and ours:
            self.note_proof(self.served(step))
        self.remember(lambda memory: memory.deployed(step, proven=proven and ours))

    def _vet(self, step: Deploy) -> None:
        """Loads what will be served, as a daemon would; raises `KeyMaterialError` that names the generation."""
        tools = self._tools
        for name, number in step.generations:
            generation = tools.store.load(name, number)
            try:
                vet(tools.system, tools.store, generation, tools.anchors)
            except KeyMaterialError as error:
                if not error.reason:
                    error.reason = error.message
                error.message = f"Generation {generation.label} of {name!r} must not go live"
                error.args = (error.message,)
                error.next_command = error.next_command or "mailseal apply (orders another)"
                raise

    def _lifetime(self, name: str) -> float | None:
        """Seconds that the live certificate of a lineage lives; None where there is none."""
        number = self._tools.store.current_number(name)
        live = self._tools.store.find(name, f"{number:04d}") if number else None
        return lifetime(live).total_seconds() if live else None


def _services_of(seen: Observed) -> tuple[Service, ...]:
    return tuple(Service(view.adapter, view.facts) for view in seen.services)


def _another_helps(step: Deploy, error: MailsealError) -> bool:
    """Whether the generation's own files are at fault, so that another takes its place."""
    unusable = isinstance(error, KeyMaterialError) and not isinstance(error, NotYetValid)
    return unusable and bool(step.generations)


def _refused(step: Deploy, error: MailsealError) -> Finding:
    return Finding(
        "generation-refused",
        Severity.WARNING,
        ", ".join(f"generation {number:04d} of {name!r}" for name, number in step.generations),
        seen=error.reason or error.message,
        expected="files as they were written when it was issued",
        why="It never goes live. Another is ordered in its place.",
        mend="find out who changes files below the state directory; mailseal status shows what is served",
    )

"""Rounds: look, plan what is known, act, look again; until nothing is left to do or what is left must wait.

The only room that strings the others together. It holds the lock while it
works, recovers what an earlier run left open, and ends with a `Report` that
says what was done, what was proven, what failed and what waits. A crash heals
itself, because the next run looks again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial

from mailseal.apply import Prover, Rehearser, Transactions
from mailseal.chains import TrustAnchors
from mailseal.challenges.base import Solver
from mailseal.closing import Closing
from mailseal.config.schema import Config
from mailseal.daemons import Say, Service
from mailseal.desired import Desired
from mailseal.detach import HandedBack, HandingBack, Return, returns
from mailseal.diary import Diary
from mailseal.errors import UNCHANGED, ApplyFailed, MailsealError
from mailseal.issuing import Issuing, notes, unmended
from mailseal.journal import Journal
from mailseal.judge.verdict import Verdict
from mailseal.model import Generation
from mailseal.observe import Observed, found_services, instances, observe, observe_lineage
from mailseal.plan import merged, plan
from mailseal.recover import Recovery
from mailseal.remember import Memory
from mailseal.report import Report, Tally, detached, of_services
from mailseal.schedule.keeping import Timekeeping
from mailseal.schedule.way import Schedule
from mailseal.steps import Deploy, Issue, Plan
from mailseal.stores.filesystem import LineageStore
from mailseal.stores.state import StateStore
from mailseal.system import System
from mailseal.vetting import damage, no_way_back, vet

MOST_ROUNDS = 6  # challenge path, orders, deployment: more says that two wishes fight


class Reconciler:
    """One machine, one configuration; `say` gets progress, a line each, `diary` what was done.

    `prover` makes a prover that expects this generation to be served;
    `make_solver` as for `Issuing`. `mailseal.engine` puts one together.
    """

    def __init__(
        self,
        system: System,
        config: Config,
        wanted: Desired,
        *,
        make_solver: Callable[[], Solver],
        prover: Callable[[Generation | None], Prover],
        rehearser: Rehearser,
        anchors: TrustAnchors,
        say: Say,
        diary: Diary | None = None,
        schedule: Schedule = Schedule.LEAVE,
    ) -> None:
        self._diary = diary or Diary(system, config, "apply")
        self._schedule = Timekeeping(system, config, schedule, self._diary, say)
        self._anchors = anchors
        self._system = system
        self._config = config
        self._prover = prover
        self._say = say
        self.wanted = wanted
        self._rehearser = rehearser
        self.store = LineageStore(system, config.state.directory)
        self.states = StateStore(system, config.state.directory)
        self.journal = Journal(system, config.state.directory)
        self.closing = Closing(system, config, wanted, self.store, self.states, self._diary, say)
        self._issuing = Issuing(system, config, self.store, self.states, anchors, make_solver, say)

    def look(self, *, insist: bool = False) -> Observed:
        """The machine as it is now."""
        return observe(self._system, self.wanted, self.store, self.states, insist=insist)

    def plan(self, *, insist: bool = True) -> Plan:
        """What apply would do now; changes nothing."""
        planned = self._plan(seen := self.look(insist=insist), insist)
        return replace(planned, steps=(*planned.steps, *self._schedule.steps(seen.lineages)))

    def run(self, *, insist: bool) -> Report:
        """Works until nothing is left to do. `insist`: a person asks, so backoffs of ours are over."""
        with self.lock():
            return self.run_locked(insist=insist)

    def run_locked(self, *, insist: bool, only: str = "") -> Report:
        """As `run`, for whoever holds the lock already and did something of its own under it.

        `only` names the one lineage that the run is about; what else is to be done is left for another.
        """
        tally = Tally(only=only)
        self._distrust_damaged()
        self._recover(tally)
        self.closing.begin()
        if not insist and self.journal.detached:
            return Report(findings=(*tally.findings, detached()))
        self.journal.attach()
        if insist and not only:
            for spec in self.wanted.specs:  # a person asks for the newest
                self._remember(partial(Memory.pinned, name=spec.name, pin=None))
        try:
            self._work(tally, insist)
        except (Exception, KeyboardInterrupt) as stopped:
            if isinstance(stopped, MailsealError):
                tally.errors.append(stopped)
            self._abandon_unused_challenge(tally, str(stopped) or "interrupted")
            raise
        if tally.errors:
            self._abandon_unused_challenge(tally, "no certificate could be obtained")
        self._prove(tally)
        self.closing.settle(tally)
        return self._schedule.keep(self._report(tally), self._transactions)

    @contextmanager
    def lock(self) -> Iterator[None]:
        """The one lock of this machine; raises `Locked`."""
        with self._system.lock(self._config.state.lock):
            self.store.prepare()
            yield

    def current(self) -> dict[str, int]:
        """Which generation of each spec is live; nothing for one that has none."""
        found = {spec.name: self.store.current_number(spec.name) for spec in self.wanted.specs}
        return {name: number for name, number in found.items() if number is not None}

    def returns(self) -> tuple[Return, ...]:
        """What `detach` would do."""
        return returns(self._system.files, self.journal)

    def detach(self) -> HandedBack:
        """Hands the machine back. Raises `ApplyFailed` if a daemon would refuse it; nothing has changed then."""
        with self.lock():
            self._recover(Tally())
            prover = self._prover(None)
            work = HandingBack(self._system, self.journal, self._transactions(), prover, self._say)
            off = tuple(Service(*one) for one in instances(self._system, self.wanted.switched_off))
            with self._schedule.handed_back(self.journal) as schedule:
                return work.carry_out((*self._found(), *off, *schedule))

    def _work(self, tally: Tally, insist: bool) -> None:
        if not tally.only:
            self._refresh(insist)
        for _ in range(MOST_ROUNDS):
            seen = self.look(insist=insist)
            failed = frozenset((one.step.spec.name, one.step.issuer) for one in tally.issued if one.error)
            planned = self._plan(seen, insist, failed)
            if tally.only:
                planned = planned.about(tally.only)
            tally.waits = list(planned.waits)
            tally.services = seen.services
            ready = self._diary.prepare(planned, seen.lineages, tally.errors)
            if not (ready and self._round(planned, seen, tally)):
                return
            insist = insist and not (tally.issued or tally.errors)  # one try is what a person asked for
        tally.errors.append(
            ApplyFailed(
                f"There is still something to do after {MOST_ROUNDS} rounds",
                reason="two wishes contradict each other, or somebody undoes what mailseal does",
                state="What was done stands, and was proven.",
                next_command="mailseal plan (shows what is wished for again and again)",
            )
        )

    def _plan(self, seen: Observed, insist: bool, failed: frozenset[tuple[str, str]] = frozenset()) -> Plan:
        now, issuers = self._system.clock.now(), self._config.acme.issuers
        return plan(self.wanted, seen, issuers, now, insist=insist, failed=failed)

    def _round(self, planned: Plan, seen: Observed, tally: Tally) -> bool:
        """Does what is not provisional; False when nothing was done, or no more is to be done in this run."""
        issues = [step for step in planned.steps if isinstance(step, Issue)]
        if issues and not self._sound(seen, tally):
            return False
        if issues:
            first = planned.steps.index(issues[0])
            before = [step for step in planned.steps[:first] if isinstance(step, Deploy)]
            if before:
                return all(self._deploy(step, seen, tally, challenge=True) for step in before)
            return self._issue(issues, tally)
        deploys = [step for step in planned.steps if isinstance(step, Deploy) and not step.provisional]
        loud = [step for step in deploys if step.services]
        quiet = [step for step in deploys if not step.services]
        done = all(self._deploy(step, seen, tally) for step in loud)
        return bool(deploys) and done and self._switch_links(quiet, seen, tally)

    def _switch_links(self, steps: list[Deploy], seen: Observed, tally: Tally) -> bool:
        """What concerns no daemon shares a transaction; where that fails each goes alone: one bad stops no other."""
        if len(steps) > 1:
            together = merged(steps)
            try:
                self._transactions(together).deploy(together, ())
            except MailsealError as error:
                self._say(f"one by one, since not all can go live together: {error}")
            else:
                tally.done.extend(step.describe() for step in steps)
                self._diary.deployed(together)
                self._remember(lambda memory: memory.deployed(together, proven=False))
                return True
        outcomes = [self._deploy(step, seen, tally) for step in steps]
        return all(outcomes)

    def _issue(self, issues: list[Issue], tally: Tally) -> bool:
        issued = self._issuing.carry_out(issues)
        self._diary.ordered(issued)
        tally.issued.extend(issued)
        known = {id(one.error) for one in tally.issued}  # what another CA made good is no error of the run
        tally.errors = [e for e in tally.errors if id(e) not in known] + list(unmended(tally.issued))
        tally.done.extend(one.step.describe() for one in issued if one.generation is not None)
        return True

    def _sound(self, seen: Observed, tally: Tally) -> bool:
        """Whether the daemons accept their configuration as it stands: nothing is bought that could not be deployed."""
        services = [Service(view.adapter, view.facts) for view in seen.services if view.facts.running]
        try:
            self._transactions().daemons.refuse_broken(services)
        except MailsealError as error:
            tally.errors.append(error)
            return False
        return True

    def _deploy(self, step: Deploy, seen: Observed, tally: Tally, *, challenge: bool = False) -> bool:
        services = tuple(Service(view.adapter, view.facts) for view in seen.services)
        self._say(step.describe())
        try:
            outcome = self._transactions(step).deploy(step, services)
        except MailsealError as error:
            failure = error
            tally.errors.append(failure)
            self._diary.failed(step, failure)
            self._remember(lambda memory: memory.failed(step, failure))
            return False
        tally.done.append(step.describe())
        self._diary.deployed(step)
        if challenge:
            tally.challenge_records.append(outcome.record)
        else:
            tally.findings.extend(outcome.notes)
            tally.verdict = outcome.verdict
        ours = self.wanted.default is not None and self.wanted.default.name in dict(step.generations)
        proven = ours and outcome.proven and bool(outcome.verdict.judged)
        if proven:
            self._note_proof(self._served(step))
        self._remember(lambda memory: memory.deployed(step, proven=proven))
        return True

    def _remember(self, what: Callable[[Memory], None]) -> None:
        """A memory that cannot be written (a full disk) is no reason to stop: it costs a try too many."""
        default = self.wanted.default.name if self.wanted.default else ""
        try:
            what(Memory(self._system, self.states, default))
        except MailsealError as fault:
            self._say(f"not remembered: {fault}")

    def _note_proof(self, generation: Generation | None) -> None:
        """The first proof of a generation is worth a line in the history; the others say nothing new."""
        if generation and generation.number not in self.states.load(generation.lineage).proven:
            self._diary.proven(generation)

    def _transactions(self, step: Deploy | None = None) -> Transactions:
        return Transactions(
            self._system,
            self.journal,
            self._prover(self._served(step)),
            self._rehearser,
            look_again=self._services,
            vet=self._vet,
            no_way_back=lambda step: no_way_back(self._system, self.store, step),
            say=self._say,
        )

    def _services(self) -> tuple[Service, ...]:
        return (*self._found(), self._schedule.service())

    def _found(self) -> tuple[Service, ...]:
        return tuple(Service(adapter, facts) for adapter, facts in found_services(self._system, self.wanted))

    def _served(self, step: Deploy | None) -> Generation | None:
        """The generation that every endpoint should serve once the step is done; None while there is none."""
        default = self.wanted.default
        if default is None:
            return None
        number = dict(step.generations).get(default.name) if step else None
        if number is None:
            number = self.store.current_number(default.name)
            rejection = self.states.load(default.name).rejection(number or 0)
            if rejection is not None and rejection.unusable:
                return None
        return self.store.find(default.name, f"{number:04d}") if number else None

    def _distrust_damaged(self) -> None:
        """A live generation whose files somebody damaged is held unusable, so that another takes its place."""
        for name, number in self.current().items():
            generation = self.store.find(name, f"{number:04d}")
            reason = damage(self._system, self.store, generation) if generation else "files are missing"
            if reason:
                self._say(f"{name}: generation {number:04d} is damaged: {reason}")
                self._remember(partial(Memory.damaged, name=name, number=number, reason=reason))

    def _vet(self, step: Deploy) -> None:
        """Loads what will be served, as a daemon would; raises `KeyMaterialError`."""
        for name, number in step.generations:
            vet(self._system, self.store, self.store.load(name, number), self._anchors)

    def _recover(self, tally: Tally) -> None:
        recovery = Recovery(
            self._system, self.journal, self._transactions(), self._prover(self._served(None)), self._say
        )
        for record in self.journal.open_records():
            tally.findings.append(recovery.recover(record, self._services()))
            self._diary.recovered(tally.findings[-1])

    def _refresh(self, insist: bool) -> None:
        specs = self.wanted.specs
        self._issuing.refresh(
            [observe_lineage(self._system, self.store, self.states, spec, insist=insist) for spec in specs]
        )

    def _abandon_unused_challenge(self, tally: Tally, why: str) -> None:
        """A machine that has no certificate of ours keeps nothing of a run that failed; the errors tell its state."""
        stays = bool(self.current())
        told = "What is served stays as it is." if stays else UNCHANGED
        for record in () if stays else tuple(reversed(tally.challenge_records)):
            undone = self._transactions().restore(record, self._services(), why)
            left = (*undone.left, *(f"{path} ({reason})" for path, reason in undone.failed))
            told = "Every file is as it was before."
            if left:
                told = f"Could not be taken back: {', '.join(left)}; mailseal detach does it later."
            tally.done = [line for line in tally.done if line != record.purpose]
            try:
                if not left:
                    self.journal.uncommit(record)
            except MailsealError as fault:  # a baseline that names a path as it was found does no harm
                self._say(str(fault))
        for error in tally.errors:
            if error.state in ("", UNCHANGED):
                error.state = told
            elif not stays and tally.challenge_records and told not in error.state:
                error.state = f"{error.state} {told}"

    def _prove(self, tally: Tally) -> None:
        """The state as it is at the end; a daemon that still serves an older generation of ours is reloaded."""
        served = self._served(None)
        if served is None:
            return
        if tally.verdict is None:
            self._say("proving every endpoint")
            # What an error kept from being done, or what must wait for long, does not come by waiting.
            patience = 0.0 if tally.errors or tally.waits else None
            asked = [view.facts for view in tally.services if view.facts.running]
            tally.verdict = self._prover(served).prove(asked, patience=patience)
        stale = self._stale(tally.verdict, served)
        if stale and not tally.errors:
            step = Deploy(f"have {' and '.join(stale)} take up generation {served.label}", (), stale)
            self._deploy(step, self.look(), tally)
        if tally.verdict.judged and tally.verdict.proven:
            self._note_proof(served)
            self._remember(lambda memory: memory.proven(served.lineage, served.number))

    def _stale(self, verdict: Verdict, served: Generation) -> tuple[str, ...]:
        """The services of which an endpoint serves an older generation of the same lineage."""
        labels = (f"{number:04d}" for number in self.store.numbers(served.lineage) if number != served.number)
        older = {leaf for label in labels for leaf in self.store.fingerprints(served.lineage, label)}
        found = {one.question.endpoint.service for one in verdict.judged if one.fingerprint in older}
        return tuple(sorted(found))

    def _report(self, tally: Tally) -> Report:
        lineages = tuple(
            observe_lineage(self._system, self.store, self.states, spec) for spec in self.wanted.specs
        )
        self.closing.end(lineages, tally)
        findings = list(of_services(self._system, self.wanted, self.store, tally.services))
        findings.extend(tally.verdict.findings if tally.verdict else ())
        findings.extend(f for f in tally.findings if f not in findings)
        findings.extend((*notes(tally.issued, self.wanted.primary), *self._issuing.findings()))
        return Report(
            tuple(tally.done),
            tuple(findings),
            tuple(tally.errors),
            tuple(tally.waits),
            tuple(tally.issued),
            lineages,
            tally.verdict,
        )

"""Rounds: look, plan what is known, act, look again; until nothing is left to do or what is left must wait.

The only room that strings the others together. It holds the lock while it
works, recovers what an earlier run left open, and ends with a `Report` that
says what was done, what was proven, what failed and what waits. A crash heals
itself, because the next run looks again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from functools import partial

from mailseal.apply import Prover, Rehearser
from mailseal.chains import TrustAnchors
from mailseal.challenges.base import Solver
from mailseal.closing import Closing
from mailseal.config.schema import Config
from mailseal.daemons import Say, Service
from mailseal.deploying import Deploying, Tools
from mailseal.desired import Desired
from mailseal.detach import HandedBack, HandingBack, Return, returns
from mailseal.diary import Diary
from mailseal.errors import ApplyFailed, Locked, MailsealError
from mailseal.issuing import Issuing, notes
from mailseal.journal import Journal
from mailseal.model import Generation
from mailseal.observe import Observed, instances, observe, observe_lineage
from mailseal.plan import plan
from mailseal.recover import Recovery
from mailseal.remember import Memory
from mailseal.report import Report, detached, of_services
from mailseal.schedule.keeping import Timekeeping
from mailseal.schedule.way import Schedule
from mailseal.steps import Deploy, Issue, Plan
from mailseal.stores.filesystem import LineageStore
from mailseal.stores.state import StateStore
from mailseal.system import System
from mailseal.tally import Tally
from mailseal.vetting import damage

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
        self._system = system
        self._config = config
        self._prover = prover
        self._say = say
        self.wanted = wanted
        self.store = LineageStore(system, config.state.directory)
        self.states = StateStore(system, config.state.directory)
        self.journal = Journal(system, config.state.directory)
        # Stamps of the live generations' files, from before this run vetted them.
        self.vetted: dict[str, int] = {}
        tools = Tools(
            system,
            self.store,
            self.states,
            self.journal,
            prover,
            rehearser,
            anchors,
            self._diary,
            say,
        )
        self._deploying = Deploying(tools, lambda: self.wanted, lambda: (self._schedule.service(),))
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
                self._deploying.remember(partial(Memory.pinned, name=spec.name, pin=None))
        try:
            self._work(tally, insist)
        except (Exception, KeyboardInterrupt) as stopped:
            if isinstance(stopped, MailsealError):
                tally.errors.append(stopped)
            self._abandon(tally, str(stopped) or "interrupted")
            raise
        if tally.errors:
            self._abandon(tally, "no certificate could be obtained")
        self._prove(tally)
        self.closing.settle(tally)
        return self._schedule.keep(self._report(tally), self._deploying.transactions)

    @contextmanager
    def lock(self, *, wait: float = 0.0) -> Iterator[None]:
        """The one lock of this machine; raises `Locked` when another still has it after `wait` seconds."""
        with ExitStack() as held:
            try:
                held.enter_context(self._system.lock(self._config.state.lock))
            except Locked as other:
                if wait <= 0:
                    raise
                self._say(f"{other.message}; waiting for it, {wait:g} s at most")
                held.enter_context(self._system.lock(self._config.state.lock, wait=wait))
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
            work = HandingBack(self._system, self.journal, self._deploying.transactions(), prover, self._say)
            off = tuple(Service(*one) for one in instances(self._system, self.wanted.switched_off))
            with self._schedule.handed_back(self.journal) as schedule:
                return work.carry_out((*self._deploying.found(), *off, *schedule))

    def _work(self, tally: Tally, insist: bool) -> None:
        if not tally.only:
            self._refresh(insist)
        for _ in range(MOST_ROUNDS):
            seen = self.look(insist=insist)
            planned = self._plan(seen, insist, tally.failed)
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
        if issues and not self._deploying.sound(seen, tally):
            return False
        if issues:
            first = planned.steps.index(issues[0])
            before = [step for step in planned.steps[:first] if isinstance(step, Deploy)]
            if before:
                return all(self._deploying.one(step, seen, tally, challenge=True) for step in before)
            return self._issue(issues, tally)
        deploys = [step for step in planned.steps if isinstance(step, Deploy) and not step.provisional]
        return bool(deploys) and self._deploying.all(deploys, seen, tally)

    def _issue(self, issues: list[Issue], tally: Tally) -> bool:
        issued = self._issuing.carry_out(issues)
        self._diary.ordered(issued)
        tally.ordered(issued)
        return True

    def _distrust_damaged(self) -> None:
        """A live generation whose files somebody damaged is held unusable, so that another takes its place."""
        for name, number in self.current().items():
            generation = self.store.find(name, f"{number:04d}")
            if generation is not None:
                kinds = (kind for kind, _ in generation.leaves)
                self.vetted[name] = self._system.files.stamp(self.store.watched(name, number, kinds))
            reason = damage(self._system, self.store, generation) if generation else "files are missing"
            if reason:
                self.vetted.pop(name, None)
                self._say(f"{name}: generation {number:04d} is damaged: {reason}")
                self._deploying.remember(partial(Memory.damaged, name=name, number=number, reason=reason))

    def _recover(self, tally: Tally) -> None:
        recovery = Recovery(
            self._system,
            self.journal,
            self._deploying.transactions(),
            self._prover(self._deploying.served(None)),
            self._say,
        )
        for record in self.journal.open_records():
            tally.findings.append(recovery.recover(record, self._deploying.services()))
            self._diary.recovered(tally.findings[-1])

    def _abandon(self, tally: Tally, why: str) -> None:
        self._deploying.abandon_unused_challenge(tally, why, stays=bool(self.current()))

    def _refresh(self, insist: bool) -> None:
        specs = self.wanted.specs
        self._issuing.refresh(
            [observe_lineage(self._system, self.store, self.states, spec, insist=insist) for spec in specs]
        )

    def _prove(self, tally: Tally) -> None:
        """The state as it is at the end; a daemon that still serves an older generation of ours is reloaded."""
        served = self._deploying.served(None)
        if served is None:
            return
        if tally.verdict is None:
            self._say("proving every endpoint")
            # What an error kept from being done, or what must wait for long, does not come by waiting.
            patience = 0.0 if tally.errors or tally.waits else None
            asked = [view.facts for view in tally.services if view.facts.running]
            tally.verdict = self._prover(served).prove(asked, patience=patience)
        stale = self._deploying.stale(tally.verdict, served)
        if stale and not tally.errors:
            step = Deploy(f"have {' and '.join(stale)} take up generation {served.label}", (), stale)
            self._deploying.one(step, self.look(), tally)
        if tally.verdict.judged and tally.verdict.proven:
            self._deploying.note_proof(served)
            self._deploying.remember(lambda memory: memory.proven(served.lineage, served.number))

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

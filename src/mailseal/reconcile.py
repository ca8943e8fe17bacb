"""Rounds: look, plan what is known, act, look again; until nothing is left to do or what is left must wait.

The only room that strings the others together. It holds the lock while it
works, recovers what an earlier run left open, and ends with a `Report` that
says what was done, what was proven, what failed and what waits. A crash heals
itself, because the next run looks again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import msgspec

from mailseal.apply import Outcome, Prover, Rehearser, Say, Service, Transactions
from mailseal.chains import TrustAnchors
from mailseal.challenges.base import Solver
from mailseal.challenges.names import name_findings
from mailseal.config.schema import Config
from mailseal.desired import Desired
from mailseal.detach import Return, hand_back, returns
from mailseal.errors import UNCHANGED, ApplyFailed, ExitCode, KeyMaterialError, MailsealError
from mailseal.issuing import Issued, Issuing
from mailseal.journal import Journal, Record
from mailseal.judge.verdict import Verdict
from mailseal.model import Finding, Generation, Severity
from mailseal.observe import Lineage, Observed, ServiceView, found_services, observe, observe_lineage
from mailseal.plan import plan
from mailseal.recover import Recovery
from mailseal.renewal import nearly_expired, retry_after
from mailseal.steps import Deploy, Issue, Plan
from mailseal.stores.filesystem import LineageStore
from mailseal.stores.state import Rejection, StateStore
from mailseal.system import System
from mailseal.vetting import vet

NOTHING_CHANGED = 5.0  # seconds that a proof waits where no daemon was reloaded
MOST_ROUNDS = 6  # challenge path, orders, deployment: more says that two wishes fight


@dataclass(frozen=True, slots=True)
class Report:
    """What a run did and found. `exit_code` says it in one number (`mailseal.errors.ExitCode`)."""

    done: tuple[str, ...] = ()
    findings: tuple[Finding, ...] = ()
    errors: tuple[MailsealError, ...] = ()
    waits: tuple[str, ...] = ()
    issued: tuple[Issued, ...] = ()
    lineages: tuple[Lineage, ...] = ()
    verdict: Verdict | None = None

    @property
    def exit_code(self) -> ExitCode:
        if self.errors:
            return max(error.exit_code for error in self.errors)
        if any(finding.severity >= Severity.WARNING for finding in self.findings):
            return ExitCode.FINDINGS
        return ExitCode.WAITING if self.waits else ExitCode.OK


@dataclass(slots=True)
class _Tally:
    done: list[str] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)
    errors: list[MailsealError] = field(default_factory=list)
    waits: list[str] = field(default_factory=list)
    issued: list[Issued] = field(default_factory=list)
    challenge_records: list[Record] = field(default_factory=list)
    services: tuple[ServiceView, ...] = ()
    verdict: Verdict | None = None


class Reconciler:
    """One machine, one configuration; `say` gets progress, a line each.

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
    ) -> None:
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
        self._issuing = Issuing(system, config, self.store, self.states, anchors, make_solver, say)

    def look(self, *, insist: bool = False) -> Observed:
        """The machine as it is now."""
        return observe(self._system, self.wanted, self.store, self.states, insist=insist)

    def plan(self, *, insist: bool = True) -> Plan:
        """What apply would do now; changes nothing."""
        return self._plan(self.look(insist=insist), insist)

    def run(self, *, insist: bool) -> Report:
        """Works until nothing is left to do. `insist`: a person asks, so backoffs of ours are over."""
        with self.lock():
            return self.run_locked(insist=insist)

    def run_locked(self, *, insist: bool) -> Report:
        """As `run`, for whoever holds the lock already and did something of its own under it."""
        tally = _Tally()
        self._recover(tally)
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
        return self._report(tally)

    @contextmanager
    def lock(self) -> Iterator[None]:
        """The one lock of this machine; raises `Locked`."""
        with self._system.lock(self._config.state.lock):
            self.store.prepare()
            yield

    def returns(self) -> tuple[Return, ...]:
        """What `detach` would do."""
        return returns(self._system.files, self.journal)

    def detach(self, planned: tuple[Return, ...]) -> tuple[str, ...]:
        """Hands the machine back; the paths that were left alone. Raises `ApplyFailed` if a daemon then complains."""
        with self.lock():
            tally = _Tally()
            self._recover(tally)
            hand_back(self._system.files, self.journal, returns(self._system.files, self.journal))
            transactions = self._transactions()
            services = self._services()
            transactions.check(services)
            transactions.take_up(services)
        return tuple(one.path for one in planned if one.wanted is None)

    def _work(self, tally: _Tally, insist: bool) -> None:
        self._refresh(insist)
        for _ in range(MOST_ROUNDS):
            seen = self.look(insist=insist)
            planned = self._plan(seen, insist)
            tally.waits = list(planned.waits)
            tally.services = seen.services
            if not self._round(planned, seen, tally):
                break
            insist = insist and not (tally.issued or tally.errors)  # one try is what a person asked for

    def _plan(self, seen: Observed, insist: bool) -> Plan:
        now = self._system.clock.now()
        return plan(self.wanted, seen, self._config.acme.directory_url, now, insist=insist)

    def _round(self, planned: Plan, seen: Observed, tally: _Tally) -> bool:
        """Does what is not provisional; False when nothing was done, or no more is to be done in this run."""
        issues = [step for step in planned.steps if isinstance(step, Issue)]
        deploys = [step for step in planned.steps if isinstance(step, Deploy) and not step.provisional]
        if tally.errors:
            issues = []  # what failed once in this run waits for the next
        if issues and not self._sound(seen, tally):
            return False
        before_orders = [step for step in deploys if not step.generations and issues]
        if before_orders:
            return all(self._deploy(step, seen, tally, challenge=True) for step in before_orders)
        if issues:
            issued = self._issuing.carry_out(issues)
            tally.issued.extend(issued)
            tally.errors.extend(one.error for one in issued if one.error is not None)
            tally.done.extend(one.step.describe() for one in issued if one.generation is not None)
            return any(one.generation is not None for one in issued) or bool(deploys)
        if deploys:
            return all(self._deploy(step, seen, tally) for step in deploys)
        return False

    def _sound(self, seen: Observed, tally: _Tally) -> bool:
        """Whether the daemons accept their configuration as it stands: nothing is bought that could not be deployed."""
        services = [Service(view.adapter, view.facts) for view in seen.services if view.facts.running]
        try:
            self._transactions().refuse_broken(services)
        except MailsealError as error:
            tally.errors.append(error)
            return False
        return True

    def _deploy(self, step: Deploy, seen: Observed, tally: _Tally, *, challenge: bool = False) -> bool:
        services = tuple(Service(view.adapter, view.facts) for view in seen.services)
        self._say(step.describe())
        try:
            outcome = self._transactions(step).deploy(step, services)
        except MailsealError as error:
            tally.errors.append(error)
            if isinstance(error, ApplyFailed | KeyMaterialError):
                self._reject(step, error)
            return False
        tally.done.append(step.describe())
        if challenge:
            tally.challenge_records.append(outcome.record)
        else:
            tally.findings.extend(outcome.notes)
            tally.verdict = outcome.verdict
        self._remember_proof(step, outcome)
        return True

    def _transactions(self, step: Deploy | None = None) -> Transactions:
        return Transactions(
            self._system,
            self.journal,
            self._prover(self._served(step)),
            self._rehearser,
            look_again=self._services,
            vet=self._vet,
            may_return=self._may_return,
            say=self._say,
        )

    def _services(self) -> tuple[Service, ...]:
        return tuple(Service(adapter, facts) for adapter, facts in found_services(self._system, self.wanted))

    def _served(self, step: Deploy | None) -> Generation | None:
        """The generation that every endpoint should serve once the step is done; None while there is none."""
        default = self.wanted.default
        if default is None:
            return None
        number = dict(step.generations).get(default.name) if step else None
        number = number or self.store.current_number(default.name)
        return self.store.load(default.name, number) if number else None

    def _may_return(self, step: Deploy) -> str:
        now = self._system.clock.now()
        for put in step.puts:
            for name, _ in step.generations:
                if put.path == f"{self.store.folder(name)}/current" and put.before.kind == "link":
                    before = self.store.load(name, int(put.before.target))
                    if nearly_expired(before, now):
                        return (
                            f"generation {before.label} of {name!r} expires {before.not_after:%F %H:%M} UTC"
                        )
        return ""

    def _vet(self, step: Deploy) -> None:
        """Loads what will be served, as a daemon would; raises `KeyMaterialError`."""
        specs = {spec.name: spec for spec in self.wanted.specs}
        for name, number in step.generations:
            vet(self._system, self.store, self.store.load(name, number), specs.get(name), self._anchors)

    def _reject(self, step: Deploy, error: MailsealError) -> None:
        """A generation that was taken back is remembered, and tried again after a growing pause."""
        now = self._system.clock.now()
        unusable = isinstance(error, KeyMaterialError)
        for name, number in step.generations:
            state = self.states.load(name)
            known = state.rejection(number)
            attempts = known.attempts + 1 if known else 1
            again = now + retry_after(attempts, self._system.random.uniform(0.0, 1.0))
            others = [r for r in state.rejected if r.number != number]
            rejected = [
                *others,
                Rejection(number, now, error.reason or error.message, attempts, again, unusable),
            ]
            self.states.save(name, msgspec.structs.replace(state, rejected=rejected))

    def _remember_proof(self, step: Deploy, outcome: Outcome) -> None:
        now = self._system.clock.now().replace(microsecond=0)
        for name, number in step.generations:
            state = self.states.load(name)
            proven = {**state.proven, number: now} if outcome.proven else state.proven
            rejected = [r for r in state.rejected if r.number != number]
            self.states.save(name, msgspec.structs.replace(state, proven=proven, rejected=rejected))

    def _recover(self, tally: _Tally) -> None:
        recovery = Recovery(
            self._system, self.journal, self._transactions(), self._prover(self._served(None)), self._say
        )
        for record in self.journal.open_records():
            tally.findings.append(recovery.recover(record, self._services()))

    def _refresh(self, insist: bool) -> None:
        specs = self.wanted.specs
        self._issuing.refresh(
            [observe_lineage(self._system, self.store, self.states, spec, insist=insist) for spec in specs]
        )

    def _abandon_unused_challenge(self, tally: _Tally, why: str) -> None:
        """A machine that has no certificate of ours keeps nothing of a run that failed; the errors tell its state."""
        stays = any(self.store.current_number(spec.name) for spec in self.wanted.specs)
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
            except (
                MailsealError
            ) as fault:  # a baseline that names a path which is as it was found does no harm
                self._say(str(fault))
        for error in tally.errors:
            if error.state in ("", UNCHANGED):
                error.state = told
            elif not stays and tally.challenge_records and told not in error.state:
                error.state = f"{error.state} {told}"

    def _prove(self, tally: _Tally) -> None:
        """The state as it is at the end; a daemon that still serves an older generation of ours is reloaded."""
        served = self._served(None)
        if served is None:
            return
        if tally.verdict is None:
            self._say("proving every endpoint")
            patience = (
                0.0 if tally.errors else None
            )  # what the error kept from being done does not come by waiting
            tally.verdict = self._prover(served).prove(
                [view.facts for view in tally.services], patience=patience
            )
        stale = self._stale(tally.verdict, served)
        if stale and not tally.errors:
            step = Deploy(f"have {' and '.join(stale)} take up generation {served.label}", (), stale)
            self._deploy(step, self.look(), tally)

    def _stale(self, verdict: Verdict, served: Generation) -> tuple[str, ...]:
        """The services of which an endpoint serves an older generation of the same lineage."""
        older: set[str] = set()
        for number in self.store.numbers(served.lineage):
            if number != served.number:
                older |= self.store.load(served.lineage, number).fingerprints()
        found = {one.question.endpoint.service for one in verdict.judged if one.fingerprint in older}
        return tuple(sorted(found))

    def _report(self, tally: _Tally) -> Report:
        lineages = tuple(
            observe_lineage(self._system, self.store, self.states, spec) for spec in self.wanted.specs
        )
        findings = [f for view in tally.services for f in (*view.findings, *view.adapter.audit(view.facts))]
        findings.extend(_not_running(view) for view in tally.services if not view.facts.running)
        findings.extend(tally.verdict.findings if tally.verdict else ())
        findings.extend(f for f in tally.findings if f not in findings)
        findings.extend(_of_names(tally.issued, self.wanted))
        return Report(
            tuple(tally.done),
            tuple(findings),
            tuple(tally.errors),
            tuple(tally.waits),
            tuple(tally.issued),
            lineages,
            tally.verdict,
        )


def _not_running(view: ServiceView) -> Finding:
    return Finding(
        "service-not-running",
        Severity.INFO,
        view.adapter.title,
        seen="it is installed and does not run, so nothing of it was proven",
        expected="a daemon that runs, or is not installed",
        why="Its files are kept right, so that it serves the certificate when it is started.",
        mend=f"start it, or set [services.{view.kind}] enabled = false",
    )


def _of_names(issued: list[Issued], wanted: Desired) -> Iterator[Finding]:
    """What the preflight saw that did not block an order: names behind web proxies, what could not be reached."""
    for one in issued:
        for identifier, addresses in one.looked.addresses if one.looked else ():
            yield from name_findings(identifier, addresses, receives_mail=identifier.value == wanted.primary)
        for result in one.looked.unknown if one.looked else ():
            yield Finding(
                result.code,
                Severity.INFO,
                f"{result.identifier} at {result.address}" if result.address else str(result.identifier),
                seen=result.seen,
                expected="the challenge path answered there",
                why="Whether the CA finds it could not be told from here, so the order went on.",
                mend=result.mend,
            )

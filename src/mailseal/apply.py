"""The transaction: known good before live, journalled, switched, reloaded, proven; or taken back.

The order of the lines is the order of the promise (docs/architecture.md):

1. the daemons' own checkers run on what stands: a configuration that was
   broken before we came is found here, and nothing is touched;
2. the key material that is to go live is loaded and judged by ourselves;
3. every endpoint is asked once: what works now is what must still work then;
4. a throw-away instance of each daemon runs on the staged files, where that is
   possible, and is shaken hands with;
5. the journal is made durable, then the files change, `current` among them;
6. the checkers run again, the services reload, every endpoint is proven;
7. the verdict is relative: only an endpoint that worked and is now worse takes
   the change back, and never to a generation that is expired or nearly so.
   Undoing restores files that still hold what we wrote, reloads, and restarts
   where a reload does not heal.

After a step failed, the error says what failed, and in what state the machine
is. What could not be restored is named. Ctrl-C takes the change back like any
failure; a second one waits until the machine is whole.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NoReturn, Protocol

from mailseal.daemons import Daemons, Say, Service
from mailseal.effects import Undone, perform_all, require_unchanged, undo
from mailseal.errors import UNCHANGED, MailsealError, TakenBack
from mailseal.journal import Journal, Record
from mailseal.judge.verdict import Verdict
from mailseal.model import Finding
from mailseal.services.base import Facts
from mailseal.steps import Deploy
from mailseal.system import System

SETTLE = 10.0  # seconds that endpoints are given to come back after an undo


class Prover(Protocol):
    """Asks the endpoints of services, judges what they serve, and compares two such looks."""

    def look(self, facts: Sequence[Facts]) -> Verdict:
        """Asks every endpoint once and judges what is served, whatever it is."""
        ...

    def prove(
        self, facts: Sequence[Facts], *, before: Verdict | None = None, patience: float | None = None
    ) -> Verdict:
        """Asks until every endpoint serves what it should several times in a row, or the deadline passes.

        `patience` (seconds) takes the deadline's place. With `before` it ends as soon as it is plain that an
        endpoint is worse than then, and does not come back by itself.
        """
        ...

    def worse(self, before: Verdict, after: Verdict) -> tuple[Finding, ...]:
        """What worked before and does not now, or is served less well."""
        ...


class Rehearser(Protocol):
    """Runs throw-away instances on staged files."""

    def rehearse(self, step: Deploy, services: Sequence[Service]) -> tuple[Finding, ...]:
        """Raises `ApplyFailed` when one would not serve; findings tell what could not be rehearsed."""
        ...


@dataclass(frozen=True, slots=True)
class Outcome:
    """A committed transaction: the last look at every endpoint, notes, and the record for an undo in the same run."""

    verdict: Verdict
    notes: tuple[Finding, ...]
    record: Record

    @property
    def proven(self) -> bool:
        return self.verdict.proven


class Transactions:
    """Carries out deployments on one machine.

    `look_again` gives the services' facts anew after a change. `vet` loads the
    key material that a deployment will have served and raises
    `KeyMaterialError` if it must not go live. `no_way_back` tells why a
    deployment must not be taken back ("" if it may): what it would go back to
    is expired, or nearly so.
    """

    def __init__(
        self,
        system: System,
        journal: Journal,
        prover: Prover,
        rehearser: Rehearser,
        *,
        look_again: Callable[[], tuple[Service, ...]],
        vet: Callable[[Deploy], None],
        no_way_back: Callable[[Deploy], str],
        say: Say,
    ) -> None:
        self._system = system
        self._journal = journal
        self._prover = prover
        self._rehearser = rehearser
        self.look_again = look_again
        self._vet = vet
        self._no_way_back = no_way_back
        self._say = say
        self.daemons = Daemons(system, say)

    def deploy(self, step: Deploy, services: tuple[Service, ...]) -> Outcome:
        """The whole transaction. Raises `ApplyFailed` when it was taken back or never begun."""
        # A daemon that does not run is given its files, which must not keep it from starting, and left as it is.
        idle = [s for s in services if not s.facts.running and s.kind in step.services]
        startable = [s for s in idle if not self.daemons.refusal(s)]
        services = tuple(s for s in services if s.facts.running)
        concerned = tuple(s for s in services if s.kind in step.services)
        before, notes, record = self._begin(step, services, concerned)
        switched = False
        try:
            self._say("switching")
            perform_all(self._system.files, step.puts)
            self.daemons.check((*concerned, *startable))
            switched = True
            self.daemons.reload(concerned)
            self._say("proving every endpoint")
            verdict = self._prover.prove(self._facts_of(services), before=before)
            why = _sentence(self._prover.worse(before, verdict))
            cause: BaseException | None = None
        except (Exception, KeyboardInterrupt) as stopped:
            why, cause = _told(stopped), stopped
        with self._system.uninterrupted():
            if why:
                keep = self._no_way_back(step) if switched else ""
                if not keep:
                    self._take_back(record, before, services, why, cause)
                verdict = self._go_on(concerned, services, f"not taken back: {keep} ({why})")
            self._commit(record, before, services)
        if isinstance(cause, KeyboardInterrupt):
            raise cause
        return Outcome(verdict, notes, record)

    def restore(self, record: Record, services: tuple[Service, ...], why: str) -> Undone:
        """Puts back what stood before a record's changes; has what ran when it began take that up, or starts it.

        The journal is the caller's to settle.
        """
        self._say(f"taking back: {record.purpose} ({why})")
        with self._system.uninterrupted():
            undone = undo(self._system.files, self._journal, record)
            concerned = [s for s in services if s.kind in record.services]
            self.daemons.take_up(s for s in concerned if s.facts.running)
            self.daemons.restart(s for s in concerned if not s.facts.running)
        return undone

    def _begin(
        self, step: Deploy, services: tuple[Service, ...], concerned: tuple[Service, ...]
    ) -> tuple[Verdict, tuple[Finding, ...], Record]:
        """Everything that can be known before anything changes, and the intent made durable."""
        try:
            self.daemons.refuse_broken(concerned)
            self._vet(step)
            self._say("asking every endpoint as it is now")
            before = self._prover.look([s.facts for s in services])
            notes = self._rehearser.rehearse(step, concerned)
            for put in step.puts:
                require_unchanged(self._system.files, put)
            running = tuple(s.kind for s in concerned)
            return before, notes, self._journal.begin(step.purpose, step.puts, running, step.generations)
        except MailsealError as error:
            error.state = error.state or UNCHANGED
            raise

    def _facts_of(self, services: tuple[Service, ...]) -> list[Facts]:
        """The services looked at again: their endpoints may be others now. Those that died of it are among them."""
        ran = {s.kind for s in services}
        return [s.facts for s in self.look_again() if s.kind in ran]

    def _go_on(self, concerned: tuple[Service, ...], services: tuple[Service, ...], told: str) -> Verdict:
        """Where there is nothing good to go back to: a restart, and the proof of what then is."""
        self._say(told)
        self.daemons.restart(concerned)
        return self._prover.prove(self._facts_of(services))

    def _commit(self, record: Record, before: Verdict, services: tuple[Service, ...]) -> None:
        """Has the journal remember the change; what it cannot remember (a full disk) could not be undone later."""
        try:
            self._journal.commit(record)
        except MailsealError as cause:
            self._take_back(record, before, services, _told(cause), cause)

    def _take_back(
        self,
        record: Record,
        before: Verdict,
        services: tuple[Service, ...],
        why: str,
        cause: BaseException | None,
    ) -> NoReturn:
        """Restores, reloads, restarts where that does not heal; then says what failed and what is true now."""
        self._say(f"taking it back: {why}")
        undone = undo(self._system.files, self._journal, record)
        concerned = [s for s in services if s.kind in record.services]
        self.daemons.take_up(concerned)
        hurt = self._settle(before, services)
        if hurt:
            self.daemons.restart(concerned)
            hurt = self._settle(before, services)
        if not undone.failed:
            self._journal.close(record)
        if isinstance(cause, KeyboardInterrupt):
            raise KeyboardInterrupt(_state(undone, hurt)) from cause
        raise TakenBack(
            f"{'Taken back in part' if undone.failed else 'Taken back'}: {record.purpose}",
            reason=why,
            state=_state(undone, hurt),
            next_command=_next(undone, hurt, cause),
        ) from cause

    def _settle(self, before: Verdict, services: tuple[Service, ...]) -> tuple[Finding, ...]:
        """What is still worse than before when a few seconds have passed; empty as soon as nothing is."""
        end = self._system.clock.monotonic() + SETTLE
        while True:
            worse = self._prover.worse(before, self._prover.look([s.facts for s in services]))
            if not worse or self._system.clock.monotonic() >= end:
                return worse
            self._system.clock.sleep(0.5)


def _told(cause: BaseException) -> str:
    return "interrupted" if isinstance(cause, KeyboardInterrupt) else str(cause) or type(cause).__name__


def _sentence(worse: tuple[Finding, ...]) -> str:
    if not worse:
        return ""
    first = worse[0]
    more = f" (and {len(worse) - 1} more)" if len(worse) > 1 else ""
    return f"{first.subject}: {first.seen}{more}"


def _state(undone: Undone, hurt: tuple[Finding, ...]) -> str:
    told = [_failed(undone)] if undone.failed else []
    if undone.left or not undone.failed:
        told.append(_left(undone) if undone.left else "Every file is as it was before.")
    told.append(
        f"Still worse than before: {_sentence(hurt)}."
        if hurt
        else "Every endpoint serves as well as it did before."
    )
    return " ".join(told)


def _failed(undone: Undone) -> str:
    paths = "; ".join(f"{path} ({why})" for path, why in undone.failed)
    return f"Could not be restored yet: {paths}. The next run restores it first."


def _next(undone: Undone, hurt: tuple[Finding, ...], cause: BaseException | None) -> str:
    if undone.failed:
        return "mend that, then mailseal apply"
    if hurt or undone.left:
        return "mailseal check"
    mend = cause.next_command if isinstance(cause, MailsealError) else ""
    return (
        f"{mend}; then type the same command again" if mend else "mend that, then type the same command again"
    )


def _left(undone: Undone) -> str:
    return f"Somebody changed these meanwhile, so they were left alone: {', '.join(undone.left)}."

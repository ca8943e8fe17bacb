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
   the change back. Undoing restores files that still hold what we wrote,
   reloads, and restarts where a reload does not heal.

After a step failed, the error says what failed, and in what state the machine
is. What could not be restored is named.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NoReturn, Protocol

from mailseal.effects import Undone, perform, require_unchanged, undo
from mailseal.errors import ApplyFailed, MailsealError
from mailseal.journal import Journal, Record
from mailseal.judge.verdict import Verdict
from mailseal.model import Command, Finding
from mailseal.services.base import Facts, ServiceAdapter
from mailseal.steps import Deploy
from mailseal.system import System

Say = Callable[[str], None]
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
class Service:
    """One daemon as the transaction meets it."""

    adapter: ServiceAdapter
    facts: Facts


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
    `KeyMaterialError` if it must not go live. `may_return` tells why a
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
        may_return: Callable[[Deploy], str],
        say: Say,
    ) -> None:
        self._system = system
        self._journal = journal
        self._prover = prover
        self._rehearser = rehearser
        self._look_again = look_again
        self._vet = vet
        self._may_return = may_return
        self._say = say

    def deploy(self, step: Deploy, services: tuple[Service, ...]) -> Outcome:
        """The whole transaction. Raises `ApplyFailed` when it was taken back or never begun."""
        # A daemon that did not run before is given its files, and otherwise left as it is.
        services = tuple(s for s in services if s.facts.running)
        alive = {s.adapter.kind for s in services}
        concerned = tuple(s for s in services if s.adapter.kind in step.services)
        self.refuse_broken(concerned)
        self._vet(step)
        self._say("asking every endpoint as it is now")
        before = self._prover.look([s.facts for s in services])
        notes = self._rehearser.rehearse(step, concerned)
        for put in step.puts:
            require_unchanged(self._system.files, put)
        record = self._journal.begin(step.purpose, step.puts, step.services, step.generations)
        try:
            after = self._switch(step, concerned)
            self._say("proving every endpoint")
            verdict = self._prover.prove([s.facts for s in after], before=before)
            worse = self._prover.worse(before, verdict)
        except (Exception, KeyboardInterrupt) as cause:
            self._take_back(record, before, services, _told(cause), cause)
            raise
        if worse:
            verdict = self._not_worse(step, record, before, services, worse)
        self._journal.commit(record)
        return Outcome(verdict, notes, record)

    def restore(self, record: Record, services: tuple[Service, ...], why: str) -> Undone:
        """Puts back what stood before a record's changes and reloads; the journal is the caller's to settle."""
        self._say(f"taking back: {record.purpose} ({why})")
        undone = undo(self._system.files, self._journal, record)
        for service in services:
            if service.adapter.kind in record.services and service.facts.running:
                self._reload_or_restart(service)
        return undone

    def take_up(self, services: Sequence[Service]) -> None:
        """Has the daemons that run take up changed files: a reload, a restart where that fails."""
        for service in services:
            if service.facts.running:
                self._reload_or_restart(service)

    def check(self, services: Sequence[Service]) -> None:
        """Runs the daemons' own checkers. Raises `ApplyFailed` that quotes the first that complains."""
        for service in services:
            for command in service.adapter.checks(service.facts):
                problem = self._complaint(command)
                if problem:
                    raise ApplyFailed(
                        f"{service.adapter.title} refuses its configuration",
                        reason=problem,
                        next_command=str(command),
                    )

    def refuse_broken(self, services: Sequence[Service]) -> None:
        """Raises `ApplyFailed` where a daemon refuses what stands already; nothing of ours is to blame then."""
        self._say("checking the configuration as it stands")
        try:
            self.check(services)
        except ApplyFailed as error:
            raise ApplyFailed(
                f"{error.message} as it stands, before any change of ours",
                reason=error.reason,
                state="Nothing was changed and nothing was reloaded.",
                next_command=f"mend it until this ends well: {error.next_command}; then run mailseal apply",
            ) from error

    def _complaint(self, command: Command) -> str:
        """What a command says against us; empty where it ended well."""
        done = self._system.processes.run(command.argv, timeout=command.timeout, env=dict(command.env))
        return "" if done.ok else (done.said or f"{command} ended with status {done.status}")

    def _switch(self, step: Deploy, concerned: tuple[Service, ...]) -> tuple[Service, ...]:
        self._say("switching")
        for put in step.puts:
            perform(self._system.files, put)
        self.check(concerned)
        for service in concerned:
            self._say(f"reloading {service.adapter.title}")
            self._reload(service)
        return self._look_again()

    def _reload(self, service: Service) -> None:
        for command in service.adapter.reload(service.facts):
            problem = self._complaint(command)
            if problem:
                raise ApplyFailed(
                    f"{service.adapter.title} did not take up its new configuration",
                    reason=f"{command}: {problem}",
                )

    def _reload_or_restart(self, service: Service) -> None:
        try:
            self._reload(service)
        except MailsealError:
            self._restart(service)

    def _restart(self, service: Service) -> None:
        self._say(f"restarting {service.adapter.title}")
        for command in service.adapter.restart(service.facts):
            try:
                self._complaint(command)
            except MailsealError as error:
                self._say(str(error))

    def _not_worse(
        self,
        step: Deploy,
        record: Record,
        before: Verdict,
        services: tuple[Service, ...],
        worse: tuple[Finding, ...],
    ) -> Verdict:
        """Takes the change back and raises; or, where there is nothing good to go back to, restarts and goes on."""
        keep = self._may_return(step)
        if not keep:
            self._take_back(record, before, services, _sentence(worse), None)
        self._say(f"not taken back: {keep}")
        for service in services:
            if service.adapter.kind in record.services:
                self._restart(service)
        return self._prover.prove([s.facts for s in self._look_again()])

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
        concerned = [s for s in services if s.adapter.kind in record.services]
        for service in concerned:
            self._reload_or_restart(service)
        hurt = self._settle(before, services)
        if hurt:
            for service in concerned:
                self._restart(service)
            hurt = self._settle(before, services)
        self._journal.close(record)
        if isinstance(cause, KeyboardInterrupt):
            raise cause
        raise ApplyFailed(
            f"Taken back: {record.purpose}",
            reason=why,
            state=_state(undone, hurt),
            next_command="mailseal check"
            if hurt or undone.left
            else "mend what is told above, then mailseal apply",
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
    return "interrupted" if isinstance(cause, KeyboardInterrupt) else str(cause)


def _sentence(worse: tuple[Finding, ...]) -> str:
    first = worse[0]
    more = f" (and {len(worse) - 1} more)" if len(worse) > 1 else ""
    return f"{first.subject}: {first.seen}{more}"


def _state(undone: Undone, hurt: tuple[Finding, ...]) -> str:
    told = ["Every file is as it was before." if not undone.left else _left(undone)]
    told.append(
        f"Still worse than before: {_sentence(hurt)}."
        if hurt
        else "Every endpoint serves as well as it did before."
    )
    return " ".join(told)


def _left(undone: Undone) -> str:
    return f"Somebody changed these meanwhile, so they were left alone: {', '.join(undone.left)}."

"""What the end of a deployment means for the next run: a generation proven, rejected, or to be tried again later.

A generation whose own files are at fault (`KeyMaterialError`) is never tried
again; another takes its place. One that was taken back since a daemon did not
take it is tried again after a growing pause, since the daemon may be mended.
A change that brings no generation (a service that appeared, an edit undone)
has a pause of its own, so that no run after run disturbs the daemons for
nothing. What was broken before we came (`BrokenBefore`) is held against
nothing: it costs only a look, and is tried at every run.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import msgspec

from mailseal.errors import ApplyFailed, BrokenBefore, KeyMaterialError, MailsealError, NotYetValid
from mailseal.renewal import retry_after
from mailseal.steps import Deploy
from mailseal.stores.state import Failure, LineageState, Pin, Rejection, StateStore
from mailseal.system import System


class Memory:
    """The memory of the lineages on one machine; `default` is the one whose deployment configures the services.

    `lifetimes` tells how long (seconds) the live certificate of a lineage lives, to which pauses scale.
    """

    def __init__(
        self,
        system: System,
        states: StateStore,
        default: str,
        lifetimes: Callable[[str], float | None] = lambda name: None,
    ) -> None:
        self._lifetimes = lifetimes
        self._system = system
        self._states = states
        self._default = default

    def failed(self, step: Deploy, error: MailsealError) -> None:
        """A deployment was refused or taken back."""
        if isinstance(error, BrokenBefore) or not isinstance(error, ApplyFailed | KeyMaterialError):
            return
        if not step.generations and self._default:
            self._states.save(self._default, self._held_up(self._default, error))
        for name, number in step.generations:
            self._states.save(name, self._rejected(name, number, error))

    def damaged(self, name: str, number: int, reason: str) -> None:
        """The files of a generation are no longer what was issued; another takes its place at once."""
        state, now = self._states.load(name), self._system.clock.now()
        known = state.rejection(number)
        if known is None or not known.unusable:
            others = [r for r in state.rejected if r.number != number]
            rejection = Rejection(number, now, reason, 1, now, unusable=True)
            self._states.save(name, msgspec.structs.replace(state, rejected=[*others, rejection]))

    def pinned(self, name: str, pin: Pin | None) -> None:
        """A person chose an earlier generation; or, with None, that choice is over."""
        self._states.save(name, msgspec.structs.replace(self._states.load(name), pin=pin))

    def deployed(self, step: Deploy, *, proven: bool) -> None:
        """A deployment stands; `proven`: every endpoint serves what it should."""
        for name, number in step.generations:
            self._states.save(name, _accepted(self._states.load(name), number))
            if proven:
                self.proven(name, number)
        if self._default and step.services:
            state = self._states.load(self._default)
            self._states.save(self._default, msgspec.structs.replace(state, deployment=None))

    def proven(self, name: str, number: int) -> None:
        """Every endpoint was seen to serve this generation; the first time is kept."""
        now = self._system.clock.now().replace(microsecond=0)
        state = self._states.load(name)
        self._states.save(name, msgspec.structs.replace(state, proven={number: now, **state.proven}))

    def _rejected(self, name: str, number: int, error: MailsealError) -> LineageState:
        state, now = self._states.load(name), self._system.clock.now()
        unusable = isinstance(error, KeyMaterialError) and not isinstance(error, NotYetValid)
        known = state.rejection(number)
        attempts = known.attempts if known else 0
        if unusable:  # each is another generation; what counts is how many in a row
            attempts = max((r.attempts for r in state.rejected if r.unusable), default=0)
        # The first that is no use has another take its place at once; a row of them is somebody's doing.
        pause = timedelta() if unusable and not attempts else self._pause(name, attempts + 1)
        again = now + pause
        rejection = Rejection(number, now, error.reason or error.message, attempts + 1, again, unusable)
        others = [r for r in state.rejected if r.number != number]
        return msgspec.structs.replace(state, rejected=[*others, rejection])

    def _held_up(self, name: str, error: MailsealError) -> LineageState:
        state, now = self._states.load(name), self._system.clock.now()
        attempts = state.deployment.attempts + 1 if state.deployment else 1
        again = now + self._pause(name, attempts)
        failure = Failure(attempts, now, error.reason or error.message, again)
        return msgspec.structs.replace(state, deployment=failure)

    def _pause(self, name: str, attempts: int) -> timedelta:
        seconds = self._lifetimes(name)
        life = timedelta(seconds=seconds) if seconds is not None else None
        return retry_after(attempts, self._system.random.uniform(0.0, 1.0), life)


def _accepted(state: LineageState, number: int) -> LineageState:
    """What was held against it, and against the damaged ones before it, is over."""
    rejected = [r for r in state.rejected if r.number > number]
    pin = state.pin if state.pin and number <= state.pin.beyond else None
    return msgspec.structs.replace(state, rejected=rejected, pin=pin)

"""The end of a run, when the rest stands and was asked for: what is to be revoked, and what may be removed.

Both look at what the proof saw. A certificate that an endpoint still serves is
neither revoked nor removed, and nothing is removed after a run in which
something failed, or that proved nothing: then there may be a way back to take.
"""

from __future__ import annotations

from collections.abc import Sequence

from mailseal.config.schema import Config
from mailseal.daemons import Say
from mailseal.desired import Desired
from mailseal.diary import Diary
from mailseal.errors import MailsealError
from mailseal.journal import Journal
from mailseal.judge.verdict import Verdict
from mailseal.observe import Lineage, instances
from mailseal.pruning import Pruning
from mailseal.revoking import Revoking, Settled, revoked_but_live
from mailseal.stores.filesystem import LineageStore
from mailseal.stores.state import StateStore
from mailseal.system import System
from mailseal.tally import Tally


class Closing:
    """Ends the runs of one machine. Run it with the lock held."""

    def __init__(
        self,
        system: System,
        config: Config,
        wanted: Desired,
        store: LineageStore,
        states: StateStore,
        diary: Diary,
        say: Say,
    ) -> None:
        self._system = system
        self._wanted = wanted
        self._say = say
        self._journal = Journal(system, config.state.directory)
        self.revoking = Revoking(system, config, store, states, diary, say)
        keep = config.state.keep_generations
        self._pruning = Pruning(system, store, states, self._journal, diary, keep)

    def begin(self) -> None:
        """What an interrupted `mailseal revoke` had made durable in part, whole."""
        self.revoking.resume()

    def settle(self, tally: Tally) -> None:
        """Revokes what is to be revoked and serves no more."""
        try:
            settled = self.revoking.settle(_leaves(tally.verdict))
        except MailsealError as error:
            settled = Settled(errors=[error])
        tally.done.extend(settled.done)
        tally.findings.extend(settled.findings)
        tally.errors.extend(settled.errors)

    def end(self, lineages: Sequence[Lineage], tally: Tally) -> None:
        """Removes old generations, and says which; what cannot be removed stays for another run."""
        tally.findings.extend(revoked_but_live(lineages))
        if tally.errors or tally.verdict is None or not tally.verdict.proven:
            return
        everywhere = (*self._wanted.services, *self._wanted.switched_off)
        try:
            tally.done.extend(
                self._pruning.carry_out(
                    lineages,
                    _leaves(tally.verdict),
                    lambda: [facts for _, facts in instances(self._system, everywhere)],
                )
            )
        except MailsealError as error:
            self._say(f"old generations stay: {error}")


def _leaves(verdict: Verdict | None) -> frozenset[str]:
    return frozenset(one.fingerprint for one in verdict.judged if one.fingerprint) if verdict else frozenset()

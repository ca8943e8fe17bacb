"""After a crash: an open transaction is finished if the machine already serves it, else undone.

A kill, a power loss or a reboot may have come at any point between the
journal's first byte and its last. What then stands is a mixture of old and new
paths, each whole. The new state is completed only if every path holds what was
to be written and every endpoint proves it (a reboot started the daemons on
it); otherwise the old one is put back where it still can be, the services
reload, and restart where that does not heal.
"""

from __future__ import annotations

from mailseal.apply import SETTLE, Prover, Transactions
from mailseal.daemons import Say, Service
from mailseal.effects import sweep
from mailseal.errors import ApplyFailed
from mailseal.journal import Journal, Record, image_matches
from mailseal.model import Finding, Severity
from mailseal.system import System

STARTING = 5.0  # seconds that a proof waits for who is silent: a reboot may have started the daemons just now
GOING = 1.0  # seconds that it waits where all answer: who serves the old one was not told of the new one


class Recovery:
    """Finishes or undoes what an earlier run left open. Run it with the lock held."""

    def __init__(
        self, system: System, journal: Journal, transactions: Transactions, prover: Prover, say: Say
    ) -> None:
        self._system = system
        self._journal = journal
        self._transactions = transactions
        self._prover = prover
        self._say = say

    def recover(self, record: Record, services: tuple[Service, ...]) -> Finding:
        """Says what was done about the record, as a finding.

        Raises `ApplyFailed` where a file could not be restored; the record stays open then.
        """
        self._say(f"an earlier run was interrupted: {record.purpose} ({record.started})")
        for entry in record.entries:
            sweep(self._system.files, entry.path)
        if self._complete(record) and self._proven(record, services):
            self._journal.commit(record)
            return self._told(record, "it was complete and every endpoint proves it: kept")
        undone = self._transactions.restore(record, services, "it was interrupted")
        self._heal([service for service in services if service.kind in record.services])
        if undone.failed:
            paths = "; ".join(f"{path} ({why})" for path, why in undone.failed)
            raise ApplyFailed(
                f"What an interrupted run left could not be restored: {paths}",
                reason=f"the run of {record.started} was to {record.purpose}",
                state="Nothing else was changed.",
                next_command="mend that, then type the same command again",
            )
        self._journal.close(record)
        left = f"; changed by somebody since, left alone: {', '.join(undone.left)}" if undone.left else ""
        return self._told(record, f"taken back{left}")

    def _complete(self, record: Record) -> bool:
        return all(
            image_matches(entry.after, self._system.files.state(entry.path)) for entry in record.entries
        )

    def _proven(self, record: Record, services: tuple[Service, ...]) -> bool:
        """Whether every endpoint serves what it should: by what is on disk now, not by what a daemon read before."""
        asked = [s.facts for s in services if s.facts.running or s.kind in record.services]
        silent = any(one.level == 0 for one in self._prover.look(asked).judged)
        return self._prover.prove(asked, patience=STARTING if silent else GOING).proven

    def _heal(self, services: list[Service]) -> None:
        """Restarts what still turns clients away some seconds after a reload that seemed to go well."""
        end = self._system.clock.monotonic() + SETTLE
        facts = [service.facts for service in services]
        while any(one.level == 0 for one in self._prover.look(facts).judged):
            if self._system.clock.monotonic() >= end:
                self._transactions.daemons.restart(services)
                return
            self._system.clock.sleep(0.5)

    def _told(self, record: Record, what: str) -> Finding:
        return Finding(
            "interrupted-run",
            Severity.INFO,
            record.purpose,
            seen=f"a run of {record.started} was interrupted; {what}",
            why="The journal makes every change resumable or reversible.",
        )

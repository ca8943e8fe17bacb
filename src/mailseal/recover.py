"""After a crash: an open transaction is finished if the machine already serves it, else undone.

A kill, a power loss or a reboot may have come at any point between the
journal's first byte and its last. What then stands is a mixture of old and new
paths, each whole. The new state is completed only if every path holds what was
to be written and every endpoint proves it (a reboot started the daemons on
it); otherwise the old one is put back where it still can be, the services
reload, and restart where that does not heal.
"""

from __future__ import annotations

from mailseal.apply import Prover, Say, Service, Transactions
from mailseal.effects import sweep
from mailseal.journal import Journal, Record, image_matches
from mailseal.model import Finding, Severity
from mailseal.system import System


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
        """Says what was done about the record, as a finding."""
        self._say(f"an earlier run was interrupted: {record.purpose} ({record.started})")
        for entry in record.entries:
            sweep(self._system.files, entry.path)
        if self._complete(record) and self._proven(services):
            self._journal.commit(record)
            return self._told(record, "it was complete and every endpoint proves it: kept")
        undone = self._transactions.restore(record, services, "it was interrupted")
        self._journal.close(record)
        left = f"; changed by somebody since, left alone: {', '.join(undone.left)}" if undone.left else ""
        return self._told(record, f"taken back{left}")

    def _complete(self, record: Record) -> bool:
        return all(
            image_matches(entry.after, self._system.files.state(entry.path)) for entry in record.entries
        )

    def _proven(self, services: tuple[Service, ...]) -> bool:
        verdict = self._prover.look([service.facts for service in services])
        return not any(finding.severity >= Severity.ERROR for finding in verdict.findings)

    def _told(self, record: Record, what: str) -> Finding:
        return Finding(
            "interrupted-run",
            Severity.INFO,
            record.purpose,
            seen=f"a run of {record.started} was interrupted; {what}",
            why="The journal makes every change resumable or reversible.",
        )

"""The diary of one run: what it did, written down when it did it.

Whoever changes something tells the diary at once, so that the history
(`mailseal.history`) knows of it even when the run is killed later. What cannot
be written (a full disk) stops nothing: it becomes a finding of the run.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from mailseal.config.schema import Config
from mailseal.errors import MailsealError, TakenBack
from mailseal.history import Deed, Event, History, of
from mailseal.issuing import Issued
from mailseal.model import Finding, Generation, Severity
from mailseal.steps import Deploy
from mailseal.stores.filesystem import LineageStore
from mailseal.system import System


class Diary:
    """What one run of `command` did. `run` names it among all runs, `began` is when it began (UTC)."""

    def __init__(self, system: System, config: Config, command: str) -> None:
        self._system = system
        self._store = LineageStore(system, config.state.directory)
        self._history = History(system, config.state.directory)
        self._issuer = config.acme.directory_url
        self._fault: MailsealError | None = None
        self.events: tuple[Event, ...] = ()
        self.command = command
        self.began = system.clock.now()
        self.run = f"{self.began:%Y%m%dT%H%M%SZ}-{system.random.token(4)}"

    @property
    def now(self) -> datetime:
        return self._system.clock.now()

    @property
    def findings(self) -> tuple[Finding, ...]:
        """What kept the history from being written."""
        return (_unwritten(self._history.path, self._fault),) if self._fault else ()

    def note(self, *events: Event) -> None:
        """Remembers what was done, and appends it to the history."""
        self.events += events
        try:
            self._history.add(self.run, self.command, events)
        except MailsealError as fault:
            self._fault = self._fault or fault

    def ordered(self, issued: Sequence[Issued]) -> None:
        """Orders that were carried out, or failed."""
        now, events = self.now, []
        for one in issued:
            if one.generation is not None:
                events.append(of(Deed.ORDERED, now, one.generation, one.step.why))
            elif one.error is not None:
                name = one.step.spec.name
                events.append(Event(Deed.FAILED, now, name, issuer=self._issuer, detail=str(one.error)))
        self.note(*events)

    def deployed(self, step: Deploy) -> None:
        """A change that stands."""
        self._step(Deed.DEPLOYED, step, step.describe())

    def failed(self, step: Deploy, error: MailsealError) -> None:
        """A change that was taken back, or never begun."""
        self._step(Deed.TAKEN_BACK if isinstance(error, TakenBack) else Deed.FAILED, step, str(error))

    def proven(self, generation: Generation) -> None:
        """Every endpoint was seen to serve it, for the first time."""
        self.note(of(Deed.PROVEN, self.now, generation))

    def recovered(self, finding: Finding) -> None:
        """What an interrupted run had left open was ended."""
        self.note(Event(Deed.RECOVERED, self.now, detail=f"{finding.subject}: {finding.seen}"))

    def _step(self, deed: Deed, step: Deploy, detail: str) -> None:
        now = self.now
        found = [(name, self._store.find(name, f"{number:04d}"), number) for name, number in step.generations]
        events = [
            of(deed, now, one, detail) if one else Event(deed, now, name, number, detail=detail)
            for name, one, number in found
        ]
        self.note(*(events or [Event(deed, now, detail=detail)]))


def _unwritten(path: str, fault: MailsealError) -> Finding:
    return Finding(
        "history-not-written",
        Severity.WARNING,
        path,
        seen=str(fault),
        expected="a line for each thing that was done",
        why="The work itself was done all the same; nobody can read later that it was.",
        mend="make room on the disk, and see that root may write there",
    )

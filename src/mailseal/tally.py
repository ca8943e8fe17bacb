"""What a run has done and met so far, until it is told as a `Report`."""

from __future__ import annotations

from dataclasses import dataclass, field

from mailseal.errors import MailsealError
from mailseal.issuing import Issued, unmended
from mailseal.journal import Record
from mailseal.judge.verdict import Verdict
from mailseal.model import Finding
from mailseal.observe import ServiceView


@dataclass(slots=True)
class Tally:
    """One run's account. `only` names the one lineage that it is about, if it is about one.

    `refused`: a generation that was issued turned out to be no use, and another takes its place in this very run.
    """

    done: list[str] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)
    errors: list[MailsealError] = field(default_factory=list)
    waits: list[str] = field(default_factory=list)
    issued: list[Issued] = field(default_factory=list)
    challenge_records: list[Record] = field(default_factory=list)
    services: tuple[ServiceView, ...] = ()
    verdict: Verdict | None = None
    only: str = ""
    refused: bool = False

    @property
    def failed(self) -> frozenset[tuple[str, str]]:
        """The specs whose order failed, each with the CA."""
        return frozenset((one.step.spec.name, one.step.issuer) for one in self.issued if one.error)

    def ordered(self, issued: tuple[Issued, ...]) -> None:
        """Orders were carried out. What another CA made good is no error of the run any more."""
        self.issued.extend(issued)
        known = {id(one.error) for one in self.issued}
        self.errors = [e for e in self.errors if id(e) not in known] + list(unmended(self.issued))
        self.done.extend(one.step.describe() for one in issued if one.generation is not None)

"""Runs as notification is given them: one certificate or more of a given life, with what went wrong."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from mailseal.config import Config, load
from mailseal.errors import MailsealError, NetworkFault
from mailseal.issuing import Issued
from mailseal.judge.verdict import Verdict
from mailseal.model import (
    CertificateFacts,
    CertificateSpec,
    Finding,
    Generation,
    Identifier,
    KeyType,
)
from mailseal.notify import heartbeat, telling
from mailseal.observe import Lineage
from mailseal.report import Report
from mailseal.runs import Run
from mailseal.steps import Issue
from mailseal.stores.state import LineageState
from mailseal.system.http import HttpResponse
from tests.support.memory import MemorySystem

DAY = timedelta(days=1)
HOUR = timedelta(hours=1)
START = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
CA = "https://ca.example.org/directory"
ROOT = "/var/lib/mailseal"
BOOK = f"{ROOT}/notify.json"
CONFIG = """
[acme]
contact = ["postmaster@example.org"]
agree_to_terms = true
[[certificate]]
name = "mail"
identifiers = ["mail.example.org"]
"""
SENDMAIL = "/usr/sbin/sendmail"


def config(more: str = "") -> Config:
    """A configuration that tells whom `more` names."""
    return load(CONFIG + more)


def generation(
    number: int, issued: datetime, *, name: str = "mail", life: timedelta = 90 * DAY
) -> Generation:
    """One that was issued then and lives so long."""
    facts = CertificateFacts(
        f"{name}{number}",
        "",
        (Identifier.parse(f"{name}.example.org"),),
        "CA",
        number,
        issued,
        issued + life,
        "ecdsa",
    )
    return Generation(name, number, ((KeyType.ECDSA_P256, facts),), issued, CA)


def lineage(
    *generations: Generation, current: int | None = None, state: LineageState | None = None
) -> Lineage:
    """The last one is live, unless told."""
    number = current if current is not None else generations[-1].number
    return Lineage(
        generations[0].lineage, generations, number, state or LineageState(), target=generations[-1]
    )


def failed(error: MailsealError, name: str = "mail") -> Issued:
    """An order that failed."""
    spec = CertificateSpec(name, frozenset({Identifier.parse(f"{name}.example.org")}))
    return Issued(Issue(spec, "renewal is due"), error=error)


def report(
    *lineages: Lineage,
    issued: Sequence[Issued] = (),
    errors: Sequence[MailsealError] = (),
    findings: Sequence[Finding] = (),
    waits: Sequence[str] = (),
) -> Report:
    """What a run that looked at everything ends with."""
    whole = (*errors, *(one.error for one in issued if one.error is not None))
    return Report(
        findings=tuple(findings),
        errors=whole,
        waits=tuple(waits),
        issued=tuple(issued),
        lineages=lineages,
        verdict=Verdict(()),
    )


@dataclass
class Scene:
    """A machine in memory whose runs are told as the configuration says, and what arrived."""

    settings: Config = field(default_factory=config)
    system: MemorySystem = field(default_factory=MemorySystem)

    def __post_init__(self) -> None:
        self.system.machine.put_directory(ROOT, mode=0o711)

    @property
    def now(self) -> datetime:
        return self.system.machine.now

    def sendmail(self, status: int = 0, stderr: str = "") -> None:
        """The machine has a sendmail."""
        self.system.machine.put(SENDMAIL, b"", mode=0o755)
        self.system.machine.programs.says(SENDMAIL, "-t", "-i", status=status, stderr=stderr)

    def run(self, ended: Report, command: str = "renew") -> tuple[Finding, ...]:
        """One run is told; findings of the teller."""
        one = Run("1", command, self.now, self.now, ended)
        return telling.tell(self.system, self.settings, one)

    def beat(self, ended: Report, command: str = "renew") -> tuple[Finding, ...]:
        return heartbeat.tell(self.system, self.settings, Run("1", command, self.now, self.now, ended))

    def later(self, span: timedelta) -> None:
        self.system.machine.advance(span.total_seconds())

    @property
    def mails(self) -> list[str]:
        """What sendmail was given, each whole."""
        return [ran.stdin.decode() for ran in self.system.machine.programs.ran if ran.argv[0] == SENDMAIL]

    @property
    def subjects(self) -> list[str]:
        return [header(mail, "Subject") for mail in self.mails]


@dataclass
class Web:
    """What answers every request, and what it was asked."""

    status: int = 204
    asked: list[tuple[str, str, Mapping[str, str], bytes]] = field(default_factory=list)
    fault: NetworkFault | None = None

    async def request(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        body: bytes | None = None,
        timeout: float = 30.0,
        limit: int = 0,
    ) -> HttpResponse:
        self.asked.append((method, url, dict(headers or {}), body or b""))
        if self.fault is not None:
            raise self.fault
        return HttpResponse(self.status, {}, b"")

    async def close(self) -> None:
        return


def header(mail: str, name: str) -> str:
    """One header field of a mail, unfolded."""
    from email import message_from_string
    from email.policy import default

    return str(message_from_string(mail, policy=default)[name])

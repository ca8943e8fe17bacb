"""What a run ends with: what was done, found, proven, what failed, what waits; and its exit status."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from mailseal.desired import Desired
from mailseal.errors import ExitCode, MailsealError
from mailseal.history import Event
from mailseal.issuing import Issued
from mailseal.judge.verdict import Verdict
from mailseal.model import Finding, Severity
from mailseal.observe import Lineage, ServiceView, instances
from mailseal.services.base import ServiceAdapter
from mailseal.stores.filesystem import LineageStore
from mailseal.system import System


@dataclass(frozen=True, slots=True)
class Report:
    """What a run did and found. `exit_code` says it in one number (`mailseal.errors.ExitCode`).

    `done` tells it to a person, `events` to the history and to whoever is told of the run (`mailseal.runs`).
    `lineages` are those that it looked at; of many it may have `passed_over` some that are as they were, by name.
    """

    done: tuple[str, ...] = ()
    findings: tuple[Finding, ...] = ()
    errors: tuple[MailsealError, ...] = ()
    waits: tuple[str, ...] = ()
    issued: tuple[Issued, ...] = ()
    lineages: tuple[Lineage, ...] = ()
    verdict: Verdict | None = None
    events: tuple[Event, ...] = ()
    passed_over: tuple[str, ...] = ()

    @property
    def exit_code(self) -> ExitCode:
        if self.errors:  # what only waits says less than what failed
            codes = {error.exit_code for error in self.errors}
            return max(codes - {ExitCode.WAITING}, default=ExitCode.WAITING)
        if any(finding.severity >= Severity.WARNING for finding in self.findings):
            return ExitCode.FINDINGS
        return ExitCode.WAITING if self.waits else ExitCode.OK


def of_services(
    system: System, wanted: Desired, store: LineageStore, views: tuple[ServiceView, ...]
) -> Iterator[Finding]:
    """What the services' configurations and states have to tell."""
    for view in views:
        yield from (*view.findings, *view.adapter.audit(view.facts))
    for view in views:
        if not view.facts.running:
            yield _not_running(view)
    for adapter, facts in instances(system, wanted.switched_off):
        for one in facts.configured:
            if one.cert_file.startswith(f"{store.root}/") and not one.shadowed:
                yield _switched_off(adapter, one.place)
                break


def detached() -> Finding:
    """Why a run for the timer did nothing."""
    return Finding(
        "detached",
        Severity.INFO,
        "mailseal",
        seen="the machine was handed back by mailseal detach, so nothing is renewed and nothing is changed",
        expected="a machine that mailseal keeps, or no timer that asks it to",
        why="A timer must not take back what a person decided.",
        mend="mailseal apply (takes the machine up again)",
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


def _switched_off(adapter: ServiceAdapter, place: str) -> Finding:
    return Finding(
        "service-switched-off",
        Severity.WARNING,
        adapter.title,
        seen=f"it is switched off in the configuration, and {place} names files of mailseal",
        expected="a service that mailseal keeps, or one that serves files of its own",
        why="Nobody has it take up a renewed certificate, so it serves the old one until that expires.",
        mend=f"set [services.{adapter.kind}] enabled = true, or take mailseal's files out of {place}",
    )

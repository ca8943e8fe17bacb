"""`mailseal apply` and `mailseal renew`: do what the plan says, prove it, end 0 only when proven."""

from __future__ import annotations

import gc
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

import click

from mailseal.cli.findings import as_json, show
from mailseal.cli.options import App, Decorated, common
from mailseal.errors import ConfigError

if TYPE_CHECKING:
    from mailseal.cli.output import Output
    from mailseal.judge.verdict import Verdict
    from mailseal.report import Report


def _wait(seconds: float) -> Callable[[Decorated], Decorated]:
    """The option of how long to wait for another mailseal; whoever types a command is told at once who it is."""
    return click.option(
        "--wait",
        metavar="SECONDS",
        type=click.FloatRange(min=0, max=3600),
        default=seconds,
        show_default=True,
        help="Wait that long for another mailseal that is at work; then end with 4.",
    )


@click.command(
    "apply",
    epilog="Ends with 0 only when every endpoint serves what it should; 3 where something failed and was taken back.",
)
@_wait(0.0)
@common
@click.pass_obj
def apply(app: App, wait: float) -> int:
    """Do what the plan says: order, deploy, reload, prove, or take back.

    A backoff of an earlier failure does not hold it up, a rate limit of the CA does.
    """
    return run(app, "apply", insist=True, wait=wait)


@click.command("renew")
@_wait(60.0)
@common
@click.pass_obj
def renew(app: App, wait: float) -> int:
    """Apply what is due: for cron or a timer, every few hours."""
    return run(app, "renew", insist=False, wait=wait)


def run(app: App, command: str, *, insist: bool, wait: float = 0.0) -> int:
    """One run of the reconciler, told to a person or as JSON; `wait`: seconds for another mailseal to end."""
    from mailseal.diary import Diary
    from mailseal.engine import reconciler
    from mailseal.index import overview
    from mailseal.runs import carry_out
    from mailseal.settled import remember

    try:
        seen = overview(app.system, app.config_path, whole=insist)
    except ConfigError as error:
        if command == "renew":
            _tell_somebody(app, error)
        raise
    config = seen.config
    diary = Diary(app.system, config, command)

    def work() -> Report:
        working = reconciler(app.system, config, app.out.progress, diary, path=app.config_path)
        gc.freeze()  # what is loaded by now stays, and need not be looked at again with every order
        with working.lock(wait=wait):
            report = working.run_locked(insist=insist)
            remember(app.system, seen, config.acme.issuers, report.lineages, working.vetted)
        return replace(report, passed_over=tuple(row.name for row in seen.rows))

    report = carry_out(app.system, config, command, work, app.out.progress, diary=diary).report
    tell(report, app.out)
    return report.exit_code


def _tell_somebody(app: App, error: ConfigError) -> None:
    """A timer's run that cannot follow the configuration is told of by the last one that could be followed."""
    from mailseal.runs import not_begun
    from mailseal.telling.remembered import load

    config = load(app.system)
    if config is not None:
        told = ConfigError(error.message.rstrip(":"), faults=error.faults, next_command=error.next_command)
        told.reason = "; ".join(error.faults)
        not_begun(app.system, config, "renew", told, app.out.progress)


def _proof(verdict: Verdict) -> str:
    endpoints = {one.question.endpoint for one in verdict.judged}
    asks = sum(one.asks for one in verdict.judged)
    return f"{len(endpoints)} endpoints serve what they should; asked {asks} times"


def tell(report: Report, out: Output) -> None:
    """What a run did and found."""
    for line in report.done:
        out.result(f"done      {line}")
    for line in report.waits:
        out.result(f"waiting   {line}")
    if report.verdict is not None and report.verdict.judged and report.verdict.proven:
        out.result(f"proven    {_proof(report.verdict)}")
    for error in report.errors:
        out.error(error.lines())
    if report.findings or not report.errors:
        show(report.findings, out)
    out.document(
        {
            "done": report.done,
            "waiting": report.waits,
            "errors": [
                {"message": e.message, "reason": e.reason, "state": e.state, "next": e.next_command}
                for e in report.errors
            ],
            "findings": as_json(report.findings),
            "exit_status": int(report.exit_code),
        }
    )

"""`mailseal plan`: what apply would do, in order, with the diff of every file; changes nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from mailseal.cli.options import App, common
from mailseal.cli.output import Ink, Output
from mailseal.errors import ExitCode

if TYPE_CHECKING:
    from mailseal.steps import Deploy, Plan


@click.command("plan")
@common
@click.pass_obj
def plan(app: App) -> int:
    """Show what apply would do: orders, changed files with their diffs, reloads."""
    from mailseal.engine import reconciler

    planned = reconciler(app.system, app.config(), app.out.progress, path=app.config_path).plan()
    show_plan(planned, app.out)
    return ExitCode.WAITING if planned.empty and planned.waits else ExitCode.OK


def show_plan(planned: Plan, out: Output) -> None:
    """A plan for a person, and as JSON."""
    from mailseal.steps import Deploy

    for number, step in enumerate(planned.steps, 1):
        out.result(out.paint(f"{number}. {step.describe()}", Ink.BOLD))
        if isinstance(step, Deploy):
            _show_puts(step, out)
    for line in planned.waits:
        out.result(f"waiting: {line}")
    if planned.empty:
        out.result("Nothing to do.")
    out.document(
        {
            "steps": [
                {
                    "kind": step.kind,
                    "does": step.describe(),
                    "provisional": isinstance(step, Deploy) and step.provisional,
                    "files": [
                        {"does": put.describe(), "diff": put.diff()}
                        for put in (step.puts if isinstance(step, Deploy) else ())
                    ],
                    "reloads": step.services if isinstance(step, Deploy) else (),
                }
                for step in planned.steps
            ],
            "waiting": planned.waits,
        }
    )


def _show_puts(step: Deploy, out: Output) -> None:
    for put in step.puts:
        out.result(f"   {put.describe()}")
        for line in put.diff().splitlines():
            ink = {"+": Ink.GREEN, "-": Ink.RED, "@": Ink.BLUE}.get(line[:1])
            out.result("      " + (out.paint(line, ink) if ink else line))
    if step.services:
        out.result(f"   then reload {', '.join(step.services)} and prove every endpoint")

"""`mailseal rollback`: back to an earlier generation, by the same transaction, proven or taken back."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from mailseal.cli.options import App, common

if TYPE_CHECKING:
    from mailseal.report import Report


@click.command(
    "rollback",
    epilog="Later runs leave it so: the newer generation comes back by mailseal apply, and another is ordered when "
    "the one that serves is due (mailseal status says when).",
)
@click.argument("name", required=False, default="")
@click.argument("generation", required=False, type=click.IntRange(min=1))
@click.option(
    "--even-if-smaller",
    "smaller",
    is_flag=True,
    help="Also one without names or kinds of key that are served now.",
)
@common
@click.pass_obj
def rollback(app: App, name: str, generation: int | None, smaller: bool) -> int:
    """Serve an earlier generation again, prove it, and have it stay.

    NAME is the certificate's (else the first of the configuration),
    GENERATION the number (else the newest earlier one that will do). One that
    is expired or nearly so, revoked or damaged is refused.
    """
    from mailseal.cli.apply import tell
    from mailseal.diary import Diary
    from mailseal.engine import reconciler
    from mailseal.rollback import Wanted
    from mailseal.rollback import rollback as roll_back
    from mailseal.runs import carry_out

    config = app.config()
    diary = Diary(app.system, config, "rollback")

    def work() -> Report:
        working = reconciler(app.system, config, app.out.progress, diary)
        return roll_back(app.system, config, working, Wanted(name, generation, smaller))

    report = carry_out(app.system, config, "rollback", work, app.out.progress, diary=diary).report
    tell(report, app.out)
    return report.exit_code

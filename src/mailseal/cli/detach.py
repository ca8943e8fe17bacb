"""`mailseal detach`: hand the machine back as it was found."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from mailseal.cli.options import App, common
from mailseal.errors import ExitCode, MailsealError, UsageError

if TYPE_CHECKING:
    from mailseal.config import Config


@click.command("detach")
@click.option("--yes", is_flag=True, help="Do not ask.")
@common
@click.pass_obj
def detach(app: App, yes: bool) -> int:
    """Undo every change that mailseal made to the machine's files, and reload what they belong to.

    What was edited by hand since is kept. Certificates, accounts and the
    configuration stay under /var/lib/mailseal and /etc/mailseal.
    """
    from mailseal.cli.findings import as_json, show
    from mailseal.config import Config
    from mailseal.diary import Diary
    from mailseal.engine import leaving, reconciler

    # Without a configuration there may still be changes to take back: those of the default state directory.
    config = leaving(app.config_if_any() or Config())
    diary = Diary(app.system, config, "detach")
    working = reconciler(app.system, config, app.out.progress, diary)
    planned = working.returns()
    for one in planned:
        app.out.result(one.describe())
    if not planned and not working.journal.open_records():
        app.out.result("Nothing on this machine is changed by mailseal.")
        app.out.document({"returned": [], "left": [], "findings": [], "exit_status": int(ExitCode.OK)})
        return ExitCode.OK
    if not planned:
        app.out.result("An interrupted run is taken back.")
    if not yes:
        if not app.out.interactive:
            raise UsageError("Nobody can be asked here", next_command="mailseal detach --yes")
        click.confirm("Hand these back?", abort=True, err=True)
    done = working.detach()
    diary.detached(len(done.returns))
    _forget_metrics(app, config)
    for one in done.returns:
        if one.left:
            app.out.result(
                f"{one.path} is as it was: it may still name files of mailseal, which nobody renews now."
            )
    if done.findings:
        show(done.findings, app.out)
    status = ExitCode.FINDINGS if done.left or done.findings else ExitCode.OK
    app.out.document(
        {
            "returned": [one.describe() for one in done.returns],
            "left": done.left,
            "findings": as_json(done.findings),
            "exit_status": int(status),
        }
    )
    return status


def _forget_metrics(app: App, config: Config) -> None:
    """Numbers that nobody writes any more would warn of what is no longer mailseal's to know."""
    from mailseal.telling.metrics import forget

    try:
        forget(app.system, config)
    except MailsealError as error:
        app.out.progress(f"{config.metrics.textfile} stays: {error}")

"""`mailseal detach`: hand the machine back as it was found."""

from __future__ import annotations

import click

from mailseal.cli.options import App, common
from mailseal.errors import ExitCode, UsageError


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
    from mailseal.engine import leaving, reconciler

    # Without a configuration there may still be changes to take back: those of the default state directory.
    working = reconciler(app.system, leaving(app.config_if_any() or Config()), app.out.progress)
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

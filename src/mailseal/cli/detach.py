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
    from mailseal.engine import reconciler

    working = reconciler(app.system, app.config(), app.out.progress)
    planned = working.returns()
    for one in planned:
        app.out.result(one.describe())
    if not planned:
        app.out.result("Nothing on this machine is changed by mailseal.")
        return ExitCode.OK
    if not yes:
        if not app.out.interactive:
            raise UsageError("Nobody can be asked here", next_command="mailseal detach --yes")
        click.confirm("Hand these back?", abort=True, err=True)
    left = working.detach(planned)
    app.out.document({"returned": [one.describe() for one in planned], "left": left})
    return ExitCode.FINDINGS if left else ExitCode.OK

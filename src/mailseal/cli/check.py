"""`mailseal check`: look, change nothing; with HOST, look from outside."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from mailseal.cli.findings import as_json, exit_code, show
from mailseal.cli.options import App, common
from mailseal.errors import UsageError

if TYPE_CHECKING:
    from mailseal.chains import TrustAnchors
    from mailseal.check import Report


@click.command(
    "check",
    epilog="Ends with 1 where anything is a warning or worse. Without a configuration of mailseal's, what should "
    "hold is inferred from the services' own: the files they are configured with, and the names they go by.",
)
@click.argument("host", required=False)
@click.option(
    "--trust", metavar="FILE", help="Judge by the roots in this PEM file, not by the system's store."
)
@common
@click.pass_obj
def check(app: App, host: str | None, trust: str | None) -> int:
    """Look at every port and every certificate file, and change nothing.

    With HOST, look at that machine from outside: the usual ports at all of its addresses.
    """
    report = _from_outside(app, host, trust) if host else _here(app, trust)
    if report.services:
        app.out.note(f"found: {', '.join(report.services)}; trust judged by {report.anchors}")
    show(report.findings, app.out)
    app.out.document(
        {
            "services": report.services,
            "name": report.name,
            "trust": report.anchors,
            "served": [{"endpoint": endpoint, "seen": seen} for endpoint, seen in report.served],
            "findings": as_json(report.findings),
        }
    )
    return exit_code(report.findings)


def _here(app: App, trust: str | None) -> Report:
    from mailseal.check import check_machine, configured_prover
    from mailseal.desired import desired

    config = app.config_if_any()
    anchors = _anchors(app, trust)
    app.out.progress("asking every endpoint")
    if config is None:
        return check_machine(app.system, anchors=anchors)
    return check_machine(
        app.system,
        settings=desired(config, challenges_by_apache=False).services,
        anchors=anchors,
        prover=configured_prover(app.system, config),
    )


def _from_outside(app: App, host: str, trust: str | None) -> Report:
    from mailseal.check import check_host

    anchors = _anchors(app, trust)
    app.out.progress(f"asking {host} on the ports of mail and web")
    try:
        return check_host(app.system, host, anchors=anchors)
    except ValueError as error:
        raise UsageError(f"{host} is no host to look at", reason=str(error)) from error


def _anchors(app: App, path: str | None) -> TrustAnchors | None:
    if path is None:
        return None
    from mailseal.chains import TrustAnchors

    return TrustAnchors(f"the roots in {path}", app.system.files.read(path))

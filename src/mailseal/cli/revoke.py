"""`mailseal revoke`: replace a certificate, prove it, and revoke the old one at its CA."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import click

from mailseal.cli.options import App, common
from mailseal.errors import UsageError

if TYPE_CHECKING:
    from mailseal.report import Report

REASONS = ("unspecified", "keyCompromise", "affiliationChanged", "superseded", "cessationOfOperation")


@click.command(
    "revoke",
    epilog="keyCompromise: the key is in other hands. It is never used again, and every certificate for it is revoked. "
    "Where no other certificate can be had, nothing is revoked; with --even-if-served it is all the same, and another "
    "is ordered as soon as the CA gives one.",
)
@click.argument("name")
@click.option(
    "--reason",
    type=click.Choice(REASONS, case_sensitive=False),
    default="superseded",
    metavar="REASON",
    help=f"Why, as RFC 5280 spells it: {', '.join(REASONS)} (else superseded).",
)
@click.option("--generation", type=click.IntRange(min=1), help="Which one (else the live one).")
@click.option("--even-if-served", "forced", is_flag=True, help="Also if nothing can take its place.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@common
@click.pass_obj
def revoke(app: App, name: str, reason: str, generation: int | None, forced: bool, yes: bool) -> int:
    """Replace a certificate with a new key, prove it, then revoke the old one.

    NAME is the certificate's. This cannot be undone.
    """
    if not (yes or app.out.interactive):
        raise UsageError("Nobody can be asked here", next_command=f"mailseal revoke {name} --yes")
    from mailseal.cli.apply import tell
    from mailseal.diary import Diary
    from mailseal.engine import reconciler
    from mailseal.revoke import Wanted, chosen
    from mailseal.revoke import revoke as revoke_it
    from mailseal.revoking import REASONS as CODES
    from mailseal.runs import carry_out

    config = app.config()
    diary = Diary(app.system, config, "revoke")
    working = reconciler(app.system, config, app.out.progress, diary)
    wanted = Wanted(name, generation, CODES[reason], forced)
    found = chosen(working, wanted)
    wanted = replace(wanted, number=found[0].number)  # which one that is may change while a person thinks
    if not yes:
        named = " and ".join(f"generation {one.label} of {one.lineage!r}" for one in found)
        click.confirm(f"Revoke {named} ({reason})? It cannot be undone.", abort=True, err=True)

    def work() -> Report:
        return revoke_it(app.system, working, wanted)

    report = carry_out(app.system, config, "revoke", work, app.out.progress, diary=diary).report
    tell(report, app.out)
    return report.exit_code

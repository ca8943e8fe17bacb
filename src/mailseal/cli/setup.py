"""`mailseal setup`: from a machine that mailseal has never seen to one that is proven, in one command."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import click

from mailseal.cli.options import App, common
from mailseal.errors import UNCHANGED, ExitCode, UsageError

if TYPE_CHECKING:
    from mailseal.setting_up import Answers, Found


@click.command("setup")
@click.option(
    "--name", "names", multiple=True, metavar="NAME", help="A name for the certificate; repeat for more."
)
@click.option(
    "--contact",
    "contacts",
    multiple=True,
    metavar="ADDRESS",
    help="Mail address for the CA; repeat for more.",
)
@click.option("--agree-tos", is_flag=True, help="Agree to the CA's terms of service, whose URL is shown.")
@click.option("--yes", is_flag=True, help="Take what is proposed and do not ask.")
@click.option("--directory", metavar="URL", help="The CA's ACME directory (else Let's Encrypt).")
@click.option(
    "--ca-file", metavar="FILE", help="Roots that the CA's own https is trusted by (a CA of your own)."
)
@click.option("--trust", metavar="FILE", help="Roots that its certificates are judged by (a CA of your own).")
@click.option(
    "--key-type",
    "key_types",
    multiple=True,
    metavar="TYPE",
    help="ecdsa-p256 (default), rsa-2048, …; repeat for two.",
)
@click.option(
    "--http01",
    type=click.Choice(["auto", "apache", "webroot", "listener"]),
    help="Who answers the CA on port 80.",
)
@click.option("--webroot", metavar="DIR", help="For --http01 webroot: the site's DocumentRoot.")
@click.option("--listen", metavar="ADDRESS", help="For --http01 listener: where to listen.")
@click.option(
    "--port", type=click.IntRange(1, 65535), help="For --http01 listener: the port that 80 is forwarded to."
)
@click.option("--submission", is_flag=True, help="Open 587 and 465 where they are missing and SASL works.")
@common
@click.pass_obj
def setup(app: App, /, yes: bool, **flags: object) -> int:
    """Find the services, propose names, show the plan, ask, apply and prove."""
    from mailseal.setting_up import SettingUp

    if not yes and not app.out.interactive:
        raise UsageError(
            "Nobody can be asked here",
            next_command="mailseal setup --yes with the flags that differ (see --help)",
        )
    answers = _answers(flags)
    work = SettingUp(app.system, app.config_path, app.out.progress)
    found = work.look()
    draft = work.draft(found, answers if yes else _asked(found, answers))
    for line in draft.told:
        app.out.result(line)
    from mailseal.cli.plan import show_plan

    plan = work.plan(draft)
    if not app.out.json_mode:
        show_plan(plan, app.out)
    if not yes and not click.confirm("Do this?", err=True):
        app.out.progress(UNCHANGED)
        return ExitCode.OK
    from mailseal.cli.apply import tell
    from mailseal.diary import Diary
    from mailseal.runs import carry_out

    diary = Diary(app.system, draft.config, "setup")
    doing = partial(work.carry_out, draft, diary)
    report = carry_out(app.system, draft.config, "setup", doing, app.out.progress, diary=diary).report
    tell(report, app.out)
    if report.exit_code in (ExitCode.OK, ExitCode.FINDINGS):
        app.out.result()
        for line in work.farewell(draft, report):
            app.out.result(line)
    return report.exit_code


def _asked(found: Found, answers: Answers) -> Answers:
    """The questions that no flag answered; a bare return takes what is proposed."""
    from dataclasses import replace

    if not answers.names:
        proposed = " ".join(identifier.unicode for identifier in found.proposal.names)
        said = click.prompt(
            "Names for the certificate, separated by blanks", default=proposed or None, err=True
        )
        answers = replace(answers, names=tuple(said.replace(",", " ").split()))
    if not answers.contacts:
        domains = [domain for domain in found.proposal.domains if not domain.startswith("localhost")]
        proposed = f"postmaster@{domains[0]}" if domains else ""
        said = click.prompt("Mail address for the CA (- for none)", default=proposed or "-", err=True)
        answers = replace(answers, contacts=() if said.strip() == "-" else (said.strip(),))
    if found.submission_ports and not answers.submission:
        ports = " and ".join(map(str, found.submission_ports))
        answers = replace(
            answers,
            submission=click.confirm(f"SASL works. Open {ports} for mail clients?", default=False, err=True),
        )
    return answers


def _answers(flags: dict[str, object]) -> Answers:
    from mailseal.setting_up import Answers

    try:
        return Answers(**flags)  # type: ignore[arg-type]
    except (TypeError, ValueError) as error:
        raise UsageError(f"setup: {error}", next_command=f"mailseal setup --help. {UNCHANGED}") from error

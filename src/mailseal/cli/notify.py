"""`mailseal notify`: who is told by which ways, what trouble is open, and a test of every way."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from mailseal.cli.options import App, common
from mailseal.errors import ExitCode, MailsealError

if TYPE_CHECKING:
    from mailseal.cli.output import Output
    from mailseal.config import Config
    from mailseal.notify.book import Book
    from mailseal.notify.channels import Channel
    from mailseal.system import System


@click.command(
    "notify",
    epilog="Ends with 1 where a way failed, or nobody would be told. docs/notification.md says what is told when.",
)
@click.option("--test", is_flag=True, help="Send a test by every way, and say how each fared.")
@common
@click.pass_obj
def notify(app: App, test: bool) -> int:
    """Show who is told of trouble, what is open, and what could not be sent yet."""
    from mailseal.notify.book import Bookcase
    from mailseal.notify.channels import channels

    config = app.config()
    ways = channels(app.system, config)
    if test:
        return _test(app.system, config, ways, app.out)
    book = Bookcase(app.system, config.state.directory).load()
    _show(config, ways, book, app.out)
    return ExitCode.OK if ways else ExitCode.FINDINGS


def _test(system: System, config: Config, ways: tuple[Channel, ...], out: Output) -> int:
    """One message by each way, the heartbeat too; nothing of it is remembered."""
    from mailseal.notify.channels import whole
    from mailseal.notify.heartbeat import LABEL, beat
    from mailseal.notify.telling import test_message

    message = test_message(system, config)
    told: list[tuple[str, str, str]] = []
    for way in ways:
        out.progress(f"trying {way.label}")
        try:
            doubts = "; ".join(way.send(system, message))
            told.append((way.label, "doubtful" if doubts else "sent", doubts))
        except Exception as fault:  # the other ways are still to be tried
            told.append((way.label, "failed", whole(fault)))
    heartbeat = config.notify.heartbeat
    if heartbeat.url or heartbeat.url_file:
        out.progress(f"trying {LABEL}")
        try:
            beat(system, heartbeat, "mailseal notify --test\n", well=True)
            told.append((LABEL, "sent", ""))
        except MailsealError as fault:
            told.append((LABEL, "failed", whole(fault)))
    for label, outcome, detail in told:
        out.result(f"{outcome:10}{label}{f': {detail}' if detail else ''}")
    if not ways:
        out.result(_nobody(config))
    well = bool(ways) and all(outcome == "sent" for _, outcome, _ in told)
    status = ExitCode.OK if well else ExitCode.FINDINGS
    out.document(
        {
            "channels": [{"channel": a, "outcome": b, "detail": c} for a, b, c in told],
            "exit_status": int(status),
        }
    )
    return status


def _show(config: Config, ways: tuple[Channel, ...], book: Book, out: Output) -> None:
    for way in ways:
        waiting = sum(unsent.channel == way.id for unsent in book.unsent)
        out.result(f"tells     {way.label}{f'; {waiting} to be sent yet' if waiting else ''}")
    if not ways:
        out.result(_nobody(config))
    if ways and all(way.id == "mail:sendmail" for way in ways):
        out.result("advice    give it a second way below [notify], that does not need this mail server")
    heartbeat = config.notify.heartbeat
    if heartbeat.url or heartbeat.url_file:
        out.result("beats     the URL of [notify.heartbeat], after every run")
    open_now = [entry for entry in book.entries if entry.mended is None]
    for entry in open_now:
        about = f"{entry.about}: " if entry.of_lineage else ""
        times = f"{entry.times} times, last" if entry.times > 1 else "once,"
        out.result(
            f"trouble   {about}{entry.what} Since {entry.since:%Y-%m-%d %H:%M} UTC; told {times} "
            f"{entry.told:%Y-%m-%d %H:%M} UTC"
        )
    if ways and not open_now:
        out.result("No trouble is open.")
    out.document(
        {
            "channels": [
                {"channel": way.label, "unsent": sum(unsent.channel == way.id for unsent in book.unsent)}
                for way in ways
            ],
            "heartbeat": bool(heartbeat.url or heartbeat.url_file),
            "open": open_now,
            "exit_status": int(ExitCode.OK if ways else ExitCode.FINDINGS),
        }
    )


def _nobody(config: Config) -> str:
    if not config.notify.enabled:
        return "Nobody is told of trouble: [notify] enabled = false."
    return (
        "Nobody would be told of trouble. Name somebody: [acme] contact or [notify.mail] to, with a mail server "
        "that takes the mail here or in [notify.smtp]; or a [[notify.webhook]]."
    )

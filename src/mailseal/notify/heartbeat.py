"""The heartbeat: a URL that is asked for after every run, and whose silence is the alarm.

A watchman elsewhere (a dead-man switch) expects it and calls when it does not
come: so the end of this machine, its timer or its network is noticed too.
After a run that left trouble the other URL is asked for, or none.
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urlsplit, urlunsplit

from mailseal.config.notify import Heartbeat
from mailseal.config.schema import Config
from mailseal.errors import MailsealError
from mailseal.model import Finding, Severity
from mailseal.notify.troubles import of_report
from mailseal.system import System

if TYPE_CHECKING:
    from mailseal.runs import Run

LABEL = "heartbeat"


def tell(system: System, config: Config, run: Run) -> tuple[Finding, ...]:
    """The teller of `mailseal.runs`."""
    if run.interrupted or not (config.notify.heartbeat.url or config.notify.heartbeat.url_file):
        return ()
    from mailseal.notify.channels import whole

    troubles = of_report(run.report, config.notify.findings, system.clock.now(), None)
    said = f"mailseal {run.command}: exit status {int(run.report.exit_code)}, trouble: {len(troubles)}\n"
    try:
        beat(system, config.notify.heartbeat, said, well=not troubles)
    except MailsealError as fault:
        return (_silent(fault, whole(fault)),)
    return ()


def beat(system: System, heartbeat: Heartbeat, said: str, *, well: bool) -> None:
    """Asks for the URL. Raises `MailsealError`."""
    from mailseal.notify.channels import Asking, address, asked

    url = address(system, heartbeat.url, heartbeat.url_file, "[notify.heartbeat] url_file")
    if not well:
        if heartbeat.failure_suffix is None:
            return
        parts = urlsplit(url)
        url = urlunsplit(parts._replace(path=parts.path.rstrip("/") + heartbeat.failure_suffix))
    body = said.encode() if heartbeat.method == "POST" else None
    headers = {"Content-Type": "text/plain; charset=utf-8"} if body else {}
    asked(system, Asking(heartbeat.method, url, headers, body, heartbeat.ca_file, heartbeat.timeout), LABEL)


def _silent(fault: MailsealError, seen: str) -> Finding:
    return Finding(
        "heartbeat-unsent",
        Severity.WARNING,
        LABEL,
        seen=seen,
        expected="an answer of the watchman",
        why="He will take it that this machine or its timer is gone.",
        mend=fault.next_command or "mailseal notify --test",
    )

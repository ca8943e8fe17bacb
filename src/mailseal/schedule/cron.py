"""The cron file for machines that systemd does not run. Pure.

crontab(5) and cron(8): Debian's cron reads /etc/cron.d/<name>, whose lines
name a user. It does not catch up after downtime, so a line for the start of
the machine stands beside the regular one. Both do nothing where systemd is
the init (sd_booted(3)), whose timer looks instead, so the file may stand on a
machine that is started now by one and now by the other. What a run finds goes
to stdout and is thrown away here, since `mailseal status` and the
notifications tell it; errors go to stderr, and cron mails them.
"""

from __future__ import annotations

from datetime import timedelta

from mailseal.schedule.interval import cron_times
from mailseal.schedule.units import MARK

FOLDER = "/etc/cron.d"
PATH = f"{FOLDER}/mailseal"


def crontab(program: str, every: timedelta, seed: int) -> str:
    """/etc/cron.d/mailseal; `seed`, a number of this machine's own, spreads machines over the interval."""
    quoted = program.replace("%", "\\%")
    command = f"root test -d /run/systemd/system || test ! -x {quoted} || {quoted} renew --quiet >/dev/null"
    return f"""\
# {MARK}, and again when the shortest lifetime of its certificates asks for another interval.
# It does nothing where systemd runs; there mailseal.timer does it.
# To keep it away: install = false in the table [timer] of the configuration, then mailseal apply.
SHELL=/bin/sh
PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
{cron_times(every, seed)} {command}
@reboot {command}
"""

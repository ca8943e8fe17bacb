"""[timer]: who starts `mailseal renew`."""

from __future__ import annotations

from typing import Annotated

import msgspec

from mailseal.config.keys import key


class Timer(msgspec.Struct, frozen=True, kw_only=True):
    """What starts `mailseal renew` by itself. It belongs to the machine, so another --config than the usual has none.

    How often it looks follows the shortest lifetime among the certificates held: every four hours for 45 and 90 days.
    """

    install: Annotated[
        bool,
        key(
            "Whether mailseal keeps a systemd timer, and a file for cron where systemd does not run. "
            "false: what it installed is taken away, and something else has to start `mailseal renew`."
        ),
    ] = True

"""The tables `[hooks]` and `[metrics]`: programs that run before and after a change, and numbers for a monitor.

What a key means is written on its field (`mailseal.config.keys`).
"""

from __future__ import annotations

from typing import Annotated

import msgspec

from mailseal.config.keys import Seconds, key

Argv = Annotated[tuple[str, ...], msgspec.Meta(min_length=1)]
_ARGVS = "a list of commands, each a list of a program and its arguments"


class Hooks(msgspec.Struct, frozen=True, kw_only=True):
    """Programs of your own that run before the first change of a run, and after a run that changed or failed
    something; a run that finds nothing to do runs none. docs/hooks.md says what they are told and when.
    """

    directory: Annotated[
        str,
        key(
            "The directory that holds before.d and after.d. What is executable there runs in the order of its names; "
            "letters, digits, '_' and '-' only, as for run-parts(8). Only root may own or write any of it.",
            shape="path",
        ),
    ] = "/etc/mailseal/hooks"
    before: Annotated[
        tuple[Argv, ...],
        key(
            "Commands that run before the first order or change, after those of before.d. No shell reads them.",
            expects=_ARGVS,
            shape="text",
            example=(("/usr/local/sbin/open-port-80",),),
        ),
    ] = ()
    after: Annotated[
        tuple[Argv, ...],
        key(
            "Commands that run after the last change, after those of after.d. No shell reads them.",
            expects=_ARGVS,
            shape="text",
            example=(("/usr/bin/systemctl", "reload", "exim4"),),
        ),
    ] = ()
    timeout: Annotated[
        Seconds,
        key(
            "Seconds until a hook is ended with everything that it started.",
            expects="seconds, more than 0 and at most 3600",
        ),
    ] = 60.0
    before_must_succeed: Annotated[
        bool,
        key(
            "Whether a hook before the change that fails keeps the run from changing anything, until a later run. "
            "Where a certificate has only 1/20 of its life left the run goes on in any case. "
            "false: it goes on always, and tells."
        ),
    ] = True


class Metrics(msgspec.Struct, frozen=True, kw_only=True):
    """Numbers for a monitor, written after every run."""

    textfile: Annotated[
        str | None,
        key(
            "A file that Prometheus's node exporter reads (--collector.textfile.directory). Its name ends in .prom.",
            shape="path",
            example="/var/lib/prometheus/node-exporter/mailseal.prom",
        ),
    ] = None

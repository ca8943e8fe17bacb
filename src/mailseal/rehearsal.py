"""The rehearsal: each daemon once beside itself, on the staged files, before anything goes live.

No daemon's checker finds a key that does not fit or a file that a child cannot
read (docs/services/). So a child of ours enters mount, network and process
namespaces of its own, covers the directories concerned with overlays, carries
the plan's puts out there, starts each daemon in the foreground on its real
ports (nobody else is in that network) and shakes hands with it. All of it is
gone when the child ends; the machine outside sees nothing.

Judged is only what can be held against the change: an endpoint that shakes
hands in a rehearsal without the puts, and twice does not with them. Where the
kernel or the container allows no namespaces, a finding says that nothing
was rehearsed.

This module is the outside; `mailseal.rehearsal_stage` is what runs within.
"""

from __future__ import annotations

import posixpath
import sys
from collections.abc import Sequence

import msgspec

from mailseal.daemons import Say, Service
from mailseal.errors import ApplyFailed, MailsealError
from mailseal.model import Finding, Severity
from mailseal.services.base import ServiceSettings
from mailseal.steps import Deploy, Put, after_state
from mailseal.system import Files, System
from mailseal.unreadable import UNREADABLE

TIMEOUT = 90.0
_UNSHARE = (
    "unshare",
    "--mount",
    "--net",
    "--pid",
    "--fork",
    "--kill-child",
    "--mount-proc",
    "--propagation",
    "private",
)


class StagedPut(msgspec.Struct, frozen=True):
    """One put, for the other side of the pipe."""

    path: str
    kind: str
    content: bytes = b""
    target: str = ""
    mode: int = 0o644
    uid: int = 0
    gid: int = 0


class StageOrder(msgspec.Struct, frozen=True):
    """What to rehearse: the folder for the stage's own files, directories to cover, puts, services, addresses."""

    folder: str
    covers: list[str]
    puts: list[StagedPut]
    services: list[ServiceSettings]
    addresses: list[str]
    server_name: str


class StageAnswer(msgspec.Struct, frozen=True):
    """One endpoint: whether it shook hands, the leaf it showed (SHA-256) or what went wrong."""

    service: str
    endpoint: str
    leaf: str = ""
    trouble: str = ""


class StageReport(msgspec.Struct, frozen=True):
    """What came of it; `impossible` says why nothing did."""

    answers: list[StageAnswer] = []
    impossible: str = ""


class Rehearsals:
    """Rehearses deployments. `folder` is a directory of root's own that exists; nothing stays in it."""

    def __init__(
        self,
        system: System,
        folder: str,
        settings: Sequence[ServiceSettings],
        server_name: str,
        say: Say,
    ) -> None:
        self._system = system
        self._folder = folder
        self._settings = {one.kind: one for one in settings}
        self._server_name = server_name
        self._say = say

    def rehearse(self, step: Deploy, services: Sequence[Service]) -> tuple[Finding, ...]:
        """Raises `ApplyFailed` that names the endpoint which would not serve; findings tell what was not rehearsed."""
        able = [s for s in services if s.adapter.rehearsal(s.facts) is not None]
        if not able or not step.puts:
            return ()
        titles = " and ".join(s.adapter.title for s in able)
        self._say(f"rehearsing with throw-away instances of {titles}")
        staged = self._run(step.puts, able)
        if staged.impossible:
            return (_not_rehearsed(staged.impossible),)
        failed = _failures(staged)
        if not failed:
            return ()
        control = self._run((), able)
        if control.impossible:
            return (_not_rehearsed(control.impossible),)
        served = {answer.endpoint for answer in control.answers if answer.leaf}
        blamed = [endpoint for endpoint in failed if endpoint in served]
        if not blamed:
            return ()
        # Once more: on a busy machine a daemon may only have been slow to start.
        failed = _failures(self._run(step.puts, able))
        for endpoint in blamed:
            if endpoint in failed:
                raise ApplyFailed(
                    f"The new state does not serve {endpoint}: a throw-away instance on the staged files failed",
                    reason=failed[endpoint],
                    state="Nothing was changed and nothing was reloaded.",
                    next_command="mailseal plan",
                )
        return ()

    def _run(self, puts: Sequence[Put], services: Sequence[Service]) -> StageReport:
        covers = _covers(self._system.files, [put.path for put in puts])
        order = StageOrder(
            folder=self._folder,
            covers=covers,
            puts=[_staged(put) for put in puts],
            services=[self._settings[s.adapter.kind] for s in services],
            addresses=list(self._system.network.own_addresses()),
            server_name=self._server_name,
        )
        argv = (*_UNSHARE, "--", sys.executable, "-m", "mailseal.rehearsal_stage")
        try:
            done = self._system.processes.run(
                argv,
                timeout=TIMEOUT,
                stdin=msgspec.json.encode(order),
                env={"PYTHONPATH": ":".join(sys.path)},
            )
        except MailsealError as error:
            return StageReport(impossible=str(error))
        if not done.ok:
            return StageReport(impossible=done.said or f"the stage ended with status {done.status}")
        try:
            return msgspec.json.decode(done.stdout, type=StageReport)
        except UNREADABLE as error:
            return StageReport(impossible=f"the stage's answer cannot be read: {error}")


def _staged(put: Put) -> StagedPut:
    state = after_state(put)
    return StagedPut(put.path, state.kind, state.content, state.target, state.mode, state.uid, state.gid)


def _covers(files: Files, paths: Sequence[str]) -> list[str]:
    """The directories to cover with overlays: the nearest that exist, none inside another, shortest first."""
    found: set[str] = set()
    for path in paths:
        folder = posixpath.dirname(path)
        while files.stat(folder) is None:
            folder = posixpath.dirname(folder)
        found.add("/etc" if folder.startswith("/etc/") else folder)
    return [one for one in sorted(found) if not any(one.startswith(f"{other}/") for other in found)]


def _failures(report: StageReport) -> dict[str, str]:
    return {answer.endpoint: answer.trouble for answer in report.answers if answer.trouble}


def _not_rehearsed(why: str) -> Finding:
    return Finding(
        "not-rehearsed",
        Severity.INFO,
        "rehearsal",
        seen=why.splitlines()[-1] if why else "no namespaces",
        expected="a throw-away instance of each daemon on the staged files",
        why="The change was checked by the daemons' checkers and by mailseal, and is proven after the switch.",
        mend="none needed; on a machine that allows root namespaces (unshare) the rehearsal is done by itself",
    )

"""The machine handed back: every path that we ever changed as it was found, from the journal's baseline.

A file that still holds what we wrote gets its first before-image back, byte
for byte, with mode and owner. One that somebody edited since is merged line
by line: our changes go, theirs stay; where the two touch the same lines, the
file is left alone and told. A directory that we made goes only if all that is
in it goes.

The whole is one transaction like any other, journalled first, except that
nothing need be served as before: it is the admin's wish that the old state
returns. Only a daemon that would refuse it stops it, and then every file is as
it was with us. Clients that the old state turns away are told.

Generations, accounts and the configuration under /etc/mailseal stay: they are
not edits of ours to the machine.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mailseal.apply import SETTLE, Prover, Transactions
from mailseal.daemons import Say, Service
from mailseal.effects import perform_all, undo
from mailseal.errors import ApplyFailed, MailsealError
from mailseal.journal import Entry, Journal, Record, image_matches
from mailseal.judge.answer import TURNED_AWAY
from mailseal.judge.verdict import Verdict
from mailseal.merging import take_out
from mailseal.model import AbsentWish, DirectoryWish, FileState, FileWish, Finding, LinkWish, Wish
from mailseal.steps import Put
from mailseal.system import Files, System

PURPOSE = "hand the machine back"


@dataclass(frozen=True, slots=True)
class Return:
    """What detaching does to one path: the state to write (None: it is left alone), and why."""

    path: str
    found: FileState
    wanted: FileState | None
    why: str

    @property
    def left(self) -> bool:
        return self.wanted is None

    @property
    def put(self) -> Put | None:
        """The change to carry out; None where there is none."""
        if self.wanted is None or self.wanted == self.found:
            return None
        return Put(_wish(self.path, self.wanted), self.found)

    def describe(self) -> str:
        if self.wanted is None:
            verb = "leave"
        elif self.wanted == self.found:
            verb = "keep"
        else:
            verb = "remove" if self.wanted.kind == "absent" else "restore"
        return f"{verb} {self.path} ({self.why})"


@dataclass(frozen=True, slots=True)
class HandedBack:
    """What a detach did to each path, and which clients are turned away since by what stood there before us."""

    returns: tuple[Return, ...]
    findings: tuple[Finding, ...] = ()

    @property
    def left(self) -> tuple[str, ...]:
        """The paths that were left alone."""
        return tuple(one.path for one in self.returns if one.left)


def returns(files: Files, journal: Journal) -> tuple[Return, ...]:
    """What detaching would do, in the order in which it is done; looks and changes nothing.

    The last change goes first; directories that go, after all that is in them.
    """
    entries = tuple(reversed(journal.baseline()))
    found = {entry.path: files.state(entry.path) for entry in entries}
    plain = [e for e in entries if found[e.path].kind != "directory"]
    folders = [e for e in entries if found[e.path].kind == "directory"]
    planned = [_return(journal, entry, found[entry.path]) for entry in plain]
    for entry in sorted(folders, key=lambda e: -e.path.count("/")):
        going = {one.path for one in planned if one.wanted is not None and one.wanted.kind == "absent"}
        others = tuple(n for n in files.listdir(entry.path) if f"{entry.path}/{n}" not in going)
        planned.append(_return_folder(entry, found[entry.path], others))
    return tuple(planned)


def puts(planned: Sequence[Return]) -> tuple[Put, ...]:
    """The changes that handing back asks for."""
    return tuple(one.put for one in planned if one.put is not None)


class HandingBack:
    """Carries it out on one machine, with the lock held and nothing left open in the journal."""

    def __init__(
        self, system: System, journal: Journal, transactions: Transactions, prover: Prover, say: Say
    ) -> None:
        self._system = system
        self._journal = journal
        self._transactions = transactions
        self._daemons = transactions.daemons
        self._prover = prover
        self._say = say

    def carry_out(self, services: Sequence[Service]) -> HandedBack:
        """Raises `ApplyFailed` where a daemon would refuse what stood there before us; nothing has changed then."""
        planned = returns(self._system.files, self._journal)
        running = [service for service in services if service.facts.running]
        # One that refuses its configuration already goes on with what it read before; a reload would only end it.
        sound = [service for service in running if not self._daemons.refusal(service)]
        before = self._prover.look([service.facts for service in running])
        kinds = tuple(service.kind for service in running)
        record = self._journal.begin(PURPOSE, puts(planned), kinds, ())
        try:
            perform_all(self._system.files, puts(planned))
            self._daemons.check(sound)
        except (Exception, KeyboardInterrupt) as cause:
            with self._system.uninterrupted():
                self._keep(record, cause)
            raise
        with self._system.uninterrupted():
            self._journal.close(record)
            self._journal.detach()
            self._journal.forget(one.path for one in planned if not one.left)
            self._daemons.take_up(sound)
        for service in running:
            if service not in sound:
                self._say(f"{service.title} is not reloaded, since it refused its configuration before")
        return HandedBack(planned, self._turned_away(before, sound))

    def _keep(self, record: Record, cause: BaseException) -> None:
        undone = undo(self._system.files, self._journal, record)
        if not undone.failed:
            self._journal.close(record)
        if isinstance(cause, MailsealError):
            raise ApplyFailed(
                f"The machine is not handed back: {cause.message}",
                reason=cause.reason,
                state="Nothing was changed."
                if not undone.failed
                else "Some files could not be put back yet; the next run does it first.",
                next_command="mend that, then mailseal detach",
            ) from cause

    def _turned_away(self, before: Verdict, services: Sequence[Service]) -> tuple[Finding, ...]:
        """The endpoints that served before and now turn clients away, after some seconds and a restart."""
        if not self._lost(before, services):
            return ()
        self._daemons.restart(services)
        return self._lost(before, services)

    def _lost(self, before: Verdict, services: Sequence[Service]) -> tuple[Finding, ...]:
        end = self._system.clock.monotonic() + SETTLE
        kinds = {service.kind for service in services}
        while True:
            facts = [s.facts for s in self._transactions.look_again() if s.kind in kinds]
            worse = self._prover.worse(before, self._prover.look(facts))
            lost = tuple(finding for finding in worse if finding.code in TURNED_AWAY)
            if not lost or self._system.clock.monotonic() >= end:
                return lost
            self._system.clock.sleep(0.5)


def _return(journal: Journal, entry: Entry, found: FileState) -> Return:
    before = journal.state(entry.before)
    if image_matches(entry.before, found):
        return Return(entry.path, found, found, "it is as it was found")
    if image_matches(entry.after, found):
        return Return(entry.path, found, before, "as it was found")
    if found.kind == "absent":
        return Return(entry.path, found, found, "somebody removed it since")
    if found.kind == before.kind == entry.after.kind == "file":
        merged = take_out(journal.state(entry.after).content, found.content, before.content)
        if merged is not None:
            kept = FileState("file", merged, "", found.mode, found.uid, found.gid)
            return Return(entry.path, found, kept, "ours taken out, what was edited since kept")
        return Return(entry.path, found, None, "it was edited since, in the same lines as ours")
    return Return(entry.path, found, None, "it was ours, and was edited since")


def _return_folder(entry: Entry, found: FileState, others: Sequence[str]) -> Return:
    if entry.before.kind == "directory":
        return Return(entry.path, found, found, "it is as it was found")
    if entry.before.kind != "absent" or entry.after.kind != "directory":
        return Return(entry.path, found, None, "somebody made a directory of it since")
    if others:
        return Return(entry.path, found, None, f"it holds {', '.join(others[:3])}")
    return Return(entry.path, found, FileState("absent"), "as it was found")


def _wish(path: str, state: FileState) -> Wish:
    match state.kind:
        case "file":
            return FileWish(path, state.content, state.mode, (state.uid, state.gid))
        case "link":
            return LinkWish(path, state.target)
        case "directory":
            return DirectoryWish(path, state.mode)
        case _:
            return AbsentWish(path)

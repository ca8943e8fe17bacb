"""Steps: single changes as data, each able to describe itself.

Three kinds. *Reversible*: a before-image is kept and can be put back (files,
links; the reload that follows is repeated after an undo). *Compensable*: taken
back, but effective only after a while (a DNS record). *Irrevocable*: an order
at a CA, a revocation; its intent is made durable first and it is never undone.

Nothing here acts; `mailseal.apply` does.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from mailseal.model import (
    AbsentWish,
    CertificateSpec,
    DirectoryWish,
    FileState,
    FileWish,
    KeyType,
    LinkWish,
    Wish,
)


@dataclass(frozen=True, slots=True)
class Put:
    """Reversible: make one path what the wish says; `before` is what stood there when the plan was made."""

    wish: Wish
    before: FileState
    kind: Literal["reversible"] = "reversible"

    @property
    def path(self) -> str:
        return self.wish.path

    def describe(self) -> str:
        match self.wish:
            case LinkWish(path, target):
                return f"link {path} -> {target}"
            case DirectoryWish(path):
                return f"make the directory {path}"
            case AbsentWish(path):
                return f"remove {path}"
            case FileWish(path):
                return f"{'write' if self.before.kind == 'absent' else 'change'} {path}"

    def diff(self) -> str:
        """A unified diff of the file's text; empty for links, directories and what must not be shown.

        Not shown: what an adapter calls secret, what holds a private key whoever wrote it, what is no text.
        """
        if not isinstance(self.wish, FileWish | AbsentWish) or (
            isinstance(self.wish, FileWish) and self.wish.secret
        ):
            return ""
        after = self.wish.content if isinstance(self.wish, FileWish) else b""
        if any(b"PRIVATE KEY-----" in text or b"\0" in text for text in (self.before.content, after)):
            return ""
        lines = difflib.unified_diff(
            self.before.content.decode("utf-8", "replace").splitlines(keepends=True),
            after.decode("utf-8", "replace").splitlines(keepends=True),
            fromfile=self.path if self.before.kind != "absent" else "/dev/null",
            tofile=self.path if isinstance(self.wish, FileWish) else "/dev/null",
        )
        return "".join(line if line.endswith("\n") else f"{line}\n" for line in lines)


@dataclass(frozen=True, slots=True)
class Issue:
    """Irrevocable: obtain a new generation; `replaces` are the predecessors that the CA is told of (RFC 9773).

    `issuer` is the CA's directory, empty for the one of [acme]; `fallback`: it is one of the others.
    """

    spec: CertificateSpec
    why: str
    replaces: tuple[tuple[KeyType, str], ...] = ()
    issuer: str = ""
    fallback: bool = False
    kind: Literal["irrevocable"] = "irrevocable"

    def describe(self) -> str:
        names = ", ".join(identifier.unicode for identifier in self.spec.sorted_identifiers)
        types = " and ".join(self.spec.key_types)
        where = f" at {self.issuer}, since the first CA fails" if self.fallback else ""
        return f"order a certificate for {names} ({types}){where}: {self.why}"


@dataclass(frozen=True, slots=True)
class Deploy:
    """Reversible as a whole: one transaction of puts, then one reload a service, then the proof.

    `services` names the services to be reloaded when the puts are done;
    `generations` (lineage, number) go live by it. `provisional` marks what a
    later round will do once an order has brought its certificate.
    """

    purpose: str
    puts: tuple[Put, ...]
    services: tuple[str, ...]
    generations: tuple[tuple[str, int], ...] = ()
    provisional: bool = False
    kind: Literal["reversible"] = "reversible"

    def describe(self) -> str:
        later = " (once the certificate is there)" if self.provisional else ""
        return f"{self.purpose}{later}"


Step = Issue | Deploy


@dataclass(frozen=True, slots=True)
class Plan:
    """What separates the wish from the observation, in order; empty when nothing does.

    `waits` are sentences on what is left for later and until when.
    """

    steps: tuple[Step, ...] = ()
    waits: tuple[str, ...] = field(default=())

    @property
    def empty(self) -> bool:
        return not self.steps

    def about(self, lineage: str) -> Plan:
        """As much of it as one lineage needs: its order and what that needs, its deployment."""
        issues = [s for s in self.steps if isinstance(s, Issue) and s.spec.name == lineage]
        deploys = [
            step
            for step in self.steps
            if isinstance(step, Deploy)
            and (
                lineage in dict(step.generations)
                or (issues and not step.generations and not step.provisional)
            )
        ]
        steps = tuple(step for step in self.steps if step in issues or step in deploys)
        return Plan(steps, self.waits)


def differences(wishes: tuple[Wish, ...], states: Mapping[str, FileState]) -> tuple[Put, ...]:
    """The puts that are needed: one for each wish whose path holds something else now."""
    return tuple(Put(wish, states[wish.path]) for wish in wishes if not fulfilled(wish, states[wish.path]))


def fulfilled(wish: Wish, state: FileState) -> bool:
    """Whether the path holds what the wish asks for."""
    match wish:
        case AbsentWish():
            return state.kind == "absent"
        case LinkWish(_, target):
            return state.kind == "link" and state.target == target
        case DirectoryWish():
            return state.kind == "directory"
        case FileWish(_, content, mode, owner, keep_metadata):
            same = state.kind == "file" and state.content == content
            return same and (keep_metadata or (state.mode == mode and (state.uid, state.gid) == owner))


def after_state(put: Put) -> FileState:
    """What stands at the path once the put is done."""
    match put.wish:
        case AbsentWish():
            return FileState("absent")
        case LinkWish(_, target):
            return FileState("link", target=target)
        case DirectoryWish(_, mode):
            return FileState("directory", mode=mode)
        case FileWish(_, content, mode, (uid, gid), keep_metadata):
            if keep_metadata and put.before.kind == "file":
                mode, uid, gid = put.before.mode, put.before.uid, put.before.gid
            return FileState("file", content=content, mode=mode, uid=uid, gid=gid)

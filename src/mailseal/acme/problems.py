"""Problem documents (RFC 7807; RFC 8555 section 6.7) and the errors made of them.

A server that refuses says why in a problem document; one about several
identifiers holds a subproblem for each (section 6.7.1). `Problem` is that
document, bounded and rid of control characters. `AcmeProblem` is the error that
is raised: its lines are plain sentences naming every identifier at fault, and
its next command is what mends it (the sentences are in explain.py).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated

import msgspec

from mailseal.errors import ExitCode, IssueError
from mailseal.unreadable import UNREADABLE

PREFIX = "urn:ietf:params:acme:error:"
MOST_SUBPROBLEMS = 1000

_Line = Annotated[str, msgspec.Meta(max_length=512)]


class ProblemIdentifier(msgspec.Struct, frozen=True):
    """The identifier that a problem is about."""

    type: _Line = "dns"
    value: _Line = ""


class Problem(msgspec.Struct, frozen=True):
    """One problem document. `kind` is the ACME type without its URN prefix, "" where it is none of ACME's."""

    type: _Line = "about:blank"
    detail: str = ""
    title: str = ""
    status: int | str | None = None
    identifier: ProblemIdentifier | None = None
    subproblems: tuple[Problem, ...] | None = None
    instance: str | None = None

    @property
    def kind(self) -> str:
        return self.type.removeprefix(PREFIX) if self.type.startswith(PREFIX) else ""

    @property
    def name(self) -> str:
        return plain(self.identifier.value, 256) if self.identifier else ""

    @property
    def said(self) -> str:
        """What the server says about it, on one line."""
        return plain(self.detail or self.title or self.type)

    def leaves(self, name: str = "", depth: int = 0) -> Iterator[tuple[str, Problem]]:
        """Each problem that has no subproblems, with the identifier it is about ("" if none)."""
        mine = self.name or name
        below = self.subproblems or ()
        if not below or depth >= 4:
            yield mine, self
        for problem in below[:MOST_SUBPROBLEMS] if depth < 4 else ():
            yield from problem.leaves(mine, depth + 1)


def plain(text: str, longest: int = 600) -> str:
    """Foreign text made fit for one line of a terminal: no control characters, not longer than told."""
    flat = " ".join(text[: longest * 4].split())
    kept = "".join(character for character in flat if character.isprintable())
    return kept if len(kept) <= longest else kept[: longest - 1] + "…"


class AcmeProtocolError(IssueError):
    """The server sent what the protocol does not allow; nothing of it was used."""

    def __init__(self, message: str, *, reason: str = "") -> None:
        super().__init__(
            plain(message), reason=plain(reason), next_command="Run the same command again later."
        )


class AcmeTimeout(IssueError):
    """The time allowed ran out; `retry_after`: what the server asked for last (seconds), None if nothing."""

    def __init__(
        self, message: str, *, reason: str = "", state: str = "", retry_after: float | None = None
    ) -> None:
        super().__init__(
            message, reason=reason, state=state, next_command="Run the same command again later."
        )
        self.retry_after = retry_after


class AcmeProblem(IssueError):
    """The server refused, and said why.

    `problem` is the document, `status` the HTTP status (0 for a problem found
    inside an order or authorization), `retry_after` the seconds that the server
    asks to wait, None if it does not say. A rate limit that says until when is
    something to wait for, and exits as such.
    """

    headline = "The CA refused {doing}"

    def __init__(
        self, doing: str, problem: Problem, *, status: int = 0, retry_after: float | None = None
    ) -> None:
        from mailseal.acme.explain import explain

        told = explain(self.headline.format(doing=doing), problem, retry_after)
        super().__init__(told.message, reason=told.reason, next_command=told.next_command)
        self.problem = problem
        self.status = status
        self.retry_after = retry_after
        self.sentences = told.sentences
        if self.kind == "rateLimited" and retry_after is not None:
            self.exit_code = ExitCode.WAITING

    @property
    def kind(self) -> str:
        """The ACME type without prefix, such as `rateLimited`; of the only subproblem where there is one."""
        below = self.problem.subproblems or ()
        return below[0].kind if len(below) == 1 and below[0].kind else self.problem.kind

    @property
    def type(self) -> str:
        return self.problem.type

    @property
    def detail(self) -> str:
        return self.problem.said

    @property
    def subproblems(self) -> tuple[Problem, ...]:
        return self.problem.subproblems or ()

    @property
    def identifier(self) -> str:
        """The one identifier at fault, "" if none or several."""
        names = self.identifiers
        return names[0] if len(names) == 1 else ""

    @property
    def identifiers(self) -> tuple[str, ...]:
        """Every identifier that the server names as at fault."""
        return tuple(dict.fromkeys(name for name, _ in self.problem.leaves() if name))

    def lines(self) -> list[str]:
        first, *rest = super().lines()
        if len(self.sentences) < 2:
            return [first, *rest]
        return [first, *(f"  {sentence}" for sentence in self.sentences), *rest[1:]]  # in place of the reason


class ValidationFailed(AcmeProblem):
    """The CA could not confirm control of one or more identifiers; all that failed are named."""

    headline = "The CA could not confirm control of {doing}"


def read_problem(body: bytes, status: int) -> Problem:
    """The problem document in an answer; one made of the status where there is none that can be read."""
    try:
        problem = msgspec.json.decode(body, type=Problem)
    except UNREADABLE:
        problem = Problem()
    if problem.kind or problem.detail or problem.title or problem.subproblems:
        return problem
    start = plain(body[:300].decode("utf-8", "replace"), 200)
    return Problem(detail=f"HTTP status {status}" + (f": {start}" if start else ""), status=status)


def compound(problems: list[Problem]) -> Problem:
    """Several problems as one (RFC 8555 section 6.7.1); a single one stays itself."""
    if len(problems) == 1:
        return problems[0]
    return Problem(
        type=PREFIX + "compound", detail="several identifiers are at fault", subproblems=tuple(problems)
    )

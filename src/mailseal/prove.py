"""The proof: every endpoint asked, by real handshakes, until it serves what it should.

After a reload old processes still answer for a moment: Postfix's until they
have served their client, Dovecot's for some milliseconds. So `prove` asks
again whatever time may heal, and then goes on asking the essential questions
until every endpoint was right several times in a row, or the deadline passed.
`look` asks once and waits for nothing: that is the picture before a switch.
Given that picture, `prove` waits shorter where waiting hurts: an old
certificate may be served until the deadline, but clients that fare worse than
before are given OUTAGE seconds, because the change can be taken back.

Promises: never logs in; changes nothing; whatever an endpoint does is in the
verdict and not an exception. Does not prove the way that the world takes: the
listening addresses are asked, from this machine.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field

from mailseal.chains import TrustAnchors
from mailseal.judge.expect import Expectation, ExpectedLeaf, PublicFile, expectations
from mailseal.judge.surroundings import Surroundings
from mailseal.judge.verdict import Judged, Verdict, assess, verdict
from mailseal.judge.verdict import worse as _worse
from mailseal.model import Endpoint, Finding, Identifier
from mailseal.probes import PATIENCE, ask_many
from mailseal.probes.base import Question
from mailseal.services.base import Facts
from mailseal.system import System

DEADLINE = 30.0  # seconds that old processes are given to go
OUTAGE = (
    5.0  # seconds that an endpoint may be worse than before; no reload of a good configuration needs them
)
STUBBORN = 3.0  # seconds that an endpoint which was broken before is waited for
IN_A_ROW = 3
_PAUSE, _LONGEST_PAUSE = 0.1, 1.0

# What waiting may heal: a daemon that starts, an old process, a map that is being built.
TRANSIENT = frozenset(
    {
        "endpoint-unreachable",
        "endpoint-silent",
        "starttls-missing",
        "starttls-refused",
        "handshake-failed",
        "key-family-missing",
        "leaf-differs",
        "challenge-not-served",
        "redirect-missing",
    }
)


async def look(
    system: System,
    expectations: Sequence[Expectation],
    anchors: TrustAnchors | None,
    *,
    timeout: float = PATIENCE,
    in_flight: int = 16,
) -> Verdict:
    """Asks everything once. `timeout` (seconds) bounds each question."""
    asking = _Asking(system, expectations, anchors, timeout, in_flight)
    await asking.ask(asking.questions)
    return asking.verdict()


async def prove(
    system: System,
    expectations: Sequence[Expectation],
    anchors: TrustAnchors | None,
    *,
    deadline_seconds: float = DEADLINE,
    before: Verdict | None = None,
    in_a_row: int = IN_A_ROW,
    timeout: float = PATIENCE,
    in_flight: int = 16,
) -> Verdict:
    """Asks until every endpoint was right `in_a_row` times, or until nothing can heal, or the deadline has passed.

    With `before`, also until anything was worse than it for OUTAGE seconds without a break.
    """
    asking = _Asking(system, expectations, anchors, timeout, in_flight)
    due, streak, pause = asking.questions, 0, _PAUSE
    hurt_since: float | None = None
    broken = _broken(before)
    while True:
        await asking.ask(due)
        unhealed = asking.unhealed()
        if asking.seconds >= STUBBORN:
            unhealed = tuple(question for question in unhealed if question.endpoint not in broken)
        streak = 0 if unhealed else streak + 1
        if streak >= in_a_row or asking.seconds >= deadline_seconds:
            return asking.verdict()
        if before is None or not _worse(before, asking.verdict()):
            hurt_since = None
        elif hurt_since is None:
            hurt_since = asking.seconds
        elif asking.seconds - hurt_since >= OUTAGE:
            return asking.verdict()
        pause = min(pause * 1.6, _LONGEST_PAUSE) if unhealed else _PAUSE
        await system.clock.sleep_async(pause)
        due = unhealed or asking.essential


def _broken(before: Verdict | None) -> frozenset[Endpoint]:
    """The endpoints that served nobody before: a change need not heal them."""
    judged = before.judged if before else ()
    served = {one.question.endpoint for one in judged if one.level}
    return frozenset(one.question.endpoint for one in judged) - served


@dataclass(slots=True)
class _Asking:
    """The state of one look: the last answer to each question, judged."""

    system: System
    expectations: Sequence[Expectation]
    anchors: TrustAnchors | None
    timeout: float
    in_flight: int
    own: tuple[str, ...] = field(init=False)
    began: float = field(init=False)
    judged: dict[Question, Judged] = field(default_factory=dict)
    of: dict[Question, Expectation] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.own = self.system.network.own_addresses()
        self.began = self.system.clock.monotonic()
        for expectation in self.expectations:
            for question in expectation.questions(self.own):
                self.of[question] = expectation

    @property
    def questions(self) -> tuple[Question, ...]:
        return tuple(self.of)

    @property
    def essential(self) -> tuple[Question, ...]:
        return tuple(dict.fromkeys(q for wanted in self.expectations for q in wanted.essential(self.own)))

    @property
    def seconds(self) -> float:
        return self.system.clock.monotonic() - self.began

    async def ask(self, questions: Sequence[Question]) -> None:
        answers = await ask_many(
            questions, self.system.network, timeout=self.timeout, in_flight=self.in_flight
        )
        around = Surroundings(self.system.clock.now(), self.anchors, self.own)
        for answer in answers:
            question = answer.question
            self.judged[question] = assess(answer, self.of[question], around, self.judged.get(question))

    def unhealed(self) -> tuple[Question, ...]:
        return tuple(
            question
            for question, one in self.judged.items()
            if any(finding.code in TRANSIENT for finding in one.findings)
        )

    def verdict(self) -> Verdict:
        return verdict(self.judged.values(), self.seconds)


@dataclass(frozen=True, slots=True)
class Prover:
    """Asks the endpoints of services, judges what they serve, and compares two such looks.

    `identifiers` are the names that every endpoint should carry, `primary`
    the one that the default certificate must be good for; `leaves` what was
    issued, one a key family; `public_file` a challenge to fetch from every
    web endpoint in the clear; `redirect` whether those send browsers to https.
    """

    system: System
    anchors: TrustAnchors | None
    identifiers: tuple[Identifier, ...]
    primary: str = ""
    leaves: tuple[ExpectedLeaf, ...] = ()
    public_file: PublicFile | None = None
    redirect: bool = False
    deadline_seconds: float = DEADLINE
    timeout: float = PATIENCE
    in_flight: int = 16

    def look(self, facts: Sequence[Facts]) -> Verdict:
        """Asks every endpoint once and judges what is served, whatever it is."""
        wanted = expectations(_endpoints(facts), self.identifiers, primary=self.primary)
        if not wanted:
            return verdict((), 0.0)
        return asyncio.run(
            look(self.system, wanted, self.anchors, timeout=self.timeout, in_flight=self.in_flight)
        )

    def prove(
        self, facts: Sequence[Facts], *, before: Verdict | None = None, patience: float | None = None
    ) -> Verdict:
        """Asks until every endpoint serves what it should several times in a row, or the deadline passes.

        `patience` (seconds) in place of the deadline; `before` as for `mailseal.prove.prove`.
        """
        wanted = self.expectations(facts)
        if not wanted:
            return verdict((), 0.0)  # nobody serves anything: nothing to wait for
        return asyncio.run(
            prove(
                self.system,
                wanted,
                self.anchors,
                deadline_seconds=self.deadline_seconds if patience is None else patience,
                before=before,
                timeout=self.timeout,
                in_flight=self.in_flight,
            )
        )

    def expectations(self, facts: Sequence[Facts]) -> tuple[Expectation, ...]:
        """What every endpoint of these services should do."""
        return expectations(
            _endpoints(facts),
            self.identifiers,
            primary=self.primary,
            leaves=self.leaves,
            public_file=self.public_file,
            redirect=self.redirect,
        )

    def worse(self, before: Verdict, after: Verdict) -> tuple[Finding, ...]:
        """What worked before and does not now, or is served less well."""
        return _worse(before, after)


def worse(before: Verdict, after: Verdict) -> tuple[Finding, ...]:
    """What worked before and does not now, or is served less well; see `mailseal.judge.verdict.worse`."""
    return _worse(before, after)


def _endpoints(facts: Sequence[Facts]) -> tuple[Endpoint, ...]:
    return tuple(endpoint for one in facts for endpoint in one.endpoints)

"""All answers of one look together, and two looks compared.

A change is taken back when an endpoint that worked is now worse; never
because of one that was broken before (rule 5 of the design). What counts is
how clients fare: turned away, warned, or served. That an endpoint still
serves the old certificate after a switch is a finding and no reason to roll
back: its clients fare as before.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from mailseal.judge.answer import judge, level
from mailseal.judge.expect import Expectation
from mailseal.judge.surroundings import Surroundings
from mailseal.judge.words import certificate, place
from mailseal.model import AppProtocol, Endpoint, Finding, KeyFamily, Severity, worst
from mailseal.probes.base import Answer, Question
from mailseal.probes.http import HttpQuestion

# Asked for by the wish alone: whoever was served before, was served another certificate of one kind.
_NEW_DEMANDS = frozenset({"key-family-missing"})
_NOT_THE_CLIENTS_BUSINESS = frozenset({"leaf-differs", "certificates-disagree"})


@dataclass(frozen=True, slots=True)
class Judged:
    """One question's last answer and what is wrong with it.

    `asks` counts how often it was asked in this look, `good` how often the
    answer had nothing wrong that blocks; old processes show as the difference.
    """

    answer: Answer
    findings: tuple[Finding, ...]
    asks: int = 1
    good: int = 0

    @property
    def question(self) -> Question:
        return self.answer.question

    @property
    def level(self) -> int:
        return level(self.findings)

    @property
    def errors(self) -> frozenset[str]:
        return frozenset(finding.code for finding in self.findings if finding.severity is Severity.ERROR)

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the leaf seen, hex; empty where none was."""
        return hashlib.sha256(self.answer.chain[0]).hexdigest() if self.answer.chain else ""


@dataclass(frozen=True, slots=True)
class Verdict:
    """One look at all endpoints: each answer judged, what shows only across them, and how long it took (seconds)."""

    judged: tuple[Judged, ...]
    across: tuple[Finding, ...] = ()
    seconds: float = 0.0

    @property
    def findings(self) -> tuple[Finding, ...]:
        """All findings, the gravest first; one that holds for many names of an endpoint is told once."""
        told = [finding for one in self.judged for finding in one.findings]
        return tuple(sorted([*_gathered(told), *self.across], key=lambda finding: -finding.severity))

    @property
    def proven(self) -> bool:
        """Whether nothing is wrong that matters to a client, and everything expected is served."""
        return worst(self.findings) < Severity.ERROR


def assess(
    answer: Answer, expected: Expectation, around: Surroundings, earlier: Judged | None = None
) -> Judged:
    """One answer judged, counted on top of the earlier asks of the same question."""
    findings = judge(answer, expected, around)
    good = worst(findings) < Severity.ERROR
    if earlier is None:
        return Judged(answer, findings, 1, int(good))
    return Judged(answer, findings, earlier.asks + 1, earlier.good + int(good))


def verdict(judged: Iterable[Judged], seconds: float = 0.0) -> Verdict:
    """The answers together, with what shows only across them."""
    all_of_them = tuple(judged)
    return Verdict(all_of_them, disagreement(all_of_them), seconds)


def disagreement(judged: Sequence[Judged]) -> tuple[Finding, ...]:
    """Endpoints that answer the same name and key family with another certificate than most do."""
    groups: dict[tuple[str | None, KeyFamily | None, bool], list[Judged]] = {}
    for one in judged:
        if one.answer.chain and "leaf-differs" not in one.errors:  # that one is told already, and better
            question = one.question
            # Without a name the web's first site answers, which need not be the mail's.
            web = question.server_name is None and question.endpoint.protocol is AppProtocol.HTTP
            groups.setdefault((question.server_name, question.family, web), []).append(one)
    found: dict[tuple[Endpoint, str], Finding] = {}
    for group in groups.values():
        leaves: dict[str, list[Judged]] = {}
        for one in group:
            leaves.setdefault(one.fingerprint, []).append(one)
        usual = max(leaves.values(), key=lambda ones: (len(ones), ones[0].answer.chain[0]))
        for odd in leaves.values():
            for one in odd if odd is not usual else ():
                found.setdefault(
                    (one.question.endpoint, one.fingerprint), _odd_one(one, usual[0], len(usual))
                )
    return tuple(_gathered(found.values()))


def _odd_one(one: Judged, usual: Judged, count: int) -> Finding:
    return Finding(
        "certificates-disagree",
        Severity.WARNING,
        place(one.question.endpoint),
        seen=certificate(one.answer.chain[0]),
        expected=f"{certificate(usual.answer.chain[0])}, as on {count} other{'s' if count > 1 else ''}, "
        f"such as {place(usual.question.endpoint)}",
        why="a service that was forgotten when the others got their certificate will expire unseen",
        mend="mailseal setup",
    )


def worse(before: Verdict, after: Verdict) -> tuple[Finding, ...]:
    """What worked before and does not now, or is served less well; the reason to take a change back."""
    earlier = {one.question: one for one in before.judged}
    found: list[Finding] = []
    for one in after.judged:
        was = earlier.get(one.question)
        if was is None and one.errors and one.errors <= _NEW_DEMANDS:
            continue
        was = was or _like(one.question, before)
        if was is None:
            continue
        new = one.errors - was.errors - _NOT_THE_CLIENTS_BUSINESS
        if one.level < was.level or (one.level == was.level == 2 and new):
            codes = new or one.errors
            found += [finding for finding in one.findings if finding.code in codes]
    present = {one.question.endpoint for one in after.judged}
    looked_at = {endpoint.service for endpoint in present}
    served = {one.question.endpoint for one in before.judged if one.level}
    gone = {endpoint for endpoint in served - present if endpoint.service in looked_at}
    found += [
        Finding(
            "endpoint-gone",
            Severity.ERROR,
            place(endpoint),
            seen="the service no longer has this endpoint",
            expected="an endpoint that was served before",
            why="its clients are turned away",
        )
        for endpoint in sorted(gone)
    ]
    return tuple(_gathered(found))


def _like(question: Question, before: Verdict) -> Judged | None:
    """For a handshake not tried before: the best that its endpoint did under this name, else under none."""
    if isinstance(question, HttpQuestion):
        return None
    same = [one for one in before.judged if one.question.endpoint == question.endpoint]
    named = [one for one in same if one.question.server_name == question.server_name]
    unnamed = [one for one in same if one.question.server_name is None]
    return max(named or unnamed, key=lambda one: one.level, default=None)


def _gathered(findings: Iterable[Finding]) -> list[Finding]:
    """One finding in place of many that differ only in the name asked, or only in the endpoint."""
    names: dict[Finding, list[str]] = {}
    for finding in findings:
        where, _, name = finding.subject.partition(" as ")
        names.setdefault(replace(finding, subject=where), []).append(name)
    places: dict[Finding, list[str]] = {}
    for finding, asked_as in names.items():
        told = list(dict.fromkeys(name for name in asked_as if name))
        if "" in asked_as and told:
            told.insert(0, "no name")
        suffix = f" as {_listed(told)}" if told else ""
        places.setdefault(replace(finding, subject=suffix), []).append(finding.subject)
    return [
        replace(finding, subject=_listed(found, 24) + finding.subject) for finding, found in places.items()
    ]


def _listed(words: Sequence[str], most: int = 4) -> str:
    more = f" and {len(words) - most} more" if len(words) > most else ""
    return ", ".join(words[:most]) + more

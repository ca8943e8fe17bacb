"""One answer against what was expected: the rules, a finding each.

The codes are stable (docs/reference/findings.md). Which of them mean that a
client is turned away, and which that it is warned, says `level`; the rest are
told and block nothing.
"""

from __future__ import annotations

from mailseal.judge.expect import Expectation
from mailseal.judge.reached import auth, reached
from mailseal.judge.served import served
from mailseal.judge.surroundings import Surroundings
from mailseal.judge.web import web
from mailseal.model import Finding
from mailseal.probes.base import Answer

TURNED_AWAY = frozenset(
    {
        "endpoint-unreachable",
        "endpoint-silent",
        "starttls-missing",
        "starttls-refused",
        "handshake-failed",
        "tls-too-old",
        "key-family-missing",
        "challenge-not-served",
    }
)
WARNED = frozenset(
    {
        "certificate-unreadable",
        "chain-incomplete",
        "chain-expired",
        "untrusted",
        "name-mismatch",
        "not-yet-valid",
        "expired",
        "not-for-servers",
    }
)


def judge(answer: Answer, expected: Expectation, around: Surroundings) -> tuple[Finding, ...]:
    """All that is wrong with one answer; empty where nothing is."""
    return (
        *reached(answer),
        *auth(answer, around),
        *(served(answer, expected, around) if answer.chain else ()),
        *(web(answer, expected) if answer.ok and answer.status is not None else ()),
    )


def level(findings: tuple[Finding, ...]) -> int:
    """How well an endpoint serves: 0 turns clients away, 1 makes them warn or refuse, 2 works."""
    codes = {finding.code for finding in findings}
    return 0 if codes & TURNED_AWAY else 1 if codes & WARNED else 2

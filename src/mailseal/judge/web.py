"""What a web server answered to a GET.

The redirect to https should be permanent (RFC 9110 section 15.4.2), and the
challenge's path served in the clear (RFC 8555 section 8.3).
"""

from __future__ import annotations

from collections.abc import Iterator

from mailseal.judge.expect import Expectation
from mailseal.judge.words import asked
from mailseal.model import Finding, Severity, TlsMode
from mailseal.probes.base import Answer
from mailseal.probes.http import HttpQuestion


def web(answer: Answer, expected: Expectation) -> Iterator[Finding]:
    """Whether a GET was answered as expected."""
    where, question = asked(answer.question), answer.question
    file = expected.public_file
    if file is not None and isinstance(question, HttpQuestion) and question.path == file.path:
        if answer.status != 200 or answer.body != file.content:
            other = " with other content" if answer.status == 200 else ""
            to = f" to {answer.location}" if answer.location else ""
            yield Finding(
                "challenge-not-served",
                Severity.ERROR,
                where,
                seen=f"GET {file.path}: {answer.detail}{to}{other}",
                expected="200 with the token",
                why="the CA cannot see that the name is ours, so nothing can be renewed",
                mend="mailseal apply",
            )
    elif expected.redirect and question.endpoint.tls is TlsMode.NONE:
        yield from _redirect(answer, where)


def _redirect(answer: Answer, where: str) -> Iterator[Finding]:
    to_https = answer.location.lower().startswith("https://")
    if answer.status in (301, 308) and to_https:
        return
    temporary = answer.status in (302, 303, 307) and to_https
    yield Finding(
        "redirect-temporary" if temporary else "redirect-missing",
        Severity.WARNING,
        where,
        seen=f"{answer.detail}{f' to {answer.location}' if answer.location else ''}",
        expected="301 to https",
        why="browsers ask in the clear again each time" if temporary else "the site is used in the clear",
        mend="mailseal apply",
    )

"""How far a probe came: connection, greeting, STARTTLS, handshake; and whether logins are offered before TLS.

STARTTLS is RFC 3207 for SMTP, RFC 9051 section 6.2.1 for IMAP, RFC 2595 for
POP3 and RFC 5804 for ManageSieve; RFC 8314 section 3.3 wants no login before it.
"""

from __future__ import annotations

from collections.abc import Iterator

from mailseal.judge.expect import asked_as_stranger
from mailseal.judge.surroundings import Surroundings
from mailseal.judge.words import asked, reload_of
from mailseal.model import Finding, Severity
from mailseal.probes.base import Answer, Stage


def reached(answer: Answer) -> Iterator[Finding]:
    """Why a probe did not come to its end; nothing where it did."""
    if answer.ok:
        return
    endpoint, where, seen = answer.question.endpoint, asked(answer.question), answer.detail
    match answer.stage:
        case Stage.CONNECT:
            yield Finding(
                "endpoint-unreachable",
                Severity.ERROR,
                where,
                seen=f"no connection: {seen}",
                expected="a connection",
                why="no client gets in here",
                mend=f"see who listens: ss -ltnp 'sport = :{endpoint.port}'",
            )
        case Stage.GREETING:
            yield Finding(
                "endpoint-silent",
                Severity.ERROR,
                where,
                seen=seen,
                expected=f"{endpoint.protocol.upper()} to be spoken",
                why="the port is open, but what answers does not speak its protocol",
                mend="see the service's log",
            )
        case Stage.STARTTLS:
            yield _starttls(answer)
        case _:
            yield _handshake(answer)


def _starttls(answer: Answer) -> Finding:
    missing = answer.starttls_offered is False
    return Finding(
        "starttls-missing" if missing else "starttls-refused",
        Severity.ERROR,
        asked(answer.question),
        seen=answer.detail,
        expected="STARTTLS",
        why="mail and passwords go in the clear, or clients turn away",
        mend="see the service's log for the certificate or key that it could not load",
    )


def _handshake(answer: Answer) -> Finding:
    question, reason = answer.question, answer.detail
    old = "protocol version" in reason or "unsupported protocol" in reason
    if question.family is not None and old:
        return Finding(
            "key-family-not-asked",
            Severity.INFO,
            asked(question),
            seen=f"no TLS 1.2 ({reason}), by which alone one kind of key can be asked for",
        )
    if question.family is not None and "handshake failure" in reason:
        return Finding(
            "key-family-missing",
            Severity.ERROR,
            asked(question),
            seen=f"no {question.family.upper()} certificate: {reason}",
            expected=f"an {question.family.upper()} certificate to whoever asks for one",
            why="clients that know only this kind of key are turned away",
            mend=reload_of(question.endpoint.service),
        )
    return Finding(
        "tls-too-old" if old else "handshake-failed",
        Severity.ERROR,
        asked(question),
        seen=reason,
        expected="TLS 1.2 or newer",
        why="clients of today refuse older versions" if old else "every client that wants TLS is turned away",
        mend="allow TLS 1.2 and 1.3 in its configuration"
        if old
        else "see whether key and certificate belong together: mailseal check",
    )


def auth(answer: Answer, around: Surroundings) -> Iterator[Finding]:
    """Whether a stranger may send a password in the clear."""
    if not answer.offers_plain_auth or not asked_as_stranger(answer.question, around.own_addresses):
        return
    mend = {
        "postfix": "postconf -e smtpd_tls_auth_only=yes && postfix reload",
        "dovecot": "ssl = required, then doveadm reload",
    }
    yield Finding(
        "auth-before-tls",
        Severity.ERROR,
        asked(answer.question),
        seen="a login is offered before TLS",
        expected="a login only after TLS (RFC 8314 section 3.3)",
        why="passwords can be read on the way",
        mend=mend.get(answer.question.endpoint.service, ""),
    )

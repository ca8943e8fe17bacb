"""One answer against what was expected: the rules, a finding each.

The codes are stable (docs/reference/findings.md). Which of them mean that a
client is turned away, and which that it is warned, says `level`; the rest are
told and block nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

from mailseal.certificates import certificate_facts, covers, for_servers, subject, weakness
from mailseal.chains import TrustAnchors, incomplete, shape, trust
from mailseal.errors import KeyMaterialError
from mailseal.judge.expect import Expectation, ExpectedLeaf, asked_as_stranger
from mailseal.judge.words import asked, certificate, day, reload_of
from mailseal.material import untrusted
from mailseal.model import AppProtocol, CertificateFacts, Finding, Severity, TlsMode
from mailseal.probes.base import Answer, Stage
from mailseal.probes.http import HttpQuestion

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


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What every answer is judged against: the roots, the time, the machine's own addresses."""

    now: datetime
    anchors: TrustAnchors | None
    own_addresses: tuple[str, ...] = ()


def judge(answer: Answer, expected: Expectation, around: Surroundings) -> tuple[Finding, ...]:
    """All that is wrong with one answer; empty where nothing is."""
    return (
        *_reached(answer),
        *_auth(answer, around),
        *(_served(answer, expected, around) if answer.chain else ()),
        *(_web(answer, expected) if answer.ok and answer.status is not None else ()),
    )


def level(findings: tuple[Finding, ...]) -> int:
    """How well an endpoint serves: 0 turns clients away, 1 makes them warn or refuse, 2 works."""
    codes = {finding.code for finding in findings}
    return 0 if codes & TURNED_AWAY else 1 if codes & WARNED else 2


def _reached(answer: Answer) -> Iterator[Finding]:
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


def _auth(answer: Answer, around: Surroundings) -> Iterator[Finding]:
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


def _served(answer: Answer, expected: Expectation, around: Surroundings) -> Iterator[Finding]:
    try:
        facts = certificate_facts(answer.chain[0])
        wanted = expected.leaf(answer.question.family or facts.key_family)
        yield from _differs(answer, expected, facts)
        yield from _chain(answer, wanted, around)
        yield from _fits(answer, expected, facts, around.now)
    except KeyMaterialError as error:
        yield Finding("certificate-unreadable", Severity.ERROR, asked(answer.question), seen=str(error))


def _differs(answer: Answer, expected: Expectation, facts: CertificateFacts) -> Iterator[Finding]:
    wanted = expected.leaf(answer.question.family)
    if not expected.leaves or facts.fingerprint in {leaf.fingerprint for leaf in expected.leaves}:
        return
    newer = max(certificate_facts(leaf.chain[0]).not_before for leaf in expected.leaves)
    older = facts.not_before < newer
    yield Finding(
        "leaf-differs",
        Severity.ERROR,
        asked(answer.question),
        seen=f"{'still ' if older else ''}{certificate(answer.chain[0])}",
        expected=certificate((wanted or expected.leaves[0]).chain[0]),
        why="a process has not taken up the new files, or another setting decides here"
        if older
        else "another setting, another process or a proxy decides here",
        mend=reload_of(answer.question.endpoint.service),
    )


def _chain(answer: Answer, wanted: ExpectedLeaf | None, around: Surroundings) -> Iterator[Finding]:
    where, served = asked(answer.question), answer.chain
    seen = shape(served)
    if not seen.in_order:
        yield Finding(
            "chain-order",
            Severity.WARNING,
            where,
            seen=f"sent in the order {', '.join(subject(der) for der in served)}",
            expected=", ".join(subject(served[step]) for step in seen.path),
            why="not every client puts a chain in order by itself",
            mend="put the leaf first, then each certificate that vouches for the one before",
        )
    if seen.superfluous:
        yield Finding(
            "chain-superfluous",
            Severity.WARNING,
            where,
            seen=f"sent besides: {', '.join(seen.superfluous)}",
            expected="the leaf and what vouches for it, nothing else",
            why="some clients stumble over certificates that do not belong to the chain",
        )
    if seen.root_sent:
        yield Finding(
            "chain-with-root",
            Severity.INFO,
            where,
            seen=f"the root {subject(served[seen.path[-1]])} is sent too",
            expected="the chain without its root",
            why="clients trust only roots that they hold already; it makes every handshake longer",
        )
    for der in served:
        if weak := weakness(der):
            yield Finding(
                "certificate-weak",
                Severity.ERROR,
                where,
                seen=f"{subject(der)}: {weak}",
                expected="RSA with 2048 bits, or ECDSA, signed with SHA-256",
                why="clients of today refuse it",
            )
    yield from _trusted(answer, wanted, around)


def _trusted(answer: Answer, wanted: ExpectedLeaf | None, around: Surroundings) -> Iterator[Finding]:
    where, served, anchors = asked(answer.question), answer.chain, around.anchors
    seen = shape(served)
    verdict = trust(served, anchors, around.now) if anchors is not None else None
    if verdict is not None and verdict.trusted:
        return
    if incomplete(served, wanted.chain if wanted else ()):
        yield Finding(
            "chain-incomplete",
            Severity.ERROR,
            where,
            seen=f"{len(served)} certificate{'s' if len(served) > 1 else ''} sent, the last by {seen.missing_issuer}",
            expected=f"the certificate of {seen.missing_issuer} with it",
            why="clients and senders that do not know it already cannot trust the leaf",
            mend="configure the full chain (fullchain.pem), not the leaf alone (cert.pem)",
        )
    elif verdict is not None and anchors is not None and verdict.date_at_fault:
        if verdict.date_at_fault != subject(served[0]):
            yield Finding(
                "chain-expired",
                Severity.ERROR,
                where,
                seen=f"{verdict.date_at_fault}, which vouches for it: {verdict.reason}",
                expected="a chain whose every certificate is valid",
                mend="renew, so that the CA sends its present chain",
            )
    elif verdict is not None and anchors is not None:
        yield Finding(
            "untrusted",
            Severity.ERROR,
            where,
            seen=untrusted(served, anchors, verdict.reason),
            expected=f"a chain that ends in {anchors.label}",
            why="mail clients warn or refuse",
            mend="mailseal setup",
        )


def _fits(answer: Answer, expected: Expectation, facts: CertificateFacts, now: datetime) -> Iterator[Finding]:
    where, leaf = asked(answer.question), answer.chain[0]
    name = answer.question.server_name or expected.default_name
    if name and not covers(leaf, name):
        strict = (
            answer.question.server_name is not None or answer.question.endpoint.protocol is AppProtocol.SMTP
        )
        yield Finding(
            "name-mismatch",
            Severity.ERROR if strict and not expected.guessed else Severity.WARNING,
            where,
            seen=certificate(leaf),
            expected=f"a certificate for {name}",
            why="this server calls itself so; who connects under that name is warned or refused"
            if expected.guessed
            else "mail clients warn or refuse (RFC 9525)",
            mend=f"mailseal setup --name {name}",
        )
    if not for_servers(leaf):
        yield Finding(
            "not-for-servers",
            Severity.ERROR,
            where,
            seen="its extended key usage does not allow a TLS server",
            expected="serverAuth",
            why="clients refuse it",
        )
    yield from dates(where, facts, now)


def dates(where: str, facts: CertificateFacts, now: datetime) -> Iterator[Finding]:
    """Validity against the clock; what is left, against the certificate's own lifetime."""
    left, life = facts.not_after - now, facts.not_after - facts.not_before
    if now < facts.not_before:
        yield Finding(
            "not-yet-valid",
            Severity.ERROR,
            where,
            seen=f"valid only from {facts.not_before:%Y-%m-%d %H:%M} UTC on",
            expected=f"a certificate that is valid now, {now:%Y-%m-%d %H:%M} UTC",
            why="clients refuse it; or this machine's clock is wrong",
            mend="timedatectl",
        )
    elif left <= timedelta(0):
        yield Finding(
            "expired",
            Severity.ERROR,
            where,
            seen=f"expired on {day(facts.not_after)}",
            expected="a certificate that is valid now",
            why="clients refuse it",
            mend="mailseal renew",
        )
    elif left < min(life / 5, timedelta(days=30)):
        yield Finding(
            "expiring",
            Severity.ERROR if left < min(life / 20, timedelta(days=7)) else Severity.WARNING,
            where,
            seen=f"expires on {day(facts.not_after)}, {_span(left)} from now",
            expected="a renewal when a third of its life is left",
            why="whatever renews it seems not to work",
            mend="mailseal renew",
        )


def _span(left: timedelta) -> str:
    hours = int(left.total_seconds() // 3600)
    return f"{hours // 24} days" if hours >= 48 else f"{hours} hours"


def _web(answer: Answer, expected: Expectation) -> Iterator[Finding]:
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

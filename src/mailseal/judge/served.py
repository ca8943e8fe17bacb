"""The certificate and chain that were served: the right one, whole, trusted, for the name, in time.

RFC 5280 for chains and dates, RFC 9525 for names; the order of a chain is RFC
5246 section 7.4.2. What is expected of a renewal's timing is relative to the
certificate's own lifetime, which shrinks from year to year.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta

from mailseal.certificates import certificate_facts, covers, for_servers, subject, weakness
from mailseal.chains import incomplete, shape, trust
from mailseal.errors import KeyMaterialError
from mailseal.judge.expect import Expectation, ExpectedLeaf
from mailseal.judge.surroundings import Surroundings
from mailseal.judge.words import asked, certificate, day, reload_of
from mailseal.material import untrusted
from mailseal.model import AppProtocol, CertificateFacts, Finding, Severity
from mailseal.probes.base import Answer


def served(answer: Answer, expected: Expectation, around: Surroundings) -> Iterator[Finding]:
    """All that is wrong with what was served."""
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
            mend=f"mailseal setup --name {name}; where there is a mailseal.toml: add the name to its identifiers, "
            "then mailseal apply",
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

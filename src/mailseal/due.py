"""Whether a certificate is to be ordered now, why, and at which CA; or until when it must wait. Pure.

Of several CAs the first is always asked first. One of the others is asked only
when the first has failed for long, which is measured against the life that was
left to the certificate when it began to fail: half of it has passed. Where
there is no certificate that serves, an hour is long. What was bought elsewhere
stays until it is due; then the first has its chance again.

A pause of ours after a failure ends early where a person asks, and where the
live certificate is about to expire (`mailseal.renewal.guarded`). That a CA has
no time for a while (503) is waited out unless the certificate nearly expires.
A limit that it named ends for nobody before its time; another CA knows nothing
of it.
"""

from __future__ import annotations

from collections.abc import Container, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from urllib.parse import urlsplit

from mailseal.model import CertificateSpec, Generation
from mailseal.observe import Lineage
from mailseal.pinning import pinned, waits
from mailseal.renewal import guarded, renewal_time
from mailseal.stores.state import Failure, holds

LONG_WITHOUT = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class Due:
    """Whether a spec needs an order: `why` if it does now (at `issuer`, a directory URL), `wait` a sentence if it
    must wait, else neither."""

    why: str = ""
    wait: str = ""
    issuer: str = ""


def due(
    spec: CertificateSpec,
    lineage: Lineage | None,
    issuers: tuple[str, ...],
    now: datetime,
    *,
    insist: bool,
    failed: Container[str] = (),
) -> Due:
    """Whether a new generation is to be ordered now, why, and where.

    `issuers` are the directory URLs of the CAs, the first first; `failed` are those at which an order of this spec
    failed in this very run. `insist`: a person asks, so a mere backoff is over.
    """
    reason = _reason(spec, lineage, issuers, now)
    if lineage is None:
        return Due(reason, issuer=issuers[0])
    wait = waits(spec, lineage.target, lineage.state, issuers[0], now)
    wait = wait or _rejected(spec, lineage, reason, now, insist=insist)
    if wait or not reason:
        return Due(wait=wait)
    live, told = lineage.generation(lineage.current), []
    for url in _candidates(lineage, issuers, now):
        if url in failed:
            continue
        failure = lineage.state.failures.get(url)
        if failure is None or not _paused(failure, live, now, insist=insist):
            return Due(reason, issuer=url)
        told.append(_waiting(failure, url if url != issuers[0] else "", live, now))
    return Due(wait=f"{spec.name}: {'; '.join(told)}" if told else "")


def failing_for_long(failure: Failure | None, live: Generation | None, now: datetime) -> bool:
    """Whether a CA has failed so long that another is asked: half of what was left of the certificate's life."""
    if failure is None:
        return False
    left = live.not_after - failure.began if live is not None else timedelta()
    return now - failure.began >= max(left / 2, min(LONG_WITHOUT, _hour_of(live)))


def host(directory_url: str) -> str:
    """What a CA is called in a sentence."""
    return urlsplit(directory_url).hostname or directory_url


def _hour_of(live: Generation | None) -> timedelta:
    """An hour, or what is an hour's worth to a certificate that lives for minutes."""
    return LONG_WITHOUT if live is None else (live.not_after - live.not_before) / 20


def _candidates(lineage: Lineage, issuers: tuple[str, ...], now: datetime) -> Iterator[str]:
    yield issuers[0]
    live = lineage.generation(lineage.current)
    if failing_for_long(lineage.state.failures.get(issuers[0]), live, now):
        yield from issuers[1:]


def _paused(failure: Failure, live: Generation | None, now: datetime, *, insist: bool) -> bool:
    if not holds(failure.at, failure.again, now):
        return False
    if failure.limited and not failure.busy:
        return True
    return (failure.busy or not insist) and now < guarded(failure.at, failure.again, live, now)


def _waiting(failure: Failure, url: str, live: Generation | None, now: datetime) -> str:
    at = f" at {host(url)}" if url else ""
    if failure.limited and not failure.busy:
        what = failure.limit or failure.reason
        return f"the CA's limit{at} is reached ({what}); next try {failure.again:%F %H:%M} UTC"
    again = guarded(failure.at, failure.again, live, now)
    return f"the last order{at} failed ({failure.reason}); next try {again:%F %H:%M} UTC"


def _rejected(spec: CertificateSpec, lineage: Lineage, reason: str, now: datetime, *, insist: bool) -> str:
    """Why what was issued last keeps another from being ordered; empty where it does not."""
    newest = lineage.generations[-1] if lineage.generations else None
    if pinned(lineage.target, lineage.state):  # a person turned the newest down, whatever is held against it
        newest = lineage.target
    rejection = lineage.state.rejection(newest.number) if newest else None
    if newest is None or rejection is None:
        return ""
    if lineage.target is not newest and not rejection.unusable:
        return (
            f"{spec.name}: generation {newest.label} was taken back ({rejection.reason}); "
            f"it is tried again {rejection.again:%F %H:%M} UTC, or by mailseal apply"
        )
    live = lineage.generation(lineage.current)
    again = guarded(rejection.at, rejection.again, live, now)
    if reason and rejection.unusable and not insist and holds(rejection.at, again, now):
        return (
            f"{spec.name}: what the CA issued last was refused ({rejection.reason}); "
            f"another is ordered {again:%F %H:%M} UTC, or by mailseal apply"
        )
    return ""


def _reason(spec: CertificateSpec, lineage: Lineage | None, issuers: tuple[str, ...], now: datetime) -> str:
    if lineage is None or lineage.target is None:
        return "there is none yet"
    generation = lineage.target
    withdrawal = lineage.state.withdrawn.get(generation.number)
    if withdrawal is not None:
        is_to_be = "was" if withdrawal.revoked else "is to be"
        return f"generation {generation.label} {is_to_be} revoked ({withdrawal.why})"
    rejection = lineage.state.rejection(generation.number)
    if rejection is not None and rejection.unusable:
        return f"the files of generation {generation.label} are damaged ({rejection.reason})"
    missing = [t for t in spec.key_types if t not in {key_type for key_type, _ in generation.leaves}]
    if missing:
        return f"a key of type {missing[0]} is asked for too"
    for _, facts in generation.leaves:
        added = sorted(i.unicode for i in spec.identifiers - frozenset(facts.identifiers))
        asked = frozenset(generation.asked or facts.identifiers)
        removed = sorted(i.unicode for i in asked - spec.identifiers)
        if added or removed:
            changes = [f"+{name}" for name in added] + [f"-{name}" for name in removed]
            return f"its names change ({', '.join(changes)})"
    if generation.issuer not in issuers:
        return f"another CA is asked for than {generation.issuer}"
    leaves = generation.fingerprints()
    when = renewal_time(generation, lineage.state.renewal_instant(leaves), lineage.state.explained(leaves))
    if now >= when.at:
        return f"renewal is due since {when.at:%F %H:%M} UTC: {when.why}"
    return ""

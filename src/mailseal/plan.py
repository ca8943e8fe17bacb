"""From wish and observation to steps. Pure: no file, no clock, no network.

One round's plan holds what can be done now, in order, and what later rounds
will do as provisional:

1. where a certificate is needed and Apache answers challenges, the challenge
   path is served first (a transaction of its own);
2. the orders;
3. the deployment: files, links, `current`, in one transaction, proven.

Nothing is planned for what must wait: a failure's backoff, a rejected
generation's, a renewal's time. `Plan.waits` says until when.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from mailseal.desired import Desired
from mailseal.effects import parents_first
from mailseal.model import CertificateSpec, Generation, KeyType
from mailseal.observe import Lineage, Observed
from mailseal.renewal import renewal_time
from mailseal.steps import Deploy, Issue, Plan, Step


@dataclass(frozen=True, slots=True)
class Due:
    """Whether a spec needs an order: `why` if it does now, `wait` a sentence if it must wait, else neither."""

    why: str = ""
    wait: str = ""


def due(
    spec: CertificateSpec, lineage: Lineage | None, issuer_url: str, now: datetime, *, insist: bool
) -> Due:
    """Whether a new generation is to be ordered now, and why. `insist`: a person asks, so a mere backoff is over."""
    reason = _reason(spec, lineage, issuer_url, now)
    if lineage is None:
        return Due(reason)
    newest = lineage.generations[-1] if lineage.generations else None
    rejection = lineage.state.rejection(newest.number) if newest else None
    if newest and rejection and lineage.target is not newest and not rejection.unusable:
        return Due(
            wait=f"{spec.name}: generation {newest.label} was taken back ({rejection.reason}); "
            f"it is tried again {rejection.again:%F %H:%M} UTC, or by mailseal apply"
        )
    if reason and rejection and rejection.unusable and now < rejection.again and not insist:
        return Due(
            wait=f"{spec.name}: what the CA issued last was refused ({rejection.reason}); "
            f"another is ordered {rejection.again:%F %H:%M} UTC, or by mailseal apply"
        )
    failure = lineage.state.failure
    if reason and failure is not None and now < failure.again and (failure.limited or not insist):
        return Due(
            wait=f"{spec.name}: the last order failed ({failure.reason}); next try {failure.again:%F %H:%M} UTC"
        )
    return Due(reason)


def _reason(spec: CertificateSpec, lineage: Lineage | None, issuer_url: str, now: datetime) -> str:
    if lineage is None or lineage.target is None:
        return "there is none yet"
    generation = lineage.target
    missing = [t for t in spec.key_types if t not in {key_type for key_type, _ in generation.leaves}]
    if missing:
        return f"a key of type {missing[0]} is asked for too"
    for _, facts in generation.leaves:
        added = sorted(i.unicode for i in spec.identifiers - frozenset(facts.identifiers))
        removed = sorted(i.unicode for i in frozenset(facts.identifiers) - spec.identifiers)
        if added or removed:
            changes = [f"+{name}" for name in added] + [f"-{name}" for name in removed]
            return f"its names change ({', '.join(changes)})"
    if generation.issuer != issuer_url:
        return f"another CA is asked for than {generation.issuer}"
    when = renewal_time(generation, lineage.state.renewal_instant(generation.fingerprints()))
    if now >= when.at:
        return f"renewal is due since {when.at:%F %H:%M} UTC: {when.why}"
    return ""


def plan(wanted: Desired, seen: Observed, issuer_url: str, now: datetime, *, insist: bool = False) -> Plan:
    """The steps of this round; `issuer_url` is the CA that the configuration names now."""
    steps: list[Step] = []
    waits: list[str] = []
    issues: list[Issue] = []
    for spec in wanted.specs:
        need = due(spec, seen.lineage(spec.name), issuer_url, now, insist=insist)
        if need.wait:
            waits.append(need.wait)
        elif need.why:
            issues.append(Issue(spec, need.why, replaces=_replaces(seen.lineage(spec.name), now)))
    if issues:
        steps.extend(_serve_challenges(seen))
        steps.extend(issues)
    default = wanted.default
    if default is not None:
        pending = any(issue.spec.name == default.name for issue in issues)
        deployment = _deployment(default, seen, provisional=pending)
        if deployment is not None:
            steps.append(deployment)
    return Plan(tuple(steps), tuple(waits))


def _replaces(lineage: Lineage | None, now: datetime) -> tuple[tuple[KeyType, str], ...]:
    """The predecessors to name to the CA, inside their windows only: outside, naming one gains nothing (RFC 9773)."""
    suggestions = lineage.state.suggestions if lineage else {}
    return tuple((key_type, s.certificate_id) for key_type, s in suggestions.items() if s.start <= now)


def _serve_challenges(seen: Observed) -> list[Deploy]:
    puts = tuple(put for view in seen.services for put in view.challenge_gaps)
    if not puts:
        return []
    services = tuple(view.kind for view in seen.services if view.challenge_gaps)
    return [Deploy("serve the challenge path on port 80", parents_first(puts), services)]


def _deployment(spec: CertificateSpec, seen: Observed, *, provisional: bool) -> Deploy | None:
    lineage = seen.lineage(spec.name)
    generation = lineage.target if lineage else None
    if generation is None and not provisional:
        return None
    puts = [put for view in seen.services for put in view.gaps]
    kinds = {view.kind for view in seen.services if view.gaps}
    going_live: list[tuple[str, int]] = []
    for one in seen.lineages:
        puts.extend(one.switch)
        if one.target is not None and one.current != one.target.number:
            going_live.append((one.name, one.target.number))
            if one.name == spec.name:
                kinds = {view.kind for view in seen.services}
    if provisional:
        kinds, going_live = {view.kind for view in seen.services}, []
    if not puts and not provisional:
        return None
    return Deploy(
        _purpose(spec, None if provisional else generation),
        parents_first(tuple(puts)),
        tuple(sorted(kinds)),
        tuple(going_live),
        provisional,
    )


def _purpose(spec: CertificateSpec, generation: Generation | None) -> str:
    what = (
        f"generation {generation.label} of {spec.name!r}" if generation else f"the certificate {spec.name!r}"
    )
    return f"serve {what} on every port, and prove it"

"""From wish and observation to steps. Pure: no file, no clock, no network.

One round's plan holds what can be done now, in order, and what later rounds
will do as provisional:

1. where a certificate is needed and Apache answers challenges, the challenge
   path is served first (a transaction of its own);
2. the orders;
3. the deployment: files, links, `current`, in one transaction, proven; after
   it `current` of every other lineage, each by itself, so that none holds up
   another.

Nothing is planned for what must wait: a failure's backoff, a rejected
generation's, a renewal's time. `Plan.waits` says until when.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from mailseal.desired import Desired
from mailseal.effects import parents_first
from mailseal.model import CertificateSpec, Generation, KeyType
from mailseal.observe import Lineage, Observed
from mailseal.pinning import pinned, waits
from mailseal.renewal import renewal_time
from mailseal.steps import Deploy, Issue, Plan, Step
from mailseal.stores.state import holds


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
    pause = waits(spec, lineage.target, lineage.state, issuer_url, now)
    if pause:
        return Due(wait=pause)
    newest = lineage.generations[-1] if lineage.generations else None
    if pinned(lineage.target, lineage.state):
        newest = lineage.target
    rejection = lineage.state.rejection(newest.number) if newest else None
    if newest and rejection and lineage.target is not newest and not rejection.unusable:
        return Due(
            wait=f"{spec.name}: generation {newest.label} was taken back ({rejection.reason}); "
            f"it is tried again {rejection.again:%F %H:%M} UTC, or by mailseal apply"
        )
    if (
        reason
        and rejection
        and rejection.unusable
        and not insist
        and holds(rejection.at, rejection.again, now)
    ):
        return Due(
            wait=f"{spec.name}: what the CA issued last was refused ({rejection.reason}); "
            f"another is ordered {rejection.again:%F %H:%M} UTC, or by mailseal apply"
        )
    failure = lineage.state.failure
    held = failure is not None and holds(failure.at, failure.again, now) and (failure.limited or not insist)
    if reason and failure is not None and held:
        return Due(
            wait=f"{spec.name}: the last order failed ({failure.reason}); next try {failure.again:%F %H:%M} UTC"
        )
    return Due(reason)


def _reason(spec: CertificateSpec, lineage: Lineage | None, issuer_url: str, now: datetime) -> str:
    if lineage is None or lineage.target is None:
        return "there is none yet"
    generation = lineage.target
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
    if generation.issuer != issuer_url:
        return f"another CA is asked for than {generation.issuer}"
    when = renewal_time(generation, lineage.state.renewal_instant(generation.fingerprints()))
    if now >= when.at:
        return f"renewal is due since {when.at:%F %H:%M} UTC: {when.why}"
    return ""


def plan(
    wanted: Desired,
    seen: Observed,
    issuer_url: str,
    now: datetime,
    *,
    insist: bool = False,
    failed: frozenset[str] = frozenset(),
) -> Plan:
    """The steps of this round; `issuer_url` is the CA that the configuration names now.

    `failed` names the specs whose order failed in this run: they wait for the next one, and what can be done
    without them is done.
    """
    waits: list[str] = []
    issues: list[Issue] = []
    for spec in wanted.specs:
        if spec.name in failed:
            continue
        lineage = seen.lineage(spec.name)
        need = due(spec, lineage, issuer_url, now, insist=insist)
        if need.wait:
            waits.append(need.wait)
        elif need.why:
            issues.append(Issue(spec, need.why, replaces=_replaces(lineage, issuer_url, now)))
    pause = "" if insist or wanted.default is None else held(seen.lineage(wanted.default.name), now)
    challenges = _serve_challenges(seen) if issues else []
    if challenges and pause:
        challenges, issues = [], []
        waits.append(pause)
    pending = {issue.spec.name for issue in issues}
    deployment = None
    if wanted.default is not None:
        deployment = _deployment(wanted.default, seen, provisional=wanted.default.name in pending)
    if deployment is not None and challenges:
        done_by_then = {put.wish for step in challenges for put in step.puts}
        deployment = replace(
            deployment, puts=tuple(put for put in deployment.puts if put.wish not in done_by_then)
        )
    if deployment is not None and pause and not deployment.generations:
        deployment = None
        waits.append(pause)
    others = [
        _switch(lineage, provisional=lineage.name in pending)
        for lineage in seen.lineages
        if lineage.switch and (wanted.default is None or lineage.name != wanted.default.name)
    ]
    steps: list[Step] = [*challenges, *issues, *((deployment,) if deployment else ()), *others]
    return Plan(tuple(steps), tuple(dict.fromkeys(waits)))


def held(lineage: Lineage | None, now: datetime) -> str:
    """Why no change of the services' configuration is tried now; empty where it may be."""
    failure = lineage.state.deployment if lineage else None
    if failure is None or not holds(failure.at, failure.again, now):
        return ""
    return (
        f"the services' configuration: the last change was taken back ({failure.reason}); "
        f"it is tried again {failure.again:%F %H:%M} UTC, or by mailseal apply"
    )


def _replaces(lineage: Lineage | None, issuer_url: str, now: datetime) -> tuple[tuple[KeyType, str], ...]:
    """The predecessors to name to the CA (RFC 9773 section 5): its own, the very certificates that are live.

    Inside their windows only: outside, naming one gains nothing.
    """
    target = lineage.target if lineage else None
    if lineage is None or target is None or target.issuer != issuer_url:
        return ()
    leaves = dict(target.leaves)
    return tuple(
        (key_type, known.certificate_id)
        for key_type, known in lineage.state.suggestions.items()
        if known.start <= now and key_type in leaves and leaves[key_type].fingerprint == known.fingerprint
    )


def _serve_challenges(seen: Observed) -> list[Deploy]:
    puts = tuple(put for view in seen.services for put in view.challenge_gaps)
    if not puts:
        return []
    services = tuple(view.kind for view in seen.services if view.challenge_gaps)
    return [Deploy("serve the challenge path on port 80", parents_first(puts), services)]


def _deployment(spec: CertificateSpec, seen: Observed, *, provisional: bool) -> Deploy | None:
    lineage = seen.lineage(spec.name)
    generation = lineage.target if lineage else None
    if lineage is None or (generation is None and not provisional):
        return None
    puts = [put for view in seen.services for put in view.gaps]
    kinds = {view.kind for view in seen.services if view.gaps}
    going_live = _going_live(lineage)
    if going_live:
        kinds = {view.kind for view in seen.services}
    puts.extend(lineage.switch)
    if not puts and not provisional:
        return None
    return Deploy(
        _purpose(spec, generation),
        parents_first(tuple(puts), current_last=_drops_a_key_type(lineage)),
        tuple(sorted(kinds)),
        going_live,
        provisional,
    )


def _switch(lineage: Lineage, *, provisional: bool) -> Deploy:
    """The files of a lineage that no service serves by mailseal's doing: whoever reads them does so by live/."""
    label = lineage.target.label if lineage.target else ""
    purpose = f"make generation {label} of {lineage.name!r} the current one"
    return Deploy(purpose, parents_first(lineage.switch), (), _going_live(lineage), provisional)


def merged(steps: Sequence[Deploy]) -> Deploy:
    """Several switches that concern no service as one transaction."""
    return Deploy(
        f"make {len(steps)} generations the current ones",
        parents_first(tuple(put for step in steps for put in step.puts)),
        (),
        tuple(live for step in steps for live in step.generations),
    )


def _going_live(lineage: Lineage) -> tuple[tuple[str, int], ...]:
    if lineage.target is None or lineage.current == lineage.target.number:
        return ()
    return ((lineage.name, lineage.target.number),)


def _drops_a_key_type(lineage: Lineage) -> bool:
    """Whether the configuration that stands names files that the new generation has not."""
    live = lineage.generation(lineage.current)
    if live is None or lineage.target is None:
        return False
    return bool({kind for kind, _ in live.leaves} - {kind for kind, _ in lineage.target.leaves})


def _purpose(spec: CertificateSpec, generation: Generation | None) -> str:
    what = (
        f"generation {generation.label} of {spec.name!r}" if generation else f"the certificate {spec.name!r}"
    )
    return f"serve {what} on every port, and prove it"

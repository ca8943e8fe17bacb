"""From wish and observation to steps. Pure: no file, no clock, no network.

One round's plan holds what can be done now, in order, and what later rounds
will do as provisional:

1. where a certificate is needed and Apache answers challenges, the challenge
   path is served first (a transaction of its own);
2. the orders;
3. the deployment: files, links, `current`, in one transaction, proven; after
   it `current` of every other lineage, each a step of its own, so that none holds
   up another.

Nothing is planned for what must wait: a failure's backoff, a rejected
generation's, a renewal's time. `Plan.waits` says until when.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

from mailseal.desired import Desired
from mailseal.due import due
from mailseal.effects import parents_first
from mailseal.model import CertificateSpec, Generation, KeyType
from mailseal.observe import Lineage, Observed
from mailseal.renewal import nearly_expired
from mailseal.steps import Deploy, Issue, Plan, Step
from mailseal.stores.state import holds


def plan(
    wanted: Desired,
    seen: Observed,
    issuers: tuple[str, ...],
    now: datetime,
    *,
    insist: bool = False,
    failed: frozenset[tuple[str, str]] = frozenset(),
) -> Plan:
    """The steps of this round; `issuers` are the CAs (directory URLs) that the configuration names, the first first.

    `failed` holds the specs whose order failed in this run, each with the CA: they wait for the next one, or for
    another CA, and what can be done without them is done.
    """
    waits: list[str] = []
    issues: list[Issue] = []
    known = {lineage.name: lineage for lineage in seen.lineages}
    for spec in wanted.specs:
        lineage = known.get(spec.name)
        refused = {issuer for name, issuer in failed if name == spec.name} if failed else ()
        need = due(spec, lineage, issuers, now, insist=insist, failed=refused)
        if need.wait:
            waits.append(need.wait)
        elif need.why:
            replaces = _replaces(lineage, need.issuer, now)
            issues.append(Issue(spec, need.why, replaces, need.issuer, fallback=need.issuer != issuers[0]))
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
        _switch(lineage, seen, provisional=lineage.name in pending)
        for lineage in seen.lineages
        if lineage.switch and (wanted.default is None or lineage.name != wanted.default.name)
    ]
    steps: list[Step] = [*challenges, *issues, *((deployment,) if deployment else ()), *others]
    return Plan(tuple(steps), tuple(dict.fromkeys(waits)))


def held(lineage: Lineage | None, now: datetime) -> str:
    """Why no change of the services' configuration is tried now; empty where it may be."""
    failure = lineage.state.deployment if lineage else None
    if lineage is None or failure is None or not holds(failure.at, failure.again, now):
        return ""
    live = lineage.generation(lineage.current)
    if live is not None and nearly_expired(live, now):
        return ""  # orders need the challenge path, and nothing is worse than a certificate that expires
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


def _switch(lineage: Lineage, seen: Observed, *, provisional: bool) -> Deploy:
    """A lineage that no service serves by mailseal's doing.

    Whoever reads its files does so by live/; a service whose own configuration names one of them is reloaded.
    """
    label = lineage.target.label if lineage.target else ""
    purpose = f"make generation {label} of {lineage.name!r} the current one"
    live = _going_live(lineage)
    services = {view.kind for view in seen.services if live and view.names(lineage.folders)}
    return Deploy(purpose, parents_first(lineage.switch), tuple(sorted(services)), live, provisional)


def merged(steps: Sequence[Deploy]) -> Deploy:
    """Several deployments as one transaction."""
    services = sorted({kind for step in steps for kind in step.services})
    return Deploy(
        f"make {len(steps)} generations the current ones" + (", and prove it" if services else ""),
        tuple(put for step in steps for put in step.puts),  # each in its own order
        tuple(services),
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

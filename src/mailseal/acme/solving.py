"""Challenges (RFC 8555 section 8): what to show, and the dance around showing it.

The key authorization of a challenge is its token, a dot, and the thumbprint of
the account key (section 8.1). http-01 serves it as it is (8.3), dns-01 publishes
the base64url of its SHA-256 in a TXT record (8.4), tls-alpn-01 puts the digest
into a certificate (RFC 8737).

For one order: all pending authorizations are looked at, all chosen challenges
presented, then all answered, then all waited for. Every identifier that fails
is named, not only the first; everything presented is cleaned up, whatever
happens.
"""

from __future__ import annotations

import hashlib
import logging
from dataclasses import dataclass

from mailseal.acme.client import AcmeClient, together
from mailseal.acme.explain import listed
from mailseal.acme.jws import b64
from mailseal.acme.messages import Authorization, Challenge, Order
from mailseal.acme.orders import authorization, read_authorization
from mailseal.acme.polling import poll
from mailseal.acme.ports import Solver
from mailseal.acme.problems import (
    AcmeProblem,
    AcmeProtocolError,
    Problem,
    ProblemIdentifier,
    ValidationFailed,
    compound,
    plain,
)
from mailseal.acme.urls import check_token
from mailseal.errors import ChallengeError, MailsealError

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Task:
    authorization: Authorization
    challenge: Challenge
    key_authorization: str


def key_authorization(client: AcmeClient, challenge: Challenge) -> str:
    """Token and thumbprint (section 8.1). Raises `AcmeProtocolError` for a token that is none."""
    return f"{check_token(challenge.token, what=challenge.type)}.{client.key.thumbprint}"


def dns01_value(key_authorization: str) -> str:
    """The text of the TXT record at `_acme-challenge.<name>` (section 8.4)."""
    return b64(hashlib.sha256(key_authorization.encode("ascii")).digest())


def tls_alpn01_digest(key_authorization: str) -> bytes:
    """The octets of the acmeIdentifier extension (RFC 8737 section 3)."""
    return hashlib.sha256(key_authorization.encode("ascii")).digest()


async def authorize(client: AcmeClient, order: Order, found: list[Authorization], solver: Solver) -> None:
    """Shows control of every identifier of the order; returns when each is authorized.

    `found` are the order's authorizations as they are now.

    Raises `ValidationFailed` that names every identifier that failed,
    `ChallengeError` when no challenge can be solved, and what `solver` raises.
    """
    strange = [one for one in found if one.name not in order.names]
    if strange:
        raise AcmeProtocolError(
            "The CA wants control shown of what was not ordered", reason=f"it names {strange[0].name}"
        )
    dead = [one for one in found if one.status not in ("valid", "pending")]
    if dead:
        raise _failure(dead)
    tasks = [_task(client, one, solver) for one in found if one.status == "pending"]
    if not tasks:
        return
    begun: list[_Task] = []
    try:
        await together(*(_present(task, solver, begun) for task in tasks))
        outcomes = await together(*(_answer(client, task) for task in tasks))
    finally:
        await together(*(_clean_up(task, solver) for task in begun))
    failed = [outcome for outcome in outcomes if outcome.status != "valid"]
    if failed:
        raise _failure(failed)


def _task(client: AcmeClient, authorization: Authorization, solver: Solver) -> _Task:
    challenge = solver.choose(authorization)
    if challenge is None:
        offered = plain(", ".join(sorted({one.type for one in authorization.challenges})))
        raise ChallengeError(
            f"There is no way to show the CA control of {authorization.name}",
            reason=f"it offers {offered}" if offered else "it offers no challenge",
            next_command="Wildcards need dns-01: configure a DNS writer, or name the hosts one by one.",
        )
    return _Task(authorization, challenge, key_authorization(client, challenge))


async def _present(task: _Task, solver: Solver, begun: list[_Task]) -> None:
    begun.append(task)
    await solver.present(task.authorization, task.challenge, task.key_authorization)


async def _answer(client: AcmeClient, task: _Task) -> Authorization:
    """Tells the server to look (unless an earlier run did), then waits until it has."""
    url = task.authorization.url
    doing = f"to validate {task.authorization.name}"
    told = None
    if task.challenge.status == "pending":
        try:
            told = (await client.post(task.challenge.url, b"{}", doing=doing)).retry_after
        except AcmeProblem:
            # Some servers refuse an answer that comes twice, as after a connection that broke off.
            seen = await authorization(client, url)
            again = seen.challenge(task.challenge.type)
            if seen.status == "pending" and (again is None or again.status == "pending"):
                raise
    return await poll(
        client,
        url,
        lambda reply: read_authorization(client, url, reply),
        lambda seen: _settled(seen, task.challenge.type),
        pace=client.authorization_pace,
        told=told,
        doing=doing,
    )


def _settled(seen: Authorization, kind: str) -> bool:
    """Whether the server has made up its mind.

    smallstep's CA leaves the authorization pending when its challenge failed: the
    challenge is then invalid, or pending again with an error and not looked at
    until it is answered anew. While a server still tries, it is processing (section 8.2).
    """
    if seen.status != "pending":
        return True
    challenge = seen.challenge(kind)
    if challenge is None:
        return False
    return challenge.status == "invalid" or (challenge.status == "pending" and challenge.error is not None)


async def _clean_up(task: _Task, solver: Solver) -> None:
    try:
        await solver.clean_up(task.authorization, task.challenge, task.key_authorization)
    except MailsealError as error:
        # A token left behind harms nobody; the certificate, or the error under way, matters more.
        log.warning("The challenge of %s could not be cleaned up: %s", task.authorization.name, error)


def _failure(failed: list[Authorization]) -> ValidationFailed:
    problems = []
    for one in failed:
        error = next((challenge.error for challenge in one.challenges if challenge.error is not None), None)
        name = one.name
        known = error or Problem(detail=f"the authorization is {one.status}, and no reason is given")
        problems.append(
            Problem(
                type=known.type,
                detail=known.said,
                status=known.status,
                identifier=ProblemIdentifier(name.kind, name.value),
                subproblems=known.subproblems,
            )
        )
    return ValidationFailed(listed(sorted(str(one.name) for one in failed)), compound(problems))

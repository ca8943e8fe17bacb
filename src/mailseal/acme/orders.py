"""Orders (RFC 8555 section 7.4): asked for, followed, finalized, downloaded.

An order's URL is all that is needed to go on with it after a crash; the caller
makes it durable before anything else happens (`obtain` calls back for that).
Identifiers are DNS names and IP addresses (RFC 8738). `replaces` names the
certificate that is renewed (RFC 9773 section 5), `profile` one of the
directory's profiles.
"""

from __future__ import annotations

from collections.abc import Collection

import msgspec

from mailseal.acme.chains import Chain, alternate_links, read_chain
from mailseal.acme.client import AcmeClient, Reply, together
from mailseal.acme.jws import b64
from mailseal.acme.messages import Authorization, Order
from mailseal.acme.polling import poll
from mailseal.acme.problems import AcmeProblem, AcmeProtocolError, plain
from mailseal.acme.urls import check_url, join_url
from mailseal.errors import IssueError
from mailseal.model import Identifier

MOST_ALTERNATES = 8
# What a server may say of a predecessor that it does not take; the order is then placed without one.
_REPLACES_REFUSED = frozenset({"alreadyReplaced", "conflict", "malformed", "unauthorized"})


async def new_order(
    client: AcmeClient,
    identifiers: Collection[Identifier],
    *,
    profile: str | None = None,
    replaces: str | None = None,
) -> Order:
    """Asks for a certificate. `replaces`: an `ari.certificate_id`, sent only to a CA that has ARI.

    A predecessor that the CA refuses (replaced already, not its own, another
    account's) does not stop a renewal: the order is placed again without it.
    """
    directory = await client.directory()
    if profile is not None and directory.meta.profiles and profile not in directory.meta.profiles:
        offered = plain(", ".join(sorted(directory.meta.profiles)))
        raise IssueError(
            f"The CA does not offer the profile {profile!r}",
            reason=f"it offers {offered}",
            next_command="Choose one of these as profile, or none.",
        )
    if profile is not None and not directory.meta.profiles:
        raise IssueError(
            f"The CA has no profiles, {profile!r} was asked for", next_command="Take profile away."
        )
    payload: dict[str, object] = {
        "identifiers": [{"type": name.kind, "value": name.value} for name in identifiers]
    }
    if profile is not None:
        payload["profile"] = profile
    doing = f"the order for {_names(identifiers)}"
    if replaces is not None and directory.renewal_info is not None:
        try:
            body = msgspec.json.encode(payload | {"replaces": replaces})
            return _located(client, await client.post(directory.new_order, body, doing=doing), identifiers)
        except AcmeProblem as problem:
            if problem.kind not in _REPLACES_REFUSED:
                raise
    reply = await client.post(directory.new_order, msgspec.json.encode(payload), doing=doing)
    return _located(client, reply, identifiers)


async def resume(client: AcmeClient, url: str) -> Order:
    """The order at this URL, as it is now."""
    reply = await client.post(url, doing="to show the order")
    return read_order(client, url, reply)


async def authorizations(client: AcmeClient, order: Order) -> list[Authorization]:
    """Every authorization of the order, asked for at the same time."""
    return await together(*(authorization(client, url) for url in order.authorizations))


async def authorization(client: AcmeClient, url: str) -> Authorization:
    """One authorization (section 7.5)."""
    return read_authorization(client, url, await client.post(url, doing="to show an authorization"))


async def finalize(client: AcmeClient, order: Order, csr_der: bytes) -> Order:
    """Sends the certificate request of a ready order and waits until the certificate is there (section 7.4).

    Raises `AcmeProblem` when the CA refuses it or the order becomes invalid.
    """
    doing = f"to issue for {_names(order.names)}"
    told: float | None = None
    if order.status == "ready":
        order, told = await _send_request(client, order, csr_der, doing)
    if order.status in ("processing", "ready"):
        order = await _follow(client, order, ("valid", "invalid"), told=told, doing=doing)
    if order.status != "valid":
        raise refused(order, doing)
    return order


async def _send_request(
    client: AcmeClient, order: Order, csr_der: bytes, doing: str
) -> tuple[Order, float | None]:
    """Finalizes; the order as it is then, and the Retry-After that came with it."""
    payload = msgspec.json.encode({"csr": b64(csr_der)})
    try:
        reply = await client.post(order.finalize, payload, doing=doing)
    except AcmeProblem as problem:
        if problem.kind != "orderNotReady":
            raise
        # It was sent twice, or came before the server had looked at its authorizations.
        states = ("ready", "processing", "valid", "invalid")
        order = await _follow(client, order, states, told=None, doing=doing)
        if order.status != "ready":
            return order, None
        reply = await client.post(order.finalize, payload, doing=doing)
    return read_order(client, order.url, reply), reply.retry_after


async def _follow(
    client: AcmeClient, order: Order, states: Collection[str], *, told: float | None, doing: str
) -> Order:
    """Polls the order until it is in one of these states."""
    return await poll(
        client,
        order.url,
        lambda answer: read_order(client, order.url, answer),
        lambda seen: seen.status in states,
        pace=client.order_pace,
        told=told,
        doing=doing,
    )


async def download(client: AcmeClient, order: Order, preferred_chain: str | None = None) -> Chain:
    """The certificate chain of a valid order (section 7.4.2).

    With `preferred_chain`, the alternate whose topmost certificate was issued by
    that common name; the default chain when none was. Raises `AcmeProtocolError`
    for what is not a chain.
    """
    if order.certificate is None:
        raise AcmeProtocolError("The CA's order is valid and has no certificate", reason=order.url)
    reply = await _certificate(client, order.certificate)
    chain = read_chain(reply.body, order.certificate)
    if preferred_chain is None or chain.top_issuer == preferred_chain:
        return chain
    for link in alternate_links(reply.links, "alternate")[:MOST_ALTERNATES]:
        url = join_url(reply.url, link, what="an alternate chain", insecure=client.insecure)
        other = read_chain((await _certificate(client, url)).body, url)
        if other.top_issuer == preferred_chain and other.leaf == chain.leaf:
            return other
    return chain


def refused(order: Order, doing: str) -> IssueError:
    """The error of an order that became invalid, with the reason where the CA gives one."""
    if order.error is not None:
        return AcmeProblem(doing, order.error)
    return IssueError(
        f"The CA gave up {doing}", reason=f"the order became {order.status}, without a reason given"
    )


def read_order(client: AcmeClient, url: str, reply: Reply) -> Order:
    """An answer as the order at `url`, every URL in it checked. Raises `AcmeProtocolError`."""
    order = reply.decode(Order, what="an order")
    for found in (*order.authorizations, order.finalize, *([order.certificate] if order.certificate else ())):
        check_url(found, what="an order", insecure=client.insecure)
    return msgspec.structs.replace(order, url=url)


def read_authorization(client: AcmeClient, url: str, reply: Reply) -> Authorization:
    """An answer as the authorization at `url`, every URL in it checked. Raises `AcmeProtocolError`."""
    found = reply.decode(Authorization, what="an authorization")
    for challenge in found.challenges:
        check_url(challenge.url, what="a challenge", insecure=client.insecure)
    return msgspec.structs.replace(found, url=url)


async def _certificate(client: AcmeClient, url: str) -> Reply:
    return await client.post(url, doing="to hand out the certificate")


def _located(client: AcmeClient, reply: Reply, identifiers: Collection[Identifier]) -> Order:
    order = read_order(client, client.location(reply, what="the order"), reply)
    if order.names != frozenset(identifiers):
        raise AcmeProtocolError(
            "The CA's order is for other names than asked for", reason=f"it is for {_names(order.names)}"
        )
    return order


def _names(identifiers: Collection[Identifier]) -> str:
    values = sorted(str(identifier) for identifier in identifiers)
    return ", ".join(values[:3]) + (f" and {len(values) - 3} more" if len(values) > 3 else "")

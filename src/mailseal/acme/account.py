"""Accounts (RFC 8555 section 7.3): made, found by their key, changed, bound, given a new key.

The caller keeps the account's URL and key. An account is found again by its key
alone (`onlyReturnExisting`, section 7.3.1), so a lost URL costs one request.
Terms are agreed to only where the caller says so, never by default.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import msgspec

from mailseal.acme.client import AcmeClient, Reply
from mailseal.acme.jws import ExternalAccount, SigningKey, bind, sign
from mailseal.acme.messages import AccountBody
from mailseal.acme.problems import AcmeProblem, plain
from mailseal.errors import IssueError


@dataclass(frozen=True, slots=True)
class Account:
    """An account as the server holds it; `orders_url` only where the server lists orders."""

    url: str
    status: str
    contact: tuple[str, ...]
    orders_url: str | None = None


def contact_url(address: str) -> str:
    """A mail address as the URL that ACME wants; a URL stays as it is."""
    return address if ":" in address else f"mailto:{address}"


async def register(
    client: AcmeClient,
    *,
    contact: Sequence[str] = (),
    agree_to_terms: bool = False,
    external: ExternalAccount | None = None,
) -> Account:
    """The account of the client's key, new or there already (section 7.3); the client uses it from then on.

    Raises `IssueError` when the CA has terms that were not agreed to or wants an
    external account and none is given; nothing is sent then.
    """
    directory = await client.directory()
    if directory.meta.terms_of_service and not agree_to_terms:
        raise IssueError(
            "The CA's terms of service are not agreed to",
            reason=f"they are at {plain(directory.meta.terms_of_service, 2048)}",
            next_command="Read them, then run mailseal setup --agree-tos.",
        )
    if directory.meta.external_account_required and external is None:
        raise IssueError(
            "This CA takes new accounts only with an external account binding",
            next_command="Get key ID and HMAC key from the CA and name them in [acme].",
        )
    payload: dict[str, object] = {"contact": [contact_url(address) for address in contact]}
    if agree_to_terms:
        payload["termsOfServiceAgreed"] = True
    if external is not None:
        payload["externalAccountBinding"] = msgspec.Raw(bind(external, directory.new_account, client.key.jwk))
    reply = await client.post(
        directory.new_account, msgspec.json.encode(payload), doing="the new account", key=client.key
    )
    return _adopt(client, reply)


async def find(client: AcmeClient) -> Account | None:
    """The account of the client's key, None if the server knows none; the client uses it from then on."""
    directory = await client.directory()
    try:
        reply = await client.post(
            directory.new_account,
            b'{"onlyReturnExisting":true}',
            doing="to look for the account",
            key=client.key,
        )
    except AcmeProblem as problem:
        if problem.kind == "accountDoesNotExist":
            return None
        raise
    return _adopt(client, reply)


async def fetch(client: AcmeClient) -> Account:
    """The account as the server holds it now."""
    url = client.account_url
    return _read(client, url, await client.post(url, doing="to show the account"))


async def change_contact(client: AcmeClient, contact: Sequence[str]) -> Account:
    """Other contacts (section 7.3.2); an empty sequence takes all away."""
    return await _update(
        client, {"contact": [contact_url(address) for address in contact]}, "the change of contact"
    )


async def agree_to_terms(client: AcmeClient) -> Account:
    """Agreement to terms that changed (section 7.3.3)."""
    return await _update(client, {"termsOfServiceAgreed": True}, "the agreement to its terms")


async def deactivate(client: AcmeClient) -> Account:
    """The end of the account (section 7.3.6); it cannot be taken back."""
    return await _update(client, {"status": "deactivated"}, "to deactivate the account")


async def change_key(client: AcmeClient, new: SigningKey) -> AcmeClient:
    """Gives the account another key (section 7.3.5): a view of the client that signs with it.

    The caller makes the new key durable before, and forgets the old one after.
    After a crash in between, `find` with each key tells which one holds.
    """
    directory = await client.directory()
    if directory.key_change is None:
        raise IssueError("This CA does not change account keys", reason="its directory has no keyChange")
    inner = msgspec.json.encode({"account": client.account_url, "oldKey": msgspec.Raw(client.key.jwk)})
    signed = sign(new, directory.key_change, inner, nonce=None, kid=None)
    await client.post(directory.key_change, signed, doing="the new account key")
    return client.signing_with(new)


async def _update(client: AcmeClient, payload: dict[str, object], doing: str) -> Account:
    url = client.account_url
    return _read(client, url, await client.post(url, msgspec.json.encode(payload), doing=doing))


def _adopt(client: AcmeClient, reply: Reply) -> Account:
    account = _read(client, client.location(reply, what="the account"), reply)
    if account.status != "valid":
        raise IssueError(
            f"The account at this CA is {account.status}",
            reason="it can no longer be used",
            next_command="Move the account's folder away, then run mailseal setup for a new one.",
        )
    client.account_url = account.url
    return account


def _read(client: AcmeClient, url: str, reply: Reply) -> Account:
    body = reply.decode(AccountBody, what="the account")
    return Account(url, body.status, body.contact or (), body.orders)

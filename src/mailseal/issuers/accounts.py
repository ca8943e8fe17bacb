"""ACME accounts on disk: `<root>/accounts/<ca>/{key.pem,account.json}`, the CA named by its directory's URL.

The key is written before the account is asked for, so that an account made
just before a crash is found again by its key (RFC 8555 section 7.3.1).
"""

from __future__ import annotations

import re

import msgspec

from mailseal.acme import account
from mailseal.acme.client import AcmeClient
from mailseal.acme.jws import ExternalAccount, SigningKey
from mailseal.config.acme import Authority
from mailseal.errors import ConfigError, IssueError, SystemFault
from mailseal.issuers.keys import new_key
from mailseal.model import KeyType, Secret
from mailseal.system import Files, System
from mailseal.system.http import Http
from mailseal.unreadable import UNREADABLE


class StoredAccount(msgspec.Struct, frozen=True):
    """What is kept of an account beside its key."""

    url: str
    directory: str
    contact: list[str]


def folder(root: str, directory_url: str) -> str:
    """Where a CA's account is kept."""
    slug = re.sub(r"[^a-z0-9.]+", "-", directory_url.lower().split("://", 1)[-1]).strip("-.")
    return f"{root}/accounts/{slug}"


def stored(files: Files, path: str) -> StoredAccount | None:
    """The account that is kept in a folder; None where none was made yet."""
    name = f"{path}/account.json"
    if files.stat(name) is None:
        return None
    try:
        return msgspec.json.decode(files.read(name), type=StoredAccount)
    except UNREADABLE as error:
        raise SystemFault(
            f"{name} is damaged",
            reason=str(error),
            next_command=f"rm {name} (the account is found again by its key)",
        ) from error


def forget(files: Files, root: str, directory_url: str) -> None:
    """The CA no longer knows the account (a test CA that was set up anew); the next run registers the key again."""
    files.remove(f"{folder(root, directory_url)}/account.json")


async def open_client(system: System, http: Http, root: str, authority: Authority) -> AcmeClient:
    """A client with the account of this CA, made, found again or brought up to date as needed.

    Raises `IssueError` when the terms are not agreed to or the CA refuses, `ConfigError` for a bad EAB key.
    """
    files = system.files
    path = folder(root, authority.directory_url)
    files.mkdir(path, mode=0o700, exist_ok=True)
    key_path = f"{path}/key.pem"
    if files.stat(key_path) is None:
        # replace: born 0600 under another name and renamed, so a crash leaves no half key.
        files.replace(key_path, new_key(KeyType(authority.account_key_type)).reveal(), mode=0o600)
    key = SigningKey.from_pem(Secret(files.read(key_path, 65_536)).reveal())
    known = stored(files, path)
    if known is not None and known.directory != authority.directory_url:
        known = None  # two URLs that differ only in signs share a folder, and the key; not the account
    client = AcmeClient(
        http, system.clock, key, authority.directory_url, account_url=known.url if known is not None else None
    )
    await client.directory()
    contact = sorted(authority.contact)
    if known is not None and known.contact == contact:
        return client
    if known is None:
        made = await account.find(client)
        if made is None:
            made = await account.register(
                client,
                contact=contact,
                agree_to_terms=authority.agree_to_terms,
                external=_external(files, authority),
            )
        elif sorted(made.contact) != [account.contact_url(one) for one in contact]:
            made = await account.change_contact(client, contact)
    else:
        made = await account.change_contact(client, contact)
    record = StoredAccount(made.url, authority.directory_url, contact)
    files.replace(f"{path}/account.json", msgspec.json.format(msgspec.json.encode(record)), mode=0o600)
    return client


def _external(files: Files, authority: Authority) -> ExternalAccount | None:
    if authority.eab_key_id is None or authority.eab_hmac_file is None:
        return None
    try:
        text = files.read(authority.eab_hmac_file, 4096).decode("ascii", "replace")
        return ExternalAccount.from_text(authority.eab_key_id, text.strip())
    except IssueError as error:
        raise ConfigError(f"[acme] eab_hmac_file = {authority.eab_hmac_file}: {error}") from error

"""Accounts against the fake CA: made once, found by key, changed, bound, given a new key."""

from __future__ import annotations

import asyncio
import base64

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from mailseal.acme import account, revocation
from mailseal.acme.client import AcmeClient
from mailseal.acme.jws import ExternalAccount, SigningKey
from mailseal.acme.problems import AcmeProblem
from mailseal.errors import IssueError, KeyMaterialError
from mailseal.model import KeyType
from tests.support.acme import Desk, account_key, names, request_for
from tests.support.certs import key_pem, new_key
from tests.support.fake_ca import Rules


def test_registering_twice_is_one_account() -> None:
    desk = Desk()

    async def work() -> None:
        first = await account.register(desk.client, contact=["a@example.org"], agree_to_terms=True)
        second = await account.register(desk.client, contact=["b@example.org"], agree_to_terms=True)
        assert first == second
        assert first.contact == ("mailto:a@example.org",)
        assert first.orders_url == f"{first.url}/orders"

    asyncio.run(work())


@pytest.mark.parametrize("kind", [KeyType.ECDSA_P256, KeyType.ECDSA_P384, KeyType.RSA_2048])
def test_every_kind_of_account_key_signs(kind: KeyType) -> None:
    desk = Desk()
    desk.client.key = SigningKey.from_pem(key_pem(new_key(kind)))
    assert asyncio.run(desk.register()).account_url
    issued = asyncio.run(Desk.obtain(desk, "mail.example.org"))
    assert len(issued.pem) == 2


def test_an_account_is_found_by_its_key_alone() -> None:
    desk = Desk()

    async def work() -> None:
        assert await account.find(desk.client) is None
        made = await account.register(desk.client, agree_to_terms=True)
        other = AcmeClient(desk.ca, desk.clock, account_key(), desk.ca.directory_url)
        found = await account.find(other)
        assert found is not None
        assert found.url == made.url == other.account_url

    asyncio.run(work())


def test_terms_are_agreed_to_only_when_told() -> None:
    desk = Desk()
    with pytest.raises(IssueError) as caught:
        asyncio.run(account.register(desk.client))
    assert "https://ca.test/terms" in caught.value.reason
    assert [path for _, path in desk.ca.asked] == ["/dir"]
    asyncio.run(account.register(Desk(Rules(terms=None)).client))


def test_contacts_are_changed_and_bad_ones_told() -> None:
    desk = Desk()

    async def work() -> None:
        client = await desk.register()
        changed = await account.change_contact(client, ["x@example.org", "mailto:y@example.org"])
        assert changed.contact == ("mailto:x@example.org", "mailto:y@example.org")
        assert (await account.fetch(client)).contact == changed.contact
        assert (await account.change_contact(client, [])).contact == ()
        with pytest.raises(AcmeProblem) as caught:
            await account.change_contact(client, ["nobody"])
        assert caught.value.kind == "invalidContact"
        assert (await account.agree_to_terms(client)).status == "valid"

    asyncio.run(work())


def test_an_external_account_is_bound() -> None:
    secret = bytes(range(32))
    desk = Desk(Rules(external_keys={"kid-1": secret}))
    with pytest.raises(IssueError, match="external account binding"):
        asyncio.run(desk.register())
    wrong = ExternalAccount.from_text("kid-1", base64.b64encode(bytes(32)).decode())
    with pytest.raises(AcmeProblem):
        asyncio.run(account.register(desk.client, agree_to_terms=True, external=wrong))
    right = ExternalAccount.from_text("kid-1", base64.urlsafe_b64encode(secret).decode().rstrip("="))
    made = asyncio.run(account.register(desk.client, agree_to_terms=True, external=right))
    assert made.status == "valid"
    assert "Secret(…)" in repr(right)


@pytest.mark.parametrize("text", ["!!!", "c2hvcnQ", "ä" * 40, ""])
def test_a_bad_hmac_key_is_told(text: str) -> None:
    with pytest.raises(KeyMaterialError):
        ExternalAccount.from_text("kid", text)


def test_the_key_is_rolled_over() -> None:
    desk = Desk()
    new = account_key(1)

    async def work() -> None:
        old = await desk.register()
        client = await account.change_key(old, new)
        assert (await account.fetch(client)).status == "valid"
        with pytest.raises(AcmeProblem):
            await account.fetch(old)
        await account.register(
            AcmeClient(desk.ca, desk.clock, account_key(2), desk.ca.directory_url), agree_to_terms=True
        )
        with pytest.raises(AcmeProblem) as caught:
            await account.change_key(client, account_key(2))
        assert caught.value.kind == "conflict"

    asyncio.run(work())


def test_a_deactivated_account_is_told() -> None:
    desk = Desk()

    async def work() -> None:
        client = await desk.register()
        assert (await account.deactivate(client)).status == "deactivated"
        with pytest.raises(IssueError, match="is deactivated"):
            await account.register(desk.client, agree_to_terms=True)

    asyncio.run(work())


def test_without_an_account_the_next_command_is_told() -> None:
    with pytest.raises(IssueError) as caught:
        asyncio.run(account.fetch(Desk().client))
    assert caught.value.next_command == "mailseal setup"


@pytest.mark.parametrize("by", ["account", "certificate"])
def test_revocation_with_a_reason_by_either_key(by: str) -> None:
    desk = Desk()
    key = new_key()

    async def work() -> None:
        client = await desk.register()
        issued = await desk.obtain("mail.example.org", csr_der=request_for(names("mail.example.org"), key))
        der = x509.load_pem_x509_certificate(issued.leaf.encode()).public_bytes(Encoding.DER)
        signer = SigningKey.from_key(key) if by == "certificate" else None
        reason = revocation.Reason.KEY_COMPROMISE
        assert await revocation.revoke(client, der, reason=reason, key=signer)
        assert not await revocation.revoke(client, der, reason=reason, key=signer)
        other = SigningKey.from_key(new_key())
        with pytest.raises(AcmeProblem) as caught:
            await revocation.revoke(client, der, key=other)
        assert caught.value.kind == "unauthorized"

    asyncio.run(work())
    assert [one.revoked for one in desk.ca.state.issued.values()] == [1]


@pytest.mark.parametrize("pem", [b"", b"nonsense", key_pem(new_key())[:60]])
def test_an_account_key_that_does_not_load_is_told(pem: bytes) -> None:
    with pytest.raises(KeyMaterialError):
        SigningKey.from_pem(pem)

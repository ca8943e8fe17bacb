"""What mailseal may rely on in an ACME server: promises that the one in memory keeps as real ones do.

A promise is an async function of a `Customer`; it asserts. `PROMISES` holds all
of them by name. tests/contract keeps the fake CA to them, tests/lab the real
servers, so that what is shown on the fake is true of them.

Where RFC 8555 leaves a server the choice, each of the choices is allowed here.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Protocol

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from mailseal.acme import account, ari, orders, revocation
from mailseal.acme.client import JOSE, AcmeClient
from mailseal.acme.jws import SigningKey, b64, sign
from mailseal.acme.obtain import IssuedChain, obtain
from mailseal.acme.ports import Solver
from mailseal.acme.problems import AcmeProblem, ValidationFailed, read_problem
from mailseal.acme.solving import authorize
from mailseal.system.http import Http, HttpResponse
from tests.support.acme import names, request_for
from tests.support.certs import new_key


class Shower(Solver, Protocol):
    """A solver that can be told to show something wrong for some names."""

    wrong: set[str]


@dataclass
class Customer:
    """Somebody with a fresh account at the server, and names that lead to him; `blocked` is a name that it refuses."""

    http: Http
    client: AcmeClient
    solver: Shower
    names: Sequence[str]
    blocked: str
    backdated: timedelta = timedelta(hours=1)
    renewal_information: bool = True

    async def obtain(self, *texts: str, csr: bytes | None = None, replaces: str | None = None) -> IssuedChain:
        wanted = names(*texts)
        return await obtain(
            self.client,
            identifiers=wanted,
            csr_der=csr or request_for(wanted),
            solver=self.solver,
            replaces=replaces,
            timeout=120,
        )

    async def stranger(self) -> AcmeClient:
        """Another account."""
        other = AcmeClient(
            self.http, self.client.clock, SigningKey.from_key(new_key()), self.client.directory_url
        )
        await account.register(other, contact=["other@example.test"], agree_to_terms=True)
        return other

    async def nonce(self) -> str:
        directory = await self.client.directory()
        answer = await self.http.request("HEAD", directory.new_nonce)
        return answer.headers["replay-nonce"]

    async def post(
        self, url: str, nonce: str | None, *, signed_for: str | None = None, kind: str | None = None
    ) -> HttpResponse:
        """A POST-as-GET by hand; nothing is tried again."""
        body = sign(self.client.key, signed_for or url, b"", nonce=nonce, kid=self.client.account_url)
        return await self.http.request(
            "POST", url, headers={"content-type": kind} if kind else JOSE, body=body
        )


async def the_directory_names_its_places(customer: Customer) -> None:
    directory = await customer.client.directory()
    assert directory.revoke_cert and directory.key_change
    assert bool(directory.renewal_info) or not customer.renewal_information


async def a_nonce_serves_once(customer: Customer) -> None:
    url, nonce = customer.client.account_url, await customer.nonce()
    for _ in range(20):  # a server may refuse good ones too, to see whether its clients can bear it
        answer = await customer.post(url, nonce)
        if answer.status == 200:
            break
        assert read_problem(answer.body, answer.status).kind == "badNonce"
        nonce = answer.headers["replay-nonce"]
    assert answer.status == 200
    again = await customer.post(url, nonce)
    assert again.status == 400 and read_problem(again.body, 400).kind == "badNonce"
    assert again.headers["replay-nonce"] not in ("", nonce)
    none = await customer.post(url, None)
    assert none.status == 400


async def a_request_holds_for_the_url_that_was_signed(customer: Customer) -> None:
    directory = await customer.client.directory()
    for _ in range(20):
        answer = await customer.post(
            customer.client.account_url, await customer.nonce(), signed_for=directory.new_order
        )
        if b"badNonce" not in answer.body:
            break
    assert 400 <= answer.status < 404 and b"badNonce" not in answer.body


async def only_jose_is_taken(customer: Customer) -> None:
    answer = await customer.post(customer.client.account_url, await customer.nonce(), kind="application/json")
    assert answer.status == 415


async def an_account_is_found_by_its_key(customer: Customer) -> None:
    url = customer.client.account_url
    found = await account.find(customer.client)
    assert found is not None and found.url == url
    again = await account.register(customer.client, contact=["else@example.test"], agree_to_terms=True)
    assert again.url == url
    nobody = AcmeClient(
        customer.http, customer.client.clock, SigningKey.from_key(new_key()), customer.client.directory_url
    )
    assert await account.find(nobody) is None


async def an_account_that_was_ended_is_refused(customer: Customer) -> None:
    assert (await account.deactivate(customer.client)).status == "deactivated"
    problem = await refusal(orders.new_order(customer.client, names(customer.names[0])))
    assert problem.status in (401, 403) and problem.kind == "unauthorized"


async def an_order_gives_what_was_asked_for(customer: Customer) -> None:
    key = new_key()
    wanted = names(*customer.names[:2])
    now = customer.client.clock.now()
    chain = await customer.obtain(*customer.names[:2], csr=request_for(wanted, key))
    leaf = leaf_of(chain)
    assert leaf.public_key() == key.public_key()
    assert len(chain.pem) > 1
    assert (
        now - customer.backdated - timedelta(minutes=10)
        <= leaf.not_valid_before_utc
        <= now + timedelta(minutes=1)
    )
    assert ari.certificate_id(leaf)
    sans = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert set(sans.get_values_for_type(x509.DNSName)) == set(customer.names[:2])


async def an_order_is_for_its_names_and_lasts(customer: Customer) -> None:
    order = await orders.new_order(customer.client, names(*customer.names[:2]))
    assert order.names == frozenset(names(*customer.names[:2])) and len(order.authorizations) == 2
    assert order.status in ("pending", "ready")
    assert order.expires is not None and order.expires > customer.client.clock.now() + timedelta(minutes=5)
    found = await orders.authorizations(customer.client, order)
    assert {one.name for one in found} == order.names
    tokens = [challenge.token for one in found for challenge in one.challenges if one.status == "pending"]
    assert all(token and len(token) >= 22 for token in tokens)
    again = await orders.resume(customer.client, order.url)
    assert (again.names, again.finalize) == (order.names, order.finalize)


async def a_wildcard_is_shown_by_dns_alone(customer: Customer) -> None:
    order = await orders.new_order(customer.client, names(f"*.{customer.names[0]}"))
    (found,) = await orders.authorizations(customer.client, order)
    assert found.wildcard and found.challenge("http-01") is None and found.challenge("dns-01") is not None


async def what_cannot_be_shown_ends_the_order(customer: Customer) -> None:
    bad, good = customer.names[2], customer.names[3]
    customer.solver.wrong.add(bad)
    seen: list[str] = []
    try:
        await obtain(
            customer.client,
            identifiers=names(bad, good),
            csr_der=request_for(names(bad, good)),
            solver=customer.solver,
            on_order=seen.append,
            timeout=120,
        )
    except ValidationFailed as failed:
        assert failed.identifiers == (bad,)
    else:
        raise AssertionError("the order was fulfilled")
    assert (await orders.resume(customer.client, seen[0])).status == "invalid"


async def an_order_that_is_not_ready_is_not_finalized(customer: Customer) -> None:
    wanted = names(customer.names[4])
    order = await orders.new_order(customer.client, wanted)
    assert order.status == "pending"
    payload = json.dumps({"csr": b64(request_for(wanted))}).encode()
    problem = await refusal(customer.client.post(order.finalize, payload, doing="to issue"))
    assert problem.kind == "orderNotReady" and problem.status == 403


async def a_request_for_other_names_is_refused(customer: Customer) -> None:
    order = await orders.new_order(customer.client, names(customer.names[0]))
    if order.status == "pending":
        found = await orders.authorizations(customer.client, order)
        await authorize(customer.client, order, found, customer.solver)
    payload = json.dumps({"csr": b64(request_for(names(customer.names[1])))}).encode()
    problem = await refusal(customer.client.post(order.finalize, payload, doing="to issue"))
    assert problem.kind in ("badCSR", "unauthorized", "malformed")


async def a_certificate_is_handed_out_again(customer: Customer) -> None:
    chain = await customer.obtain(customer.names[0])
    order = await orders.resume(customer.client, chain.order_url)
    assert order.status == "valid"
    assert (await orders.download(customer.client, order)).pem == chain.pem


async def a_blocked_name_is_refused_by_name(customer: Customer) -> None:
    problem = await refusal(orders.new_order(customer.client, names(customer.blocked)))
    assert problem.kind in ("rejectedIdentifier", "unsupportedIdentifier", "malformed")
    assert customer.blocked in "\n".join(problem.lines())


async def what_is_another_accounts_is_not_shown(customer: Customer) -> None:
    chain = await customer.obtain(customer.names[0])
    stranger = await customer.stranger()
    for url in (chain.order_url, chain.url):
        problem = await refusal(stranger.post(url, doing="to show it"))
        assert 400 <= problem.status < 500 and problem.status != 429


async def what_is_not_there_is_not_found(customer: Customer) -> None:
    order = await orders.new_order(customer.client, names(customer.names[0]))
    problem = await refusal(customer.client.post(f"{order.url}nowhere", doing="to show it"))
    assert problem.status in (400, 403, 404)


async def renewal_information_lies_in_the_lifetime(customer: Customer) -> None:
    leaf = leaf_of(await customer.obtain(customer.names[0]))
    info = await ari.renewal_info(customer.client, ari.certificate_id(leaf) or "")
    if not customer.renewal_information:
        assert info is None
        return
    assert info is not None
    assert leaf.not_valid_before_utc < info.start < info.end < leaf.not_valid_after_utc
    assert info.ask_again_at > customer.client.clock.now()
    assert info.certificate_id == ari.certificate_id(leaf)


async def a_predecessor_is_replaced_once(customer: Customer) -> None:
    if not customer.renewal_information:
        return
    name = customer.names[0]
    old = ari.certificate_id(leaf_of(await customer.obtain(name))) or ""
    said = []
    for _ in range(2):  # the second is placed without a predecessor, since the server refuses it
        chain = await customer.obtain(name, replaces=old)
        said.append((await orders.resume(customer.client, chain.order_url)).replaces)
    assert said == [old, None]
    nobodys = await customer.obtain(name, replaces="aYhba4dGQEHhs3uEe6CuLN4ByNQ.AIdlQyE")
    assert (await orders.resume(customer.client, nobodys.order_url)).replaces is None


async def a_certificate_is_revoked_once(customer: Customer) -> None:
    chain = await customer.obtain(customer.names[0])
    der = leaf_of(chain).public_bytes(Encoding.DER)
    problem = await refusal(revocation.revoke(customer.client, der, key=SigningKey.from_key(new_key())))
    assert problem.status in (400, 401, 403)
    assert await revocation.revoke(customer.client, der, reason=revocation.Reason.SUPERSEDED)
    assert not await revocation.revoke(customer.client, der)


async def a_certificate_is_revoked_by_its_own_key(customer: Customer) -> None:
    key = new_key()
    chain = await customer.obtain(customer.names[1], csr=request_for(names(customer.names[1]), key))
    der = leaf_of(chain).public_bytes(Encoding.DER)
    reason = revocation.Reason.KEY_COMPROMISE
    assert await revocation.revoke(customer.client, der, reason=reason, key=SigningKey.from_key(key))


PROMISES: dict[str, Callable[[Customer], Awaitable[None]]] = {
    promise.__name__: promise
    for promise in (
        the_directory_names_its_places,
        a_nonce_serves_once,
        a_request_holds_for_the_url_that_was_signed,
        only_jose_is_taken,
        an_account_is_found_by_its_key,
        an_account_that_was_ended_is_refused,
        an_order_gives_what_was_asked_for,
        an_order_is_for_its_names_and_lasts,
        a_wildcard_is_shown_by_dns_alone,
        what_cannot_be_shown_ends_the_order,
        an_order_that_is_not_ready_is_not_finalized,
        a_request_for_other_names_is_refused,
        a_certificate_is_handed_out_again,
        a_blocked_name_is_refused_by_name,
        what_is_another_accounts_is_not_shown,
        what_is_not_there_is_not_found,
        renewal_information_lies_in_the_lifetime,
        a_predecessor_is_replaced_once,
        a_certificate_is_revoked_once,
        a_certificate_is_revoked_by_its_own_key,
    )
}


async def refusal(asked: Awaitable[object]) -> AcmeProblem:
    """The problem that comes of it."""
    try:
        await asked
    except AcmeProblem as problem:
        return problem
    raise AssertionError("it was not refused")


def leaf_of(chain: IssuedChain) -> x509.Certificate:
    return x509.load_pem_x509_certificate(chain.leaf.encode())

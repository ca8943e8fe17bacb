"""From identifiers to a chain: the whole of an order, taken up again where an earlier run left it.

The order of the protocol is the order of the lines (RFC 8555 section 7.1,
figure 1). The caller gives the certificate request and keeps its key, and is
called back with the order's URL as soon as there is one: once that and the key
are durable, a crash costs nothing, since the next run goes on with
`resume_url`. An order that cannot end well any more (invalid, expired, unknown,
for other names, issued for another key) is let go and a new one placed.

What comes back is checked against the request: the leaf holds the request's
public key and names exactly what was asked for.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from mailseal.acme import orders
from mailseal.acme.chains import Chain
from mailseal.acme.client import AcmeClient
from mailseal.acme.messages import Authorization, Order
from mailseal.acme.ports import Solver
from mailseal.acme.problems import AcmeProblem, AcmeProtocolError
from mailseal.acme.solving import authorize
from mailseal.errors import KeyMaterialError
from mailseal.model import Identifier

TIMEOUT = 600.0  # seconds, for the whole of an order


@dataclass(frozen=True, slots=True)
class IssuedChain:
    """What was issued: `pem` a text for each certificate, leaf first; `url` and `order_url` at the CA."""

    pem: tuple[str, ...]
    url: str
    order_url: str

    @property
    def leaf(self) -> str:
        return self.pem[0]

    @property
    def fullchain(self) -> str:
        return "".join(self.pem)


async def obtain(
    client: AcmeClient,
    *,
    identifiers: Collection[Identifier],
    csr_der: bytes,
    solver: Solver,
    profile: str | None = None,
    replaces: str | None = None,
    preferred_chain: str | None = None,
    on_order: Callable[[str], Awaitable[None] | None] | None = None,
    resume_url: str | None = None,
    timeout: float = TIMEOUT,
) -> IssuedChain:
    """One certificate. Raises `ValidationFailed`, `AcmeProblem`, `AcmeTimeout` and what lies under them.

    `on_order` is called with the order's URL, and done, before anything is shown or
    answered; what it raises stops the order. `timeout` (seconds) bounds the
    whole; after it the order can still be resumed.
    """
    client = client.within(timeout)
    public_key = _public_key(csr_der)
    order = await _resumed(client, resume_url, identifiers) if resume_url else None
    if order is not None and order.status == "valid":
        chain = await orders.download(client, order, preferred_chain)
        if _fault(chain, identifiers, public_key) is None:
            return IssuedChain(chain.pem, chain.url, order.url)
        order = None  # it was issued for a key that is no more, or not for what was asked
    kept: Awaitable[None] | None = None
    if order is None:
        order = await orders.new_order(client, identifiers, profile=profile, replaces=replaces)
        kept = on_order(order.url) if on_order is not None else None
    found = await _looked_at(client, order, kept)
    if order.status == "pending":
        await authorize(client, order, found, solver)
        # Every authorization is valid, which is what makes an order ready (section 7.1.6).
        order = _with_status(order, "ready")
    order = await orders.finalize(client, order, csr_der)
    return _checked(await orders.download(client, order, preferred_chain), order, identifiers, public_key)


async def _looked_at(client: AcmeClient, order: Order, kept: Awaitable[None] | None) -> list[Authorization]:
    """A pending order's authorizations, asked for while the caller keeps the order's URL."""
    keeping = asyncio.ensure_future(kept) if kept is not None else None
    try:
        return await orders.authorizations(client, order) if order.status == "pending" else []
    finally:
        if keeping is not None:
            await keeping


async def _resumed(client: AcmeClient, url: str, identifiers: Collection[Identifier]) -> Order | None:
    """The order at `url` if it can still give what is asked for."""
    try:
        order = await orders.resume(client, url)
    except AcmeProblem as problem:
        if problem.status in (403, 404, 410) or problem.kind in ("malformed", "unauthorized"):
            return None
        raise
    if order.names != frozenset(identifiers) or order.status == "invalid":
        return None
    if order.status != "valid" and order.expires is not None and order.expires <= client.clock.now():
        return None
    return order


def _with_status(order: Order, status: str) -> Order:
    return msgspec.structs.replace(order, status=status)


def _checked(
    chain: Chain, order: Order, identifiers: Collection[Identifier], public_key: bytes
) -> IssuedChain:
    fault = _fault(chain, identifiers, public_key)
    if fault is not None:
        raise fault
    return IssuedChain(chain.pem, chain.url, order.url)


def _fault(chain: Chain, identifiers: Collection[Identifier], public_key: bytes) -> AcmeProtocolError | None:
    """Why this is not the certificate that was asked for."""
    if _key_of(chain) != public_key:
        return AcmeProtocolError(
            "The CA's certificate is for another key than the request's", reason=f"certificate {chain.url}"
        )
    missing = sorted(str(name) for name in frozenset(identifiers) - _names_of(chain.leaf))
    if missing:
        return AcmeProtocolError("The CA's certificate lacks names", reason=", ".join(missing[:10]))
    return None


def _names_of(leaf: x509.Certificate) -> frozenset[Identifier]:
    try:
        names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (x509.ExtensionNotFound, ValueError):
        return frozenset()
    dns = {Identifier("dns", name.lower()) for name in names.get_values_for_type(x509.DNSName)}
    return frozenset(dns | {Identifier("ip", str(ip)) for ip in names.get_values_for_type(x509.IPAddress)})


def _key_of(chain: Chain) -> bytes:
    return chain.leaf.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def _public_key(csr_der: bytes) -> bytes:
    try:
        request = x509.load_der_x509_csr(csr_der)
    except ValueError as error:
        raise KeyMaterialError("The certificate request does not load", reason=str(error)) from error
    return request.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)

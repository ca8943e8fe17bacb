"""An order as far as its validation, for the sake of knowing whether it would succeed.

Meant for a staging server: it shows what the real one would say, and counts
nothing against the real one's limits. No certificate comes of it; the order
lapses. Authorizations are deactivated afterwards (RFC 8555 section 7.5.2),
since a server that remembers a success would validate nothing the next time.
"""

from __future__ import annotations

import logging
from collections.abc import Collection

from mailseal.acme import orders
from mailseal.acme.client import AcmeClient, together
from mailseal.acme.messages import Authorization
from mailseal.acme.ports import Solver
from mailseal.acme.problems import AcmeProblem
from mailseal.acme.solving import authorize
from mailseal.errors import MailsealError
from mailseal.model import Identifier

log = logging.getLogger(__name__)

TIMEOUT = 180.0  # seconds


async def trial(
    client: AcmeClient, identifiers: Collection[Identifier], solver: Solver, *, timeout: float = TIMEOUT
) -> None:
    """Has the server validate every identifier anew. Raises `ValidationFailed`, and what the client raises."""
    client = client.within(timeout)
    order = await orders.new_order(client, identifiers)
    found = await orders.authorizations(client, order)
    remembered = [one for one in found if one.status == "valid"]
    if remembered:
        await _deactivate(client, remembered)
        order = await orders.new_order(client, identifiers)
        found = await orders.authorizations(client, order)
    if order.status == "pending":
        await authorize(client, order, found, solver)
    try:
        await _deactivate(client, found)
    except MailsealError as error:
        log.info("The trial's authorizations could not be deactivated: %s", error)


async def _deactivate(client: AcmeClient, found: Collection[Authorization]) -> None:
    async def one(url: str) -> None:
        try:
            await client.post(url, b'{"status":"deactivated"}', doing="to deactivate an authorization")
        except AcmeProblem as problem:
            log.info("An authorization stays: %s", problem)

    await together(*(one(authorization.url) for authorization in found))

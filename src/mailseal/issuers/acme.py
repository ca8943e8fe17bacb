"""Generations by ACME: one order for each key type, each durable before it is paid for.

Key and order are durable (`mailseal.issuers.pending`) before anything is shown
or answered, and long before the order is finalized; where there are several
key types, the chain is when it is downloaded. A run that was interrupted at any
point is taken up by the next, with the same key and the same order, so that
nothing is bought twice. (An order whose URL never came to the disk was only
placed: nobody answers it, and it lapses.) When every key type's chain is there
and has passed our own checks, the generation is written and what was pending
goes away.

What is pending belongs to one wish: other names, another CA, a profile, or a
generation that was written meanwhile make it void, and it is dropped.
"""

from __future__ import annotations

import hashlib
import re

from msgspec.structs import replace

from mailseal.acme.client import AcmeClient, together
from mailseal.acme.messages import Authorization, Challenge
from mailseal.acme.obtain import obtain
from mailseal.chains import TrustAnchors
from mailseal.challenges.base import Solver
from mailseal.errors import ChallengeError, KeyMaterialError, NotYetValid
from mailseal.issuers.base import IssueRequest
from mailseal.issuers.keys import new_key, request
from mailseal.issuers.pending import PendingOrder, PendingOrders
from mailseal.material import check_material
from mailseal.model import CertificateSpec, Generation, KeyType
from mailseal.stores.filesystem import LineageStore, Material
from mailseal.system import System

_PEM = re.compile(rb"-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----", re.DOTALL)


class SolverBridge:
    """Our solvers as the ACME core calls them: it picks the challenge of the solver's type."""

    def __init__(self, solver: Solver) -> None:
        self._solver = solver

    def choose(self, authorization: Authorization) -> Challenge | None:
        return authorization.challenge(self._solver.kind)

    async def present(
        self, authorization: Authorization, challenge: Challenge, key_authorization: str
    ) -> None:
        await self._solver.present(authorization.identifier.plain, _token(challenge), key_authorization)

    async def clean_up(
        self, authorization: Authorization, challenge: Challenge, key_authorization: str
    ) -> None:
        await self._solver.clean_up(authorization.identifier.plain, _token(challenge))


class AcmeIssuer:
    """One CA, one account (the client's), one way to show control of names."""

    def __init__(
        self, system: System, store: LineageStore, client: AcmeClient, solver: Solver, anchors: TrustAnchors
    ) -> None:
        self._anchors = anchors
        self._system = system
        self._store = store
        self._client = client
        self._solver = SolverBridge(solver)
        self._pending = PendingOrders(system, store.root)

    async def issue(self, request: IssueRequest) -> Generation:
        """A whole generation for the spec; raises what `Issuer` says, and `ChallengeError`."""
        spec, files = request.spec, self._system.files
        orders = [self._one(spec, kind, request.predecessor(kind)) for kind in spec.key_types]
        materials = tuple(await together(*orders))

        def write() -> Generation:
            generation = self._store.write(
                spec.name,
                materials,
                issuer=self._client.directory_url,
                issued_at=self._system.clock.now(),
                asked=spec.sorted_identifiers,
            )
            for key_type in spec.key_types:  # the generation makes it void
                self._pending.drop(spec.name, key_type, durable=False)
            return generation

        return await files.aside(write)

    async def _one(self, spec: CertificateSpec, key_type: KeyType, replaces: str | None) -> Material:
        wish = self._wish(spec)
        order = self._pending.load(spec.name, key_type, wish)
        if order is None:
            if key_type.family == "rsa":  # whose primes take long to find
                key = await self._system.files.aside(lambda: new_key(key_type))
            else:
                key = new_key(key_type)
            order = PendingOrder(wish, key.reveal().decode("ascii"))
        if not order.chain:
            order = await self._obtain(spec, key_type, order, replaces)
        return self._material(spec, key_type, order)

    async def _obtain(
        self, spec: CertificateSpec, key_type: KeyType, order: PendingOrder, replaces: str | None
    ) -> PendingOrder:
        async def keep(changed: PendingOrder) -> None:
            nonlocal order
            order = changed
            await self._system.files.aside(lambda: self._pending.keep(spec.name, key_type, changed))

        issued = await obtain(
            self._client,
            identifiers=spec.sorted_identifiers,
            csr_der=request(order.secret, spec.sorted_identifiers),
            solver=self._solver,
            profile=spec.profile,
            replaces=replaces,
            preferred_chain=spec.preferred_chain,
            on_order=lambda url: keep(replace(order, url=url)),
            resume_url=order.url or None,
        )
        whole = replace(order, chain=issued.fullchain)
        if len(spec.key_types) > 1:  # another's order may take longer; a single one is written at once
            await keep(whole)
        return whole

    def _material(self, spec: CertificateSpec, key_type: KeyType, order: PendingOrder) -> Material:
        leaf, *above = _PEM.findall(order.chain.encode("ascii"))
        key = order.secret
        cert, chain = leaf + b"\n", b"".join(one + b"\n" for one in above)
        try:
            facts = check_material(
                key,
                cert,
                chain,
                identifiers=spec.sorted_identifiers,
                now=self._system.clock.now(),
                anchors=self._anchors,
                key_type=key_type,
            )
        except NotYetValid:
            raise  # by our own clock, which is slow: the order stays, and is taken up again
        except KeyMaterialError:
            # What the CA sent is no use and will be none tomorrow: the next run starts over.
            self._pending.drop(spec.name, key_type)
            raise
        return Material(key_type, key, cert, chain, facts)

    def _wish(self, spec: CertificateSpec) -> str:
        names = ",".join(identifier.value for identifier in spec.sorted_identifiers)
        done = max(self._store.numbers(spec.name), default=0)
        text = f"{self._client.directory_url}|{spec.profile}|{done}|{names}"
        return hashlib.sha256(text.encode()).hexdigest()


def _token(challenge: Challenge) -> str:
    if challenge.token is None:
        raise ChallengeError("The CA sent a challenge without a token")
    return challenge.token

"""Generations by ACME: one order for each key type, each durable before it is paid for.

    <root>/pending/<name>/<keytype>/{key.pem,order.json,chain.pem}

The key is on disk before the order is placed, and the order's URL before it is
answered; the chain when it is downloaded. A run that was interrupted at any
point is taken up by the next, with the same key and the same order, so that
nothing is bought twice. When every key type's chain is there and has passed
our own checks, the generation is written and the folder goes away.

What is pending belongs to one wish: other names, another CA or a profile make
it void, and it is dropped.
"""

from __future__ import annotations

import hashlib
import re

import msgspec

from mailseal.acme.client import AcmeClient, together
from mailseal.acme.messages import Authorization, Challenge
from mailseal.acme.obtain import IssuedChain, obtain
from mailseal.chains import TrustAnchors
from mailseal.challenges.base import Solver
from mailseal.errors import ChallengeError, KeyMaterialError
from mailseal.issuers.base import IssueRequest
from mailseal.issuers.keys import new_key, request
from mailseal.material import check_material
from mailseal.model import CertificateSpec, Generation, KeyType, Secret
from mailseal.stores.filesystem import LineageStore, Material
from mailseal.system import System

_PEM = re.compile(rb"-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----", re.DOTALL)


class _Order(msgspec.Struct, frozen=True):
    wish: str
    url: str = ""


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

    async def issue(self, request: IssueRequest) -> Generation:
        """A whole generation for the spec. Raises `IssueError`, `ChallengeError`, `KeyMaterialError`, `NetworkFault`."""
        spec = request.spec
        orders = [self._one(spec, key_type, request.predecessor(key_type)) for key_type in spec.key_types]
        materials = tuple(await together(*orders))
        generation = self._store.write(
            spec.name, materials, issuer=self._client.directory_url, issued_at=self._system.clock.now()
        )
        self._system.files.remove_tree(self._folder(spec.name))
        return generation

    def _folder(self, name: str, key_type: KeyType | None = None) -> str:
        base = f"{self._store.root}/pending/{name}"
        return f"{base}/{key_type}" if key_type else base

    async def _one(self, spec: CertificateSpec, key_type: KeyType, replaces: str | None) -> Material:
        files = self._system.files
        folder = self._folder(spec.name, key_type)
        wish = self._wish(spec)
        known = self._pending(folder, wish)
        key = Secret(files.read(f"{folder}/key.pem", 65_536)) if known else self._begin(spec, key_type, wish)
        chain_path = f"{folder}/chain.pem"
        if files.stat(chain_path) is None:
            chain = await self._obtain(spec, key_type, key, wish, known.url if known else "", replaces)
            files.replace(chain_path, chain.fullchain.encode("ascii"), mode=0o600)
        return self._material(spec, key_type, key, files.read(chain_path, 1_048_576))

    def _begin(self, spec: CertificateSpec, key_type: KeyType, wish: str) -> Secret:
        files = self._system.files
        folder = self._folder(spec.name, key_type)
        files.remove_tree(folder)
        files.mkdir(self._folder(spec.name), mode=0o700, exist_ok=True)
        files.mkdir(folder, mode=0o700)
        key = new_key(key_type)
        files.create(f"{folder}/key.pem", key.reveal(), mode=0o600)
        files.create(f"{folder}/order.json", msgspec.json.encode(_Order(wish)), mode=0o600)
        return key

    def _pending(self, folder: str, wish: str) -> _Order | None:
        """What an earlier run left for exactly this wish; None where there is nothing that can be used."""
        files = self._system.files
        path = f"{folder}/order.json"
        if files.stat(path) is None or files.stat(f"{folder}/key.pem") is None:
            return None
        try:
            order = msgspec.json.decode(files.read(path), type=_Order)
        except msgspec.DecodeError:
            return None
        return order if order.wish == wish else None

    async def _obtain(
        self, spec: CertificateSpec, key_type: KeyType, key: Secret, wish: str, url: str, replaces: str | None
    ) -> IssuedChain:
        folder = self._folder(spec.name, key_type)

        def remember(order_url: str) -> None:
            self._system.files.replace(
                f"{folder}/order.json", msgspec.json.encode(_Order(wish, order_url)), mode=0o600
            )

        return await obtain(
            self._client,
            identifiers=spec.sorted_identifiers,
            csr_der=request(key, spec.sorted_identifiers),
            solver=self._solver,
            profile=spec.profile,
            replaces=replaces,
            preferred_chain=spec.preferred_chain,
            on_order=remember,
            resume_url=url or None,
        )

    def _material(self, spec: CertificateSpec, key_type: KeyType, key: Secret, fullchain: bytes) -> Material:
        leaf, *above = _PEM.findall(fullchain)
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
        except KeyMaterialError:
            # What the CA sent is no use and will be none tomorrow: the next run starts over.
            self._system.files.remove_tree(self._folder(spec.name, key_type))
            raise
        return Material(key_type, key, cert, chain, facts)

    def _wish(self, spec: CertificateSpec) -> str:
        names = ",".join(identifier.value for identifier in spec.sorted_identifiers)
        text = f"{self._client.directory_url}|{spec.profile}|{names}"
        return hashlib.sha256(text.encode()).hexdigest()


def _token(challenge: Challenge) -> str:
    if challenge.token is None:
        raise ChallengeError("The CA sent a challenge without a token")
    return challenge.token

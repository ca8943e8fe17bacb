"""Generations by ACME: one order for each key type, each durable before it is paid for.

    <root>/pending/<name>/<keytype>/{key.pem,order.json,chain.pem}

Key and order are durable before anything is shown or answered, and long before
the order is finalized; where there are several key types, the chain is when it
is downloaded. A run that was interrupted at any point is taken up by the next,
with the same key and the same order, so that nothing is bought twice. (An order
whose URL never came to the disk was only placed: nobody answers it, and it
lapses.) When every key type's chain is there and has passed our own checks, the
generation is written and the folder goes away.

What is pending belongs to one wish: other names, another CA, a profile, or a
generation that was written meanwhile make it void, and it is dropped.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass, replace

import msgspec

from mailseal.acme.client import AcmeClient, together
from mailseal.acme.messages import Authorization, Challenge
from mailseal.acme.obtain import IssuedChain, obtain
from mailseal.chains import TrustAnchors
from mailseal.challenges.base import Solver
from mailseal.errors import ChallengeError, KeyMaterialError, NotYetValid
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

    def encoded(self) -> bytes:
        return msgspec.json.encode(self)


@dataclass(frozen=True, slots=True)
class _Begun:
    """One key type's key and order; the order's URL is empty until it is placed."""

    key_type: KeyType
    key: Secret
    order: _Order


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
            files.remove_tree(self._folder(spec.name), durable=False)  # the generation makes it void
            return generation

        return await files.aside(write)

    def _folder(self, name: str, key_type: KeyType | None = None) -> str:
        base = f"{self._store.root}/pending/{name}"
        return f"{base}/{key_type}" if key_type else base

    async def _one(self, spec: CertificateSpec, key_type: KeyType, replaces: str | None) -> Material:
        files = self._system.files
        if key_type.family == "rsa":  # whose primes take long to find
            begun = await files.aside(lambda: self._begin(spec, key_type))
        else:
            begun = self._begin(spec, key_type)
        chain_path = f"{self._folder(spec.name, key_type)}/chain.pem"
        if files.stat(chain_path) is not None:
            return self._material(spec, begun, files.read(chain_path, 1_048_576))
        chain = (await self._obtain(spec, begun, replaces)).fullchain.encode("ascii")
        if (
            len(spec.key_types) > 1
        ):  # another key type's order may take longer; a single one is written at once
            await files.aside(lambda: files.replace(chain_path, chain, mode=0o600))
        return self._material(spec, begun, chain)

    def _begin(self, spec: CertificateSpec, key_type: KeyType) -> _Begun:
        """What an earlier run left for exactly this wish, else a new key that nothing was ordered for."""
        files, above = self._system.files, self._folder(spec.name)
        wish, folder = self._wish(spec), self._folder(spec.name, key_type)
        order = self._left(folder, wish)
        if order is not None:
            return _Begun(key_type, Secret(files.read(f"{folder}/key.pem", 65_536)), order)
        for entry in files.listdir(above):
            if entry == key_type or entry.startswith(f".{key_type}.mailseal-"):
                files.remove_tree(f"{above}/{entry}")
        return _Begun(key_type, new_key(key_type), _Order(wish))

    def _keep(self, name: str, begun: _Begun) -> None:
        """Makes key and order durable."""
        files, folder = self._system.files, self._folder(name, begun.key_type)
        if files.stat(folder) is not None:  # an earlier run's, whose order came to nothing
            files.replace(f"{folder}/order.json", begun.order.encoded(), mode=0o600)
            return
        files.mkdir(self._folder(name), mode=0o700, exist_ok=True, durable=False)
        contents = {"key.pem": begun.key.reveal(), "order.json": begun.order.encoded()}
        files.create_tree(folder, contents, mode=0o600)
        files.sync([f"{self._store.root}/pending"])

    def _left(self, folder: str, wish: str) -> _Order | None:
        """What an earlier run left for exactly this wish; None where there is nothing that can be used."""
        files = self._system.files
        path = f"{folder}/order.json"
        if files.stat(path) is None or files.stat(f"{folder}/key.pem") is None:
            return None
        try:
            order = msgspec.json.decode(files.read(path), type=_Order)
        except msgspec.DecodeError:
            return None
        return order if order.wish == wish and order.url else None

    async def _obtain(self, spec: CertificateSpec, begun: _Begun, replaces: str | None) -> IssuedChain:
        async def remember(url: str) -> None:
            placed = replace(begun, order=_Order(begun.order.wish, url))
            await self._system.files.aside(lambda: self._keep(spec.name, placed))

        return await obtain(
            self._client,
            identifiers=spec.sorted_identifiers,
            csr_der=request(begun.key, spec.sorted_identifiers),
            solver=self._solver,
            profile=spec.profile,
            replaces=replaces,
            preferred_chain=spec.preferred_chain,
            on_order=remember,
            resume_url=begun.order.url or None,
        )

    def _material(self, spec: CertificateSpec, begun: _Begun, fullchain: bytes) -> Material:
        leaf, *above = _PEM.findall(fullchain)
        cert, chain = leaf + b"\n", b"".join(one + b"\n" for one in above)
        try:
            facts = check_material(
                begun.key,
                cert,
                chain,
                identifiers=spec.sorted_identifiers,
                now=self._system.clock.now(),
                anchors=self._anchors,
                key_type=begun.key_type,
            )
        except NotYetValid:
            raise  # by our own clock, which is slow: the order stays, and is taken up again
        except KeyMaterialError:
            # What the CA sent is no use and will be none tomorrow: the next run starts over.
            self._system.files.remove_tree(self._folder(spec.name, begun.key_type))
            raise
        return Material(begun.key_type, begun.key, cert, chain, facts)

    def _wish(self, spec: CertificateSpec) -> str:
        names = ",".join(identifier.value for identifier in spec.sorted_identifiers)
        done = max(self._store.numbers(spec.name), default=0)
        text = f"{self._client.directory_url}|{spec.profile}|{done}|{names}"
        return hashlib.sha256(text.encode()).hexdigest()


def _token(challenge: Challenge) -> str:
    if challenge.token is None:
        raise ChallengeError("The CA sent a challenge without a token")
    return challenge.token

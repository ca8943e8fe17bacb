"""Orders carried out: solver, preflight, account, order; and what is remembered of a failure.

Each spec stands alone: one that fails neither stops nor delays another. A
preflight that refutes a name costs nothing and is tried again at the next
run; an order that failed at the CA is tried again with growing pauses
(`mailseal.renewal.retry_after`), and a rate limit never before its time.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import msgspec
from cryptography.x509 import load_pem_x509_certificate

from mailseal.acme import ari
from mailseal.acme.client import AcmeClient
from mailseal.acme.problems import AcmeProblem
from mailseal.chains import TrustAnchors
from mailseal.challenges.base import Solver
from mailseal.challenges.fetch import Ports
from mailseal.challenges.names import name_findings
from mailseal.challenges.preflight import Looked, preflight, require
from mailseal.config.schema import Config
from mailseal.daemons import Say
from mailseal.errors import ChallengeError, MailsealError
from mailseal.issuers.accounts import forget, open_client
from mailseal.issuers.acme import AcmeIssuer
from mailseal.issuers.base import IssueRequest
from mailseal.model import Finding, Generation, KeyType, Severity
from mailseal.observe import Lineage
from mailseal.renewal import retry_after
from mailseal.steps import Issue
from mailseal.stores.filesystem import LineageStore
from mailseal.stores.state import Failure, StateStore, Suggestion
from mailseal.system import System
from mailseal.system.dns import Dns

# Of the window: the looks are half of it apart, so the one after an instant in its first half is still inside.
DRAWN_WITHIN = 0.5


@dataclass(frozen=True, slots=True)
class Issued:
    """What came of one order: a generation, or the error; and what the preflight saw."""

    step: Issue
    generation: Generation | None = None
    error: MailsealError | None = None
    looked: Looked | None = None


class Issuing:
    """Carries orders out on one machine, as the configuration says.

    `make_solver` gives the way in which http-01 is answered here, or raises
    the `ChallengeError` that says why there is none.
    """

    def __init__(
        self,
        system: System,
        config: Config,
        store: LineageStore,
        states: StateStore,
        anchors: TrustAnchors,
        make_solver: Callable[[], Solver],
        say: Say,
    ) -> None:
        self._anchors = anchors
        self._make_solver = make_solver
        self._system = system
        self._config = config
        self._store = store
        self._states = states
        self._say = say

    def carry_out(self, steps: Sequence[Issue]) -> tuple[Issued, ...]:
        """All orders, side by side as far as [acme] orders_at_once lets them."""
        return asyncio.run(self._all(steps))

    def refresh(self, lineages: Sequence[Lineage]) -> None:
        """Asks the CA for renewal information that is missing, or that it wants to be asked again for.

        A CA that cannot be asked is no fault: the renewal time then follows the certificate's own dates.
        """
        stale = [(lineage, kind) for lineage in lineages for kind in self._stale(lineage)]
        if stale:
            asyncio.run(self._refresh(stale))

    async def _all(self, steps: Sequence[Issue]) -> tuple[Issued, ...]:
        http = self._system.http(ca_file=self._config.acme.ca_file)
        try:
            solver = self._make_solver()
            client = await open_client(self._system, http, self._store.root, self._config.acme)
            issuer = AcmeIssuer(self._system, self._store, client, solver, self._anchors)
            dns = self._system.dns(self._config.dns.nameservers)
            places = asyncio.Semaphore(self._config.acme.orders_at_once)
            orders = [self._one(step, issuer, solver, dns, places) for step in steps]
            return tuple(await asyncio.gather(*orders))
        except MailsealError as error:
            if isinstance(
                error, AcmeProblem
            ):  # a refusal, which more tries do not mend; a CA out of reach is none
                for step in steps:
                    self._remember(step.spec.name, error)
            return tuple(Issued(step, error=error) for step in steps)
        finally:
            await http.close()

    async def _one(
        self, step: Issue, issuer: AcmeIssuer, solver: Solver, dns: Dns, places: asyncio.Semaphore
    ) -> Issued:
        async with places:
            return await self._carried_out(step, issuer, solver, dns)

    async def _carried_out(self, step: Issue, issuer: AcmeIssuer, solver: Solver, dns: Dns) -> Issued:
        name = step.spec.name
        looked: Looked | None = None
        try:
            self._say(f"{name}: looking whether the CA will find the challenge")
            web = self._config.services.apache
            ports = Ports(web.http_port, web.https_port)
            looked = await preflight(self._system, solver, step.spec.identifiers, dns=dns, ports=ports)
            require(looked)
            self._say(f"{name}: ordering")
            generation = await issuer.issue(IssueRequest(step.spec, step.replaces))
        except MailsealError as error:
            self._remember(name, error)
            return Issued(step, error=error, looked=looked)
        state = self._states.load(name)
        self._states.save(name, msgspec.structs.replace(state, failure=None))
        return Issued(step, generation, looked=looked)

    def _remember(self, name: str, error: MailsealError) -> None:
        if isinstance(error, ChallengeError):
            return
        if isinstance(error, AcmeProblem) and error.kind == "accountDoesNotExist":
            forget(self._system.files, self._store.root, self._config.acme.directory_url)
        now = self._system.clock.now()
        state = self._states.load(name)
        attempts = state.failure.attempts + 1 if state.failure else 1
        pause = retry_after(attempts, self._system.random.uniform(0.0, 1.0))
        limited = isinstance(error, AcmeProblem) and error.retry_after is not None
        if isinstance(error, AcmeProblem) and error.retry_after is not None:
            pause = max(pause, timedelta(seconds=error.retry_after))
        failure = Failure(attempts, now, error.message, now + pause, limited)
        self._states.save(name, msgspec.structs.replace(state, failure=failure))

    def _stale(self, lineage: Lineage) -> list[KeyType]:
        """The key types to ask for: of a generation that this very CA issued, and that is whole."""
        target, now = lineage.target, self._system.clock.now()
        if target is None or target.issuer != self._config.acme.directory_url:
            return []
        rejection = lineage.state.rejection(target.number)
        if rejection is not None and rejection.unusable:
            return []
        kinds = []
        for kind, facts in target.leaves:
            known = lineage.state.suggestions.get(kind)
            fresh = known is not None and known.fingerprint == facts.fingerprint
            if known is None or not fresh or not _holds_off(known.ask_again, now):
                kinds.append(kind)
        return kinds

    async def _refresh(self, stale: Sequence[tuple[Lineage, KeyType]]) -> None:
        http = self._system.http(ca_file=self._config.acme.ca_file)
        try:
            client = await open_client(self._system, http, self._store.root, self._config.acme)
            for lineage, kind in stale:
                try:
                    await self._refresh_one(client, lineage, kind)
                except AcmeProblem as problem:  # of this certificate, as of one that another CA issued
                    self._say(f"{lineage.name}: no renewal information: {problem}")
        except MailsealError as error:
            self._say(f"renewal information could not be asked for: {error}")
        finally:
            await http.close()

    async def _refresh_one(self, client: AcmeClient, lineage: Lineage, kind: KeyType) -> None:
        assert lineage.target is not None
        facts = dict(lineage.target.leaves)[kind]
        files = next(f for f in self._store.generation_files(lineage.target) if f.key_type is kind)
        certificate_id = ari.certificate_id(load_pem_x509_certificate(self._system.files.read(files.cert)))
        info = await ari.renewal_info(client, certificate_id) if certificate_id else None
        if info is None:
            return
        state = self._states.load(lineage.name)
        known = state.suggestions.get(kind)
        if (
            known
            and known.fingerprint == facts.fingerprint
            and (known.start, known.end) == (info.start, info.end)
        ):
            chosen = known.chosen  # drawn once: a new instant at every look would never come due
        else:
            chosen = ari.instant(info, self._system.random.uniform(0.0, DRAWN_WITHIN))
        suggestion = Suggestion(
            info.certificate_id,
            facts.fingerprint,
            info.start,
            info.end,
            chosen,
            info.ask_again_at,
            info.explanation_url,
        )
        suggestions = {**state.suggestions, kind: suggestion}
        self._states.save(lineage.name, msgspec.structs.replace(state, suggestions=suggestions))


def _holds_off(ask_again: datetime, now: datetime) -> bool:
    """Whether the CA wants no question yet. It never asks for more than a day: a later time was a clock's error."""
    return now < ask_again <= now + timedelta(seconds=ari.LONGEST_RETRY)


def notes(issued: Sequence[Issued], primary: str) -> Iterator[Finding]:
    """What the preflight saw that did not block an order: names behind web proxies, what could not be reached."""
    for one in issued:
        for identifier, addresses in one.looked.addresses if one.looked else ():
            yield from name_findings(identifier, addresses, receives_mail=identifier.value == primary)
        for result in one.looked.unknown if one.looked else ():
            yield Finding(
                result.code,
                Severity.INFO,
                f"{result.identifier} at {result.address}" if result.address else str(result.identifier),
                seen=result.seen,
                expected="the challenge path answered there",
                why="Whether the CA finds it could not be told from here, so the order went on.",
                mend=result.mend,
            )

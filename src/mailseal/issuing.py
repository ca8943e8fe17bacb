"""Orders carried out: solver, preflight, account, order; and what is remembered of a failure.

Each spec stands alone: one that fails neither stops nor delays another. A
preflight that refutes a name costs nothing and is tried again at the next
run; an order that failed at the CA is tried again with growing pauses
(`mailseal.renewal.retry_after`), and a rate limit never before its time, by
nobody whom it concerns. What failed is kept for each CA by itself, so that
another can be asked when one fails for long (`mailseal.due`).

After a CA could not confirm control of a name, the next try is made at its
staging server first, where there is one: failures there use up no limit.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import partial

import msgspec

from mailseal.acme.limits import Limit, limit_of
from mailseal.acme.problems import AcmeProblem, ValidationFailed
from mailseal.acme.trial import trial
from mailseal.chains import TrustAnchors
from mailseal.challenges.base import Solver
from mailseal.challenges.fetch import Ports
from mailseal.challenges.names import name_findings
from mailseal.challenges.preflight import Looked, Standpoint, preflight, require
from mailseal.config.acme import Authority
from mailseal.config.schema import Config
from mailseal.daemons import Say
from mailseal.due import host
from mailseal.errors import ChallengeError, IssueError, MailsealError, NetworkFault
from mailseal.issuers.accounts import folder, forget, open_client
from mailseal.issuers.acme import AcmeIssuer, SolverBridge
from mailseal.issuers.base import IssueRequest
from mailseal.issuers.dated import DatedHttp, Skew
from mailseal.issuers.limits import LimitBook, LimitReached
from mailseal.model import CertificateSpec, Finding, Generation, Severity
from mailseal.observe import Lineage
from mailseal.renewal import lifetime, nearly_expired, retry_after
from mailseal.steps import Issue
from mailseal.stores.filesystem import LineageStore
from mailseal.stores.state import Failure, StateStore, holds
from mailseal.suggestions import Suggestions
from mailseal.system import System
from mailseal.system.dns import Dns

# One try in so many goes to the CA itself although its staging server refused the last: staging may be what is wrong.
PAST_STAGING = 5
IN_A_ROW = timedelta(days=3)  # a failure longer after the end of the last one's pause begins a new row


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
        self._skew = Skew()
        self._suggestions = Suggestions(system, config, store, states, say, self._skew)

    def carry_out(self, steps: Sequence[Issue]) -> tuple[Issued, ...]:
        """All orders, side by side as far as [acme] orders_at_once lets them."""
        return asyncio.run(self._all(steps))

    def refresh(self, lineages: Sequence[Lineage]) -> None:
        """Asks the CAs for renewal information that is missing, or that they want to be asked again for.

        A CA that cannot be asked is no fault: the renewal time then follows the certificate's own dates.
        """
        self._suggestions.refresh(lineages)

    def findings(self) -> tuple[Finding, ...]:
        """What the CAs' answers told of this machine: a clock that differs from theirs."""
        return self._skew.findings()

    async def _all(self, steps: Sequence[Issue]) -> tuple[Issued, ...]:
        found: list[Issued] = []
        for url in dict.fromkeys(step.issuer for step in steps):
            authority = self._config.acme.authority(url)
            assert authority is not None, url
            found += await self._at(authority, [step for step in steps if step.issuer == url])
        return tuple(found)

    async def _at(self, authority: Authority, steps: Sequence[Issue]) -> list[Issued]:
        """Orders at one CA, by one account."""
        http = DatedHttp(self._system.http(ca_file=authority.ca_file), self._system.clock, self._skew)
        try:
            solver = self._make_solver()
            client = await open_client(self._system, http, self._store.root, authority)
            book = LimitBook(self._system.files, folder(self._store.root, authority.directory_url))
            issuer = AcmeIssuer(self._system, self._store, client, solver, self._anchors)
            dns = self._system.dns(self._config.dns.nameservers)
            desk = _Desk(authority, issuer, solver, dns, book, Standpoint.of(self._system))
            places = asyncio.Semaphore(self._config.acme.orders_at_once)
            return list(await asyncio.gather(*(self._one(step, desk, places) for step in steps)))
        except MailsealError as error:
            failure = error
            for name in (step.spec.name for step in steps):
                self._try(partial(self._remember, name, authority, failure, of_this_order=False))
            return [Issued(step, error=error) for step in steps]
        finally:
            await http.close()

    async def _one(self, step: Issue, desk: _Desk, places: asyncio.Semaphore) -> Issued:
        async with places:
            return await self._carried_out(step, desk)

    async def _carried_out(self, step: Issue, desk: _Desk) -> Issued:
        name, authority = step.spec.name, desk.authority
        looked: Looked | None = None
        try:
            desk.book.refuse(step.spec, self._system.clock.now(), exempt=bool(step.replaces))
            self._say(f"{name}: looking whether the CA will find the challenge")
            web = self._config.services.apache
            ports = Ports(web.http_port, web.https_port)
            looked = await preflight(
                self._system,
                desk.solver,
                step.spec.identifiers,
                dns=desk.dns,
                standpoint=desk.standpoint,
                ports=ports,
            )
            require(looked)
            await self._tried_out(step.spec, desk)
            self._say(f"{name}: ordering" + (f" at {host(step.issuer)}" if step.fallback else ""))
            spec = _as_asked_of(authority, step) if step.fallback else step.spec
            generation = await desk.issuer.issue(IssueRequest(spec, step.replaces))
        except MailsealError as error:
            failure = error
            self._try(lambda: self._remember(name, authority, failure, book=desk.book))
            return Issued(step, error=error, looked=looked)
        self._try(lambda: self._went_well(name, authority))
        return Issued(step, generation, looked=looked)

    async def _tried_out(self, spec: CertificateSpec, desk: _Desk) -> None:
        """Has the CA's staging server validate the names where the CA itself could not the last time.

        Raises `ValidationFailed` where it cannot either. One that is out of order tells nothing, so the order goes on.
        """
        failure = self._states.load(spec.name).failures.get(desk.authority.directory_url)
        staging = desk.authority.staging
        if failure is None or not failure.validation or staging is None:
            return
        live, now = self._live(spec.name), self._system.clock.now()
        if failure.attempts % PAST_STAGING == 0 or (live is not None and nearly_expired(live, now)):
            return
        self._say(f"{spec.name}: trying the validation at the CA's staging server first")
        http = DatedHttp(self._system.http(ca_file=staging.ca_file), self._system.clock, self._skew)
        try:
            client = await open_client(self._system, http, self._store.root, staging)
            await trial(client, spec.sorted_identifiers, SolverBridge(desk.solver))
        except ValidationFailed as error:
            error.state = (
                "Asked at the CA's staging server first, so the CA's own limit on failures is not used up."
            )
            raise
        except MailsealError as error:
            self._say(f"{spec.name}: the staging server cannot tell: {error}")
        finally:
            await http.close()

    def _try(self, remembering: Callable[[], None]) -> None:
        """A memory that cannot be written (a full disk) is no reason to stop: it costs a try too many."""
        try:
            remembering()
        except MailsealError as fault:
            self._say(f"not remembered: {fault}")

    def _went_well(self, name: str, authority: Authority) -> None:
        """Forgets the failures at every CA, so that the first has its chance at the next renewal; limits stay."""
        state, now = self._states.load(name), self._system.clock.now()
        limits = {
            url: failure
            for url, failure in state.failures.items()
            if url != authority.directory_url and failure.limited and holds(failure.at, failure.again, now)
        }
        self._states.save(name, msgspec.structs.replace(state, failures=limits))

    def _remember(
        self,
        name: str,
        authority: Authority,
        error: MailsealError,
        *,
        book: LimitBook | None = None,
        of_this_order: bool = True,
    ) -> None:
        """A CA that cannot be reached at all costs no pause, only a place in the row of failures."""
        if isinstance(error, ChallengeError):
            return
        if not of_this_order and not isinstance(error, IssueError | NetworkFault):
            return  # of this machine: a disk, a configuration
        now, url = self._system.clock.now(), authority.directory_url
        if isinstance(error, AcmeProblem) and error.kind == "accountDoesNotExist":
            forget(self._system.files, self._store.root, url)
        state = self._states.load(name)
        known = state.failures.get(url)
        row = known if known and known.at <= now <= known.again + IN_A_ROW else None
        counts = of_this_order or isinstance(error, AcmeProblem)
        attempts = (row.attempts if row else 0) + counts
        pause = self._pause(name, attempts) if counts else timedelta()
        limit = error.limit if isinstance(error, LimitReached) else limit_of(error, now)
        if limit is not None:
            pause = max(pause, limit.until - now)
            self._note(limit, authority, book)
        failure = Failure(
            attempts,
            now,
            error.message if not isinstance(error, LimitReached) else error.reason,
            now + pause,
            limited=limit is not None,
            limit=limit.what if limit else "",
            busy=limit is not None and limit.busy,
            since=row.began if row else now,
            validation=isinstance(error, ValidationFailed),
        )
        self._states.save(name, msgspec.structs.replace(state, failures={**state.failures, url: failure}))

    def _pause(self, name: str, attempts: int) -> timedelta:
        live = self._live(name)
        jitter = self._system.random.uniform(0.0, 1.0)
        return retry_after(attempts, jitter, lifetime(live) if live else None)

    def _live(self, name: str) -> Generation | None:
        number = self._store.current_number(name)
        return self._store.find(name, f"{number:04d}") if number else None

    def _note(self, limit: Limit, authority: Authority, book: LimitBook | None) -> None:
        if book is None:
            path = folder(self._store.root, authority.directory_url)
            book = LimitBook(self._system.files, path)
        book.note(limit, self._system.clock.now())


@dataclass(frozen=True, slots=True)
class _Desk:
    """What orders at one CA share."""

    authority: Authority
    issuer: AcmeIssuer
    solver: Solver
    dns: Dns
    book: LimitBook
    standpoint: Standpoint


def _as_asked_of(authority: Authority, step: Issue) -> CertificateSpec:
    """The spec with the profile and chain of this CA: another CA's names for them mean nothing to it."""
    return replace(step.spec, profile=authority.profile, preferred_chain=authority.preferred_chain)


def unmended(issued: Sequence[Issued]) -> tuple[MailsealError, ...]:
    """The errors that stand: of the specs for which no CA issued in the end."""
    served = {one.step.spec.name for one in issued if one.generation is not None}
    return tuple(one.error for one in issued if one.error is not None and one.step.spec.name not in served)


def notes(issued: Sequence[Issued], primary: str) -> Iterator[Finding]:
    """What the preflight saw that did not block an order: names behind web proxies, what could not be reached."""
    for one in issued:
        if one.step.fallback and one.generation is not None:
            yield Finding(
                "fallback-ca",
                Severity.WARNING,
                one.step.spec.name,
                seen=f"generation {one.generation.label} was issued by {host(one.step.issuer)}",
                expected="one of the first CA, which has failed for long",
                why="At the next renewal the first CA is asked first again.",
                mend="mailseal status (tells why the first CA failed)",
            )
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

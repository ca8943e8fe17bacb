"""Renewal information (RFC 9773), asked for where it is missing or wanted to be asked for anew, and kept.

Window, chosen instant and the time of the next question are kept with the
certificate that they are about. A question that got no answer is kept too: it
is asked again when the CA said (Retry-After), else after some hours, and not
at every run in between. A CA that cannot be asked is no fault: the renewal time
then follows what it said last, or the certificate's own dates.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import datetime, timedelta

import msgspec
from cryptography.x509 import load_pem_x509_certificate

from mailseal.acme import ari
from mailseal.acme.client import AcmeClient
from mailseal.acme.problems import AcmeProblem, AcmeTimeout
from mailseal.config.acme import Authority
from mailseal.config.schema import Config
from mailseal.daemons import Say
from mailseal.errors import IssueError, MailsealError, NetworkFault
from mailseal.issuers.accounts import open_client
from mailseal.issuers.dated import DatedHttp, Skew
from mailseal.model import CertificateFacts, KeyType
from mailseal.observe import Lineage
from mailseal.renewal import ask_again_after
from mailseal.stores.filesystem import LineageStore
from mailseal.stores.state import LineageState, StateStore, Suggestion, Unanswered, holds
from mailseal.system import System

# Of the window: the looks are half of it apart, so the one after an instant in its first half is still inside.
DRAWN_WITHIN = 0.5
MOST_QUESTIONS = 500  # of one run
_NEVER = "the certificate names no key of its issuer, or the CA has no renewal information"


class Suggestions:
    """Asks every CA of the configuration about the certificates that it issued."""

    def __init__(
        self,
        system: System,
        config: Config,
        store: LineageStore,
        states: StateStore,
        say: Say,
        skew: Skew,
    ) -> None:
        self._system = system
        self._config = config
        self._store = store
        self._states = states
        self._say = say
        self._skew = skew

    def refresh(self, lineages: Sequence[Lineage]) -> None:
        """Asks where something is missing or old; where nothing is, no request is sent.

        Of many only the `MOST_QUESTIONS` that expire first: the others have their turn at the next run.
        """
        asked = [(lineage.target, lineage, kind) for lineage in lineages for kind in self._stale(lineage)]
        asked.sort(key=lambda one: one[0].not_after if one[0] else self._system.clock.now())
        stale: dict[str, list[tuple[Lineage, KeyType]]] = {}
        for target, lineage, kind in asked[:MOST_QUESTIONS]:
            stale.setdefault(target.issuer if target else "", []).append((lineage, kind))
        if stale:
            asyncio.run(self._refresh(stale))

    def _stale(self, lineage: Lineage) -> list[KeyType]:
        """The key types to ask for: of a generation that a CA of ours issued, and that is whole."""
        target, now = lineage.target, self._system.clock.now()
        if target is None or self._config.acme.authority(target.issuer) is None or not target.issuer:
            return []
        rejection = lineage.state.rejection(target.number)
        if rejection is not None and rejection.unusable:
            return []
        return [kind for kind, facts in target.leaves if _is_stale(lineage.state, kind, facts, now)]

    async def _refresh(self, stale: dict[str, list[tuple[Lineage, KeyType]]]) -> None:
        for issuer, wanted in stale.items():
            authority = self._config.acme.authority(issuer)
            assert authority is not None
            await self._ask(authority, wanted)

    async def _ask(self, authority: Authority, wanted: list[tuple[Lineage, KeyType]]) -> None:
        http = DatedHttp(self._system.http(ca_file=authority.ca_file), self._system.clock, self._skew)
        try:
            client = await open_client(self._system, http, self._store.root, authority)
        except MailsealError as error:
            self._say(f"renewal information could not be asked for: {error}")
            wait = error.retry_after if isinstance(error, AcmeProblem) else None
            await http.close()
            self._all_unanswered(wanted if wait is not None else [], str(error), wait)
            return
        try:
            for lineage, kind in wanted:
                if not await self._ask_one(client, lineage, kind):
                    return
        except MailsealError as fault:  # of this machine, as a full disk: it costs a question too many
            self._say(f"renewal information is not kept: {fault}")
        finally:
            await http.close()

    async def _ask_one(self, client: AcmeClient, lineage: Lineage, kind: KeyType) -> bool:
        """Asks about one certificate; False where the CA cannot be reached, and so need not be asked more."""
        assert lineage.target is not None
        files = next(f for f in self._store.generation_files(lineage.target) if f.key_type is kind)
        certificate_id = ari.certificate_id(load_pem_x509_certificate(self._system.files.read(files.cert)))
        try:
            info = await ari.renewal_info(client, certificate_id) if certificate_id else None
        except NetworkFault as fault:
            self._say(f"renewal information could not be asked for: {fault}")
            return False
        except IssueError as error:  # of this certificate, as of one that the CA has forgotten
            self._say(f"{lineage.name}: no renewal information: {error}")
            told = error.retry_after if isinstance(error, AcmeProblem | AcmeTimeout) else None
            self._unanswered(lineage, kind, str(error), told)
            return True
        if info is None:
            self._unanswered(lineage, kind, _NEVER, ari.LONGEST_RETRY)
        else:
            self._keep(lineage, kind, info)
        return True

    def _keep(self, lineage: Lineage, kind: KeyType, info: ari.RenewalInfo) -> None:
        facts, state = _leaf(lineage, kind), self._states.load(lineage.name)
        known = state.suggestions.get(kind)
        same = known is not None and known.fingerprint == facts.fingerprint
        if known is not None and same and (known.start, known.end) == (info.start, info.end):
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
        self._states.save(
            lineage.name,
            msgspec.structs.replace(
                state,
                suggestions={**state.suggestions, kind: suggestion},
                unanswered={k: one for k, one in state.unanswered.items() if k is not kind},
            ),
        )

    def _all_unanswered(self, wanted: list[tuple[Lineage, KeyType]], reason: str, told: float | None) -> None:
        try:
            for lineage, kind in wanted:
                self._unanswered(lineage, kind, reason, told)
        except MailsealError as fault:
            self._say(f"renewal information is not kept: {fault}")

    def _unanswered(self, lineage: Lineage, kind: KeyType, reason: str, told: float | None) -> None:
        """Keeps that the CA gave none, and when it is asked again; what it said before still holds."""
        facts, now = _leaf(lineage, kind), self._system.clock.now()
        if told is None:
            wait = ask_again_after(facts.not_after - facts.not_before)
        else:
            wait = timedelta(seconds=min(max(told, ari.SHORTEST_RETRY), ari.LONGEST_RETRY))
        state = self._states.load(lineage.name)
        kept = Unanswered(facts.fingerprint, reason, now, now + wait)
        self._states.save(
            lineage.name, msgspec.structs.replace(state, unanswered={**state.unanswered, kind: kept})
        )


def _is_stale(state: LineageState, kind: KeyType, facts: CertificateFacts, now: datetime) -> bool:
    silent = state.unanswered.get(kind)
    same = silent is not None and silent.fingerprint == facts.fingerprint
    if silent is not None and same and holds(silent.at, silent.ask_again, now):
        return False
    known = state.suggestions.get(kind)
    if known is None or known.fingerprint != facts.fingerprint:
        return True
    # The CA never asks for more than a day: a later time was a clock's error.
    return not now < known.ask_again <= now + timedelta(seconds=ari.LONGEST_RETRY)


def _leaf(lineage: Lineage, kind: KeyType) -> CertificateFacts:
    assert lineage.target is not None
    return dict(lineage.target.leaves)[kind]

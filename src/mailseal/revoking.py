"""Revocations carried out: after the replacement, at the CA that issued, asked again until the outcome is known.

RFC 8555 section 7.6: a certificate is revoked by the account that ordered it,
or by whoever holds its key. For a leaked key the key itself signs, because
that proves to the CA that it is in the wrong hands (Let's Encrypt then blocks
it for everybody); for other reasons the account signs, and the key where there is none.

Promises: nothing is revoked while it is live or an endpoint was seen to serve
it, unless that was asked for; a key is marked compromised before the CA is
asked. What the CA refuses for good is forgotten and told; where it cannot be
reached, the next run asks again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING

import msgspec

from mailseal.config.schema import Config
from mailseal.daemons import Say
from mailseal.diary import Diary
from mailseal.errors import IssueError, MailsealError
from mailseal.history import Deed, of
from mailseal.model import Finding, Generation, KeyFiles, Severity
from mailseal.observe import Lineage
from mailseal.stores.filesystem import LineageStore
from mailseal.stores.revocations import Compromised, Revocation, RevocationStore
from mailseal.stores.state import StateStore, Withdrawal
from mailseal.system import System

if TYPE_CHECKING:
    from mailseal.acme.client import AcmeClient
    from mailseal.acme.jws import SigningKey
    from mailseal.system.http import Http

REASONS = {
    "unspecified": 0,
    "keyCompromise": 1,
    "affiliationChanged": 3,
    "superseded": 4,
    "cessationOfOperation": 5,
}
KEY_COMPROMISE = REASONS["keyCompromise"]
_ANOTHER_WAY = frozenset({"unauthorized", "accountDoesNotExist"})  # the key may do what the account may not
_PASSING = frozenset({"serverInternal", "rateLimited", "badNonce"})


@dataclass(slots=True)
class Settled:
    """What came of the revocations that were open."""

    done: list[str] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)
    errors: list[MailsealError] = field(default_factory=list)


class Revoking:
    """Wants, carries out and remembers revocations on one machine. Run it with the lock held."""

    def __init__(
        self,
        system: System,
        config: Config,
        store: LineageStore,
        states: StateStore,
        diary: Diary,
        say: Say,
    ) -> None:
        self._system = system
        self._config = config
        self._store = store
        self._states = states
        self._diary = diary
        self._say = say
        self.revocations = RevocationStore(system, store.root)

    def want(self, generations: Sequence[Generation], reason: int, *, forced: bool) -> tuple[Revocation, ...]:
        """Makes the intent durable, and has the plan put another generation in the place of each of these."""
        now = self._system.clock.now()
        known = {one.fingerprint for one in self.revocations.all() if one.revoked is not None}
        wanted = tuple(
            Revocation(
                fingerprint=facts.fingerprint,
                spki_sha256=facts.spki_sha256,
                lineage=generation.lineage,
                number=generation.number,
                key_type=key_type,
                serial=f"{facts.serial:x}",
                issuer=generation.issuer,
                reason=reason,
                wanted=now,
                not_after=facts.not_after,
                forced=forced,
            )
            for generation in generations
            for key_type, facts in generation.leaves
            if facts.fingerprint not in known
        )
        self.revocations.want(wanted)
        for generation in generations:
            self._withdraw(generation.lineage, generation.number, Withdrawal(now, word(reason)))
        return wanted

    def resume(self) -> None:
        """Has the plan put another in the place of what is to be revoked, where a kill came before it was told."""
        for one in self.revocations.open():
            if one.number not in self._states.load(one.lineage).withdrawn:
                self._withdraw(one.lineage, one.number, Withdrawal(one.wanted, word(one.reason)))

    def forget(self, wanted: Sequence[Revocation]) -> None:
        """They are not to be revoked after all."""
        self.revocations.forget(one.fingerprint for one in wanted)
        for name, number in {(one.lineage, one.number) for one in wanted}:
            state = self._states.load(name)
            found = state.withdrawn.get(number)
            if found is not None and not found.revoked:
                left = {n: one for n, one in state.withdrawn.items() if n != number}
                self._states.save(name, msgspec.structs.replace(state, withdrawn=left))

    def settle(self, served: frozenset[str]) -> Settled:
        """Revokes what may be revoked now; `served` are the leaves (fingerprints) that endpoints were seen to serve."""
        settled, ready = Settled(), []
        for one in self.revocations.open():
            used = "" if one.forced else self._in_use(one, served)
            if used:
                settled.findings.append(_waits(one, used))
            else:
                ready.append(one)
        if ready:
            self.revocations.compromise(
                Compromised(one.spki_sha256, one.wanted, one.lineage, one.number)
                for one in ready
                if one.reason == KEY_COMPROMISE
            )
            asyncio.run(self._all(ready, settled))
        return settled

    def _in_use(self, one: Revocation, served: frozenset[str]) -> str:
        if self._store.current_number(one.lineage) == one.number:
            return f"generation {one.label} is live until another takes its place"
        return "an endpoint was seen to serve it" if one.fingerprint in served else ""

    async def _all(self, ready: Sequence[Revocation], settled: Settled) -> None:
        for issuer in dict.fromkeys(one.issuer for one in ready):
            http = self._system.http(ca_file=ca_file(self._config, issuer))
            try:
                for one in ready:
                    if one.issuer == issuer:
                        await self._one(one, http, settled)
            finally:
                await http.close()

    async def _one(self, one: Revocation, http: Http, settled: Settled) -> None:
        now = self._system.clock.now()
        if now >= one.not_after:
            self._settled(one, now)
            settled.done.append(f"{_named(one)} has expired, which ends it as well: nothing to revoke")
            return
        self._say(f"revoking {_named(one)}")
        try:
            fresh = await self._ask(one, http)
        except MailsealError as error:
            final = _for_good(error)
            settled.errors.append(_failed(one, error, final))
            if final:
                self._give_up(one)
        else:
            self._settled(one, now)
            again = "" if fresh else " (the CA had done it already)"
            settled.done.append(f"revoked {_named(one)}: {word(one.reason)}{again}")

    async def _ask(self, one: Revocation, http: Http) -> bool:
        """Has the CA revoke it; False where it was revoked already."""
        from mailseal.acme.problems import AcmeProblem
        from mailseal.acme.revocation import Reason, revoke
        from mailseal.certificates import read_pem

        files = self._files_of(one)
        der = read_pem(self._system.files.read(files.cert, 65_536))[0]
        clients = list(self._clients(one, files, http))
        for position, (client, key) in enumerate(clients, 1):
            try:
                return await revoke(client, der, reason=Reason(one.reason), key=key)
            except AcmeProblem as problem:
                if position == len(clients) or problem.kind not in _ANOTHER_WAY:
                    raise
                self._say(f"{_named(one)}: {problem}; asking in another way")
        raise IssueError(
            f"There is nothing to revoke {_named(one)} with",
            reason="neither its key nor the account that ordered it can be read",
        )

    def _clients(
        self, one: Revocation, files: KeyFiles, http: Http
    ) -> Iterator[tuple[AcmeClient, SigningKey | None]]:
        """The ways to ask: by the account that ordered it, by its own key."""
        from mailseal.acme.client import AcmeClient
        from mailseal.acme.jws import SigningKey
        from mailseal.issuers.accounts import folder, stored

        disk, clock = self._system.files, self._system.clock
        by_key = by_account = None
        try:
            key = SigningKey.from_pem(disk.read(files.privkey, 65_536))
            by_key = (AcmeClient(http, clock, key, one.issuer), key)
        except MailsealError as error:
            self._say(f"{_named(one)}: its key cannot sign: {error}")
        path = folder(self._store.root, one.issuer)
        account = stored(disk, path)
        if account is not None and account.directory == one.issuer:
            signer = SigningKey.from_pem(disk.read(f"{path}/key.pem", 65_536))
            by_account = (AcmeClient(http, clock, signer, one.issuer, account_url=account.url), None)
        # A CA may take what the key itself signs for a leak, whatever the reason: it is the second way then.
        ways = (by_key, by_account) if one.reason == KEY_COMPROMISE else (by_account, by_key)
        yield from (way for way in ways if way is not None)

    def _files_of(self, one: Revocation) -> KeyFiles:
        generation = self._store.find(one.lineage, one.label)
        for files in self._store.generation_files(generation) if generation else ():
            if files.key_type is one.key_type:
                return files
        raise IssueError(
            f"{_named(one)} is not there any more", reason="its files are needed to name it to the CA"
        )

    def _settled(self, one: Revocation, now: datetime) -> None:
        self.revocations.want([msgspec.structs.replace(one, revoked=now)])
        self._withdraw(one.lineage, one.number, Withdrawal(now, word(one.reason), revoked=True))
        generation = self._store.find(one.lineage, one.label)
        if generation is not None:
            self._diary.note(of(Deed.REVOKED, now, generation, f"{one.key_type}: {word(one.reason)}"))

    def _give_up(self, one: Revocation) -> None:
        """The CA never will: the certificate may stay in use, unless its key is in other hands."""
        if one.reason == KEY_COMPROMISE:
            self.revocations.forget([one.fingerprint])
        else:
            self.forget([one])

    def _withdraw(self, name: str, number: int, withdrawal: Withdrawal) -> None:
        state = self._states.load(name)
        withdrawn = {**state.withdrawn, number: withdrawal}
        self._states.save(name, msgspec.structs.replace(state, withdrawn=withdrawn))


def _for_good(error: MailsealError) -> bool:
    """Whether asking again is of no use: the CA itself says no, or there is no CA to ask or nothing to ask with."""
    from mailseal.acme.problems import AcmeProblem

    if isinstance(error, AcmeProblem):
        return bool(error.kind) and error.kind not in _PASSING and error.retry_after is None
    return type(error) is IssueError


def word(reason: int) -> str:
    """The reason as RFC 5280 spells it."""
    return next((name for name, code in REASONS.items() if code == reason), str(reason))


def ca_file(config: Config, directory_url: str) -> str | None:
    """By which roots the https of that CA is trusted, as the configuration says; None: the system's."""
    authority = config.acme.authority(directory_url)
    return authority.ca_file if authority is not None else None


def revoked_but_live(lineages: Sequence[Lineage]) -> Iterator[Finding]:
    """Lineages of which a revoked generation is the live one."""
    for lineage in lineages:
        found = lineage.state.withdrawn.get(lineage.current or 0)
        if found is not None and found.revoked:
            yield Finding(
                "certificate-revoked",
                Severity.ERROR,
                lineage.name,
                seen=f"generation {lineage.current:04d} was revoked {found.at:%F %H:%M} UTC ({found.why}) "
                "and is still live",
                expected="a generation that was not revoked",
                why="Clients that look for revocations turn away; who has the key can pose as this server.",
                mend="mailseal apply (orders another)",
            )


def _named(one: Revocation) -> str:
    return f"the {one.key_type} certificate of generation {one.label} of {one.lineage!r}"


def _waits(one: Revocation, used: str) -> Finding:
    return Finding(
        "revocation-waits",
        Severity.WARNING,
        f"{one.lineage} {one.label}",
        seen=f"it is to be revoked ({word(one.reason)}), and {used}",
        expected="another certificate served in its place",
        why="Revoked while it serves, it would turn clients away.",
        mend=f"mailseal apply; or at once: mailseal revoke {one.lineage} --generation {one.number} --even-if-served",
    )


def _failed(one: Revocation, error: MailsealError, final: bool) -> MailsealError:
    told = IssueError(
        f"The CA did not revoke {_named(one)}",
        reason=str(error),
        state=f"It is valid until {one.not_after:%F %H:%M} UTC."
        + ("" if final else " The next run asks the CA again."),
        next_command=error.next_command
        or (f"ask the CA that issued it ({one.issuer})" if final else "mailseal renew"),
    )
    told.__cause__ = error
    return told

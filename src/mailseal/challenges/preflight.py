"""The look before an order: our own token, fetched under each name at each address that DNS gives.

Let's Encrypt counts five failed validations a name and hour, and an order
that fails takes all its names down with it. So each name's A and AAAA records
are looked up as a CA does (past /etc/hosts), a token of our own is presented
through the very solver that will answer the CA, and fetched from every
address as a CA would fetch it (`mailseal.challenges.fetch`). What each answer
means is decided by `mailseal.challenges.judging`.

Promises: nothing is ordered here; what was presented is cleaned up, whatever
happens. Does not prove that the world can come in: it looks from this machine.
"""

from __future__ import annotations

import asyncio
import ipaddress
from collections.abc import Iterable
from dataclasses import dataclass

from mailseal.challenges.base import Preflight, Reach, Solver
from mailseal.challenges.fetch import Answered, Failed, Ports, Trouble, fetch
from mailseal.challenges.http01 import checked_answer, path_of
from mailseal.challenges.judging import alike, judge, judge_names, name_wrong_aaaa
from mailseal.dns.lookup import Addresses, addresses
from mailseal.errors import ChallengeError
from mailseal.model import Identifier
from mailseal.system import System
from mailseal.system.dns import Dns
from mailseal.system.routes import default_gateway

AT_ONCE = 16
TIMEOUT = 10.0  # seconds for one walk to one address; CAs give it about as long
# Our own web server may have been reloaded a moment ago, and its old processes still answer.
SECOND_LOOKS = (0.2, 0.8)  # seconds to wait before asking again what would be refuted


@dataclass(frozen=True, slots=True)
class Looked:
    """A whole preflight: what each address of each name said, and the addresses that DNS gave."""

    results: tuple[Preflight, ...]
    addresses: tuple[tuple[Identifier, tuple[str, ...]], ...]

    @property
    def refuted(self) -> tuple[Preflight, ...]:
        return tuple(result for result in self.results if result.reach is Reach.REFUTED)

    @property
    def unknown(self) -> tuple[Preflight, ...]:
        return tuple(result for result in self.results if result.reach is Reach.UNKNOWN)


@dataclass(frozen=True, slots=True)
class Standpoint:
    """Where this machine stands in its network: its own addresses, and the router that leads out (None: unknown)."""

    own: frozenset[str]
    gateway: str | None

    @classmethod
    def of(cls, system: System) -> Standpoint:
        """As the kernel tells it now; a run that looks at many names asks once."""
        return cls(frozenset(system.network.own_addresses()), default_gateway(system.files))


async def preflight(
    system: System,
    solver: Solver,
    identifiers: Iterable[Identifier],
    *,
    dns: Dns | None = None,
    standpoint: Standpoint | None = None,
    ports: Ports = Ports(),
    timeout: float = TIMEOUT,
) -> Looked:
    """Looks at every name, in no particular order but with the results in a fixed one.

    `dns` asks other resolvers than the machine's; `timeout` is in seconds for one address. Raises
    `ChallengeError` when the solver cannot present at all.
    """
    names = tuple(sorted(set(identifiers)))
    token = f"mailseal-{system.random.token(16)}"
    answer = f"{token}.{system.random.token(16)}"
    expected = checked_answer(token, answer)
    standpoint = standpoint or Standpoint.of(system)
    look = _Look(system, dns or system.dns(), standpoint, token, expected, ports, timeout)
    presented: list[Identifier] = []
    try:
        for name in names:
            if not name.is_wildcard:
                presented.append(name)
                await solver.present(name, token, answer)
        looked = await asyncio.gather(*(look.at_name(name) for name in names))
    finally:
        for name in presented:
            await solver.clean_up(name, token)
    return Looked(
        results=tuple(result for results, _ in looked for result in results),
        addresses=tuple((name, found) for name, (_, found) in zip(names, looked, strict=True)),
    )


class _Look:
    def __init__(
        self,
        system: System,
        dns: Dns,
        standpoint: Standpoint,
        token: str,
        expected: bytes,
        ports: Ports,
        timeout: float,
    ) -> None:
        self._network = system.network
        self._clock = system.clock
        self._gateway = standpoint.gateway
        self._own = standpoint.own
        self._dns = dns
        self._path = path_of(token)
        self._expected = expected
        self._ports = ports
        self._timeout = timeout
        self._silent: dict[str, Failed] = {}  # who let the whole time pass is not waited for again
        self._places = asyncio.Semaphore(AT_ONCE)

    async def at_name(self, name: Identifier) -> tuple[tuple[Preflight, ...], tuple[str, ...]]:
        if name.is_wildcard:
            mend = "Use a dns-01 challenge for it, or write out its names."
            seen = "http-01 cannot show control of a wildcard (RFC 8555 section 8.3)"
            return (Preflight(name, "", Reach.REFUTED, "wildcard", seen, mend),), ()
        if name.kind == "ip":
            return (await self._at_address(name, name.value),), (name.value,)
        async with self._places:
            found: Addresses = await addresses(self._dns, name.value, timeout=self._timeout)
        verdict = judge_names(name, found)
        if verdict is not None:
            return (verdict,), found.all
        results = await asyncio.gather(*(self._at_address(name, address) for address in found.all))
        return name_wrong_aaaa(tuple(results)), found.all

    async def _at_address(self, name: Identifier, address: str) -> Preflight:
        ours = address in self._own or ipaddress.ip_address(address).is_loopback
        result = await self._look(name, address, ours)
        for pause in SECOND_LOOKS:
            if not ours or result.reach is not Reach.REFUTED:
                break
            await self._clock.sleep_async(pause)
            result = await self._look(name, address, ours)
        return result

    async def _look(self, name: Identifier, address: str, ours: bool) -> Preflight:
        async with self._places:
            got = await self._fetch(name, address)
            result = judge(name, address, ours=ours, got=got, expected=self._expected)
            if (
                ours
                or result.reach is not Reach.REFUTED
                or ":" in address
                or self._gateway in (None, address)
            ):
                return result
            assert self._gateway is not None
            if not alike(got, await self._fetch(name, self._gateway)):
                return result
        return judge(name, address, ours=ours, got=got, expected=self._expected, router=self._gateway)

    async def _fetch(self, name: Identifier, address: str) -> Answered | Failed:
        if address in self._silent:
            return self._silent[address]
        got = await fetch(
            self._network,
            self._dns,
            name=name.value,
            address=address,
            path=self._path,
            timeout=self._timeout,
            ports=self._ports,
        )
        if isinstance(got, Failed) and got.trouble is Trouble.TIMEOUT and len(got.hops) == 1:
            self._silent[address] = got
        return got


def require(looked: Looked) -> None:
    """Raises `ChallengeError` that tells every refuted name, if there is one: then nothing must be ordered."""
    refuted = looked.refuted
    if not refuted:
        return
    names = dict.fromkeys(str(result.identifier) for result in refuted)
    told = [
        result.seen
        if result.seen.startswith(str(result.identifier))
        else f"{result.identifier}: {result.seen}"
        for result in refuted
    ]
    mends = tuple(dict.fromkeys(result.mend for result in refuted if result.mend))
    raise ChallengeError(
        f"The CA would not find the challenge of {', '.join(names)}",
        reason="; ".join(told),
        state="Nothing was ordered.",
        next_command=" ".join(mends),
    )

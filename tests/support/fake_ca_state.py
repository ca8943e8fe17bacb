"""What the fake CA holds and which rules it keeps; fake_ca.py is the server itself."""

from __future__ import annotations

import json
import random
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import count
from typing import Any

from cryptography import x509
from josepy.jwk import JWK

from mailseal.acme.ports import AcmeClock
from mailseal.model import Identifier
from mailseal.system.http import HttpResponse
from tests.support.fake_jws import Refused
from tests.support.fake_pki import FakePki

BASE = "https://ca.test"
DAY = timedelta(days=1)


@dataclass
class Rules:
    """What kind of CA this is. Times are seconds unless they are timedeltas."""

    lifetime: timedelta = 90 * DAY
    profiles: dict[str, timedelta] = field(default_factory=dict)
    terms: str | None = f"{BASE}/terms"
    external_keys: dict[str, bytes] = field(default_factory=dict)  # not empty: external accounts are required
    renewal_information: bool = True
    ask_again: int = 21600  # Retry-After of renewal information
    lists_orders: bool = True
    reuse_authorizations: timedelta = 30 * DAY
    reuse_pending: bool = False  # orders for the same name share an authorization that is still pending
    order_lifetime: timedelta = 7 * DAY
    nonces_refused: float = 0.0  # the share of good nonces that is refused on purpose
    answers_once: bool = True  # Pebble refuses a second answer to a challenge, Boulder does not
    leaves_pending: bool = False  # an authorization whose challenge failed stays pending, as smallstep's do
    validation_takes: float = 0.0
    issuance_takes: float = 0.0
    poll_retry_after: str | None = None
    chain_length: int = 1
    most_identifiers: int = 100
    orders_per_3_hours: int | None = None
    same_set_per_week: int | None = None
    failures_per_hour: int | None = None
    certificates_per_domain_per_week: int | None = None  # by the last two labels, which is what the tests use
    forbidden: frozenset[str] = frozenset()  # names that are rejected with the order


def lets_encrypt() -> Rules:
    """Let's Encrypt's habits and limits of late 2026 (its classic profile is the default)."""
    return Rules(
        lifetime=90 * DAY,
        profiles={"classic": 90 * DAY, "tlsserver": 45 * DAY, "shortlived": timedelta(hours=160)},
        orders_per_3_hours=300,
        same_set_per_week=5,
        certificates_per_domain_per_week=50,
        failures_per_hour=5,
        validation_takes=1.5,
        issuance_takes=2.0,
        poll_retry_after="3",
        nonces_refused=0.02,
    )


@dataclass(frozen=True)
class Question:
    """What a CA looks up to validate: `expected` is the key authorization."""

    name: Identifier
    kind: str
    token: str
    expected: str


Validate = Callable[[Question], Awaitable[Refused | None]]


async def believe(question: Question) -> Refused | None:
    """A validator that believes everybody."""
    return None


@dataclass
class Account:
    url: str
    key: JWK
    contact: list[str]
    status: str = "valid"


@dataclass
class Authz:
    url: str
    account: Account
    name: Identifier
    expires: datetime
    tokens: dict[str, str]
    status: str = "pending"
    answered: str = ""
    due: float = 0.0
    outcome: Refused | None = None


@dataclass
class Order:
    url: str
    account: Account
    names: tuple[Identifier, ...]
    authz: list[Authz]
    expires: datetime
    profile: str | None = None
    replaces: str | None = None
    due: float | None = None
    certificate: str | None = None


@dataclass
class Issued:
    account: Account
    leaf: x509.Certificate
    chains: list[str]
    names: frozenset[Identifier]
    replaced: bool = False
    revoked: int | None = None


class State:
    """Accounts, orders, authorizations and certificates by their URLs, at the clock's time."""

    def __init__(self, clock: AcmeClock, rules: Rules, seed: int, base: str = BASE) -> None:
        self.clock = clock
        self.base = base
        self.rules = rules
        self.windows: dict[str, tuple[datetime, datetime]] = {}  # renewal windows set by hand
        self.pki = FakePki(clock.now(), rules.chain_length, seed)
        self.accounts: dict[str, Account] = {}
        self.orders: dict[str, Order] = {}
        self.authz: dict[str, Authz] = {}
        self.issued: dict[str, Issued] = {}  # by certificate ID
        self.urls: dict[str, Issued] = {}
        self.random = random.Random(seed)
        self.number = count(1)  # what URLs end in; never used twice
        self.limited: list[tuple[datetime, str]] = []  # when which limit refused something
        self._events: dict[tuple[str, ...], deque[datetime]] = {}

    def token(self) -> str:
        """What nonces and challenge tokens are made of."""
        alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
        return "".join(self.random.choices(alphabet, k=43))

    def count(self, *key: str) -> None:
        """Something that a limit counts happened now."""
        self._events.setdefault(key, deque()).append(self.clock.now())

    def limit(self, *key: str, most: int | None, span: timedelta) -> None:
        """Raises `Refused` when it happened `most` times within `span`."""
        now = self.clock.now()
        events = self._events.setdefault(key, deque())
        while events and events[0] <= now - span:
            events.popleft()
        if most is not None and len(events) >= most:
            self.limited.append((now, key[0]))
            wait = int((events[0] + span - now).total_seconds()) + 1
            raise Refused("rateLimited", f"too many: {key[0]}", 429, headers={"retry-after": str(wait)})

    def wait(self, waiting: bool) -> dict[str, str]:
        """The Retry-After header of a poll that came too early."""
        return {"retry-after": self.rules.poll_retry_after} if waiting and self.rules.poll_retry_after else {}

    def window(self, key: str, issued: Issued) -> tuple[datetime, datetime]:
        """Let's Encrypt's: 2% of the lifetime wide, centred at 2/3 of it, at 1/2 under 10 days."""
        if key in self.windows:
            return self.windows[key]
        begin, end = issued.leaf.not_valid_before_utc, issued.leaf.not_valid_after_utc
        life = end - begin
        centre = begin + (life / 2 if life < 10 * DAY else life * 2 / 3)
        return centre - life / 100, centre + life / 100


def stamp(moment: datetime) -> str:
    """RFC 3339."""
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def respond(
    status: int,
    document: Any = None,
    headers: Mapping[str, str] | None = None,
    kind: str = "application/json",
    links: tuple[str, ...] = (),
) -> HttpResponse:
    """A JSON answer."""
    body = b"" if document is None else json.dumps(document).encode()
    return HttpResponse(status, {"content-type": kind, **(headers or {})}, body, links)

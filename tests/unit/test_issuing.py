"""Orders on a machine in memory, at a CA in memory: interrupted anywhere, refused, limited, lied to; and when to renew.

Everything is real but the ports: the preflight fetches its token over the
memory network from a web server that serves the challenge directory, and the
CA looks there too.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from cryptography import x509

from mailseal import config as configuration
from mailseal.chains import TrustAnchors
from mailseal.challenges.directory import DirectorySolver
from mailseal.due import due
from mailseal.errors import ChallengeError, ExitCode, KeyMaterialError, NetworkFault
from mailseal.issuing import Issued, Issuing
from mailseal.material import check_material
from mailseal.model import CHALLENGE_PREFIX, CertificateSpec, Identifier, KeyType
from mailseal.observe import Lineage, observe_lineage
from mailseal.steps import Issue
from mailseal.stores.filesystem import LineageStore
from mailseal.stores.state import StateStore
from tests.support.certs import new_key
from tests.support.fake_ca import FakeCa, Question, Refused, Rules, respond
from tests.support.memory import Killed, Machine, MemorySystem, PowerLoss

ROOT = "/var/lib/mailseal"
CHALLENGES = f"{ROOT}/challenges"
ADDRESS = "192.0.2.7"
TWO = (KeyType.ECDSA_P256, KeyType.ECDSA_P384)
CONFIG = f"""
[acme]
directory = "{FakeCa.directory_url}"
contact = ["postmaster@example.org"]
agree_to_terms = true

[[certificate]]
name = "mail"
identifiers = ["mail.example.org"]
"""


def spec(*names: str, name: str = "mail", key_types: tuple[KeyType, ...] = TWO[:1]) -> CertificateSpec:
    return CertificateSpec(
        name, frozenset(Identifier.parse(one) for one in names or ("mail.example.org",)), key_types
    )


class Stand:
    """A machine with a web server that serves the challenge directory, and a CA that looks there."""

    def __init__(self, rules: Rules | None = None) -> None:
        self.machine = Machine()
        self.said: list[str] = []
        self.ca = FakeCa(MemorySystem(self.machine).clock, rules, self._look)
        self.machine.world.web = self.ca
        self.machine.world.answer(ADDRESS, 80, self._serve)
        for name in ("mail", "webmail", "other"):
            self.machine.world.record(f"{name}.example.org", "A", ADDRESS)
        self.new_process()
        self.store.prepare()

    def new_process(self) -> None:
        """As the next run begins: nothing is remembered but what is on disk."""
        self.system = MemorySystem(self.machine)
        self.store = LineageStore(self.system, ROOT)
        self.states = StateStore(self.system, ROOT)
        self.issuing = Issuing(
            self.system,
            configuration.load(CONFIG),
            self.store,
            self.states,
            TrustAnchors("the fake CA's roots", self.ca.state.pki.root_pem().encode()),
            lambda: DirectorySolver(self.system, CHALLENGES),
            self.said.append,
        )

    def issue(self, *specs: CertificateSpec) -> tuple[Issued, ...]:
        return self.issuing.carry_out(
            [Issue(one, "a test", self._replaces(one)) for one in specs or (spec(),)]
        )

    def lineage(self, wanted: CertificateSpec | None = None) -> Lineage:
        return observe_lineage(self.system, self.store, self.states, wanted or spec())

    def refresh(self) -> None:
        self.issuing.refresh([self.lineage()])

    def asked(self, part: str) -> int:
        """How many requests the CA got whose path holds this."""
        return sum(part in path for _, path in self.ca.asked)

    def later(self, **by: float) -> None:
        self.machine.advance(timedelta(**by).total_seconds())

    def _replaces(self, wanted: CertificateSpec) -> tuple[tuple[KeyType, str], ...]:
        suggestions = self.lineage(wanted).state.suggestions
        return tuple((kind, one.certificate_id) for kind, one in suggestions.items())

    def _file(self, path: str) -> bytes | None:
        name = path.removeprefix(CHALLENGE_PREFIX)
        found = self.machine.tree(CHALLENGES).get(f"{CHALLENGES}/{name}")
        return found.content if found is not None else None

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        request = await reader.readuntil(b"\r\n\r\n")
        body = self._file(request.split()[1].decode())
        head = b"HTTP/1.1 200 OK" if body is not None else b"HTTP/1.1 404 Not Found"
        body = body or b"nothing here"
        writer.write(head + b"\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
        await writer.drain()

    async def _look(self, question: Question) -> Refused | None:
        found = self._file(f"{CHALLENGE_PREFIX}{question.token}")
        return (
            None if found == question.expected.encode() else Refused("unauthorized", f"found {found!r}", 403)
        )


def only(issued: tuple[Issued, ...]) -> Issued:
    assert len(issued) == 1
    return issued[0]


def no_tokens_left(stand: Stand) -> bool:
    return not [path for path in stand.machine.tree(CHALLENGES) if path != CHALLENGES]


def test_a_generation_is_whole_and_nothing_is_left_behind() -> None:
    stand = Stand()
    wanted = spec("mail.example.org", "webmail.example.org", key_types=(KeyType.ECDSA_P256, KeyType.RSA_2048))
    generation = only(stand.issue(wanted)).generation
    assert generation is not None and [kind for kind, _ in generation.leaves] == list(wanted.key_types)
    for files in stand.store.generation_files(generation):
        privkey, cert, chain = stand.store.read_material(files)
        check_material(
            privkey,
            cert,
            chain,
            identifiers=wanted.identifiers,
            now=stand.machine.now,
            key_type=files.key_type,
        )
    assert len(stand.ca.state.orders) == 2, "an order for each key type"
    assert not stand.system.files.listdir(f"{ROOT}/pending") and no_tokens_left(stand)
    assert stand.store.current_number("mail") is None, "going live is another step"


# Interrupted.


def _effects() -> int:
    stand = Stand()
    count = len(stand.machine.effects)
    stand.issue(spec(key_types=TWO))
    return len(stand.machine.effects) - count


EFFECTS = _effects()


@pytest.mark.parametrize("death", [Killed, PowerLoss])
@pytest.mark.parametrize("at", range(EFFECTS))
def test_interrupted_at_any_effect_it_is_resumed_and_not_bought_twice(at: int, death: type) -> None:
    stand = Stand()
    stand.machine.goes_wrong(death(), at=at)
    with stand.machine.death():
        stand.issue(spec(key_types=TWO))
    stand.machine.all_well()
    if not stand.machine.on:
        stand.machine.power_on()
    stand.new_process()
    ordered, known = len(stand.ca.state.orders), _known_orders(stand)
    if not stand.lineage().generations:
        one = only(stand.issue(spec(key_types=TWO)))
        assert one.generation is not None, one.error
        # Only an order whose URL never got to the disk is placed again; such a one was not answered, and costs nothing.
        assert len(stand.ca.state.orders) == ordered + 2 - len(known)
        assert known <= {order.url for order in stand.ca.state.orders.values() if order.certificate}
    assert len(stand.lineage().generations) == 1
    assert len(stand.ca.state.issued) == 2, "one certificate for each key type, however it was interrupted"
    assert len(stand.ca.state.accounts) == 1, "the account is found again by its key"


def _known_orders(stand: Stand) -> set[str]:
    """The orders that the next run can take up: a crash leaves their URLs on the disk."""
    tree = stand.machine.tree(f"{ROOT}/pending")
    whole = {path: found for path, found in tree.items() if ".mailseal-" not in path}
    texts = [found.content for path, found in whole.items() if path.endswith(".json")]
    return {json.loads(text)["url"] for text in texts if text} - {""}


def test_another_wish_drops_what_is_pending() -> None:
    stand = Stand()
    stand.ca.outages.extend([("/order/", NetworkFault("the line broke"))] * 9)
    assert only(stand.issue()).error is not None
    stand.ca.outages.clear()
    pending = json.loads(stand.system.files.read(f"{ROOT}/pending/mail.ecdsa-p256.json"))["key"].encode()
    generation = only(stand.issue(spec("mail.example.org", "webmail.example.org"))).generation
    assert generation is not None
    (files,) = stand.store.generation_files(generation)
    assert stand.store.read_material(files)[0].reveal() != pending
    assert {len(order.names) for order in stand.ca.state.orders.values()} == {1, 2}


def test_a_key_type_that_fails_keeps_the_other_from_going_anywhere_and_is_all_that_is_bought_next() -> None:
    stand = Stand()
    whole = stand.ca.state.pki.issue
    bought: list[Any] = []

    def second_fails(csr: x509.CertificateSigningRequest, *rest: Any) -> Any:
        if bought:
            raise Refused("serverInternal", "later", 500)
        bought.append(csr)
        return whole(csr, *rest)

    stand.ca.state.pki.issue = second_fails  # type: ignore[assignment,method-assign]
    one = only(stand.issue(spec(key_types=TWO)))
    assert one.generation is None and one.error is not None
    assert stand.store.numbers("mail") == () and len(bought) == 1
    stand.ca.state.pki.issue = whole  # type: ignore[method-assign]
    stand.new_process()
    generation = only(stand.issue(spec(key_types=TWO))).generation
    assert generation is not None and len(generation.leaves) == 2
    assert len(stand.ca.state.issued) == 2 and len(stand.ca.state.orders) == 2


# Refused, limited.


def test_failures_are_remembered_with_growing_pauses() -> None:
    stand = Stand(Rules(forbidden=frozenset({"mail.example.org"})))
    expected = [timedelta(minutes=1), timedelta(minutes=10), timedelta(minutes=100), timedelta(days=1)]
    for attempt, pause in enumerate([*expected, expected[-1]], 1):
        error = only(stand.issue()).error
        assert error is not None and error.exit_code == ExitCode.FAILED
        failure = stand.lineage().state.failure
        assert failure is not None and failure.attempts == attempt and not failure.limited
        assert pause <= failure.again - stand.machine.now <= pause * 1.2
        waiting = due(spec(), stand.lineage(), (stand.ca.directory_url,), stand.machine.now, insist=False)
        assert "the last order failed" in waiting.wait and "mail.example.org" in waiting.wait
        assert due(spec(), stand.lineage(), (stand.ca.directory_url,), stand.machine.now, insist=True).why
        stand.machine.advance((failure.again - stand.machine.now).total_seconds())
        assert due(spec(), stand.lineage(), (stand.ca.directory_url,), stand.machine.now, insist=False).why
    stand.ca.rules.forbidden = frozenset()
    assert only(stand.issue()).generation is not None
    assert stand.lineage().state.failure is None, "forgotten once it went well"


def test_a_rate_limit_is_honoured_even_when_a_person_insists() -> None:
    stand = Stand(Rules(same_set_per_week=1))
    stand.issue()
    error = only(stand.issue()).error
    assert error is not None and error.exit_code == ExitCode.WAITING
    failure = stand.lineage().state.failure
    assert failure is not None and failure.limited
    assert timedelta(days=6.9) < failure.again - stand.machine.now < timedelta(days=7.1)
    again = spec(key_types=TWO)  # something to order in any case
    for insist in (False, True):
        assert due(again, stand.lineage(), (stand.ca.directory_url,), stand.machine.now, insist=insist).wait
    stand.later(days=7.2)
    assert due(again, stand.lineage(), (stand.ca.directory_url,), stand.machine.now, insist=False).why


@pytest.mark.parametrize("path", ["/dir", "/new-account"])
def test_a_busy_ca_is_asked_again_when_it_said_and_not_before(path: str) -> None:
    stand = Stand()
    busy = {"type": "urn:ietf:params:acme:error:rateLimited", "detail": "come back later"}
    for _ in range(9):
        stand.ca.outages.append(
            (path, respond(429, busy, {"retry-after": "7200"}, "application/problem+json"))
        )
    errors = [one.error for one in stand.issue(spec(), spec("other.example.org", name="other"))]
    assert all(errors)
    for wanted in (spec(), spec("other.example.org", name="other")):
        found = due(wanted, stand.lineage(wanted), (stand.ca.directory_url,), stand.machine.now, insist=True)
        assert "next try" in found.wait, found


def test_a_ca_that_cannot_be_reached_is_asked_again_at_the_next_run() -> None:
    stand = Stand()
    for _ in range(9):
        stand.ca.outages.append(("/dir", NetworkFault("No connection")))
    assert isinstance(only(stand.issue()).error, NetworkFault)
    failure = stand.lineage().state.failure
    assert failure is not None and failure.again == failure.at and failure.attempts == 0
    assert stand.store.numbers("mail") == ()


def test_one_that_fails_stops_no_other() -> None:
    stand = Stand(Rules(forbidden=frozenset({"mail.example.org"})))
    gone = spec("gone.example.org", name="gone")
    refused, good, unknown = stand.issue(spec(), spec("other.example.org", name="other"), gone)
    assert good.generation is not None and good.error is None
    assert refused.generation is None and refused.error is not None
    assert isinstance(unknown.error, ChallengeError) and "gone.example.org" in unknown.error.message


def test_a_refuted_preflight_orders_nothing_and_is_not_held_against_the_name() -> None:
    stand = Stand()
    stand.machine.world.answer(ADDRESS, 80, _another_server)
    one = only(stand.issue())
    assert isinstance(one.error, ChallengeError) and one.error.state == "Nothing was ordered."
    assert one.looked is not None and one.looked.refuted
    assert not stand.ca.state.orders and stand.lineage().state.failure is None and no_tokens_left(stand)


async def _another_server(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readuntil(b"\r\n\r\n")
    writer.write(
        b"HTTP/1.1 404 Not Found\r\nServer: elsewhere\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
    )
    await writer.drain()


def test_a_failed_validation_is_told_and_counted() -> None:
    stand = Stand()

    async def refuse(question: Question) -> Refused | None:
        return Refused("connection", "192.0.2.7: Timeout during connect (likely firewall problem)", 400)

    stand.ca.desk.validate = refuse
    error = only(stand.issue()).error
    assert error is not None
    assert error.message == "The CA could not confirm control of mail.example.org"
    assert "Timeout during connect" in error.reason and "port 80" in error.next_command
    assert stand.lineage().state.failure is not None and no_tokens_left(stand)


def test_the_sign_of_the_challenge_path_outlasts_the_sweeping_of_old_tokens() -> None:
    stand = Stand()
    stand.machine.put(f"{CHALLENGES}/mailseal", "mailseal answers here\n")
    stand.machine.put(f"{CHALLENGES}/{'t' * 43}", "left behind by a crash")
    stand.later(days=2)
    assert only(stand.issue()).generation is not None
    assert stand.system.files.listdir(CHALLENGES) == ("mailseal",)


# Lied to.


def _another_key(stand: Stand, csr: x509.CertificateSigningRequest, names: Any, now: Any, life: Any) -> Any:
    from tests.support.acme import request_for

    return x509.load_der_x509_csr(request_for(names, new_key())), names, now, life


def _other_names(stand: Stand, csr: x509.CertificateSigningRequest, names: Any, now: Any, life: Any) -> Any:
    return csr, (Identifier.parse("evil.example.org"),), now, life


def _expired(stand: Stand, csr: x509.CertificateSigningRequest, names: Any, now: Any, life: Any) -> Any:
    return csr, names, now - timedelta(days=100), life


LIES: dict[str, tuple[Callable[..., Any], str]] = {
    "another key": (_another_key, "for another key"),
    "other names": (_other_names, "lacks names"),
    "expired": (_expired, "expired on"),
}


@pytest.fixture(params=LIES)
def lie(request: pytest.FixtureRequest) -> tuple[Stand, str]:
    """A CA that issues what was not asked for, until it is told to stop."""
    stand = Stand()
    whole = stand.ca.state.pki.issue
    bend, told = LIES[request.param]
    stand.ca.state.pki.issue = lambda *wish: whole(*bend(stand, *wish))  # type: ignore[method-assign]
    return stand, told


def test_what_was_not_asked_for_never_becomes_a_generation(lie: tuple[Stand, str]) -> None:
    stand, told = lie
    one = only(stand.issue())
    assert one.generation is None and one.error is not None and told in str(one.error)
    assert stand.store.numbers("mail") == ()
    assert stand.lineage().state.failure is not None, "another is not ordered at once"
    # The CA mends its ways: the next order is a new one and goes well.
    del stand.ca.state.pki.issue
    stand.new_process()
    again = only(stand.issue())
    assert again.generation is not None, again.error
    assert len(stand.ca.state.orders) == 2


def test_a_ca_whose_certificates_nobody_trusts_is_refused() -> None:
    stand = Stand()
    stranger = FakeCa(MemorySystem(stand.machine).clock)
    stand.issuing._anchors = TrustAnchors("the system's store", stranger.state.pki.root_pem().encode())
    error = only(stand.issue()).error
    assert isinstance(error, KeyMaterialError) and "the system's store" in error.reason
    assert "trust" in error.next_command and stand.store.numbers("mail") == ()


# Renewal information.


def test_the_chosen_instant_is_drawn_once_and_asked_for_no_sooner_than_told() -> None:
    stand = Stand(Rules(ask_again=21_600))
    stand.issue()
    stand.refresh()
    first = stand.lineage().state.suggestions[KeyType.ECDSA_P256]
    assert first.start <= first.chosen <= first.end
    assert first.ask_again == stand.machine.now + timedelta(hours=6)
    asked = stand.asked("/ari/")
    for _ in range(3):
        stand.later(hours=1.9)
        stand.refresh()
    assert stand.asked("/ari/") == asked == 1, "not before Retry-After"
    stand.later(hours=1)
    stand.refresh()
    assert stand.asked("/ari/") == 2
    assert stand.lineage().state.suggestions[KeyType.ECDSA_P256].chosen == first.chosen
    assert stand.lineage().state.suggestions[KeyType.ECDSA_P256].ask_again > first.ask_again


def test_a_window_that_moves_is_drawn_from_anew() -> None:
    stand = Stand()
    stand.issue()
    stand.refresh()
    first = stand.lineage().state.suggestions[KeyType.ECDSA_P256]
    start = stand.machine.now + timedelta(days=1)
    stand.ca.state.windows[first.certificate_id] = (start, start + timedelta(hours=3))
    stand.later(hours=7)
    stand.refresh()
    moved = stand.lineage().state.suggestions[KeyType.ECDSA_P256]
    assert start <= moved.chosen <= start + timedelta(hours=3)
    assert moved.explanation_url.endswith("/why")
    stand.later(days=2)
    stand.new_process()
    assert due(spec(), stand.lineage(), (stand.ca.directory_url,), stand.machine.now, insist=False).why


def test_a_renewal_names_its_predecessor_and_the_old_window_is_not_its_own() -> None:
    stand = Stand(Rules(same_set_per_week=1))
    stand.issue()
    stand.refresh()
    old = stand.lineage().state.suggestions[KeyType.ECDSA_P256]
    start = stand.machine.now + timedelta(hours=1)
    stand.ca.state.windows[old.certificate_id] = (start, start + timedelta(hours=1))
    stand.later(hours=7)
    stand.refresh()
    assert only(stand.issue()).generation is not None, "in its window no limit touches a renewal"
    *_, last = stand.ca.state.orders.values()
    assert last.replaces == old.certificate_id
    lineage = stand.lineage()
    assert lineage.target is not None and lineage.target.number == 2
    assert lineage.state.renewal_instant(lineage.target.fingerprints()) is None, (
        "a stale window renews nothing"
    )
    assert not due(spec(), lineage, (stand.ca.directory_url,), stand.machine.now, insist=False).why
    stand.refresh()
    assert stand.lineage().state.suggestions[KeyType.ECDSA_P256].certificate_id != old.certificate_id


def test_renewal_information_that_cannot_be_had_stops_nothing() -> None:
    stand = Stand()
    other = spec("other.example.org", name="other")
    stand.issue(spec(), other)
    unknown = {"type": "urn:ietf:params:acme:error:malformed", "detail": "another CA's certificate"}
    stand.ca.outages.append(("/ari/", respond(404, unknown, kind="application/problem+json")))
    stand.issuing.refresh([stand.lineage(), stand.lineage(other)])
    known = [stand.lineage().state.suggestions, stand.lineage(other).state.suggestions]
    assert sum(map(bool, known)) == 1, "the one is told, the other is known"
    assert any("renewal information" in line for line in stand.said)


def test_a_ca_without_renewal_information() -> None:
    stand = Stand(Rules(renewal_information=False))
    stand.issue()
    stand.refresh()
    assert not stand.lineage().state.suggestions and stand.asked("/ari/") == 0

"""Whole runs on a machine in memory: a daemon, a CA, fourteen months, and everything that goes wrong in them."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from functools import cache

import pytest

from mailseal import config as configuration
from mailseal import services
from mailseal.certificates import read_pem
from mailseal.chains import TrustAnchors
from mailseal.challenges.directory import DirectorySolver
from mailseal.desired import Desired, desired
from mailseal.diary import Diary
from mailseal.errors import (
    ApplyFailed,
    BrokenBefore,
    ChallengeError,
    ExitCode,
    Locked,
    MailsealError,
    Waiting,
)
from mailseal.judge.verdict import Judged, Verdict
from mailseal.model import CHALLENGE_PREFIX, Finding, Generation, KeyType, Severity
from mailseal.probes.base import Answer, Question, Stage
from mailseal.reconcile import Reconciler
from mailseal.report import Report
from mailseal.services.base import ConfiguredCertificate, Facts, ServiceSettings
from mailseal.steps import Deploy, Issue
from mailseal.stores.state import LineageState
from mailseal.system.http import HttpResponse
from tests.support import daemon as a_daemon
from tests.support.daemon import CONF, ENDPOINT, Daemon, DaemonFacts, NoRehearsal
from tests.support.fake_ca import FakeCa, Rules, respond
from tests.support.fake_ca import Question as Asked
from tests.support.fake_jws import Refused
from tests.support.memory import Killed, Machine, MemorySystem

ROOT = "/var/lib/mailseal"
MAIL = f"{ROOT}/lineages/mail"
CHALLENGES = f"{ROOT}/challenges"
ADDRESS = "192.0.2.7"
CONFIG = """
[acme]
directory = "{directory}"
contact = ["postmaster@example.org"]
agree_to_terms = true
"""
TABLE = """
[[certificate]]
name = "{name}"
identifiers = [{names}]
key_types = [{types}]
"""


class Adapter(a_daemon.DaemonAdapter):
    """The daemon's adapter, which can be told that the daemon does not run, and to wish for more."""

    running = True
    extra = b""
    configured: tuple[ConfiguredCertificate, ...] = ()

    def observe(self, system: object, settings: ServiceSettings) -> DaemonFacts:
        return DaemonFacts(running=type(self).running, configured=type(self).configured)

    def render(self, wish: object, facts: Facts) -> object:  # type: ignore[override]
        rendering = super().render(wish, facts)  # type: ignore[arg-type]
        return replace(
            rendering,
            wishes=tuple(replace(w, content=w.content + type(self).extra) for w in rendering.wishes),  # type: ignore
        )


class LeafProver:
    """Asks the daemon for its leaf; `leaves` are those that should be served."""

    def __init__(self, daemon: Daemon, leaves: frozenset[str]) -> None:
        self.daemon = daemon
        self.leaves = leaves

    def look(self, facts: Sequence[Facts]) -> Verdict:
        return Verdict(tuple(self._ask(frozenset()) for one in facts for _ in one.endpoints))

    def prove(
        self, facts: Sequence[Facts], *, before: Verdict | None = None, patience: float | None = None
    ) -> Verdict:
        return Verdict(tuple(self._ask(self.leaves) for one in facts for _ in one.endpoints))

    def worse(self, before: Verdict, after: Verdict) -> tuple[Finding, ...]:
        worked = any(one.answer.ok for one in before.judged)
        return after.findings if worked and not all(one.answer.ok for one in after.judged) else ()

    def _ask(self, leaves: frozenset[str]) -> Judged:
        served = "" if self.daemon.throttled else self.daemon.serves
        if not served:
            dead = Finding("endpoint-unreachable", Severity.ERROR, "daemon", "nobody answers")
            return Judged(Answer(Question(ENDPOINT), Stage.CONNECT), (dead,))
        chain = tuple(read_pem(served.encode())) if "BEGIN CERTIFICATE" in served else (served.encode(),)
        findings: tuple[Finding, ...] = ()
        if leaves and hashlib.sha256(chain[0]).hexdigest() not in leaves:
            findings = (Finding("leaf-differs", Severity.ERROR, "daemon", "another certificate"),)
        return Judged(Answer(Question(ENDPOINT), Stage.DONE, chain=chain), findings)


class Stand:
    """A machine with a daemon that serves something of its own, a web server, and a CA that looks there."""

    def __init__(self, rules: Rules | None = None) -> None:
        self.machine = Machine()
        self.said: list[str] = []
        self.ca = FakeCa(MemorySystem(self.machine).clock, rules, self._look)
        self.machine.world.web = self.ca
        self.machine.world.answer(ADDRESS, 80, self._serve)
        for name in ("mail", "webmail", "other"):
            self.machine.world.record(f"{name}.example.org", "A", ADDRESS)
        self.machine.put("/srv/snakeoil", "snakeoil")
        self.machine.put(CONF, "/srv/snakeoil\n")
        self.daemon = Daemon(self.machine)
        self.daemon.start()
        self.before = self.machine.tree("/etc")
        self.directory = self.ca.directory_url
        self.more = ""  # of the configuration
        self.tables: dict[str, tuple[tuple[KeyType, ...], tuple[str, ...]]] = {
            "mail": ((KeyType.ECDSA_P256,), ("mail.example.org",))
        }

    def config(self) -> configuration.Config:
        text = CONFIG.format(directory=self.directory)
        for name, (types, names) in self.tables.items():
            quoted = [", ".join(f'"{one}"' for one in some) for some in (names, types)]
            text += TABLE.format(name=name, names=quoted[0], types=quoted[1])
        return _loaded(text + self.more)

    def reconciler(self, diary: Diary | None = None) -> Reconciler:
        system = MemorySystem(self.machine)
        config = self.config()
        wanted: Desired = replace(
            desired(config, challenges_by_apache=False), services=(ServiceSettings("daemon"),)
        )
        return Reconciler(
            system,
            config,
            wanted,
            make_solver=lambda: DirectorySolver(system, CHALLENGES),
            prover=self._prover,
            rehearser=NoRehearsal(),
            anchors=TrustAnchors("the fake CA's roots", self.ca.state.pki.root_pem().encode()),
            say=self.said.append,
            diary=diary,
        )

    def _prover(self, generation: Generation | None) -> LeafProver:
        return LeafProver(self.daemon, generation.fingerprints() if generation else frozenset())

    def apply(self) -> Report:
        return self.reconciler().run(insist=True)

    def renew(self) -> Report:
        return self.reconciler().run(insist=False)

    def later(self, **by: float) -> None:
        self.machine.advance(timedelta(**by).total_seconds())

    def poisons(self, number: int) -> None:
        """The daemon dies of this generation."""
        read = self.daemon._read

        def dying(system: MemorySystem) -> None:
            read(system)
            leads = self.machine.tree(ROOT)[f"{MAIL}/current"].target if self.ours else ""
            if leads == f"{number:04d}":
                self.daemon.serves = ""

        self.daemon._read = dying  # type: ignore[method-assign]

    @property
    def ours(self) -> bool:
        return MAIL in self.machine.tree(CONF)[CONF].content.decode()

    @property
    def serves(self) -> int:
        """The number of the generation whose leaf the daemon serves; 0 for something else."""
        store = self.reconciler().store
        leaf = (
            hashlib.sha256(read_pem(self.daemon.serves.encode())[0]).hexdigest() if self.daemon.serves else ""
        )
        for name in self.tables:
            for number in store.numbers(name):
                if leaf in store.fingerprints(name, f"{number:04d}"):
                    return number
        return 0

    def state(self, name: str = "mail") -> LineageState:
        return self.reconciler().states.load(name)

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

    async def _look(self, question: Asked) -> Refused | None:
        found = self._file(f"{CHALLENGE_PREFIX}{question.token}")
        good = found == question.expected.encode()
        return None if good else Refused("unauthorized", f"found {found!r}", 403)


_loaded = cache(configuration.load)


@pytest.fixture(autouse=True)
def one_service(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(services.ADAPTERS, "daemon", "tests.unit.test_reconcile:Adapter")
    monkeypatch.setattr(Adapter, "running", True)
    monkeypatch.setattr(Adapter, "extra", b"")


@pytest.fixture
def stand() -> Stand:
    return Stand()


@pytest.fixture
def served(stand: Stand) -> Stand:
    """A machine on which the first run went well."""
    report = stand.apply()
    assert report.exit_code is ExitCode.OK and stand.serves == 1
    return stand


# Well.


def test_the_first_run_serves_and_proves(stand: Stand) -> None:
    report = stand.apply()
    assert report.exit_code is ExitCode.OK, report.errors
    assert stand.serves == 1 and stand.daemon.reloads == 1
    assert report.done[0].startswith("order a certificate for mail.example.org")
    assert stand.state().proven.keys() == {1}


def test_a_second_run_changes_nothing_and_asks_the_ca_nothing(served: Stand) -> None:
    before = {path: state for path, state in served.machine.tree().items() if not path.startswith("/run")}
    asked, reloads = len(served.ca.asked), served.daemon.reloads
    for run in (served.apply, served.renew):
        report = run()
        assert report.exit_code is ExitCode.OK and not report.done
    assert served.daemon.reloads == reloads
    after = {path: state for path, state in served.machine.tree().items() if not path.startswith("/run")}
    changed = {path for path in before.keys() | after.keys() if before.get(path) != after.get(path)}
    # What the first run of the two learns of the CA's suggestion.
    assert changed <= {f"{ROOT}/state/mail.json"}
    assert {path.split("/")[1] for _, path in served.ca.asked[asked:]} <= {"dir", "ari"}


def test_planning_touches_nothing(served: Stand) -> None:
    served.tables["mail"] = (
        (KeyType.ECDSA_P256, KeyType.RSA_2048),
        ("mail.example.org", "webmail.example.org"),
    )
    effects, asked = len(served.machine.effects), len(served.ca.asked)
    planned = served.reconciler().plan()
    assert [type(step) for step in planned.steps] == [Issue, Deploy]
    assert not [e for e in served.machine.effects[effects:] if e.kind not in ("run",)]
    assert len(served.ca.asked) == asked


def test_it_is_renewed_when_the_ca_suggests_it_and_not_before(served: Stand) -> None:
    served.renew()
    known = served.state().suggestions[KeyType.ECDSA_P256]
    while served.machine.now < known.chosen - timedelta(days=7):
        served.later(days=7)
        assert not served.renew().done
    served.later(days=8)
    report = served.renew()
    assert report.exit_code is ExitCode.OK and served.serves == 2
    *_, order = served.ca.state.orders.values()
    assert order.replaces == known.certificate_id
    assert f"{ROOT}/lineages/mail/0001" in served.machine.tree(), "the old generation is kept"


def test_fourteen_months_of_a_timer(stand: Stand) -> None:
    stand.apply()
    worst = timedelta(days=99)
    for _ in range(14 * 30):
        stand.later(hours=24)
        assert stand.renew().exit_code is ExitCode.OK
        store = stand.reconciler().store
        left = store.load("mail", stand.serves).not_after - stand.machine.now
        worst = min(worst, left)
    assert worst > timedelta(days=25) and stand.serves in range(6, 9)
    assert len(stand.ca.state.orders) == stand.serves, "one order a generation"


@pytest.mark.parametrize(
    ("types", "names"),
    [
        ((KeyType.ECDSA_P256, KeyType.RSA_2048), ("mail.example.org",)),
        ((KeyType.ECDSA_P256,), ("mail.example.org", "webmail.example.org")),
        ((KeyType.ECDSA_P256,), ("webmail.example.org",)),
    ],
)
def test_another_wish_is_fulfilled_at_once(
    served: Stand, types: tuple[KeyType, ...], names: tuple[str, ...]
) -> None:
    served.tables["mail"] = (types, names)
    assert served.renew().exit_code is ExitCode.OK
    assert served.serves == 2
    generation = served.reconciler().store.load("mail", 2)
    assert [kind for kind, _ in generation.leaves] == list(types)
    assert not served.renew().done


def test_another_ca_is_not_told_of_the_old_ones_certificate(served: Stand) -> None:
    served.renew()
    served.later(days=62)
    old = served.ca
    served.ca = FakeCa(MemorySystem(served.machine).clock, None, served._look, seed=7)
    served.machine.world.web = served.ca
    served.directory = served.ca.directory_url + "?other"
    old_route = served.ca._route

    async def route(method: str, path: str, *rest: object) -> object:
        return await old_route(method, path.removesuffix("?other"), *rest)  # type: ignore[arg-type]

    served.ca._route = route  # type: ignore[method-assign,assignment]
    assert not served.apply().errors
    *_, order = served.ca.state.orders.values()
    assert order.replaces is None and served.serves == 2
    assert old is not served.ca


def test_a_lineage_under_another_name_takes_over(served: Stand) -> None:
    served.tables = {"post": served.tables["mail"]}
    assert served.apply().exit_code is ExitCode.OK
    assert "/lineages/post/current/" in served.machine.tree(CONF)[CONF].content.decode()
    assert served.serves == 1


# Not well.


def test_a_generation_that_a_daemon_dies_of_is_taken_back_and_tried_again_later(served: Stand) -> None:
    served.poisons(2)
    served.later(days=61)
    report = served.renew()
    assert report.exit_code is ExitCode.FAILED and served.serves == 1
    orders = len(served.ca.state.orders)
    reloads = served.daemon.reloads
    report = served.renew()
    assert report.exit_code is ExitCode.WAITING and "taken back" in report.waits[0]
    assert served.daemon.reloads == reloads, "not at every run"
    served.later(minutes=2)
    served.daemon._read = Daemon._read.__get__(served.daemon)  # type: ignore[method-assign]
    assert served.renew().exit_code is ExitCode.OK and served.serves == 2
    assert len(served.ca.state.orders) == orders, "nothing is bought twice"
    assert served.state().rejected == []


def test_a_person_need_not_wait(served: Stand) -> None:
    served.poisons(2)
    served.later(days=61)
    served.renew()
    served.daemon._read = Daemon._read.__get__(served.daemon)  # type: ignore[method-assign]
    assert served.apply().exit_code is ExitCode.OK and served.serves == 2


def test_the_pause_ends_where_the_live_one_is_about_to_expire(served: Stand) -> None:
    served.poisons(2)
    served.later(days=61)
    served.renew()
    for _ in range(3):
        served.later(days=2)
        served.renew()
    live = served.reconciler().store.load("mail", 1)
    # Taken back a moment before the last twentieth of its life began, for a day.
    served.machine.advance((live.not_after - timedelta(days=4.6) - served.machine.now).total_seconds())
    assert served.renew().errors
    served.later(hours=4)
    report = served.renew()
    assert not report.waits and served.reconciler().store.current_number("mail") == 2


def test_what_was_broken_before_is_held_against_nothing(served: Stand) -> None:
    served.later(days=61)
    served.daemon.refuses = "0001"
    report = served.renew()
    assert isinstance(report.errors[0], BrokenBefore) and len(served.ca.state.orders) == 1, (
        "nothing is bought"
    )
    served.daemon.refuses = ""
    assert served.renew().exit_code is ExitCode.OK and served.serves == 2


def test_a_broken_configuration_found_at_the_deployment_is_held_against_nothing(served: Stand) -> None:
    served.later(days=61)
    checks = iter([0, 1])
    served.machine.programs.on("daemonctl", "check")(lambda system, argv, stdin: next(checks, 0))
    report = served.renew()
    assert isinstance(report.errors[0], BrokenBefore) and len(served.ca.state.orders) == 2
    assert served.state().rejected == []
    assert served.renew().exit_code is ExitCode.OK and served.serves == 2


def _damage(stand: Stand, path: str, content: bytes | None) -> None:
    if content is None:
        MemorySystem(stand.machine).files.remove(path)
    else:
        stand.machine.put(path, content, mode=0o600)


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("meta.json", None),
        ("meta.json", b"{"),
        (
            "meta.json",
            b'{"lineage":"mail","number":1,"issuer":"","issued_at":"2026-01-01T00:00:00Z","leaves":[]}',
        ),
        ("ecdsa-p256/privkey.pem", None),
        ("ecdsa-p256/fullchain.pem", None),
        ("ecdsa-p256/fullchain.pem", b"garbage"),
        ("ecdsa-p256/cert.pem", b""),
        ("ecdsa-p256/privkey.pem", b"-----BEGIN PRIVATE KEY-----"),
    ],
)
def test_a_damaged_generation_has_another_take_its_place(
    served: Stand, file: str, content: bytes | None
) -> None:
    _damage(served, f"{MAIL}/0001/{file}", content)
    report = served.renew()
    assert report.exit_code is ExitCode.OK, [error.lines() for error in report.errors]
    assert served.serves == 2


def test_a_generation_damaged_before_it_went_live_is_not_tried_again(served: Stand) -> None:
    served.later(days=61)
    checks = iter([0, 1])
    served.machine.programs.on("daemonctl", "check")(lambda system, argv, stdin: next(checks, 0))
    served.renew()
    key = f"{MAIL}/0002/ecdsa-p256/privkey.pem"
    served.machine.put(key, served.machine.tree(MAIL)[key].content, mode=0o644)
    report = served.renew()
    (told,) = report.findings
    assert told.code == "generation-refused" and "root alone" in told.seen and "0002" in told.subject
    assert report.exit_code is ExitCode.FINDINGS and served.serves == 3, (
        "another took its place in this very run"
    )
    assert served.renew().exit_code is ExitCode.OK


def test_one_lineage_does_not_hold_up_another(served: Stand) -> None:
    served.tables["other"] = ((KeyType.ECDSA_P256,), ("other.example.org",))
    assert served.apply().exit_code is ExitCode.OK
    served.later(days=61)
    ends = served.reconciler()
    ends._deploying.all = lambda *rest: False  # type: ignore[method-assign]
    ends.run(insist=False)  # it ends between the orders and the switch
    key = f"{ROOT}/lineages/other/0002/ecdsa-p256/privkey.pem"
    served.machine.put(key, served.machine.tree(ROOT)[key].content, mode=0o644)
    served.renew()
    store = served.reconciler().store
    assert (store.current_number("mail"), store.current_number("other")) == (2, 3)
    assert served.state("mail").rejected == served.state("other").rejected == []


def test_an_order_that_fails_keeps_nothing_else_from_being_done(served: Stand) -> None:
    served.tables["mail"] = ((KeyType.ECDSA_P256,), ("mail.example.org", "nowhere.example.org"))
    served.machine.put(CONF, "/srv/snakeoil\n")  # somebody undid it
    report = served.apply()
    assert isinstance(report.errors[0], ChallengeError) and report.exit_code is ExitCode.FAILED
    assert served.ours and served.serves == 1


def test_a_change_without_a_generation_that_fails_is_not_tried_at_every_run(
    served: Stand, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Adapter, "extra", b"\n# more\n")
    read = served.daemon._read

    def dying(system: MemorySystem) -> None:
        read(system)
        if b"# more" in served.machine.tree(CONF)[CONF].content:
            served.daemon.serves = ""

    served.daemon._read = dying  # type: ignore[method-assign]
    assert isinstance(served.renew().errors[0], ApplyFailed) and served.serves == 1
    reloads = served.daemon.reloads
    report = served.renew()
    assert report.exit_code is ExitCode.WAITING and "configuration" in report.waits[0]
    assert served.daemon.reloads == reloads
    served.daemon._read = Daemon._read.__get__(served.daemon)  # type: ignore[method-assign]
    assert served.apply().exit_code is ExitCode.OK
    assert served.state().deployment is None


def test_wishes_that_contradict_each_other_end(served: Stand, monkeypatch: pytest.MonkeyPatch) -> None:
    counter = iter(range(99))
    monkeypatch.setattr(Adapter, "render", lambda self, wish, facts: _counted(wish, facts, next(counter)))
    report = served.apply()
    assert "still something to do" in str(report.errors[-1])
    assert report.exit_code is ExitCode.FAILED


def _counted(wish: object, facts: Facts, number: int) -> object:
    rendering = a_daemon.DaemonAdapter().render(wish, facts)  # type: ignore[arg-type]
    more = b"\n# %d\n" % number
    return replace(rendering, wishes=tuple(replace(w, content=w.content + more) for w in rendering.wishes))  # type: ignore


def test_a_proof_that_comes_later_is_remembered(served: Stand) -> None:
    states = served.reconciler().states
    states.save("mail", type(states.load("mail"))())
    served.renew()
    assert 1 in states.load("mail").proven


def test_a_daemon_that_serves_an_older_one_is_reloaded(served: Stand) -> None:
    old = served.daemon.serves
    served.later(days=61)
    served.renew()
    served.daemon.serves = old
    reloads = served.daemon.reloads
    assert served.renew().exit_code is ExitCode.OK
    assert served.serves == 2 and served.daemon.reloads == reloads + 1


def test_a_daemon_that_does_not_run_gets_its_files_and_is_left_alone(
    stand: Stand, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Adapter, "running", False)
    stand.daemon.serves = ""
    report = stand.apply()
    assert not report.errors and stand.ours
    assert (stand.daemon.reloads, stand.daemon.restarts) == (0, 0)
    assert [finding.code for finding in report.findings] == ["service-not-running"]
    assert stand.state().proven == {}


def test_a_daemon_that_does_not_run_is_not_kept_from_starting(
    stand: Stand, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Adapter, "running", False)
    stand.machine.programs.on("daemonctl", "check")(
        lambda system, argv, stdin: 1 if MAIL in system.files.read(CONF).decode() else 0
    )
    report = stand.apply()
    assert "refuses its configuration" in report.errors[0].reason
    assert stand.machine.tree("/etc") == stand.before


def test_a_first_run_that_fails_leaves_the_machine_as_it_was(stand: Stand) -> None:
    stand.tables["mail"] = ((KeyType.ECDSA_P256,), ("nowhere.example.org",))
    report = stand.apply()
    assert report.exit_code is ExitCode.FAILED
    assert stand.machine.tree("/etc") == stand.before and stand.daemon.reloads == 0


def test_another_mailseal_at_work_changes_nothing(served: Stand) -> None:
    with served.reconciler().lock(), pytest.raises(Locked):
        served.apply()


def test_killed_in_the_switch_the_next_run_heals_it(served: Stand) -> None:
    served.later(days=61)
    served.machine.goes_wrong(Killed(), when=lambda e: e.subject.endswith("daemonctl reload"))
    with served.machine.death():
        served.renew()
    served.machine.all_well()
    assert served.serves == 1 and served.reconciler().store.current_number("mail") == 2
    report = served.renew()
    assert served.serves == 2 and served.reconciler().store.current_number("mail") == 2
    assert "interrupted-run" in [finding.code for finding in report.findings]
    assert len(served.ca.state.orders) == 2


def test_a_clock_that_was_ahead_holds_nothing_up_for_ever(served: Stand) -> None:
    served.machine.advance(10 * 365 * 86400)
    served.ca.outages.extend([("/new-order", _unavailable())] * 40)
    served.renew()
    assert served.state().failure is not None
    served.machine.advance(-(10 * 365 - 61) * 86400)
    served.ca.outages.clear()
    served.renew()
    assert served.serves == 2


def test_a_clock_that_is_behind_buys_nothing_again_and_again(served: Stand) -> None:
    served.later(days=61)
    served.machine.jump(timedelta(days=-1))
    served.ca.clock = _Ahead(served, timedelta(days=1))  # the CA's is right
    served.ca.state.clock = served.ca.clock
    orders = len(served.ca.state.orders)
    for _ in range(4):
        report = served.renew()
        assert "valid only from" in report.errors[0].reason and "date -u" in report.errors[0].next_command
        served.later(hours=3)
    assert len(served.ca.state.orders) == orders + 1 and served.serves == 1
    served.later(days=2)
    report = served.renew()
    assert not report.errors and served.serves == 2
    assert [finding.code for finding in report.findings] == ["clock-differs"]
    assert len(served.ca.state.orders) == orders + 1


class _Ahead:
    """A clock that is ahead of the machine's."""

    def __init__(self, stand: Stand, by: timedelta) -> None:
        self.system = MemorySystem(stand.machine)
        self.by = by

    def now(self) -> datetime:
        return self.system.clock.now() + self.by

    def monotonic(self) -> float:
        return self.system.clock.monotonic()

    async def sleep_async(self, seconds: float) -> None:
        await self.system.clock.sleep_async(seconds)


def _unavailable() -> HttpResponse:
    return respond(503, {"type": "urn:ietf:params:acme:error:serverInternal", "detail": "later"})


def test_detach_hands_everything_back(served: Stand) -> None:
    served.later(days=61)
    served.renew()
    done = served.reconciler().detach()
    assert served.machine.tree("/etc") == served.before and served.daemon.serves == "snakeoil"
    assert not done.left


@pytest.mark.parametrize(
    ("errors", "status"),
    [
        ((Waiting("later"),), ExitCode.WAITING),
        ((Waiting("later"), ApplyFailed("no")), ExitCode.FAILED),
        ((MailsealError("no"),), ExitCode.FAILED),
    ],
)
def test_what_failed_says_more_than_what_waits(errors: tuple[MailsealError, ...], status: ExitCode) -> None:
    assert Report(errors=errors).exit_code is status


def test_a_timer_does_not_take_up_again_what_was_handed_back(served: Stand) -> None:
    served.reconciler().detach()
    served.later(days=61)
    asked = len(served.ca.asked)
    report = served.renew()
    assert [finding.code for finding in report.findings] == ["detached"] and report.exit_code is ExitCode.OK
    assert served.machine.tree("/etc") == served.before and len(served.ca.asked) == asked
    assert served.apply().exit_code is ExitCode.OK and served.serves == 2
    assert not served.renew().findings


def test_a_service_that_was_switched_off_and_still_names_our_files_is_told(
    served: Stand, monkeypatch: pytest.MonkeyPatch
) -> None:
    named = ConfiguredCertificate("file", f"{CONF}:1", f"{MAIL}/current/ecdsa-p256/combined.pem", "")
    monkeypatch.setattr(Adapter, "configured", (named,))
    working = served.reconciler()
    working.wanted = replace(working.wanted, services=(), switched_off=working.wanted.services)
    report = working.run(insist=False)
    assert [finding.code for finding in report.findings] == ["service-switched-off"]
    assert report.exit_code is ExitCode.FINDINGS
    monkeypatch.setattr(Adapter, "configured", (replace(named, shadowed=True),))
    assert not working.run(insist=False).findings
    working.detach()
    assert served.machine.tree("/etc") == served.before and served.daemon.serves == "snakeoil"


def test_a_ca_that_was_set_up_anew_gets_the_account_again(served: Stand) -> None:
    served.ca.state.accounts.clear()
    served.later(days=61)
    report = served.renew()
    assert report.exit_code is ExitCode.FAILED and served.serves == 1
    served.later(minutes=2)
    assert served.renew().exit_code is ExitCode.OK and served.serves == 2

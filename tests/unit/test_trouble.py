"""Trouble with CAs, in whole runs on a machine in memory: one that fails for long, limits, staging, clocks."""

from __future__ import annotations

import errno
from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta

import pytest

from mailseal import config as configuration
from mailseal import services
from mailseal.chains import TrustAnchors
from mailseal.diary import Diary
from mailseal.errors import ExitCode, NetworkFault
from mailseal.model import Finding, KeyType
from mailseal.reconcile import Reconciler
from mailseal.report import Report
from mailseal.services.base import ConfiguredCertificate
from mailseal.system.http import HttpResponse
from tests.support.daemon import CONF
from tests.support.fake_ca import FakeCa, Question, Rules, respond
from tests.support.fake_jws import Refused
from tests.support.memory import MemorySystem
from tests.unit.test_reconcile import ROOT, Adapter, Stand

SECOND, STAGING = "https://second.test", "https://staging.test"
PROBLEM = "urn:ietf:params:acme:error:"
DAY = timedelta(days=1)


class Cas:
    """Several CAs behind one HTTP port; each can be made to fail in a way that lasts."""

    def __init__(self, *cas: FakeCa) -> None:
        self.cas = {ca.state.base: ca for ca in cas}
        self.failing: dict[str, NetworkFault | HttpResponse] = {}

    async def request(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        body: bytes | None = None,
        timeout: float = 30.0,
        limit: int = 1_048_576,
    ) -> HttpResponse:
        base = "/".join(url.split("/")[:3])
        wrong = self.failing.get(base)
        if isinstance(wrong, NetworkFault):
            raise wrong
        if wrong is not None:
            return wrong
        return await self.cas[base].request(method, url, headers=headers, body=body, limit=limit)

    async def close(self) -> None:
        """Nothing is open."""


class World(Stand):
    """The stand with a second CA to fall back to, and a staging server of the first."""

    fallback = True
    profiles: Mapping[str, str] = {}

    def __init__(self, rules: Rules | None = None) -> None:
        super().__init__(rules)
        clock = MemorySystem(self.machine).clock
        self.second = FakeCa(clock, Rules(), self._look, seed=2, base=SECOND)
        self.staging = FakeCa(clock, Rules(), self._look, seed=3, base=STAGING)
        self.cas = Cas(self.ca, self.second, self.staging)
        self.machine.world.web = self.cas

    def config(self) -> configuration.Config:
        config = super().config()
        table = configuration.Fallback(
            directory=self.second.directory_url, agree_to_terms=True, profile=self.profiles.get("fallback")
        )
        acme = configuration.Acme(
            directory=self.directory,
            contact=config.acme.contact,
            agree_to_terms=True,
            staging_directory=self.staging.directory_url,
            fallback=(table,) if self.fallback else (),
        )
        return configuration.Config(acme=acme, certificate=config.certificate)

    def reconciler(self, diary: Diary | None = None) -> Reconciler:
        made = super().reconciler(diary)
        roots = "".join(ca.state.pki.root_pem() for ca in (self.ca, self.second)).encode()
        anchors = TrustAnchors("the CAs' roots", roots)
        made._issuing._anchors = anchors
        made._deploying._tools = replace(made._deploying._tools, anchors=anchors)
        return made

    def goes_down(self, answer: NetworkFault | HttpResponse | None = None) -> None:
        self.cas.failing[self.ca.state.base] = answer or NetworkFault("No connection")

    def comes_back(self) -> None:
        self.cas.failing.clear()

    def live(self) -> str:
        """Which CA issued what the daemon serves."""
        return self.reconciler().store.load("mail", self.serves).issuer

    def every(self, step: timedelta, until: timedelta) -> list[Report]:
        reports = []
        for _ in range(int(until / step)):
            self.machine.advance(step.total_seconds())
            reports.append(self.renew())
        return reports

    async def refuse(self, question: Question) -> Refused | None:
        return Refused("connection", "192.0.2.7: Timeout during connect", 400)


def codes(report: Report) -> list[str]:
    return [finding.code for finding in report.findings]


def limited(detail: str, **headers: str) -> HttpResponse:
    problem = {"type": f"{PROBLEM}rateLimited", "detail": detail, "status": 429}
    return respond(
        429, problem, {k.replace("_", "-"): v for k, v in headers.items()}, "application/problem+json"
    )


@pytest.fixture(autouse=True)
def one_service(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(services.ADAPTERS, "daemon", "tests.unit.test_reconcile:Adapter")
    monkeypatch.setattr(Adapter, "running", True)
    monkeypatch.setattr(Adapter, "extra", b"")


@pytest.fixture
def world() -> World:
    """A machine on which the first run went well."""
    world = World()
    assert world.apply().exit_code is ExitCode.OK and world.serves == 1
    world.renew()
    return world


# Another CA.


@pytest.mark.parametrize("answer", [None, respond(500), respond(503, None, {"retry-after": "90000"})])
def test_another_ca_is_asked_when_half_of_what_was_left_has_passed(
    world: World, answer: HttpResponse | None
) -> None:
    world.later(days=61)
    world.goes_down(answer)
    reports = world.every(12 * timedelta(hours=1), 14 * DAY)
    assert world.serves == 1 and not world.second.state.orders
    assert all(report.exit_code in (ExitCode.FAILED, ExitCode.WAITING) for report in reports)
    reports = world.every(12 * timedelta(hours=1), 3 * DAY)
    assert world.serves == 2 and world.live() == world.second.directory_url
    (bought,) = [report for report in reports if report.issued and report.issued[-1].generation]
    assert bought.exit_code is ExitCode.FINDINGS and codes(bought) == ["fallback-ca"] and not bought.errors
    assert not world.every(DAY, 50 * DAY)[-1].done, "what was bought elsewhere stays until it is due"
    assert len(world.second.state.orders) == 1


def test_the_first_is_asked_first_again_at_the_next_renewal(world: World) -> None:
    world.later(days=61)
    world.goes_down()
    world.every(DAY, 17 * DAY)
    assert world.live() == world.second.directory_url
    world.comes_back()
    reports = world.every(DAY, 62 * DAY)
    assert world.live() == world.ca.directory_url and world.serves == 3
    assert not any(report.errors for report in reports)
    assert world.state().failures == {}
    *_, last = world.ca.state.orders.values()
    assert last.replaces is None, "the first CA knows nothing of the other's certificate"


def test_the_other_ca_is_asked_when_its_own_certificates_renew(world: World) -> None:
    world.later(days=61)
    world.goes_down()
    world.every(DAY, 17 * DAY)
    world.comes_back()
    world.renew()
    asked = [path for _, path in world.second.asked if path.startswith("/ari/")]
    known = world.state().suggestions[KeyType.ECDSA_P256]
    assert {path.removeprefix("/ari/") for path in asked} == {known.certificate_id}


def test_without_any_certificate_an_hour_is_long() -> None:
    world = World()
    world.goes_down()
    assert world.apply().exit_code is ExitCode.FAILED and not world.second.asked
    world.later(minutes=30)
    assert world.renew().errors and not world.second.asked
    world.later(minutes=31)
    report = world.renew()
    assert world.live() == world.second.directory_url and not report.errors


def test_the_other_ca_is_asked_for_a_profile_of_its_own(world: World) -> None:
    world.second.rules.profiles = {"short": 45 * DAY}
    world.profiles = {"fallback": "short"}
    world.later(days=61)
    world.goes_down()
    world.every(DAY, 17 * DAY)
    assert world.live() == world.second.directory_url
    assert [order.profile for order in world.second.state.orders.values()] == ["short"]


def test_both_cas_fail_and_both_are_told(world: World) -> None:
    world.later(days=61)
    world.goes_down(respond(500))
    world.every(DAY, 14 * DAY)
    world.cas.failing[SECOND] = respond(500)
    reports = world.every(DAY, 4 * DAY)
    assert reports[-1].exit_code is ExitCode.FAILED and world.serves == 1
    report = world.renew()
    assert "second.test" in report.waits[0] and report.exit_code is ExitCode.WAITING
    world.comes_back()
    world.apply()
    assert world.live() == world.ca.directory_url


def test_a_certificate_of_a_ca_that_is_no_longer_configured_is_replaced(world: World) -> None:
    world.later(days=61)
    world.goes_down()
    world.every(DAY, 17 * DAY)
    world.comes_back()
    world.fallback = False
    assert world.renew().exit_code is ExitCode.OK and world.live() == world.ca.directory_url


# Pauses and the guard.


@pytest.mark.parametrize(
    "life", [90 * DAY, 45 * DAY, timedelta(hours=160), timedelta(hours=12)], ids=["90d", "45d", "160h", "12h"]
)
def test_an_outage_until_shortly_before_the_end_is_survived(life: timedelta) -> None:
    world = World(Rules(lifetime=life))
    world.fallback = False
    world.apply()
    world.renew()
    step = life / 200
    begins = world.reconciler().store.load("mail", 1).not_before
    world.machine.advance((begins + life * 0.6 - world.machine.now).total_seconds())
    world.goes_down(respond(500))
    world.every(step, life * 0.36)
    assert world.state().failure is not None and world.serves == 1
    asked = len(world.ca.asked)
    world.comes_back()
    world.every(step, life * 0.02)
    assert world.serves == 2, "within some looks of its coming back, whatever pause was under way"
    assert len(world.ca.asked) > asked


def test_a_limit_holds_also_where_the_certificate_nearly_expires(world: World) -> None:
    world.fallback = False
    world.later(days=86)
    world.goes_down(limited("too many requests", retry_after="172800"))
    assert world.renew().exit_code is ExitCode.WAITING
    world.comes_back()
    asked = len(world.ca.asked)
    for report in (*world.every(timedelta(hours=6), 1.9 * DAY), world.apply()):
        assert report.exit_code is ExitCode.WAITING and "(requests)" in report.waits[0]
    assert len([path for _, path in world.ca.asked[asked:] if "order" in path]) == 0
    world.later(hours=6)
    assert world.renew().exit_code is ExitCode.OK and world.serves == 2


def test_a_ca_that_has_no_time_is_asked_again_before_a_certificate_expires(world: World) -> None:
    world.fallback = False
    world.later(days=86)
    world.goes_down(respond(503, None, {"retry-after": "999999"}))
    assert world.renew().exit_code is ExitCode.FAILED
    asked = len(world.ca.asked)
    world.comes_back()
    for run in (world.renew, world.apply):
        assert run().exit_code is ExitCode.WAITING and len(world.ca.asked) <= asked + 2
    world.later(hours=2.2)
    assert world.renew().exit_code is ExitCode.OK and world.serves == 2


# Limits.


LETSENCRYPT = (
    'too many certificates (50) already issued for "example.org" in the last 168h0m0s, '
    "retry after {until:%Y-%m-%d %H:%M:%S} UTC: see https://letsencrypt.org/docs/rate-limits/"
)


def test_a_limit_on_a_domain_is_read_from_its_text_and_stops_all_below_it() -> None:
    world = World()
    world.fallback = False
    world.tables = {
        name: ((KeyType.ECDSA_P256,), (f"{name}.example.org",)) for name in ("mail", "webmail", "other")
    }
    until = world.machine.now + timedelta(hours=34)
    for _ in range(3):
        world.ca.outages.append(("/new-order", limited(LETSENCRYPT.format(until=until))))
    configured = world.config
    one_at_once = configuration.Config(
        acme=configuration.Acme(
            directory=world.directory, contact=("a@example.org",), agree_to_terms=True, orders_at_once=1
        ),
        certificate=configured().certificate,
    )
    world.config = lambda: one_at_once  # type: ignore[method-assign]
    report = world.apply()
    assert report.exit_code is ExitCode.WAITING
    assert [path for _, path in world.ca.asked].count("/new-order") == 1, "asked once, for three certificates"
    report = world.apply()
    assert len(report.waits) == 3 and "certificates below example.org" in report.waits[0]
    assert f"{until:%F %H:%M}" in report.waits[0]
    assert [path for _, path in world.ca.asked].count("/new-order") == 1
    world.ca.outages.clear()
    world.later(hours=35)
    assert world.apply().exit_code is ExitCode.OK


def test_a_limit_that_was_met_stops_a_certificate_that_is_added_later(world: World) -> None:
    world.tables["webmail"] = ((KeyType.ECDSA_P256,), ("webmail.example.org",))
    detail = "too many new orders (300) from this account in the last 3h0m0s"
    world.ca.outages.append(("/new-order", limited(detail, retry_after="7200")))
    assert world.apply().exit_code is ExitCode.WAITING
    world.tables["other"] = ((KeyType.ECDSA_P256,), ("other.example.org",))
    asked = len(world.ca.asked)
    report = world.apply()
    assert "orders of this account" in report.errors[0].reason and report.exit_code is ExitCode.WAITING
    assert "/new-order" not in [path for _, path in world.ca.asked[asked:]]
    world.later(hours=3)
    assert world.apply().exit_code is ExitCode.OK


def test_a_renewal_in_its_window_is_exempt_from_what_others_met(world: World) -> None:
    world.tables["webmail"] = ((KeyType.ECDSA_P256,), ("webmail.example.org",))
    world.later(days=61)
    detail = LETSENCRYPT.format(until=world.machine.now + 5 * DAY)
    known = world.state().suggestions[KeyType.ECDSA_P256]
    assert known.chosen <= world.machine.now
    for _ in range(2):  # whichever of the two comes first
        world.ca.outages.append(("/new-order", limited(detail)))
    world.apply()
    world.ca.outages.clear()
    failures = {name: world.state(name).failures for name in ("mail", "webmail")}
    assert all(failures.values()), "each met it by itself: that of the renewal is believed too"
    states = world.reconciler().states
    states.save("mail", type(states.load("mail"))(suggestions=states.load("mail").suggestions))
    assert world.renew().issued and world.serves == 2


# Staging.


def test_after_a_failed_validation_staging_is_tried_first(world: World) -> None:
    world.fallback = False
    world.later(days=61)
    world.ca.desk.validate = world.staging.desk.validate = world.refuse
    assert "could not confirm control" in str(world.renew().errors[0])
    failed = len(world.ca.state.orders)
    for _ in range(3):
        world.later(days=1.5)
        (error,) = world.renew().errors
        assert "staging" in error.state and "could not confirm control" in error.message
    assert len(world.ca.state.orders) == failed, "the CA itself is not asked again"
    assert len(world.staging.state.orders) == 3
    world.staging.desk.validate = world.ca.desk.validate = world._look
    world.later(days=1.5)
    assert world.renew().exit_code is ExitCode.OK and world.serves == 2
    assert {authz.status for authz in world.staging.state.authz.values()} <= {"invalid", "deactivated"}
    assert not world.staging.state.issued, "nothing is issued at staging"


def test_staging_that_is_wrong_for_long_does_not_keep_a_certificate_from_renewal(world: World) -> None:
    world.fallback = False
    world.later(days=61)
    world.ca.desk.validate = world.staging.desk.validate = world.refuse
    world.renew()
    world.ca.desk.validate = world._look
    world.every(1.5 * DAY, 6 * DAY)
    assert world.serves == 1 and len(world.staging.state.orders) == 4
    world.every(1.5 * DAY, 1.5 * DAY)
    assert world.serves == 2, "the fifth try goes past it"


def test_a_certificate_that_nearly_expires_is_not_tried_at_staging(world: World) -> None:
    world.fallback = False
    world.later(days=85)
    world.ca.desk.validate = world.staging.desk.validate = world.refuse
    world.renew()
    world.ca.desk.validate = world._look
    world.later(days=1)
    assert world.renew().exit_code is ExitCode.OK and world.serves == 2 and not world.staging.asked


def test_staging_that_is_out_of_order_holds_nothing_up(world: World) -> None:
    world.fallback = False
    world.later(days=61)
    world.ca.desk.validate = world.refuse
    world.renew()
    world.ca.desk.validate = world._look
    world.cas.failing[STAGING] = NetworkFault("No connection")
    world.later(hours=1)
    assert world.renew().exit_code is ExitCode.OK and world.serves == 2


def test_what_staging_remembers_of_an_earlier_success_counts_for_nothing(world: World) -> None:
    world.fallback = False
    world.later(days=61)
    world.ca.desk.validate = world.refuse
    world.renew()
    world.later(days=1.5)
    world.renew()  # well at staging, not at the CA
    world.staging.desk.validate = world.refuse
    orders = len(world.ca.state.orders)
    world.later(days=1.5)
    assert "staging" in world.renew().errors[0].state and len(world.ca.state.orders) == orders


# Clocks.


@pytest.mark.parametrize(
    ("by", "way"), [(timedelta(minutes=5), "ahead of"), (timedelta(minutes=-5), "behind")]
)
def test_a_clock_that_differs_is_told(world: World, by: timedelta, way: str) -> None:
    world.later(days=61)
    now = MemorySystem(world.machine).clock.now
    world.ca.clock.now = lambda: now() - by  # type: ignore[method-assign]
    report = world.renew()
    (told,) = [finding for finding in report.findings if finding.code == "clock-differs"]
    assert isinstance(told, Finding) and f" {way} the CA's" in told.seen
    assert report.exit_code is ExitCode.FINDINGS and world.serves == 2


def test_a_clock_that_is_right_is_not_told(world: World) -> None:
    world.later(days=61)
    assert codes(world.renew()) == []


# Renewal information that cannot be had.


@pytest.mark.parametrize(
    ("answer", "again"),
    [
        (respond(503, None, {"retry-after": "7200"}), timedelta(hours=2)),
        (respond(404, {"type": f"{PROBLEM}malformed"}, {"retry-after": "9999999"}), DAY),
        (respond(500), timedelta(hours=6)),
        (
            respond(
                200, {"suggestedWindow": {"start": "2027-01-02T00:00:00Z", "end": "2027-01-01T00:00:00Z"}}
            ),
            6,
        ),
    ],
)
def test_an_answer_that_is_none_is_asked_for_again_in_time_and_not_before(
    answer: HttpResponse, again: timedelta | int
) -> None:
    world, wait = World(), again if isinstance(again, timedelta) else timedelta(hours=again)
    world.apply()
    world.ca.outages.extend([("/ari/", answer)] * 40)

    def asked() -> int:
        return sum(path.startswith("/ari/") for _, path in world.ca.asked)

    world.renew()
    once = asked()
    assert once and "dir" not in world.ca.asked[-1][1]
    world.machine.advance(wait.total_seconds() * 0.9)
    world.renew()
    assert asked() == once
    world.machine.advance(wait.total_seconds() * 0.2)
    world.ca.outages.clear()
    world.renew()
    assert asked() == once + 1 and world.state().suggestions and not world.state().unanswered


def test_an_unanswered_question_does_not_forget_what_was_said_before(world: World) -> None:
    known = world.state().suggestions[KeyType.ECDSA_P256]
    world.later(hours=7)
    world.ca.outages.extend([("/ari/", respond(500))] * 9)
    world.renew()
    assert world.state().suggestions[KeyType.ECDSA_P256] == known and world.state().unanswered


def test_a_ca_without_renewal_information_is_asked_once_a_day() -> None:
    world = World(Rules(renewal_information=False))
    world.apply()
    world.renew()
    asked = len(world.ca.asked)
    world.every(timedelta(hours=1), timedelta(hours=20))
    assert len(world.ca.asked) == asked


def test_the_cas_explanation_is_shown(world: World) -> None:
    key = world.state().suggestions[KeyType.ECDSA_P256].certificate_id
    world.ca.state.windows[key] = (world.machine.now, world.machine.now + timedelta(hours=1))
    world.later(hours=7)
    assert "https://ca.test/why" in world.renew().done[0] and world.serves == 2


def test_a_predecessor_that_was_replaced_already_is_left_out(world: World) -> None:
    world.later(days=61)
    for issued in world.ca.state.issued.values():
        issued.replaced = True
    assert world.renew().exit_code is ExitCode.OK and world.serves == 2
    *_, order = world.ca.state.orders.values()
    assert order.replaces is None


# Issued, deployed, proven.


def test_what_was_issued_is_deployed_by_the_next_run_and_not_bought_again(world: World) -> None:
    world.later(days=61)
    reconciler = world.reconciler()
    reconciler._deploying.one = lambda *args, **kwargs: False  # type: ignore[method-assign]
    reconciler.run(insist=False)
    assert world.serves == 1 and world.reconciler().store.numbers("mail") == (1, 2)
    orders = len(world.ca.state.orders)
    report = world.renew()
    assert world.serves == 2 and len(world.ca.state.orders) == orders
    assert 2 in world.state().proven and not report.issued


def test_what_was_deployed_and_not_proven_is_proven_by_the_next_run(world: World) -> None:
    world.later(days=61)
    world.renew()
    states = world.reconciler().states
    state = states.load("mail")
    states.save("mail", type(state)(suggestions=state.suggestions))
    reloads = world.daemon.reloads
    world.renew()
    assert states.load("mail").proven.keys() == {2} and world.daemon.reloads == reloads


@pytest.mark.parametrize("names", [("mail", "webmail"), ("mail", "webmail", "other")])
def test_all_that_changes_in_a_run_costs_one_reload(names: tuple[str, ...]) -> None:
    world = World()
    world.tables = {name: ((KeyType.ECDSA_P256,), (f"{name}.example.org",)) for name in names}
    world.apply()
    world.renew()
    reloads = world.daemon.reloads
    world.later(days=63)
    report = world.renew()
    assert len([one for one in report.issued if one.generation]) == len(names)
    assert world.daemon.reloads == reloads + 1
    store = world.reconciler().store
    assert [store.current_number(name) for name in names] == [2] * len(names)


def test_a_daemon_that_dies_of_its_own_stops_no_other(world: World) -> None:
    world.tables["other"] = ((KeyType.ECDSA_P256,), ("other.example.org",))
    world.apply()
    world.renew()
    world.poisons(2)
    world.later(days=63)
    report = world.renew()
    store = world.reconciler().store
    assert [store.current_number(name) for name in ("mail", "other")] == [1, 2]
    assert report.exit_code is ExitCode.FAILED and world.serves == 1


def test_a_full_disk_costs_a_question_and_not_the_run(world: World) -> None:
    world.later(hours=7)
    world.machine.goes_wrong(errno.ENOSPC, when=lambda effect: "/state/" in effect.subject, lasting=True)
    report = world.renew()
    assert not report.errors and any("not kept" in line for line in world.said)


def test_a_certificate_that_fails_stops_no_other(world: World) -> None:
    world.tables |= {name: ((KeyType.ECDSA_P256,), (f"{name}.example.org",)) for name in ("webmail", "other")}
    world.apply()
    world.renew()
    world.later(days=63)
    world.ca.rules.forbidden = frozenset({"webmail.example.org"})
    report = world.renew()
    store = world.reconciler().store
    assert [store.current_number(name) for name in ("mail", "webmail", "other")] == [2, 1, 2]
    assert report.exit_code is ExitCode.FAILED and world.serves == 2
    assert f"{ROOT}/lineages/webmail/0001" in world.machine.tree()


def test_generations_that_are_refused_one_after_the_other_are_not_bought_for_ever(world: World) -> None:
    world.later(days=61)
    stranger = FakeCa(MemorySystem(world.machine).clock, seed=9).state.pki.root_pem().encode()

    def run() -> Report:
        reconciler = world.reconciler()
        anchors = TrustAnchors(
            "a stranger's roots", stranger
        )  # what vetting goes by; the order is checked before
        reconciler._deploying._tools = replace(reconciler._deploying._tools, anchors=anchors)
        return reconciler.run(insist=False)

    report = run()
    assert [one.generation is not None for one in report.issued] == [True, True] and world.serves == 1
    (error,) = report.errors
    assert error.message == "Generation 0003 of 'mail' must not go live" and error.next_command
    assert codes(report) == ["generation-refused"]
    report = run()
    assert not report.issued and "refused" in report.waits[0]
    world.later(minutes=2)
    assert len(run().issued) <= 2
    assert not run().issued, "the pause grows"


@pytest.fixture
def named(world: World, monkeypatch: pytest.MonkeyPatch) -> World:
    """A second lineage, whose files the daemon's own configuration names."""
    world.tables["other"] = ((KeyType.ECDSA_P256,), ("other.example.org",))
    world.apply()
    world.renew()
    cert, key = (f"{ROOT}/live/other/{name}.pem" for name in ("fullchain", "privkey"))
    monkeypatch.setattr(Adapter, "configured", (ConfiguredCertificate("file", f"{CONF}:2", cert, key),))
    return world


def test_a_service_whose_own_configuration_names_a_lineage_takes_up_its_renewals(named: World) -> None:
    named.tables["other"] = ((KeyType.ECDSA_P256,), ("other.example.org", "webmail.example.org"))
    reloads = named.daemon.reloads
    report = named.renew()
    assert named.reconciler().store.current_number("other") == 2 and named.serves == 1
    assert named.daemon.reloads == reloads + 1 and not report.errors
    assert not named.renew().done and named.daemon.reloads == reloads + 1


def test_all_that_one_service_serves_costs_one_reload(named: World) -> None:
    reloads = named.daemon.reloads
    named.later(days=63)
    report = named.renew()
    store = named.reconciler().store
    assert [store.current_number(name) for name in ("mail", "other")] == [2, 2]
    assert named.daemon.reloads == reloads + 1 and not report.errors
    assert 2 in named.state("mail").proven


def test_what_cannot_go_live_together_goes_alone(named: World) -> None:
    named.later(days=63)
    checks = iter([0, 1, 1, 1])
    named.machine.programs.on("daemonctl", "check")(lambda system, argv, stdin: next(checks, 0))
    named.renew()  # both are issued, and neither deployed
    key = f"{ROOT}/lineages/other/0002/ecdsa-p256/privkey.pem"
    assert named.reconciler().store.current_number("other") == 1
    named.machine.put(key, named.machine.tree(ROOT)[key].content, mode=0o644)
    report = named.renew()
    store = named.reconciler().store
    assert store.current_number("mail") == 2 and named.serves == 2
    assert codes(report) == ["generation-refused"] and store.current_number("other") == 3

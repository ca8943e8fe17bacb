"""Planning, by tables: what a lineage's state and a wish make of steps and waits. No machine is needed for it."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from mailseal.desired import Desired
from mailseal.due import due
from mailseal.model import (
    CertificateFacts,
    CertificateSpec,
    FileState,
    FileWish,
    Generation,
    Identifier,
    KeyType,
    LinkWish,
)
from mailseal.observe import Lineage, Observed, ServiceView
from mailseal.plan import plan
from mailseal.steps import Deploy, Issue, Plan, Put
from mailseal.stores.state import Failure, LineageState, Rejection, Suggestion
from tests.support.daemon import DaemonAdapter, DaemonFacts

NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
DAY = timedelta(days=1)
CA = "https://ca.example/dir"
EC, RSA = KeyType.ECDSA_P256, KeyType.RSA_2048
GAP = Put(FileWish("/etc/daemon.conf", b"ours\n"), FileState("absent"))
CHALLENGE = Put(FileWish("/etc/challenge.conf", b"ours\n"), FileState("absent"))


def names(*texts: str) -> frozenset[Identifier]:
    return frozenset(Identifier.parse(text) for text in texts or ("mail.example.org",))


def spec(*texts: str, name: str = "mail", types: tuple[KeyType, ...] = (EC,)) -> CertificateSpec:
    return CertificateSpec(name, names(*texts), types)


def generation(
    number: int = 1,
    *texts: str,
    age: timedelta = 10 * DAY,
    types: tuple[KeyType, ...] = (EC,),
    name: str = "mail",
    issuer: str = CA,
) -> Generation:
    """One of 90 days that is `age` old."""
    start = NOW - age
    leaves = tuple(
        (
            kind,
            CertificateFacts(
                f"{name}{number}{kind}",
                "",
                tuple(names(*texts)),
                "CA",
                number,
                start,
                start + 90 * DAY,
                kind.family,
            ),
        )
        for kind in types
    )
    return Generation(name, number, leaves, start, issuer)


def lineage(
    *generations: Generation,
    current: int | None = None,
    target: int | None = None,
    state: LineageState | None = None,
    name: str = "mail",
) -> Lineage:
    """As `observe_lineage` would tell it; the last one is the target unless told, and current unless told."""
    last = generations[-1].number if generations else None
    target, current = target or last, current or last
    chosen = next((g for g in generations if g.number == target), None)
    switch = (
        (Put(LinkWish(f"/var/lib/mailseal/lineages/{name}/current", f"{target:04d}"), FileState("absent")),)
        if target != current
        else ()
    )
    return Lineage(name, generations, current, state or LineageState(), chosen, switch)


def planned(
    wanted: CertificateSpec | tuple[CertificateSpec, ...],
    *lineages: Lineage,
    gaps: tuple[Put, ...] = (),
    challenge: tuple[Put, ...] = (),
    insist: bool = False,
    failed: frozenset[tuple[str, str]] = frozenset(),
) -> Plan:
    specs = wanted if isinstance(wanted, tuple) else (wanted,)
    view = ServiceView(DaemonAdapter(), DaemonFacts(), challenge, gaps)
    return plan(
        Desired(specs, (), "/var/lib/mailseal/challenges", bool(challenge)),
        Observed(lineages, (view,)),
        (CA,),
        NOW,
        insist=insist,
        failed=failed,
    )


def shape(found: Plan) -> list[str]:
    """A plan in words: what kind each step is, and whether it is provisional."""
    words = {Issue: "order", Deploy: "deploy"}
    return [
        words[type(step)] + (" later" if isinstance(step, Deploy) and step.provisional else "")
        for step in found.steps
    ]


SUGGESTED = Suggestion(
    "an-id", "mail1ecdsa-p256", NOW - DAY, NOW + DAY, NOW - timedelta(hours=1), NOW + timedelta(hours=6)
)


@pytest.mark.parametrize(
    ("wanted", "found", "why"),
    [
        (spec(), lineage(), "there is none yet"),
        (spec(), lineage(generation()), ""),
        (spec("MAIL.example.org."), lineage(generation()), ""),
        (spec(types=(EC, RSA)), lineage(generation()), "a key of type rsa-2048 is asked for too"),
        (spec(types=(EC,)), lineage(generation(types=(EC, RSA))), ""),  # it goes at the next renewal
        (spec(types=(RSA, EC)), lineage(generation(types=(EC, RSA))), ""),
        (
            spec("mail.example.org", "www.example.org"),
            lineage(generation()),
            "its names change (+www.example.org)",
        ),
        (
            spec("www.example.org"),
            lineage(generation()),
            "its names change (+www.example.org, -mail.example.org)",
        ),
        (spec(), lineage(generation(issuer="https://other.example")), "another CA is asked for"),
        (spec(), lineage(generation(age=59 * DAY)), ""),
        (spec(), lineage(generation(age=60 * DAY)), "renewal is due since 2026-11-23 12:00 UTC"),
        (spec(), lineage(generation(age=91 * DAY)), "renewal is due"),
        (
            spec(),
            lineage(generation(), state=LineageState(suggestions={EC: SUGGESTED})),
            "renewal is due since 2026-11-23 11:00 UTC: the CA suggests it",
        ),
        (
            spec(),
            lineage(generation(2), state=LineageState(suggestions={EC: SUGGESTED})),  # another certificate's
            "",
        ),
        (
            spec(),
            lineage(
                generation(),
                state=LineageState(rejected=[Rejection(1, NOW, "the key does not fit", 1, NOW, True)]),
            ),
            "the files of generation 0001 are damaged (the key does not fit)",
        ),
    ],
)
def test_whether_an_order_is_due(wanted: CertificateSpec, found: Lineage, why: str) -> None:
    need = due(wanted, found, (CA,), NOW, insist=False)
    assert need.why.startswith(why) if why else not need.why
    assert not need.wait


def test_a_name_that_the_ca_added_is_not_taken_out_again_and_again() -> None:
    more = generation(1, "mail.example.org", "www.mail.example.org")
    assert due(spec(), lineage(more), (CA,), NOW, insist=False).why.startswith("its names change (-www")
    asked = replace(more, asked=tuple(names()))
    assert not due(spec(), lineage(asked), (CA,), NOW, insist=False).why
    fewer = replace(more, asked=tuple(names("mail.example.org", "old.example.org")))
    assert "-old.example.org" in due(spec(), lineage(fewer), (CA,), NOW, insist=False).why


def failure(at: datetime, again: datetime, *, limited: bool = False) -> LineageState:
    return LineageState(failures={CA: Failure(2, at, "the CA said no", again, limited)})


def rejected(
    number: int, again: datetime, *, unusable: bool = False, at: datetime = NOW - DAY
) -> LineageState:
    return LineageState(rejected=[Rejection(number, at, "Dovecot died", 1, again, unusable)])


HOUR = timedelta(hours=1)
OLD, NEW = generation(1, age=61 * DAY), generation(2, age=HOUR)


@pytest.mark.parametrize(
    ("found", "waits", "a_person_waits"),
    [
        (lineage(OLD, state=failure(NOW - HOUR, NOW + HOUR)), "the last order failed", False),
        (
            lineage(OLD, state=failure(NOW - HOUR, NOW + HOUR, limited=True)),
            "the CA's limit is reached",
            True,
        ),
        (lineage(OLD, state=failure(NOW - HOUR, NOW)), "", False),
        (lineage(OLD, state=failure(NOW + 9 * DAY, NOW + 10 * DAY)), "", False),  # the clock was ahead
        (lineage(OLD, state=failure(NOW + 9 * DAY, NOW + 10 * DAY, limited=True)), "", False),
        (lineage(OLD, NEW, current=1, target=1, state=rejected(2, NOW + HOUR)), "was taken back", True),
        (
            lineage(OLD, NEW, current=1, target=1, state=rejected(2, NOW + HOUR, unusable=True)),
            "was refused (Dovecot died)",
            False,
        ),
        (lineage(OLD, NEW, current=1, target=1, state=rejected(2, NOW, unusable=True)), "", False),
    ],
)
def test_what_must_wait_and_for_whom(found: Lineage, waits: str, a_person_waits: bool) -> None:
    need = due(spec(), found, (CA,), NOW, insist=False)
    assert waits in need.wait if waits else need.why and not need.wait
    assert bool(due(spec(), found, (CA,), NOW, insist=True).wait) is a_person_waits


@pytest.mark.parametrize(
    ("found", "gaps", "challenge", "steps"),
    [
        (lineage(), (), (), ["order", "deploy later"]),
        (lineage(), (GAP,), (CHALLENGE,), ["deploy", "order", "deploy later"]),
        (lineage(generation()), (), (), []),
        (lineage(generation()), (GAP,), (), ["deploy"]),
        (lineage(generation()), (GAP,), (CHALLENGE,), ["deploy"]),  # the gaps take the challenge's in
        (lineage(generation(1), generation(2), current=1), (), (), ["deploy"]),
        (lineage(OLD), (GAP,), (), ["order", "deploy later"]),
        (lineage(OLD, state=failure(NOW, NOW + HOUR)), (GAP,), (), ["deploy"]),
        (lineage(state=failure(NOW, NOW + HOUR)), (GAP,), (CHALLENGE,), []),
    ],
)
def test_the_steps_of_a_round(
    found: Lineage, gaps: tuple[Put, ...], challenge: tuple[Put, ...], steps: list[str]
) -> None:
    assert shape(planned(spec(), found, gaps=gaps, challenge=challenge)) == steps


def test_an_order_that_failed_in_this_run_waits_for_the_next_and_the_rest_is_done() -> None:
    found = planned(spec(), lineage(OLD), gaps=(GAP,), failed=frozenset({("mail", CA)}))
    assert shape(found) == ["deploy"]
    assert shape(planned(spec(), lineage(), gaps=(GAP,), failed=frozenset({("mail", CA)}))) == []


def test_a_generation_goes_live_before_what_names_it_and_every_service_reloads() -> None:
    (step,) = planned(spec(), lineage(generation(1), generation(2), current=1), gaps=(GAP,)).steps
    assert isinstance(step, Deploy)
    assert [put.path.rpartition("/")[2] for put in step.puts] == ["current", "daemon.conf"]
    assert (step.services, step.generations) == (("daemon",), (("mail", 2),))


def test_a_key_type_that_goes_is_unnamed_before_its_files_go() -> None:
    both, one = generation(1, types=(EC, RSA)), generation(2)
    (step,) = planned(spec(), lineage(both, one, current=1), gaps=(GAP,)).steps
    assert isinstance(step, Deploy)
    assert [put.path.rpartition("/")[2] for put in step.puts] == ["daemon.conf", "current"]


def test_a_change_that_was_taken_back_has_a_pause_unless_a_generation_goes_live() -> None:
    state = LineageState(deployment=Failure(1, NOW, "Apache died", NOW + HOUR))
    held = planned(spec(), lineage(generation(), state=state), gaps=(GAP,))
    assert shape(held) == [] and "Apache died" in held.waits[0]
    assert shape(planned(spec(), lineage(generation(), state=state), gaps=(GAP,), insist=True)) == ["deploy"]
    live = lineage(generation(1), generation(2), current=1, state=state)
    assert shape(planned(spec(), live, gaps=(GAP,))) == ["deploy"]
    first = planned(spec(), lineage(state=state), gaps=(GAP,), challenge=(CHALLENGE,))
    assert shape(first) == [] and len(first.waits) == 1


def test_every_lineage_goes_by_itself() -> None:
    other = lineage(generation(1, name="other"), generation(2, name="other"), current=1, name="other")
    mail = lineage(generation(1), generation(2), current=1)
    first, second = planned((spec(), spec(name="other")), mail, other).steps
    assert isinstance(first, Deploy) and isinstance(second, Deploy)
    assert (first.generations, second.generations) == ((("mail", 2),), (("other", 2),))
    assert second.services == ()


def test_a_second_lineage_goes_live_while_the_first_waits() -> None:
    other = lineage(generation(1, name="other"), generation(2, name="other"), current=1, name="other")
    found = planned((spec(), spec(name="other")), lineage(state=failure(NOW, NOW + HOUR)), other)
    assert shape(found) == ["deploy"] and len(found.waits) == 1


def test_the_predecessor_is_named_inside_its_window_to_its_own_ca_only() -> None:
    def named(suggestion: Suggestion, of: Generation) -> tuple[tuple[KeyType, str], ...]:
        state = LineageState(suggestions={EC: suggestion})
        step = planned(spec("www.example.org"), lineage(of, state=state)).steps[0]
        assert isinstance(step, Issue)
        return step.replaces

    assert named(SUGGESTED, generation()) == ((EC, "an-id"),)
    early = Suggestion("an-id", "mail1ecdsa-p256", NOW + DAY, NOW + 2 * DAY, NOW + DAY, NOW)
    assert named(early, generation()) == ()
    assert named(SUGGESTED, generation(2)) == (), "the window of a certificate that was replaced long since"
    assert named(SUGGESTED, generation(issuer="https://other.example")) == ()


def test_it_is_pure() -> None:
    found = lineage(OLD)
    assert planned(spec(), found, gaps=(GAP,)) == planned(spec(), replace(found), gaps=(GAP,))

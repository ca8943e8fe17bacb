"""Revocation on a machine in memory: replaced first, then revoked; refused, forced, killed in between."""

from __future__ import annotations

import json

import pytest
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.x509 import Certificate

from mailseal.chains import TrustAnchors
from mailseal.errors import ExitCode, IssueError, KeyMaterialError, NetworkFault, UsageError
from mailseal.model import KeyType
from mailseal.report import Report
from mailseal.revoke import Wanted, revoke
from mailseal.revoking import REASONS
from mailseal.rollback import Wanted as Back
from mailseal.rollback import rollback
from mailseal.stores.revocations import RevocationStore
from mailseal.vetting import vet
from tests.support.fake_ca import respond
from tests.support.memory import Dead, Killed, MemorySystem, PowerLoss
from tests.unit.test_reconcile import MAIL, ROOT, Stand, one_service

__all__ = ["one_service"]
LEAK = REASONS["keyCompromise"]


@pytest.fixture
def served() -> Stand:
    """A machine on which the first run went well."""
    stand = Stand()
    assert stand.apply().exit_code is ExitCode.OK and stand.serves == 1
    return stand


def gone(stand: Stand, **wanted: object) -> Report:
    system = MemorySystem(stand.machine)
    return revoke(system, stand.reconciler(), Wanted("mail", **wanted))  # type: ignore[arg-type]


def revoked(stand: Stand) -> list[int | None]:
    """The reasons with which the CA revoked, one a certificate, the oldest first."""
    return [one.revoked for one in stand.ca.state.issued.values()]


def store(stand: Stand) -> RevocationStore:
    return RevocationStore(MemorySystem(stand.machine), ROOT)


def orders_fail(stand: Stand, times: int = 40) -> None:
    problem = {"type": "urn:ietf:params:acme:error:serverInternal", "detail": "later"}
    stand.ca.outages.extend([("/new-order", respond(500, problem))] * times)


def test_it_is_replaced_with_another_key_and_then_revoked(served: Stand) -> None:
    report = gone(served)
    assert report.exit_code is ExitCode.OK, report.errors
    assert served.serves == 2 and revoked(served) == [REASONS["superseded"], None]
    first, second = (served.reconciler().store.load("mail", number) for number in (1, 2))
    assert first.leaves[0][1].spki_sha256 != second.leaves[0][1].spki_sha256
    assert report.done[0].startswith("order a certificate for mail.example.org")
    assert "generation 0001 is to be revoked (superseded)" in report.done[0]
    assert report.done[-1] == "revoked the ecdsa-p256 certificate of generation 0001 of 'mail': superseded"
    assert not store(served).open() and not store(served).compromised()
    assert not served.renew().done and served.serves == 2


def test_the_ca_is_asked_only_when_the_other_is_served(served: Stand) -> None:
    gone(served)
    asked = [path for _, path in served.ca.asked]
    assert asked.index("/revoke") > max(i for i, path in enumerate(asked) if path.startswith("/cert"))


def test_every_key_type_is_revoked(served: Stand) -> None:
    served.tables["mail"] = ((KeyType.ECDSA_P256, KeyType.RSA_2048), ("mail.example.org",))
    served.apply()
    assert gone(served).exit_code is ExitCode.OK
    assert revoked(served) == [None, 4, 4, None, None]


def test_one_that_serves_no_more_is_revoked_at_once(served: Stand) -> None:
    served.later(days=61)
    served.renew()
    orders = len(served.ca.state.orders)
    report = gone(served, number=1)
    assert report.exit_code is ExitCode.OK and report.done == (
        "revoked the ecdsa-p256 certificate of generation 0001 of 'mail': superseded",
    )
    assert revoked(served) == [4, None] and served.serves == 2 and len(served.ca.state.orders) == orders
    with pytest.raises(UsageError, match="revoked already"):
        gone(served, number=1)


def test_one_that_an_endpoint_still_serves_is_not_revoked(served: Stand) -> None:
    served.later(days=61)
    served.renew()
    old = served.machine.tree(MAIL)[f"{MAIL}/0001/ecdsa-p256/combined.pem"].content.decode()
    read = served.daemon._read
    served.daemon._read = lambda system: setattr(served.daemon, "serves", old)  # type: ignore[method-assign]
    served.daemon.start()
    report = gone(served, number=1)
    assert "revocation-waits" in [finding.code for finding in report.findings] and revoked(served)[0] is None
    served.daemon._read = read  # type: ignore[method-assign]
    served.daemon.start()
    assert served.renew().exit_code is ExitCode.OK and revoked(served)[0] == 4


def test_what_was_revoked_is_never_gone_back_to(served: Stand) -> None:
    gone(served)
    with pytest.raises(UsageError, match=r"0001: it was revoked \(superseded\)"):
        rollback(MemorySystem(served.machine), served.config(), served.reconciler(), Back())
    served.tables["mail"] = ((KeyType.ECDSA_P256,), ("mail.example.org", "webmail.example.org"))
    served.apply()
    assert served.serves == 3


def test_a_deployment_is_not_taken_back_to_what_was_revoked(served: Stand) -> None:
    orders_fail(served)
    gone(served, forced=True)
    assert served.serves == 1 and revoked(served) == [4]
    served.ca.outages.clear()
    served.poisons(2)
    served.later(hours=2)
    served.renew()
    assert served.reconciler().store.current_number("mail") == 2, "a revoked one is no way back"


# Where nothing else can be had.


def test_without_another_nothing_is_revoked(served: Stand) -> None:
    orders_fail(served)
    report = gone(served, reason=LEAK)
    assert report.exit_code is ExitCode.FAILED and served.serves == 1
    told = report.errors[-1]
    assert "was not revoked, since no other certificate is in its place" in told.message
    assert "later" in told.reason and "--reason keyCompromise --even-if-served" in told.next_command
    assert revoked(served) == [None] and not store(served).all() and not store(served).compromised()
    served.ca.outages.clear()
    served.later(days=2)
    assert served.renew().exit_code is ExitCode.OK and served.serves == 1, "and nothing is left of the wish"


def test_what_fails_the_proof_takes_no_ones_place(served: Stand) -> None:
    served.poisons(2)
    report = gone(served, reason=LEAK)
    assert report.exit_code is ExitCode.FAILED and served.serves == 1 and set(revoked(served)) == {None}
    assert not store(served).all() and not served.state().withdrawn


def test_whose_key_leaked_may_have_it_revoked_all_the_same(served: Stand) -> None:
    orders_fail(served)
    report = gone(served, reason=LEAK, forced=True)
    assert report.exit_code is ExitCode.FAILED and served.serves == 1 and revoked(served) == [1]
    assert "certificate-revoked" in [finding.code for finding in report.findings]
    served.ca.outages.clear()
    served.later(hours=2)
    report = served.renew()
    assert report.exit_code is ExitCode.OK and served.serves == 2
    assert "generation 0001 was revoked (keyCompromise)" in report.done[0]


def test_a_ca_that_cannot_be_reached_is_asked_again(served: Stand) -> None:
    served.ca.outages.extend([("/revoke", NetworkFault("no route"))] * 3)
    report = gone(served)
    assert report.exit_code is ExitCode.FAILED and served.serves == 2 and revoked(served) == [None, None]
    assert "The next run asks the CA again" in report.errors[0].state
    report = served.renew()
    assert report.exit_code is ExitCode.OK and revoked(served) == [4, None]


def test_an_answer_that_was_lost_is_asked_for_again(served: Stand) -> None:
    gone(served)
    kept = store(served).all()[0]
    store(served).want(
        [type(kept)(**{**{n: getattr(kept, n) for n in kept.__struct_fields__}, "revoked": None})]
    )
    report = served.renew()
    assert report.exit_code is ExitCode.OK and "(the CA had done it already)" in report.done[0]
    assert not store(served).open()


def test_what_the_ca_refuses_for_good_is_told_and_forgotten(served: Stand) -> None:
    served.ca.outages.append(
        ("/revoke", respond(403, {"type": "urn:ietf:params:acme:error:badRevocationReason"}))
    )
    report = gone(served)
    assert report.exit_code is ExitCode.FAILED and "The CA did not revoke" in report.errors[0].message
    assert not store(served).open() and not served.state().withdrawn and not served.renew().errors


def test_a_ca_in_disorder_has_not_refused(served: Stand) -> None:
    served.ca.outages.extend([("/revoke", respond(404, {"title": "no such page"}))] * 2)
    assert gone(served).exit_code is ExitCode.FAILED and len(store(served).open()) == 1
    assert served.renew().exit_code is ExitCode.FAILED
    assert served.renew().exit_code is ExitCode.OK and revoked(served) == [4, None]


def test_an_account_that_the_ca_does_not_know_leaves_the_key_to_sign(served: Stand) -> None:
    served.later(days=61)
    served.renew()
    served.ca.outages.append(
        ("/revoke", respond(400, {"type": "urn:ietf:params:acme:error:accountDoesNotExist"}))
    )
    assert gone(served, number=1).exit_code is ExitCode.OK and revoked(served) == [4, None]


def test_an_expired_one_needs_no_ca(served: Stand) -> None:
    served.later(days=61)
    served.renew()
    served.later(days=30)
    report = gone(served, number=1)
    assert report.exit_code is ExitCode.OK and "has expired" in report.done[0]
    assert revoked(served) == [None, None]


# Compromised keys.


def test_a_compromised_key_is_never_used_again(served: Stand) -> None:
    assert gone(served, reason=LEAK).exit_code is ExitCode.OK
    assert revoked(served) == [1, None]
    working = served.reconciler()
    first = working.store.load("mail", 1)
    assert store(served).compromised() == {first.leaves[0][1].spki_sha256}
    # Brought back under another number, as a restore or an import might.
    for path, state in served.machine.tree(f"{MAIL}/0001").items():
        if state.kind == "file":
            other = path.replace("/0001/", "/0003/")
            content = state.content
            if path.endswith("meta.json"):
                content = json.dumps({**json.loads(content), "number": 3}).encode()
            served.machine.put(other, content.decode(), mode=0o600)
    anchors = TrustAnchors("the fake CA's roots", served.ca.state.pki.root_pem().encode())
    with pytest.raises(KeyMaterialError, match="marked compromised"):
        vet(MemorySystem(served.machine), working.store, working.store.load("mail", 3), anchors)
    report = served.apply()
    assert served.serves != 3 and report.exit_code is not ExitCode.OK
    served.apply()
    assert served.serves in (2, 4)
    with pytest.raises(UsageError, match="its key is marked compromised"):
        rollback(MemorySystem(served.machine), served.config(), served.reconciler(), Back("mail", 3))


def test_the_key_itself_tells_the_ca(served: Stand) -> None:
    served.machine.put(f"{ROOT}/accounts/nothing", "")
    account = next(iter(served.ca.state.accounts.values()))
    assert gone(served, reason=LEAK).exit_code is ExitCode.OK
    assert account.status == "valid" and revoked(served) == [1, None]


def test_a_lost_account_is_no_hindrance(served: Stand) -> None:
    served.later(days=61)
    served.renew()
    for path in list(served.machine.tree(f"{ROOT}/accounts")):
        if path.endswith("account.json"):
            MemorySystem(served.machine).files.remove(path)
    assert gone(served, number=1).exit_code is ExitCode.OK and revoked(served) == [4, None]


# Refused before anything changes.


def test_what_is_not_there(served: Stand) -> None:
    with pytest.raises(UsageError, match="no certificate 'other'"):
        revoke(MemorySystem(served.machine), served.reconciler(), Wanted("other"))
    with pytest.raises(UsageError, match="0007 of 'mail' is not there"):
        gone(served, number=7)
    served.reconciler().detach()
    with pytest.raises(IssueError, match="Nothing was revoked"):
        gone(served)
    assert revoked(served) == [None]


def test_on_a_machine_that_was_handed_back_only_by_force(served: Stand) -> None:
    served.reconciler().detach()
    report = gone(served, forced=True)
    assert revoked(served) == [4] and report.done and served.reconciler().journal.detached


def test_one_that_nobody_asks_for_any_more(served: Stand) -> None:
    served.tables["other"] = ((KeyType.ECDSA_P256,), ("other.example.org",))
    served.apply()
    del served.tables["other"]
    system = MemorySystem(served.machine)
    report = revoke(system, served.reconciler(), Wanted("other"))
    assert report.exit_code is ExitCode.FAILED and revoked(served) == [None, None]
    report = revoke(system, served.reconciler(), Wanted("other", forced=True))
    assert revoked(served) == [None, 4]


# Killed.


@pytest.mark.parametrize("death", [Killed, PowerLoss])
def test_ended_at_any_effect_it_is_revoked_after_all_or_not_begun(served: Stand, death: type[Dead]) -> None:
    at, ended = 0, True
    while ended:
        live = served.reconciler().store.load("mail", served.serves)
        (leaf,) = live.fingerprints()
        served.machine.goes_wrong(death(), at=at)
        served.later(days=1)
        count = len(served.machine.effects)
        with served.machine.death():
            gone(served, reason=LEAK)
        ended = len(served.machine.effects) - count == at
        if not served.machine.on:
            served.machine.power_on()
            served.daemon.start()
        served.machine.all_well()
        intent = next((one for one in store(served).all() if one.fingerprint == leaf), None)
        served.later(minutes=3)
        report = served.renew()
        assert report.exit_code is ExitCode.OK, (at, report.errors, report.findings)
        assert served.serves == served.reconciler().store.current_number("mail")
        outcome = next(
            one.revoked for one in served.ca.state.issued.values() if _fingerprint(one.leaf) == leaf
        )
        assert outcome == (1 if intent else None), at
        assert (served.serves > live.number) or not intent
        marked = live.leaves[0][1].spki_sha256 in store(served).compromised()
        assert marked == bool(intent) and not store(served).open()
        at += 1
    assert at > 30


def _fingerprint(leaf: Certificate) -> str:
    return leaf.fingerprint(SHA256()).hex()


def test_an_interrupt_forgets_what_is_not_replaced(served: Stand) -> None:
    served.machine.goes_wrong(KeyboardInterrupt(), when=lambda e: e.subject.endswith("daemonctl reload"))
    with pytest.raises(KeyboardInterrupt):
        gone(served)
    assert not store(served).all() and revoked(served) == [None, None]
    served.later(minutes=5)
    served.renew()
    assert revoked(served) == [None, None]

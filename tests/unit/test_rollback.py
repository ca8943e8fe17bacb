"""Back to an earlier generation, on a machine in memory: refused, done, kept, ended; and killed in between."""

from __future__ import annotations

from datetime import timedelta

import msgspec
import pytest

from mailseal import services
from mailseal.errors import ApplyFailed, ExitCode, UsageError
from mailseal.model import KeyType
from mailseal.report import Report
from mailseal.rollback import Wanted, rollback
from tests.support.memory import Killed, MemorySystem
from tests.unit.test_reconcile import MAIL, Stand, one_service

__all__ = ["one_service"]


def back(stand: Stand, name: str = "", number: int | None = None, *, smaller: bool = False) -> Report:
    system, config = MemorySystem(stand.machine), stand.config()
    return rollback(system, config, stand.reconciler(), Wanted(name, number, smaller))


@pytest.fixture
def renewed() -> Stand:
    """A machine that serves generation 2, with 1 still good for weeks."""
    stand = Stand()
    assert stand.apply().exit_code is ExitCode.OK
    stand.later(days=61)
    assert stand.renew().exit_code is ExitCode.OK and stand.serves == 2
    return stand


def test_it_serves_the_earlier_one_and_says_for_how_long(renewed: Stand) -> None:
    report = back(renewed)
    assert report.exit_code is ExitCode.OK and not report.waits, report.errors
    assert renewed.serves == 1 and renewed.machine.tree(MAIL)[f"{MAIL}/current"].target == "0001"
    assert report.done[0] == "serve generation 0001 of 'mail' on every port, and prove it"
    assert report.done[1].startswith("generation 0001 of 'mail' stays until mailseal apply")


def test_a_renewal_leaves_it_so_and_says_why(renewed: Stand) -> None:
    back(renewed)
    orders, reloads = len(renewed.ca.state.orders), renewed.daemon.reloads
    for _ in range(5):
        renewed.later(days=1)
        report = renewed.renew()
        assert renewed.serves == 1 and not report.done
        assert report.exit_code is ExitCode.WAITING and "held by mailseal rollback" in report.waits[0]
    assert (len(renewed.ca.state.orders), renewed.daemon.reloads) == (orders, reloads)


def test_apply_ends_it(renewed: Stand) -> None:
    back(renewed)
    assert renewed.apply().exit_code is ExitCode.OK and renewed.serves == 2
    assert renewed.state().pin is None
    assert not renewed.renew().done and renewed.serves == 2


def test_another_is_issued_in_good_time_and_takes_its_place(renewed: Stand) -> None:
    back(renewed)
    pin = renewed.state().pin
    assert pin is not None
    first = renewed.reconciler().store.load("mail", 1)
    assert renewed.machine.now < pin.until < first.not_after - timedelta(days=14)
    renewed.later(seconds=(pin.until - renewed.machine.now).total_seconds() + 60)
    assert renewed.renew().exit_code is ExitCode.OK
    assert renewed.serves == 3 and renewed.state().pin is None


def test_where_the_ca_is_down_what_was_turned_down_serves_before_nothing_does(renewed: Stand) -> None:
    back(renewed)
    renewed.ca.state.accounts.clear()  # every order fails from now on
    first = renewed.reconciler().store.load("mail", 1)
    while renewed.machine.now < first.not_after - timedelta(days=4):
        renewed.later(hours=20)
        renewed.ca.state.accounts.clear()
        renewed.renew()
    assert renewed.serves != 1 and renewed.machine.now < first.not_after


def test_a_ca_that_is_in_a_hurry_is_heard(renewed: Stand) -> None:
    back(renewed)
    renewed.later(days=2)
    renewed.renew()
    (known,) = renewed.state().suggestions.values()
    now = renewed.machine.now
    hurry = msgspec.structs.replace(known, chosen=now + timedelta(hours=3))
    state = msgspec.structs.replace(renewed.state(), suggestions={KeyType.ECDSA_P256: hurry})
    renewed.reconciler().states.save("mail", state)
    renewed.later(hours=4)
    assert renewed.renew().exit_code is ExitCode.OK and renewed.serves == 3


def test_a_change_of_the_wish_is_a_change_of_mind(renewed: Stand) -> None:
    back(renewed)
    renewed.tables["mail"] = ((KeyType.ECDSA_P256,), ("mail.example.org", "webmail.example.org"))
    assert renewed.renew().exit_code is ExitCode.OK and renewed.serves == 3


def test_a_rollback_of_a_rollback(renewed: Stand) -> None:
    back(renewed)
    with pytest.raises(UsageError, match="no earlier generation"):
        back(renewed)
    with pytest.raises(UsageError, match="is the newest") as caught:
        back(renewed, "mail", 2)
    assert "mailseal apply" in caught.value.next_command


def test_one_that_lacks_a_name_is_refused_unless_it_is_said(renewed: Stand) -> None:
    renewed.tables["mail"] = ((KeyType.ECDSA_P256,), ("mail.example.org", "webmail.example.org"))
    renewed.apply()
    assert renewed.serves == 3
    with pytest.raises(UsageError, match=r"lacks webmail\.example\.org.*--even-if-smaller"):
        back(renewed)
    with pytest.raises(UsageError, match=r"lacks webmail\.example\.org"):
        back(renewed, "mail", 1)
    assert renewed.serves == 3
    assert back(renewed, smaller=True).exit_code is ExitCode.OK and renewed.serves == 2
    renewed.later(days=1)
    renewed.renew()
    assert renewed.serves == 2, "that it is smaller was said, so it is no reason to order another"


def test_one_that_lacks_a_kind_of_key_is_refused(renewed: Stand) -> None:
    renewed.tables["mail"] = ((KeyType.ECDSA_P256, KeyType.RSA_2048), ("mail.example.org",))
    renewed.apply()
    with pytest.raises(UsageError, match="lacks a key of type rsa-2048"):
        back(renewed)


def test_a_name_that_is_not_wished_for_any_more_is_not_missed(renewed: Stand) -> None:
    renewed.tables["mail"] = ((KeyType.ECDSA_P256,), ("mail.example.org", "webmail.example.org"))
    renewed.apply()
    renewed.tables["mail"] = ((KeyType.ECDSA_P256,), ("mail.example.org",))
    assert back(renewed).exit_code is ExitCode.OK and renewed.serves == 2


def test_what_is_expired_nearly_so_or_damaged_is_refused(renewed: Stand) -> None:
    renewed.later(days=28)
    with pytest.raises(UsageError, match=r"0001: it expires "):
        back(renewed)
    renewed.later(days=2)
    with pytest.raises(UsageError, match=r"it expired "):
        back(renewed, "mail", 1)
    assert renewed.serves == 2


def test_a_generation_that_is_not_there(renewed: Stand) -> None:
    with pytest.raises(UsageError, match="0009 of 'mail' is not there"):
        back(renewed, "mail", 9)
    with pytest.raises(UsageError, match="no certificate 'other'"):
        back(renewed, "other")
    assert renewed.serves == 2


def test_a_machine_that_was_handed_back_is_left_alone(renewed: Stand) -> None:
    renewed.reconciler().detach()
    with pytest.raises(ApplyFailed, match="Nothing can be rolled back"):
        back(renewed)


def test_a_key_that_does_not_fit_is_found_before_anything_changes(renewed: Stand) -> None:
    folder = f"{MAIL}/0001/ecdsa-p256"
    other = renewed.machine.tree(MAIL)[f"{MAIL}/0002/ecdsa-p256/privkey.pem"].content.decode()
    renewed.machine.put(f"{folder}/privkey.pem", other, mode=0o600)
    reloads = renewed.daemon.reloads
    report = back(renewed)
    assert report.exit_code is ExitCode.FAILED and renewed.serves == 2 and renewed.daemon.reloads == reloads
    assert renewed.state().pin is None
    assert not renewed.renew().done and renewed.serves == 2


def test_one_that_fails_the_proof_is_taken_back_and_forgotten(renewed: Stand) -> None:
    renewed.poisons(1)
    report = back(renewed)
    assert report.exit_code is ExitCode.FAILED and "Taken back" in report.errors[0].message
    assert renewed.serves == 2 and renewed.state().pin is None
    assert not renewed.renew().done and renewed.serves == 2


def test_what_was_taken_back_once_may_be_chosen_by_a_person(renewed: Stand) -> None:
    renewed.poisons(1)
    back(renewed)
    del renewed.daemon._read
    assert back(renewed).exit_code is ExitCode.OK and renewed.serves == 1


def test_only_the_one_lineage_is_touched(renewed: Stand) -> None:
    renewed.tables["other"] = ((KeyType.ECDSA_P256,), ("other.example.org",))
    asked = len(renewed.ca.asked)
    assert back(renewed).exit_code is ExitCode.OK
    assert len(renewed.ca.asked) == asked and not renewed.reconciler().store.numbers("other")


def _effects() -> int:
    stand = Stand()
    stand.apply()
    stand.later(days=61)
    stand.renew()
    count = len(stand.machine.effects)
    back(stand)
    return len(stand.machine.effects) - count


@pytest.fixture(scope="module")
def effects() -> int:
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(services.ADAPTERS, "daemon", "tests.unit.test_reconcile:Adapter")
        return _effects()


def test_killed_at_any_effect_the_next_run_ends_it_whole(effects: int, renewed: Stand) -> None:
    assert effects > 10
    for at in range(effects):
        renewed.apply()
        assert renewed.serves == 2
        renewed.machine.goes_wrong(Killed(), at=at)
        with renewed.machine.death():
            back(renewed)
        renewed.machine.all_well()
        renewed.renew()
        current = renewed.reconciler().store.current_number("mail")
        assert renewed.serves == current and current in (1, 2)
        assert (current == 1) == (renewed.state().pin is not None)
        assert renewed.renew().exit_code in (ExitCode.OK, ExitCode.WAITING)

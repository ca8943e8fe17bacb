"""Ctrl-C at any point of a transaction, and a second one while it is taken back: the machine is whole all the same."""

from __future__ import annotations

import os
import signal

import pytest

from mailseal.errors import ApplyFailed
from mailseal.journal import Journal
from mailseal.system.local import LocalSystem
from tests.support.daemon import SERVICE
from tests.support.memory import MemorySystem
from tests.unit.test_transaction import EFFECTS, ROOT, Stand


@pytest.mark.parametrize("at", range(EFFECTS))
def test_interrupted_at_any_effect_the_machine_is_whole(at: int) -> None:
    stand = Stand()
    step = stand.step()
    stand.machine.goes_wrong(KeyboardInterrupt(), at=at)
    try:
        stand.transactions().deploy(step, (SERVICE,))
    except KeyboardInterrupt:
        if not stand.journal().open_records():
            assert stand.daemon.serves == stand.whole()
    stand.recover()
    assert stand.daemon.serves == stand.whole()


@pytest.mark.parametrize("again", range(24))
def test_a_second_interrupt_waits_until_it_is_taken_back(again: int) -> None:
    stand = Stand()
    step = stand.step()
    reload = [("run", "daemonctl reload")]
    stand.machine.goes_wrong(KeyboardInterrupt(), when=lambda e: (e.kind, e.subject) in reload)
    stand.machine.goes_wrong(
        KeyboardInterrupt(),
        at=again,
        when=lambda e: any(x.kind == "run" and "check" in x.subject for x in stand.machine.effects[-40:]),
    )
    with pytest.raises(KeyboardInterrupt):
        stand.transactions().deploy(step, (SERVICE,))
    if not stand.journal().open_records():
        assert stand.whole() == "old" and stand.daemon.serves == "old"


def test_an_interrupt_tells_the_state() -> None:
    stand = Stand()
    step = stand.step()
    stand.machine.goes_wrong(KeyboardInterrupt(), when=lambda e: e.subject.endswith("daemonctl reload"))
    with pytest.raises(KeyboardInterrupt, match="Every file is as it was before"):
        stand.transactions().deploy(step, (SERVICE,))
    assert stand.whole() == "old" and stand.daemon.serves == "old"


def test_with_nothing_good_to_go_back_to_an_interrupt_leaves_the_new_one() -> None:
    stand = Stand()
    step = stand.step()
    stand.machine.goes_wrong(KeyboardInterrupt(), when=lambda e: e.subject.endswith("daemonctl reload"))
    with pytest.raises(KeyboardInterrupt):
        stand.transactions(no_way_back="generation 0001 expires today").deploy(step, (SERVICE,))
    assert stand.whole() == "new" and stand.daemon.serves == "new"
    assert not Journal(MemorySystem(stand.machine), ROOT).open_records()


def test_a_reload_that_fails_does_not_bring_an_expired_one_back() -> None:
    stand = Stand()
    stand.machine.programs.says("daemonctl", "reload", status=1, stderr="timed out")
    step = stand.step()
    outcome = stand.transactions(no_way_back="generation 0001 expires today").deploy(step, (SERVICE,))
    assert outcome.proven and stand.daemon.serves == "new" and stand.daemon.restarts == 1


def test_a_configuration_that_is_refused_goes_back_even_to_an_expired_one() -> None:
    stand = Stand()
    stand.daemon.refuses = "0002"  # the checker's word, once the new one stands
    with pytest.raises(ApplyFailed):
        stand.transactions(no_way_back="generation 0001 expires today").deploy(stand.step(), (SERVICE,))
    assert stand.whole() == "old" and stand.daemon.serves == "old"


def test_on_the_real_machine_signals_wait_and_are_delivered_at_the_end() -> None:
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    reached = []
    try:
        with pytest.raises(KeyboardInterrupt), LocalSystem().uninterrupted():
            with LocalSystem().uninterrupted():
                os.kill(os.getpid(), signal.SIGTERM)
                os.kill(os.getpid(), signal.SIGINT)
            reached.append("after the inner block")
        assert reached == ["after the inner block"]
        assert signal.getsignal(signal.SIGTERM) is signal.default_int_handler
        with LocalSystem().uninterrupted():
            reached.append("nothing came")
        assert len(reached) == 2
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)

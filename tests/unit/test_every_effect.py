"""A renewal and a rollback as whole runs, in memory: at every single effect killed, refused, or without power.

What a process does in order is `machine.effects`; each of them is met once by
each thing that can go wrong, and then the next run of the timer must find its
way. After a power loss the disk holds any mixture of what was not synced
(`tests.support.memory_disk`); the daemon starts on whatever that is. The number
of points is printed (`pytest -s`).
"""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Callable
from functools import cache

import pytest

from mailseal.errors import ExitCode, MailsealError
from mailseal.report import Report
from mailseal.vetting import damage
from tests.support.daemon import SERVICE
from tests.support.memory import Hangs, Killed, MemorySystem, PowerLoss
from tests.support.memory_disk import Disk
from tests.unit.test_reconcile import Stand, one_service
from tests.unit.test_rollback import back
from tests.unit.test_transaction import Stand as Transaction

__all__ = ["one_service"]

ERRNOS = (errno.ENOSPC, errno.EIO, errno.EACCES)
STATES = 6  # of the disk, for each power loss in a whole run; in the transaction alone there are more


def due() -> Stand:
    """Generation 1 serves, and is due."""
    stand = Stand()
    assert stand.apply().exit_code is ExitCode.OK
    stand.renew()
    stand.later(days=61)
    return stand


def renewed() -> Stand:
    """Generation 2 serves, 1 is still good."""
    stand = due()
    assert stand.renew().exit_code is ExitCode.OK and stand.serves == 2
    return stand


WORK: dict[str, tuple[Callable[[], Stand], Callable[[Stand], Report]]] = {
    "renew": (due, Stand.renew),
    "rollback": (renewed, back),
}


@cache
def points(work: str) -> int:
    """How many effects the run has."""
    before, act = WORK[work]
    stand = before()
    count = len(stand.machine.effects)
    assert act(stand).exit_code in (ExitCode.OK, ExitCode.WAITING)
    return len(stand.machine.effects) - count


def heal(stand: Stand, told: object = "") -> None:
    """The next run: well, proven, and whole."""
    stand.machine.all_well()
    report = stand.renew()
    assert not report.errors and report.exit_code in (ExitCode.OK, ExitCode.WAITING), (told, report.errors)
    whole(stand, told)
    live = stand.reconciler().store.current_number("mail")
    assert stand.serves == live, told
    assert report.verdict is not None and report.verdict.proven, told
    assert not stand.reconciler().journal.open_records(), told


def whole(stand: Stand, told: object = "") -> None:
    """What `current` leads to is one generation, undamaged; and clients are served by one of ours."""
    store = stand.reconciler().store
    live = store.current_number("mail")
    assert live is not None, told
    generation = store.find("mail", f"{live:04d}")
    assert generation is not None, told
    assert damage(MemorySystem(stand.machine), store, generation) == "", told
    assert stand.serves > 0, told


@pytest.mark.parametrize("work", WORK)
def test_killed_at_any_effect(work: str) -> None:
    before, act = WORK[work]
    for at in range(points(work)):
        stand = before()
        stand.machine.goes_wrong(Killed(), at=at, torn=True)
        with stand.machine.death():
            act(stand)
        whole(stand, at)
        heal(stand, at)
    print(f"\n{work}: killed at {points(work)} points")


@pytest.mark.parametrize("work", WORK)
def test_killed_again_while_it_heals(work: str) -> None:
    """At each point of the transaction once, and then the healing run at each of its own first effects."""
    before, act = WORK[work]
    for at in range(0, points(work), 3):
        stand = before()
        stand.machine.goes_wrong(Killed(), at=at)
        with stand.machine.death():
            act(stand)
        for again in range(0, 40, 5):
            stand.machine.all_well()
            stand.machine.goes_wrong(Killed(), at=again)
            with stand.machine.death():
                stand.renew()
            whole(stand, (at, again))
        heal(stand, at)


@pytest.mark.parametrize("work", WORK)
def test_without_power_at_any_effect(work: str) -> None:
    before, act = WORK[work]
    count = 0
    for at in range(points(work)):
        stand = before()
        stand.machine.goes_wrong(PowerLoss(), at=at, torn=True)
        with stand.machine.death():
            act(stand)
        stand.machine.all_well()
        for disk in list(stand.machine.disk.power_losses(STATES)):
            switched_on(stand, disk)
            whole(stand, at)
            heal(stand, at)
            count += 1
    print(f"\n{work}: {count} disks after a power loss at {points(work)} points")


@pytest.mark.parametrize("new", ["new", "poison"])
def test_the_transaction_alone_without_power(new: str) -> None:
    """One that is kept and one that is taken back: every state that the disk may be in, at each of their effects."""
    count = at = 0
    while True:
        stand = Transaction(new)
        step = stand.step()
        stand.machine.goes_wrong(PowerLoss(), at=at, torn=True)
        with stand.machine.death(), contextlib.suppress(MailsealError):
            stand.transactions().deploy(step, (SERVICE,))
        if stand.machine.on:
            break
        stand.machine.all_well()
        for disk in list(stand.machine.disk.power_losses()):
            switched_on(stand, disk)
            stand.recover()
            assert stand.whole() in ("old", new), at
            assert stand.daemon.serves == ("new" if stand.whole() == "new" else "old"), at
            count += 1
        at += 1
    assert at > 20
    print(f"\n{new}: {count} disks after a power loss at {at} points of the transaction")


def switched_on(stand: Stand | Transaction, disk: Disk) -> None:
    """The machine starts on that disk, and the daemon with it."""
    stand.machine._boot(disk)
    stand.daemon.throttled = False
    stand.daemon.start()


@pytest.mark.parametrize("number", ERRNOS)
@pytest.mark.parametrize("work", WORK)
def test_refused_at_any_effect(work: str, number: int) -> None:
    before, act = WORK[work]
    for at in range(points(work)):
        stand = before()
        served = stand.serves
        stand.machine.goes_wrong(number, at=at)
        told = attempt(stand, act)
        whole(stand, at)
        # What was written but may not be durable is deployed all the same: it is whole.
        assert stand.serves in (served, stand.reconciler().store.current_number("mail")), (at, told)
        assert told is None or os.strerror(number) in told, (at, told)
        stand.later(minutes=2)
        heal(stand, (at, told))


def attempt(stand: Stand, act: Callable[[Stand], Report]) -> str | None:
    """What the run said went wrong; None where it reached its end all the same."""
    try:
        report = act(stand)
    except MailsealError as error:
        return str(error)
    return "; ".join(map(str, report.errors)) or None


FAILING: dict[str, Callable[[Stand], None]] = {
    "a check that fails": lambda stand: setattr(stand.daemon, "refuses", "0002"),
    "a reload that fails": lambda stand: stand.machine.programs.says(
        "daemonctl", "reload", status=1, stderr="no"
    ),
    "a reload that hangs": lambda stand: hangs(stand, "reload"),
    "a check that hangs": lambda stand: hangs(stand, "check"),
    "a proof that fails": lambda stand: stand.poisons(2),
}


def hangs(stand: Stand, command: str) -> None:
    def never(*_: object) -> None:
        raise Hangs

    stand.machine.programs.on("daemonctl", command)(never)


@pytest.mark.parametrize("what", FAILING)
def test_a_step_that_fails_is_taken_back_and_named(what: str) -> None:
    stand = due()
    known = dict(stand.machine.programs.table)
    FAILING[what](stand)
    told = attempt(stand, Stand.renew)
    assert told, "it is told"
    print(f"\n{what}: {told}")
    assert stand.serves == 1 and stand.reconciler().store.current_number("mail") == 1
    whole(stand)
    stand.machine.programs.table = known
    stand.daemon.refuses = ""
    stand.later(minutes=2)
    if what == "a proof that fails":
        stand.daemon._read = type(stand.daemon)._read.__get__(stand.daemon)  # type: ignore[method-assign]
    heal(stand)
    assert stand.serves == 2

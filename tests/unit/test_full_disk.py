"""A disk that fills up in the middle of the transaction: taken back as far as it goes, and the rest by the next run."""

from __future__ import annotations

import errno
from collections.abc import Callable

import pytest

from mailseal.errors import ApplyFailed, MailsealError
from tests.support.daemon import CONF, SERVICE
from tests.support.memory_effects import Effect
from tests.unit.test_transaction import Stand


def _creates_below(folder: str, name: str = "") -> Callable[[Effect], bool]:
    return lambda effect: (
        effect.kind == "create" and effect.subject.startswith(folder) and name in effect.subject
    )


def test_what_the_journal_cannot_remember_does_not_stay() -> None:
    stand = Stand()
    stand.machine.goes_wrong(errno.ENOSPC, when=_creates_below("/var/lib/mailseal/journal", "baseline"))
    with pytest.raises(ApplyFailed, match="Taken back") as caught:
        stand.transactions().deploy(stand.step(), (SERVICE,))
    assert "baseline.json" in caught.value.reason and "No space left" in caught.value.reason
    assert caught.value.next_command.startswith("make room: df -h")
    assert stand.whole() == "old" and stand.daemon.serves == "old"
    assert not stand.journal().open_records() and stand.journal().baseline() == ()


def test_a_disk_too_full_for_the_journal_stops_it_before_anything_changed() -> None:
    stand = Stand()
    stand.machine.goes_wrong(errno.ENOSPC, when=_creates_below("/var/lib/mailseal"), lasting=True)
    with pytest.raises(MailsealError, match="Cannot write") as caught:
        stand.transactions().deploy(stand.step(), (SERVICE,))
    assert caught.value.state == "Nothing was changed." and "df -h" in caught.value.next_command
    assert stand.whole() == "old" and stand.daemon.reloads == 0


def test_an_undo_goes_on_past_what_it_cannot_restore_and_the_next_run_restores_it() -> None:
    stand = Stand(new="poison")
    filled = []

    def when(effect: Effect) -> bool:
        """From the second write of the daemon's file on: its undo."""
        if effect.kind == "create" and effect.subject.startswith("/etc/.daemon.conf"):
            filled.append(effect)
        return len(filled) > 1 and effect.kind == "create" and effect.subject.startswith("/etc/")

    stand.machine.goes_wrong(errno.ENOSPC, when=when, lasting=True)
    with pytest.raises(ApplyFailed, match="Taken back in part") as caught:
        stand.transactions().deploy(stand.step(), (SERVICE,))
    assert f"{CONF} (No space left on device)" in caught.value.state
    assert caught.value.next_command == "mend that, then mailseal apply"
    assert "/etc/daemon.d" not in stand.machine.tree("/etc"), "what could be removed was removed"
    assert stand.journal().open_records()
    # Still full: the next run changes nothing else, and says so.
    with pytest.raises(ApplyFailed, match=f"could not be restored: .*{CONF}"):
        stand.recover()
    assert stand.journal().open_records()
    stand.machine.all_well()
    stand.recover()
    assert stand.whole() == "old" and stand.daemon.serves == "old"

"""The machine handed back: what was ours goes, what is others' stays, and no daemon is left with less than it had."""

from __future__ import annotations

import pytest

from mailseal.apply import Transactions
from mailseal.detach import HandedBack, HandingBack, returns
from mailseal.errors import ApplyFailed
from mailseal.journal import Journal
from mailseal.model import DirectoryWish, FileWish, LinkWish, Wish
from mailseal.recover import Recovery
from mailseal.steps import Deploy, Put
from tests.support.daemon import CONF, SERVICE, Daemon, DaemonProver, NoRehearsal
from tests.support.memory import Killed, Machine, MemorySystem

ROOT = "/var/lib/mailseal"
FOUND = "/srv/found\n# more\n# and more\n"
PAGE = "/etc/www/index.html"


class Stand:
    """A machine on which mailseal changed the daemon's file and made a web root."""

    def __init__(self) -> None:
        self.machine = Machine()
        self.machine.put_directory(ROOT, mode=0o711)
        self.machine.put("/srv/found", "found")
        self.machine.put("/srv/ours", "ours")
        self.machine.put(CONF, FOUND, mode=0o640, owner=(0, 7))
        self.daemon = Daemon(self.machine)
        self.daemon.start()
        self.before = self.machine.tree("/etc")
        self.change(
            DirectoryWish("/etc/www"),
            FileWish(PAGE, b"a page\n"),
            FileWish(CONF, FOUND.replace("/srv/found", "/srv/ours").encode(), keep_metadata=True),
            LinkWish("/etc/enabled", "daemon.conf"),
        )
        assert self.daemon.serves == "ours"

    def transactions(self, process: MemorySystem) -> Transactions:
        return Transactions(
            process,
            Journal(process, ROOT),
            DaemonProver(self.daemon),
            NoRehearsal(),
            look_again=lambda: (SERVICE,),
            vet=lambda step: None,
            no_way_back=lambda step: "",
            say=lambda line: None,
        )

    def change(self, *wishes: Wish) -> None:
        process = MemorySystem(self.machine)
        puts = tuple(Put(wish, process.files.state(wish.path)) for wish in wishes)
        self.transactions(process).deploy(Deploy("a change", puts, ("daemon",)), (SERVICE,))

    def detach(self) -> HandedBack:
        process = MemorySystem(self.machine)
        transactions = self.transactions(process)
        journal = Journal(process, ROOT)
        prover = DaemonProver(self.daemon)
        return HandingBack(process, journal, transactions, prover, lambda line: None).carry_out((SERVICE,))

    @property
    def journal(self) -> Journal:
        return Journal(MemorySystem(self.machine), ROOT)

    def why(self, path: str) -> str:
        planned = returns(MemorySystem(self.machine).files, self.journal)
        return next(one.describe() for one in planned if one.path == path)


def test_everything_is_as_it_was_found() -> None:
    stand = Stand()
    done = stand.detach()
    assert stand.machine.tree("/etc") == stand.before
    assert stand.daemon.serves == "found"
    assert not done.left and not done.findings
    assert stand.journal.baseline() == () and not stand.journal.open_records()


def test_after_several_changes_too() -> None:
    stand = Stand()
    for number in range(3):
        text = FOUND.replace("/srv/found", "/srv/ours") + f"# {number}\n"
        stand.change(FileWish(CONF, text.encode(), keep_metadata=True))
    stand.detach()
    assert stand.machine.tree("/etc") == stand.before


def test_an_edit_since_is_kept_also_where_another_change_of_ours_followed() -> None:
    stand = Stand()
    stand.machine.put(CONF, FOUND.replace("/srv/found", "/srv/ours") + "# theirs\n", mode=0o640, owner=(0, 7))
    text = FOUND.replace("/srv/found", "/srv/ours\n# ours") + "# theirs\n"
    stand.change(FileWish(CONF, text.encode(), keep_metadata=True))
    stand.detach()
    assert stand.machine.tree("/etc")[CONF].content.decode() == FOUND + "# theirs\n"


def test_a_file_that_was_edited_in_our_lines_is_left_and_told() -> None:
    stand = Stand()
    stand.machine.put("/srv/theirs", "theirs")
    stand.machine.put(CONF, FOUND.replace("/srv/found", "/srv/theirs"))
    done = stand.detach()
    assert done.left == (CONF,)
    assert stand.daemon.serves == "theirs"
    assert [entry.path for entry in stand.journal.baseline()] == [CONF]


def test_a_page_that_was_edited_keeps_its_folder() -> None:
    stand = Stand()
    stand.machine.put(PAGE, "their page\n")
    done = stand.detach()
    tree = stand.machine.tree("/etc")
    assert tree[PAGE].content == b"their page\n" and "/etc/enabled" not in tree
    assert set(done.left) == {PAGE, "/etc/www"}


def test_a_folder_that_holds_anothers_file_stays() -> None:
    stand = Stand()
    stand.machine.put("/etc/www/photo", "theirs")
    assert stand.why("/etc/www") == "leave /etc/www (it holds photo)"
    stand.detach()
    tree = stand.machine.tree("/etc")
    assert PAGE not in tree and "/etc/www/photo" in tree


def test_what_somebody_removed_stays_away_and_is_forgotten() -> None:
    stand = Stand()
    MemorySystem(stand.machine).files.remove(PAGE)
    MemorySystem(stand.machine).files.remove("/etc/enabled")
    assert not stand.detach().left
    assert stand.machine.tree("/etc") == stand.before
    assert stand.journal.baseline() == ()


def test_a_daemon_that_would_refuse_it_keeps_what_it_has() -> None:
    stand = Stand()
    with_us = stand.machine.tree("/etc")
    baseline = stand.journal.baseline()
    stand.machine.programs.on("daemonctl", "check")(
        lambda system, argv, stdin: 0 if "/srv/ours" in system.files.read(CONF).decode() else 1
    )
    with pytest.raises(ApplyFailed, match="not handed back") as caught:
        stand.detach()
    assert caught.value.state == "Nothing was changed."
    assert stand.machine.tree("/etc") == with_us and stand.daemon.serves == "ours"
    assert stand.journal.baseline() == baseline and not stand.journal.open_records()


def test_a_daemon_that_refused_its_configuration_before_is_not_ended_by_it() -> None:
    stand = Stand()
    stand.machine.programs.on("daemonctl", "check")(lambda system, argv, stdin: 1)
    reloads = stand.daemon.reloads
    stand.detach()
    assert stand.machine.tree("/etc") == stand.before
    assert (stand.daemon.reloads, stand.daemon.restarts) == (reloads, 0)


def test_clients_that_the_old_state_turns_away_are_told() -> None:
    stand = Stand()
    MemorySystem(stand.machine).files.remove("/srv/found")
    done = stand.detach()
    assert stand.machine.tree("/etc") == stand.before
    assert [finding.code for finding in done.findings] == ["endpoint-unreachable"]


def _effects_of_a_detach() -> int:
    stand = Stand()
    count = len(stand.machine.effects)
    stand.detach()
    return len(stand.machine.effects) - count


@pytest.mark.parametrize("at", range(_effects_of_a_detach()))
def test_killed_at_any_effect_it_may_be_done_again(at: int) -> None:
    stand = Stand()
    stand.machine.goes_wrong(Killed(), at=at)
    with stand.machine.death():
        stand.detach()
    stand.machine.all_well()
    process = MemorySystem(stand.machine)
    recovery = Recovery(
        process,
        Journal(process, ROOT),
        stand.transactions(process),
        DaemonProver(stand.daemon),
        lambda line: None,
    )
    for record in stand.journal.open_records():
        recovery.recover(record, (SERVICE,))
    stand.detach()
    assert stand.machine.tree("/etc") == stand.before
    assert stand.journal.baseline() == () and not stand.journal.open_records()
    assert stand.daemon.serves == "found"

"""The journal: what it remembers of a transaction and of the machine, and what a detach may take from it."""

from __future__ import annotations

import pytest

from mailseal.effects import perform, undo
from mailseal.errors import SystemFault
from mailseal.journal import Entry, Journal, Record, image_matches
from mailseal.model import AbsentWish, FileState, FileWish, LinkWish, Wish
from mailseal.steps import Put
from tests.support.memory import Killed, Machine, MemorySystem

ROOT = "/var/lib/mailseal"
CONF = "/etc/main.cf"
ORIGINAL = "a = 1\nb = 2\nc = 3\n"


def of_ours(text: str, ours: str = "new") -> str:
    """What an adapter makes of a text: one line of it changed, one added."""
    kept = [line for line in text.splitlines() if not line.startswith("tls =")]
    return "\n".join([*("b = ours" if line == "b = 2" else line for line in kept), f"tls = {ours}", ""])


class Stand:
    """A machine with one configuration file, and a journal."""

    def __init__(self) -> None:
        self.machine = Machine()
        self.machine.put_directory(ROOT, mode=0o711)
        self.machine.put(CONF, ORIGINAL)
        self.system = MemorySystem(self.machine)
        self.journal = Journal(self.system, ROOT)

    def read(self, path: str = CONF) -> str:
        return self.system.files.read(path).decode()

    def begin(self, *wishes: Wish) -> Record:
        puts = tuple(Put(wish, self.system.files.state(wish.path)) for wish in wishes)
        record = self.journal.begin("a change", puts, ("daemon",), ())
        for put in puts:
            perform(self.system.files, put)
        return record

    def change(self, *wishes: Wish) -> Record:
        record = self.begin(*wishes)
        self.journal.commit(record)
        return record

    def ours(self, value: str = "new") -> Record:
        return self.change(FileWish(CONF, of_ours(self.read(), value).encode(), keep_metadata=True))

    def without_us(self, path: str = CONF) -> str:
        """What a detach restores."""
        (entry,) = [one for one in self.journal.baseline() if one.path == path]
        return self.journal.state(entry.before).content.decode()


def test_the_first_image_of_a_path_is_kept() -> None:
    stand = Stand()
    stand.ours("one")
    stand.ours("two")
    assert stand.without_us() == ORIGINAL
    (entry,) = stand.journal.baseline()
    assert image_matches(entry.after, stand.system.files.state(CONF))


def test_an_edit_between_two_changes_of_ours_outlives_a_detach() -> None:
    stand = Stand()
    stand.ours("one")
    stand.machine.put(CONF, "# theirs\n" + stand.read() + "d = 4\n")
    stand.ours("two")
    assert stand.without_us() == f"# theirs\n{ORIGINAL}d = 4\n"


def test_a_mode_set_between_two_changes_of_ours_outlives_a_detach() -> None:
    stand = Stand()
    stand.ours("one")
    stand.machine.put(CONF, stand.read(), mode=0o640, owner=(0, 7))
    stand.ours("two")
    (entry,) = stand.journal.baseline()
    assert (entry.before.mode, entry.before.gid) == (0o640, 7)


def test_a_file_that_a_package_put_anew_is_what_comes_back() -> None:
    stand = Stand()
    stand.ours("one")
    stand.machine.put(CONF, "version = 3\n")
    stand.ours("two")
    assert stand.without_us() == "version = 3\n"


def test_a_file_that_was_put_back_by_hand_is_as_it_was_found() -> None:
    stand = Stand()
    stand.ours("one")
    stand.machine.put(CONF, ORIGINAL)
    stand.ours("two")
    assert stand.without_us() == ORIGINAL


def test_a_file_of_ours_that_was_edited_is_still_ours() -> None:
    stand = Stand()
    stand.change(FileWish("/etc/ours.conf", b"one\n"))
    stand.machine.put("/etc/ours.conf", "edited\n")
    stand.change(FileWish("/etc/ours.conf", b"two\n"))
    (entry,) = stand.journal.baseline()
    assert entry.before.kind == "absent"


def test_a_file_that_took_the_place_of_our_link_comes_back() -> None:
    stand = Stand()
    stand.change(LinkWish("/etc/link", "main.cf"))
    stand.system.files.remove("/etc/link")
    stand.machine.put("/etc/link", "a file of somebody's\n")
    stand.change(LinkWish("/etc/link", "main.cf"))
    assert stand.without_us("/etc/link") == "a file of somebody's\n"


def test_our_own_folder_is_no_part_of_the_machine() -> None:
    stand = Stand()
    stand.change(LinkWish(f"{ROOT}/current", "0001"), AbsentWish("/etc/nothing"))
    assert [entry.path for entry in stand.journal.baseline()] == ["/etc/nothing"]


def test_a_change_may_be_taken_back_after_its_commit() -> None:
    stand = Stand()
    stand.ours("one")
    before = stand.journal.baseline()
    standing = stand.read()
    record = stand.ours("two")
    undo(stand.system.files, stand.journal, record)
    stand.journal.uncommit(record)
    assert stand.read() == standing
    assert stand.journal.baseline() == before


def test_a_first_change_that_is_taken_back_leaves_no_trace() -> None:
    stand = Stand()
    record = stand.ours("one")
    undo(stand.system.files, stand.journal, record)
    stand.journal.uncommit(record)
    assert stand.journal.baseline() == ()
    assert stand.system.files.listdir(f"{ROOT}/journal/blobs") == ()


def test_contents_that_nothing_names_go_when_the_next_transaction_begins() -> None:
    stand = Stand()
    for value in ("one", "two", "three"):
        stand.ours(value)
    stand.begin()
    named = {entry.before.sha256 for entry in stand.journal.baseline()}
    named |= {entry.after.sha256 for entry in stand.journal.baseline()}
    assert set(stand.system.files.listdir(f"{ROOT}/journal/blobs")) == named


def _effects_of_a_commit() -> tuple[int, tuple[Entry, ...]]:
    stand = Stand()
    record = stand.begin(FileWish(CONF, b"x\n"))
    count = len(stand.machine.effects)
    stand.journal.commit(record)
    return len(stand.machine.effects) - count, stand.journal.baseline()


COMMIT, BASELINE = _effects_of_a_commit()


@pytest.mark.parametrize("at", range(COMMIT))
def test_a_commit_that_was_killed_may_be_done_again(at: int) -> None:
    stand = Stand()
    record = stand.begin(FileWish(CONF, b"x\n"))
    stand.machine.goes_wrong(Killed(), at=at)
    with stand.machine.death():
        stand.journal.commit(record)
    stand.machine.all_well()
    journal = Journal(MemorySystem(stand.machine), ROOT)
    for left in journal.open_records():
        journal.commit(left)
    assert journal.baseline() == BASELINE
    assert journal.open_records() == ()


def test_nothing_of_it_can_be_read_by_others() -> None:
    stand = Stand()
    stand.begin(FileWish("/etc/secret", b"key", mode=0o600, secret=True))
    for path, found in stand.machine.tree(f"{ROOT}/journal").items():
        assert found.mode == (0o700 if found.kind == "directory" else 0o600), path


def test_a_damaged_content_is_not_restored() -> None:
    stand = Stand()
    record = stand.begin(FileWish(CONF, b"x\n"))
    stand.machine.put(f"{ROOT}/journal/blobs/{record.entries[0].before.sha256}", "garbage")
    with pytest.raises(SystemFault, match="damaged"):
        stand.journal.state(record.entries[0].before)


def test_a_damaged_record_says_what_to_do() -> None:
    stand = Stand()
    record = stand.begin(FileWish(CONF, b"x\n"))
    stand.machine.put(f"{ROOT}/journal/{record.id}.json", "{")
    with pytest.raises(SystemFault, match=record.id) as caught:
        stand.journal.open_records()
    assert caught.value.next_command


def test_what_is_neither_file_nor_link_nor_directory_is_named() -> None:
    stand = Stand()
    put = Put(FileWish("/etc/pipe", b""), FileState("other"))
    with pytest.raises(SystemFault, match="/etc/pipe"):
        stand.journal.begin("a change", (put,), (), ())

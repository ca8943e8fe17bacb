"""Steps: which wishes are fulfilled, what a put makes of a path, and what a diff shows and does not."""

from __future__ import annotations

import pytest

from mailseal.effects import parents_first, perform, undo_entry, write
from mailseal.errors import SystemFault
from mailseal.journal import Entry, Journal, image_matches
from mailseal.model import AbsentWish, DirectoryWish, FileState, FileWish, LinkWish, Wish
from mailseal.steps import Deploy, Put, after_state, differences, fulfilled
from tests.support.memory import Machine, MemorySystem

FILE = FileState("file", b"one\n", mode=0o644)
ABSENT = FileState("absent")
LINK = FileState("link", target="there")
FOLDER = FileState("directory", mode=0o755)


@pytest.mark.parametrize(
    ("wish", "state", "is_so"),
    [
        (FileWish("/f", b"one\n"), FILE, True),
        (FileWish("/f", b"two\n"), FILE, False),
        (FileWish("/f", b"one\n", mode=0o600), FILE, False),
        (FileWish("/f", b"one\n", mode=0o600, keep_metadata=True), FILE, True),
        (FileWish("/f", b"one\n", owner=(0, 7)), FILE, False),
        (FileWish("/f", b"one\n"), LINK, False),
        (FileWish("/f", b""), ABSENT, False),
        (LinkWish("/f", "there"), LINK, True),
        (LinkWish("/f", "elsewhere"), LINK, False),
        (LinkWish("/f", "there"), FILE, False),
        (DirectoryWish("/f", 0o700), FOLDER, True),  # one that stands is left as it is
        (DirectoryWish("/f"), ABSENT, False),
        (AbsentWish("/f"), ABSENT, True),
        (AbsentWish("/f"), FILE, False),
    ],
)
def test_a_wish_is_fulfilled_or_asks_for_a_put(wish: Wish, state: FileState, is_so: bool) -> None:
    assert fulfilled(wish, state) is is_so
    assert differences((wish,), {"/f": state}) == (() if is_so else (Put(wish, state),))


@pytest.mark.parametrize(
    ("put", "after"),
    [
        (Put(FileWish("/f", b"two\n"), ABSENT), FileState("file", b"two\n", mode=0o644)),
        (
            Put(FileWish("/f", b"two\n", keep_metadata=True), FileState("file", b"", "", 0o640, 0, 7)),
            FileState("file", b"two\n", "", 0o640, 0, 7),
        ),
        (
            Put(FileWish("/f", b"two\n", 0o600, keep_metadata=True), ABSENT),
            FileState("file", b"two\n", mode=0o600),
        ),
        (Put(LinkWish("/f", "there"), FILE), LINK),
        (Put(AbsentWish("/f"), FILE), ABSENT),
        (Put(DirectoryWish("/f", 0o700), ABSENT), FileState("directory", mode=0o700)),
    ],
)
def test_what_stands_after_a_put(put: Put, after: FileState) -> None:
    assert after_state(put) == after


def test_a_put_does_what_it_says_and_is_undone() -> None:
    machine = Machine()
    system = MemorySystem(machine)
    machine.put("/etc/f", "one\n", mode=0o640, owner=(0, 7))
    before = machine.tree("/etc")
    journal = Journal(system, "/var/lib")
    wishes = (
        FileWish("/etc/f", b"two\n", keep_metadata=True),
        DirectoryWish("/etc/d"),
        LinkWish("/etc/d/l", "x"),
    )
    puts = tuple(Put(wish, system.files.state(wish.path)) for wish in wishes)
    record = journal.begin("a test", puts, (), ())
    for put, entry in zip(puts, record.entries, strict=True):
        perform(system.files, put)
        assert image_matches(entry.after, system.files.state(put.path))
    assert all(undo_entry(system.files, journal, entry) for entry in reversed(record.entries))
    assert machine.tree("/etc") == before


def test_a_folder_with_somebody_elses_file_is_not_undone() -> None:
    machine = Machine()
    system = MemorySystem(machine)
    journal = Journal(system, "/var/lib")
    put = Put(DirectoryWish("/etc/d"), ABSENT)
    entry: Entry = journal.begin("a test", (put,), (), ()).entries[0]
    perform(system.files, put)
    machine.put("/etc/d/theirs", "")
    assert not undo_entry(system.files, journal, entry)
    assert "/etc/d/theirs" in machine.tree("/etc")


def test_what_is_neither_file_nor_link_nor_directory_is_not_written() -> None:
    with pytest.raises(SystemFault, match="/etc/pipe"):
        write(MemorySystem(Machine()).files, "/etc/pipe", FileState("other"), ABSENT)


KEY = b"-----BEGIN PRIVATE KEY-----\nabc\n-----END PRIVATE KEY-----\n"


@pytest.mark.parametrize(
    "put",
    [
        Put(FileWish("/f", b"password\n", secret=True), ABSENT),
        Put(FileWish("/f", KEY), ABSENT),
        Put(FileWish("/f", b"now something else\n"), FileState("file", KEY)),
        Put(AbsentWish("/f"), FileState("file", KEY)),
        Put(FileWish("/f", b"\x00\x01"), ABSENT),
        Put(LinkWish("/f", "there"), ABSENT),
    ],
)
def test_a_diff_shows_no_secret(put: Put) -> None:
    assert put.diff() == ""
    assert "PRIVATE" not in repr(put) and "password" not in repr(put)


def test_a_diff_shows_what_changes() -> None:
    put = Put(FileWish("/etc/f", b"a\nb\n"), FileState("file", b"a\nc"))
    assert put.diff() == "--- /etc/f\n+++ /etc/f\n@@ -1,2 +1,2 @@\n a\n-c\n+b\n"
    assert put.describe() == "change /etc/f"
    gone = Put(AbsentWish("/etc/f"), FILE)
    assert gone.diff() == "--- /etc/f\n+++ /dev/null\n@@ -1 +0,0 @@\n-one\n"


def paths(puts: tuple[Put, ...]) -> list[str]:
    return [put.path for put in puts]


PUTS = tuple(
    Put(wish, ABSENT)
    for wish in (
        AbsentWish("/etc/gone"),
        LinkWish("/etc/enabled", "f"),
        FileWish("/etc/d/e/f", b""),
        LinkWish("/lineages/mail/current", "0002"),
        DirectoryWish("/etc/d/e"),
        DirectoryWish("/etc/d"),
    )
)


def test_nothing_is_named_before_it_is_there() -> None:
    assert paths(parents_first(PUTS)) == [
        "/etc/d",
        "/etc/d/e",
        "/lineages/mail/current",
        "/etc/d/e/f",
        "/etc/enabled",
        "/etc/gone",
    ]


def test_what_a_new_generation_lacks_is_unnamed_before_it_goes_live() -> None:
    order = paths(parents_first(PUTS, current_last=True))
    assert order.index("/lineages/mail/current") > order.index("/etc/d/e/f")


def test_what_comes_later_says_so() -> None:
    assert "once the certificate is there" in Deploy("serve it", (), (), provisional=True).describe()

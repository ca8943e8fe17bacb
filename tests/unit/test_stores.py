"""Lineages on disk: written whole or not at all, never readable by others; and what is remembered beside them."""

from __future__ import annotations

import errno
from datetime import UTC, datetime, timedelta

import pytest

from mailseal.errors import SystemFault
from mailseal.model import CertificateFacts, Identifier, KeyType, LinkWish, Secret
from mailseal.stores.filesystem import LineageStore, Material
from mailseal.stores.state import Failure, LineageState, Rejection, StateStore, Suggestion, holds
from tests.support.memory import Killed, Machine, MemorySystem

ROOT = "/var/lib/mailseal"
MAIL = f"{ROOT}/lineages/mail"
NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
EC, RSA = KeyType.ECDSA_P256, KeyType.RSA_2048


def material(key_type: KeyType = EC) -> Material:
    facts = CertificateFacts(
        "ab" * 32,
        "cd" * 32,
        (Identifier.parse("mail.example.org"), Identifier.parse("192.0.2.7")),
        "CN=A CA",
        2**159 - 1,
        NOW,
        NOW + timedelta(days=90),
        key_type.family,
    )
    return Material(key_type, Secret(b"the key\n"), b"the leaf\n", b"the chain\n", facts)


class Stand:
    def __init__(self) -> None:
        self.machine = Machine()
        self.new_process()
        self.store.prepare()

    def new_process(self) -> None:
        self.system = MemorySystem(self.machine)
        self.store = LineageStore(self.system, ROOT)
        self.states = StateStore(self.system, ROOT)

    def write(self, *types: KeyType) -> int:
        materials = tuple(material(one) for one in types or (EC,))
        return self.store.write("mail", materials, issuer="https://ca.example", issued_at=NOW).number


def test_what_is_written_is_what_is_loaded() -> None:
    stand = Stand()
    written = stand.store.write(
        "mail", (material(), material(RSA)), issuer="https://ca.example", issued_at=NOW
    )
    assert stand.store.load("mail", 1) == written == stand.store.find("mail", "0001")
    asked = (Identifier.parse("mail.example.org"),)
    again = stand.store.write("mail", (material(),), issuer="https://ca.example", issued_at=NOW, asked=asked)
    assert stand.store.load("mail", 2) == again and again.asked == asked
    assert written.label == "0001" and written.not_after == NOW + timedelta(days=90)
    files = stand.store.generation_files(written)
    assert [one.key_type for one in files] == [EC, RSA]
    tree = stand.machine.tree(MAIL)
    assert tree[files[0].combined].content == b"the key\nthe leaf\nthe chain\n"
    assert tree[files[0].fullchain].content == b"the leaf\nthe chain\n"


def test_nobody_else_enters_the_folders_or_reads_the_keys() -> None:
    stand = Stand()
    stand.write(EC, RSA)
    modes = {path: (found.kind, found.mode) for path, found in stand.machine.tree(ROOT).items()}
    assert modes[ROOT] == ("directory", 0o711)
    assert modes[f"{ROOT}/challenges"] == ("directory", 0o755)
    for path, (kind, mode) in modes.items():
        if path.startswith(f"{ROOT}/") and not path.startswith(f"{ROOT}/challenges"):
            assert mode == (0o700 if kind == "directory" else 0o600), path
    assert not [e for e in stand.machine.effects if e.kind == "chmod" and "privkey" in e.subject]


def _effects_of_a_write() -> int:
    stand = Stand()
    count = len(stand.machine.effects)
    stand.write()
    return len(stand.machine.effects) - count


WRITE = _effects_of_a_write()


@pytest.mark.parametrize("at", range(WRITE))
def test_killed_at_any_effect_a_generation_is_whole_or_not_there(at: int) -> None:
    stand = Stand()
    stand.machine.goes_wrong(Killed(), at=at)
    with stand.machine.death():
        stand.write()
    stand.machine.all_well()
    stand.new_process()
    for number in stand.store.numbers("mail"):
        assert stand.store.find("mail", f"{number:04d}") is not None
    number = stand.write()
    assert stand.store.find("mail", f"{number:04d}") is not None
    left = [name for name in stand.system.files.listdir(MAIL) if name.startswith(".")]
    assert not left, "a key would lie around in it"


@pytest.mark.parametrize("at", range(WRITE))
def test_a_full_disk_leaves_none(at: int) -> None:
    stand = Stand()
    stand.machine.goes_wrong(errno.ENOSPC, at=at)
    try:
        stand.write()
    except SystemFault:
        assert stand.store.numbers("mail") in ((), (1,))
        if stand.store.numbers("mail"):
            assert stand.store.find("mail", "0001") is not None


def test_numbers_go_on_past_what_is_damaged_or_was_removed() -> None:
    stand = Stand()
    for _ in range(3):
        stand.write()
    stand.system.files.remove_tree(f"{MAIL}/0002")
    stand.system.files.remove(f"{MAIL}/0003/meta.json")
    assert stand.store.numbers("mail") == (1, 3)
    assert stand.store.find("mail", "0003") is None
    assert stand.write() == 4


@pytest.mark.parametrize(
    "meta",
    [
        b"",
        b"{}",
        b"[]",
        b"\xff",
        b'{"lineage":"mail","number":1,"issuer":"","issued_at":"2026-11-23T12:00:00Z","leaves":[]}',
    ],
)
def test_a_damaged_meta_is_told_with_what_to_do(meta: bytes) -> None:
    stand = Stand()
    stand.write()
    stand.machine.put(f"{MAIL}/0001/meta.json", meta, mode=0o600)
    with pytest.raises(SystemFault, match="damaged") as caught:
        stand.store.load("mail", 1)
    assert caught.value.next_command
    assert stand.store.find("mail", "0001") is None
    assert stand.store.fingerprints("mail", "0001") == frozenset()


def test_a_meta_with_a_name_that_is_none_is_damaged() -> None:
    stand = Stand()
    stand.write()
    path = f"{MAIL}/0001/meta.json"
    text = stand.machine.tree(MAIL)[path].content.replace(b"192.0.2.7", b"no name")
    stand.machine.put(path, text, mode=0o600)
    assert stand.store.find("mail", "0001") is None


def test_a_folder_that_was_renamed_keeps_its_generations() -> None:
    stand = Stand()
    stand.write()
    stand.system.files.rename(MAIL, f"{ROOT}/lineages/post")
    found = stand.store.find("post", "0001")
    assert found is not None and found.lineage == "post"


@pytest.mark.parametrize(
    ("target", "number"), [("0001", 1), ("0007", 7), ("../other", None), ("/etc", None), ("1", None)]
)
def test_what_current_leads_to(target: str, number: int | None) -> None:
    stand = Stand()
    stand.write()
    stand.machine.put_link(f"{MAIL}/current", target)
    assert stand.store.current_number("mail") == number


def test_a_label_that_is_none_leads_nowhere() -> None:
    stand = Stand()
    stand.write()
    for label in ("", "..", "../0001", "0001/", "1", "current"):
        assert stand.store.find("mail", label) is None


def test_all_files_of_a_generation_move_by_one_link() -> None:
    stand = Stand()
    stand.write()
    generation = stand.store.load("mail", 1)
    wish = stand.store.current_wish(generation)
    assert (wish.path, wish.target) == (f"{MAIL}/current", "0001")
    (files,) = stand.store.key_files("mail", (EC,))
    assert {path.startswith(f"{MAIL}/current/ecdsa-p256/") for path in files.paths} == {True}
    links = [wish for wish in stand.store.live_wishes("mail", EC) if isinstance(wish, LinkWish)]
    assert [link.path.rpartition("/")[2] for link in links] == [
        "privkey.pem",
        "cert.pem",
        "chain.pem",
        "fullchain.pem",
    ]


STATE = LineageState(
    proven={2: NOW},
    rejected=[Rejection(3, NOW, "Dovecot died", 2, NOW + timedelta(minutes=10), True)],
    suggestions={EC: Suggestion("id", "ab", NOW, NOW, NOW, NOW, "https://ca.example/why")},
    failures={"https://ca.example/dir": Failure(1, NOW, "the CA said no", NOW, True)},
    deployment=Failure(1, NOW, "Apache died", NOW),
)


def test_what_is_remembered_comes_back() -> None:
    stand = Stand()
    assert stand.states.load("mail") == LineageState()
    stand.states.save("mail", STATE)
    assert stand.states.load("mail") == STATE
    assert STATE.rejection(3) and not STATE.rejection(2)
    assert STATE.renewal_instant(frozenset({"ab"})) == NOW
    assert STATE.renewal_instant(frozenset({"cd"})) is None


def test_what_did_not_change_is_not_written() -> None:
    stand = Stand()
    stand.states.save("mail", STATE)
    count = len(stand.machine.effects)
    stand.states.save("mail", STATE)
    assert len(stand.machine.effects) == count


@pytest.mark.parametrize("damage", [b"", b"{", b'{"rejected": 7}', b"\xff\x00"])
def test_a_damaged_memory_is_an_empty_one(damage: bytes) -> None:
    stand = Stand()
    stand.machine.put(f"{ROOT}/state/mail.json", damage)
    assert stand.states.load("mail") == LineageState()
    stand.states.save("mail", STATE)
    assert stand.states.load("mail") == STATE


@pytest.mark.parametrize(
    ("at", "again", "held"), [(-1, 1, True), (0, 1, True), (-2, -1, False), (-1, 0, False), (1, 2, False)]
)
def test_a_pause_holds_from_its_beginning_to_its_end(at: int, again: int, held: bool) -> None:
    hour = timedelta(hours=1)
    assert holds(NOW + at * hour, NOW + again * hour, NOW) is held

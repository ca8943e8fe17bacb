"""A run with nothing due reads little: what is as it was is passed over, and nothing else ever is."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import timedelta

import pytest

from mailseal import suggestions
from mailseal.config import DEFAULT_PATH
from mailseal.index import index_path, overview
from mailseal.model import FileState
from mailseal.observe import Lineage, observe_lineage
from mailseal.renewal import renewal_time
from mailseal.settled import FEW
from mailseal.stores.filesystem import LineageStore
from mailseal.stores.state import StateStore
from mailseal.suggestions import Suggestions
from tests.support.many import ROOT, Many
from tests.support.memory import MemorySystem
from tests.support.memory_files import MemoryFiles

COUNT = 30
INDEX = index_path(ROOT)
WHATEVER_IT_IS = 3  # looked at: the first, the next due, the one with the shortest life


def settled(count: int = COUNT, *, days: dict[str, int] | None = None) -> Many:
    """A machine of which a run has written down that nothing is due."""
    many = Many(count, days=days)
    assert many.renew()[0] == 0
    return many


def looked_at(many: Many) -> set[str]:
    """The lineages that a run would look at now."""
    seen = overview(MemorySystem(many.machine), DEFAULT_PATH)
    names = {one.name for one in seen.config.certificate}
    assert not names & {row.name for row in seen.rows}
    assert names | {row.name for row in seen.rows} == set(many.tables)
    return names


@contextmanager
def counted(monkeypatch: pytest.MonkeyPatch) -> Iterator[Counter[tuple[str, str]]]:
    """Counts what is read, and how many paths are stamped, by the lineage whose it is ("" for all else)."""
    found: Counter[tuple[str, str]] = Counter()

    def of(path: str) -> str:
        parts = path.removeprefix(f"{ROOT}/").split("/")
        return (
            parts[1].removesuffix(".json") if parts[0] in ("lineages", "live", "state") and parts[1:] else ""
        )

    def watch(name: str) -> None:
        real = getattr(MemoryFiles, name)

        def counting(self: MemoryFiles, path: str, *args: object, **options: object) -> object:
            found[name, of(path)] += 1
            return real(self, path, *args, **options)

        monkeypatch.setattr(MemoryFiles, name, counting)

    stamp, state = MemoryFiles.stamp, MemoryFiles.state

    def stamping(self: MemoryFiles, paths: Iterable[str]) -> int:
        listed = list(paths)
        found["stamp", of(listed[0])] += 1
        with pytest.MonkeyPatch.context() as inner:
            inner.setattr(MemoryFiles, "state", state)
            return stamp(self, listed)

    with monkeypatch.context():
        for name in ("read", "state", "stat", "listdir"):
            watch(name)
        monkeypatch.setattr(MemoryFiles, "stamp", stamping)
        yield found


def test_with_nothing_due_a_lineage_costs_two_stamps_and_no_read(monkeypatch: pytest.MonkeyPatch) -> None:
    many = settled()
    looked = looked_at(many)
    assert len(looked) <= WHATEVER_IT_IS
    with counted(monkeypatch) as found:
        status, said = many.renew()
    assert status == 0, said
    for name in set(many.names) - looked:
        assert {kind: n for (kind, whose), n in found.items() if whose == name} == {"stamp": 2}
    assert many.machine.world.web is None  # and no CA was asked


def test_what_is_read_besides_grows_not_with_the_lineages(monkeypatch: pytest.MonkeyPatch) -> None:
    def reads(count: int) -> int:
        many = settled(count)
        looked = looked_at(many) | {""}
        with counted(monkeypatch) as found:
            assert many.renew()[0] == 0
        return sum(n for (kind, whose), n in found.items() if whose in looked and kind != "stamp")

    assert reads(40) == reads(80)


def test_few_are_looked_at_always() -> None:
    many = settled(FEW)
    assert looked_at(many) == set(many.names)
    assert INDEX not in many.machine.tree(ROOT)


def test_the_first_the_next_due_and_the_shortest_are_looked_at_always() -> None:
    many = settled(days={"a7": 30, "a9": 29})
    assert looked_at(many) == {"a0", "a9"}
    many.machine.advance(86_400 * 15)
    many.renew()
    assert {"a0", "a9"} <= looked_at(many)


def _replace(path: str, content: bytes, mode: int = 0o600) -> Callable[[Many], object]:
    return lambda many: MemorySystem(many.machine).files.replace(f"{ROOT}/{path}", content, mode=mode)


def _without(path: str) -> Callable[[Many], object]:
    return lambda many: MemorySystem(many.machine).files.remove(f"{ROOT}/{path}")


PEM = "lineages/a5/0001/ecdsa-p256"
TOUCHED: dict[str, Callable[[Many], object]] = {
    "key": _replace(f"{PEM}/privkey.pem", b"another"),
    "leaf": _replace(f"{PEM}/cert.pem", b"another"),
    "chain": _replace(f"{PEM}/chain.pem", b"another"),
    "full chain": _replace(f"{PEM}/fullchain.pem", b"another"),
    "combined": _replace(f"{PEM}/combined.pem", b"another"),
    "written in place": lambda many: MemorySystem(many.machine).files.append(f"{ROOT}/{PEM}/cert.pem", b"\n"),
    "mode": lambda many: many.machine.put(f"{ROOT}/{PEM}/privkey.pem", _content(many), mode=0o644),
    "owner": lambda many: many.machine.put(
        f"{ROOT}/{PEM}/privkey.pem", _content(many), mode=0o600, owner=(7, 7)
    ),
    "meta": _replace("lineages/a5/0001/meta.json", b"{}"),
    "a file gone": _without(f"{PEM}/chain.pem"),
    "a generation gone": lambda many: MemorySystem(many.machine).files.remove_tree(
        f"{ROOT}/lineages/a5/0001"
    ),
    "another generation": lambda many: many.machine.put_directory(f"{ROOT}/lineages/a5/0002"),
    "current gone": _without("lineages/a5/current"),
    "current turned": lambda many: MemorySystem(many.machine).files.symlink(
        f"{ROOT}/lineages/a5/current", "9"
    ),
    "a link of live/": _without("live/a5/fullchain.pem"),
    "memory": _replace("state/a5.json", b"{}"),
    "memory gone": _without("state/a5.json"),
}


def _content(many: Many) -> bytes:
    found: FileState = many.machine.tree(ROOT)[f"{ROOT}/{PEM}/privkey.pem"]
    return found.content


@pytest.mark.parametrize("what", TOUCHED)
def test_whatever_is_touched_is_looked_at(what: str) -> None:
    many = settled()
    before = looked_at(many)
    assert "a5" not in before
    TOUCHED[what](many)
    assert looked_at(many) == before | {"a5"}


def test_damage_is_found_by_the_very_next_run() -> None:
    many = settled()
    _replace(f"{PEM}/privkey.pem", b"another")(many)
    status, said = many.renew()
    assert status != 0
    assert "a5: generation 0001 is damaged" in said
    assert "a5" in looked_at(many)  # until another has taken its place


def test_a_changed_table_is_looked_at_alone() -> None:
    many = settled()
    before = looked_at(many)
    many.tables["a5"] = ["a5.example.org", "more.example.org"]
    many.configure()
    assert looked_at(many) == before | {"a5"}
    many.tables["new"] = ["new.example.org"]
    del many.tables["a6"]
    many.configure()
    assert looked_at(many) == before | {"a5", "new"}


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("https://ca.example.test", "https://other.example.test"),
        ("agree_to_terms = true", 'agree_to_terms = true\nprofile = "short"'),
        (f'directory = "{ROOT}"', 'directory = "/srv/elsewhere"'),
    ],
)
def test_what_holds_for_all_has_all_looked_at(old: str, new: str) -> None:
    many = Many(COUNT)
    many.head += f'[state]\ndirectory = "{ROOT}"\n'
    many.configure()
    assert many.renew()[0] == 0
    assert looked_at(many) != set(many.names)
    many.head = many.head.replace(old, new)
    many.configure()
    assert looked_at(many) == set(many.names)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda many, content: many.machine.put(INDEX, content, mode=0o640),
        lambda many, content: many.machine.put(INDEX, content, mode=0o600, owner=(1000, 0)),
        lambda many, content: many.machine.put(INDEX, content[:-1], mode=0o600),
        lambda many, content: many.machine.put(INDEX, b"", mode=0o600),
        lambda many, content: many.machine.put(INDEX, content.replace(b"0.1.0/", b"9.9.9/"), mode=0o600),
        lambda many, content: many.machine.put_link(INDEX, "/etc/passwd"),
    ],
    ids=["readable", "somebody's", "cut off", "empty", "another version's", "a link"],
)
def test_an_index_that_cannot_be_believed_is_none(spoil: Callable[[Many, bytes], object]) -> None:
    many = settled()
    spoil(many, many.machine.tree(INDEX)[INDEX].content)
    assert looked_at(many) == set(many.names)
    assert many.renew()[0] == 0
    assert looked_at(many) != set(many.names)  # and there is a new one


def test_apply_passes_nothing_over() -> None:
    many = settled()
    seen = overview(MemorySystem(many.machine), DEFAULT_PATH, whole=True)
    assert {one.name for one in seen.config.certificate} == set(many.names)


@pytest.mark.parametrize("days", [90, 45, 6])
def test_over_a_life_none_is_passed_over_that_is_due(days: int) -> None:
    many = Many(COUNT, days=dict.fromkeys([f"a{number}" for number in range(COUNT)], days), ask_after=9999)
    system, step = MemorySystem(many.machine), timedelta(days=days) / 40
    store, states, config = LineageStore(system, ROOT), StateStore(system, ROOT), None
    seldom = 0
    many.renew()
    for _ in range(38):
        many.machine.advance(step.total_seconds())
        seen = overview(system, DEFAULT_PATH)
        config = config or overview(system, DEFAULT_PATH, whole=True).config
        passed = {row.name for row in seen.rows}
        seldom += bool(passed)
        for spec in config.specs():
            found = observe_lineage(system, store, states, spec)
            assert found.target is not None
            known = found.state.renewal_instant(found.target.fingerprints())
            if renewal_time(found.target, known).at <= system.clock.now():
                assert spec.name not in passed
        many.renew()
    assert seldom


def test_what_monitors_and_status_read_is_whole_all_the_same() -> None:
    many = Many(COUNT, days={"a7": 60})
    many.head += '[metrics]\ntextfile = "/srv/metrics/mailseal.prom"\n'
    many.configure()
    many.machine.put_directory("/srv/metrics")

    def told() -> tuple[set[str], str]:
        text = many.machine.tree("/srv/metrics")["/srv/metrics/mailseal.prom"].content.decode()
        lines = [line for line in text.splitlines() if "mailseal_certificate_" in line]
        assert len(lines) == len(set(lines))
        due = next(line for line in text.splitlines() if line.startswith("mailseal_next_due"))
        return set(lines), due

    assert many.renew()[0] == 0
    first = told()
    assert len(first[0]) > COUNT
    assert many.renew()[0] == 0
    assert len(looked_at(many)) <= WHATEVER_IT_IS
    assert told() == first


def test_a_run_asks_the_ca_about_some_only(monkeypatch: pytest.MonkeyPatch) -> None:
    many = Many(COUNT, days={"a7": 30, "a9": 60}, ask_after=0)
    asked: list[str] = []

    async def ask(self: Suggestions, authority: object, wanted: list[tuple[Lineage, object]]) -> None:
        asked.extend(lineage.name for lineage, _ in wanted)

    monkeypatch.setattr(Suggestions, "_ask", ask)
    monkeypatch.setattr(suggestions, "MOST_QUESTIONS", 4)
    many.renew()
    assert len(asked) == 4
    assert asked[:2] == ["a7", "a9"]  # those that expire first
    asked.clear()
    many.renew()
    assert len(asked) <= WHATEVER_IT_IS  # the others later, each at a time of its own
    many.machine.advance(86_400)
    many.renew()
    assert len(asked) >= 4

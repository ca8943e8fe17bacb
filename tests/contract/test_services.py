"""What every service adapter promises, held to every fixture folder of its kind.

The table is walked: a kind without a fixture folder, without a page in
docs/services/ or without a recorder of its own here fails.
"""

from __future__ import annotations

import ipaddress
import shlex
from collections.abc import Callable
from importlib import import_module
from pathlib import Path

import pytest

from mailseal.errors import UsageError
from mailseal.findings import CODES
from mailseal.model import AbsentWish, DirectoryWish, FileWish, LinkWish
from mailseal.services import ADAPTERS, load
from mailseal.services.base import ServiceSettings, ServiceWish
from tests.support.memory import MemorySystem
from tests.unit.services.trees import FIXTURES, fulfil, wish

ROOT = Path(__file__).parents[2]
CASES = [
    (kind, folder.name)
    for kind in ADAPTERS
    for folder in sorted((FIXTURES / kind).glob("*"))
    if any((folder / told).exists() for told in ("release", "version"))  # others are laid over a case
]

Grow = Callable[[str], MemorySystem]


def grower(kind: str) -> Grow:
    """Each service's own tests know how its programs answer: `machine(case)` of tests/unit/services/test_<kind>.py."""
    found: Grow = import_module(f"tests.unit.services.test_{kind}").machine
    return found


@pytest.mark.parametrize("kind", ADAPTERS)
def test_a_service_is_whole(kind: str) -> None:
    adapter = load(kind)
    assert adapter.kind == kind
    assert adapter.title
    assert any(case for case in CASES if case[0] == kind), (
        f"tests/unit/services/fixtures/{kind} holds no case"
    )
    page = ROOT / "docs/services" / f"{kind}.md"
    assert page.exists(), f"docs/services/{kind}.md is missing"
    text = page.read_text(encoding="utf-8")
    assert text.startswith(f"# {adapter.title}\n")
    for heading in ("## What is read", "## What is set", "## Undo"):
        assert heading in text, f"{page} lacks {heading!r}"


@pytest.mark.parametrize("kind", ADAPTERS)
def test_a_machine_without_it_has_no_facts(kind: str) -> None:
    assert load(kind).observe(MemorySystem(), ServiceSettings(kind)) is None


def test_a_kind_that_is_not_in_the_table_is_refused() -> None:
    with pytest.raises(UsageError, match="there is no service 'exim'"):
        load("exim")


@pytest.mark.parametrize(("kind", "case"), CASES)
def test_looking_changes_nothing(kind: str, case: str) -> None:
    system = grower(kind)(case)
    before = system.machine.tree()
    facts = load(kind).observe(system, ServiceSettings(kind))
    assert facts is not None
    assert system.machine.tree() == before
    assert load(kind).observe(system, ServiceSettings(kind)) == facts


@pytest.mark.parametrize(("kind", "case"), CASES)
def test_an_empty_wish_wishes_for_nothing(kind: str, case: str) -> None:
    adapter = load(kind)
    facts = adapter.observe(grower(kind)(case), ServiceSettings(kind))
    assert facts is not None
    assert adapter.render(ServiceWish(), facts).wishes == ()
    assert adapter.render(wish("mail.example.org", certificates=False), facts).wishes == ()


@pytest.mark.parametrize(("kind", "case"), CASES)
@pytest.mark.parametrize("both", [False, True], ids=["one key type", "two key types"])
def test_a_second_look_finds_nothing_left_to_do(kind: str, case: str, both: bool) -> None:
    system, adapter = grower(kind)(case), load(kind)
    asked = wish("mail.example.org", "webmail.example.org", both=both, challenge=kind == "apache")
    for _ in range(2):
        facts = adapter.observe(system, ServiceSettings(kind))
        assert facts is not None
        assert adapter.render(asked, facts) == adapter.render(asked, facts), "rendering is pure"
        changed = fulfil(system, adapter.render(asked, facts))
    assert changed == []


@pytest.mark.parametrize(("kind", "case"), CASES)
def test_wishes_are_plain_and_never_hold_a_key(kind: str, case: str) -> None:
    adapter = load(kind)
    facts = adapter.observe(grower(kind)(case), ServiceSettings(kind))
    assert facts is not None
    for one in adapter.render(wish("mail.example.org", both=True), facts).wishes:
        assert one.path.startswith("/")
        assert "/../" not in one.path
        assert one.why, f"{one.path}: the plan shows why"
        assert isinstance(one, FileWish | LinkWish | DirectoryWish | AbsentWish)
        if isinstance(one, FileWish):
            assert b"PRIVATE KEY" not in one.content
            assert one.mode & 0o022 == 0


@pytest.mark.parametrize(("kind", "case"), CASES)
def test_commands_are_argv_without_a_shell_and_end_in_time(kind: str, case: str) -> None:
    adapter = load(kind)
    facts = adapter.observe(grower(kind)(case), ServiceSettings(kind))
    assert facts is not None
    rehearsal = adapter.rehearsal(facts)
    commands = [*adapter.checks(facts), *adapter.reload(facts), *adapter.restart(facts)]
    commands += [*rehearsal.prepare, rehearsal.start] if rehearsal else []
    assert adapter.checks(facts)
    assert adapter.reload(facts)
    assert adapter.restart(facts)
    for command in commands:
        assert command.argv[0] not in ("sh", "bash", "/bin/sh")
        assert shlex.split(str(command)) == list(command.argv)
        assert 0 < command.timeout <= 120
        assert command.why


@pytest.mark.parametrize(("kind", "case"), CASES)
def test_findings_can_be_acted_on(kind: str, case: str) -> None:
    adapter = load(kind)
    facts = adapter.observe(grower(kind)(case), ServiceSettings(kind))
    assert facts is not None
    found = [*adapter.audit(facts), *adapter.render(wish("mail.example.org", both=True), facts).findings]
    for finding in found:
        assert finding.code in CODES
        assert finding.subject
        assert finding.seen
        assert finding.why
    told = [(f.code, f.subject, f.seen) for f in adapter.audit(facts)]
    assert len(told) == len(set(told)), "the same thing is told once"
    assert [f.severity for f in adapter.audit(facts)] == sorted(
        (f.severity for f in adapter.audit(facts)), reverse=True
    )


@pytest.mark.parametrize(("kind", "case"), CASES)
def test_endpoints_are_addresses_that_can_be_connected_to(kind: str, case: str) -> None:
    facts = load(kind).observe(grower(kind)(case), ServiceSettings(kind))
    assert facts is not None
    for endpoint in facts.endpoints:
        assert endpoint.service == kind
        assert not ipaddress.ip_address(endpoint.address).is_unspecified
        assert 0 < endpoint.port < 65536
    assert len(facts.endpoints) == len(set(facts.endpoints))

"""The configuration file on a machine: absent, unreadable, or in the wrong hands."""

from __future__ import annotations

import pytest

from mailseal.config import DEFAULT_PATH, find, read
from mailseal.config.reference import SMALLEST
from mailseal.errors import ConfigError
from tests.support.memory import MemorySystem


@pytest.fixture
def system() -> MemorySystem:
    machine = MemorySystem()
    machine.machine.put_directory("/etc/mailseal")
    return machine


def test_a_file_is_read(system: MemorySystem) -> None:
    system.machine.put(DEFAULT_PATH, SMALLEST)
    assert read(system).certificate[0].name == "mail"
    assert find(system) == read(system)


def test_none_is_there(system: MemorySystem) -> None:
    assert find(system) is None
    with pytest.raises(ConfigError) as caught:
        read(system)
    assert "mailseal setup" in caught.value.next_command


@pytest.mark.parametrize(
    ("mode", "owner", "good"),
    [
        (0o644, (0, 0), True),
        (0o600, (0, 0), True),
        (0o664, (0, 0), True),
        (0o664, (0, 8), False),
        (0o646, (0, 0), False),
        (0o644, (33, 0), False),
    ],
)
def test_it_decides_what_root_does(
    system: MemorySystem, mode: int, owner: tuple[int, int], good: bool
) -> None:
    system.machine.put(DEFAULT_PATH, SMALLEST, mode=mode, owner=owner)
    if good:
        assert read(system)
        return
    with pytest.raises(ConfigError) as caught:
        read(system)
    assert "can be written by others than root" in caught.value.message
    assert "chown root:root" in caught.value.next_command


@pytest.mark.parametrize(
    ("mode", "owner", "good"), [(0o755, (0, 0), True), (0o777, (0, 0), False), (0o755, (33, 0), False)]
)
def test_nobody_may_replace_it(system: MemorySystem, mode: int, owner: tuple[int, int], good: bool) -> None:
    system.machine.put_directory("/srv/conf", mode=mode, owner=owner)
    system.machine.put("/srv/conf/m.toml", SMALLEST)
    if good:
        assert read(system, "/srv/conf/m.toml")
        return
    with pytest.raises(ConfigError) as caught:
        read(system, "/srv/conf/m.toml")
    assert caught.value.message.startswith("/srv/conf can be written by others than root")


def test_a_sticky_directory_is_good_enough(system: MemorySystem) -> None:
    system.machine.put("/tmp/m.toml", SMALLEST)
    assert read(system, "/tmp/m.toml")


def test_it_is_text(system: MemorySystem) -> None:
    system.machine.put(DEFAULT_PATH, SMALLEST.encode() + b"# caf\xe9\n")
    with pytest.raises(ConfigError) as caught:
        read(system)
    assert caught.value.faults == ("line 8: the file is not UTF-8 text",)


def test_a_directory_is_no_file(system: MemorySystem) -> None:
    with pytest.raises(ConfigError):
        read(system, "/etc/mailseal")

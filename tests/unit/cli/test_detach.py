"""`mailseal detach` on machines in memory: with and without a configuration, a change, somebody to ask."""

from __future__ import annotations

import io
import json

import pytest

from mailseal.chains import SYSTEM_STORE
from mailseal.cli.main import main
from mailseal.cli.output import Output
from mailseal.config import DEFAULT_PATH
from mailseal.config.reference import SMALLEST
from mailseal.effects import perform
from mailseal.journal import Journal
from mailseal.model import FileWish
from mailseal.steps import Put
from tests.support.certs import Ca
from tests.support.memory import MemorySystem

ROOT = "/var/lib/mailseal"


@pytest.fixture
def system() -> MemorySystem:
    made = MemorySystem()
    made.machine.put(SYSTEM_STORE, Ca.root().pem)
    made.machine.put_directory(ROOT, mode=0o711)
    made.machine.put("/etc/main.cf", "theirs\n")
    return made


def change(system: MemorySystem, *, commit: bool = True) -> None:
    journal = Journal(system, ROOT)
    put = Put(FileWish("/etc/main.cf", b"ours\n"), system.files.state("/etc/main.cf"))
    record = journal.begin("a change", (put,), (), ())
    perform(system.files, put)
    if commit:
        journal.commit(record)


def run(system: MemorySystem, *arguments: str) -> tuple[int, str, str]:
    stdout, stderr = io.StringIO(), io.StringIO()
    status = main(["detach", *arguments], system=system, out=Output(stdout, stderr))
    return status, stdout.getvalue(), stderr.getvalue()


def test_there_is_nothing_to_hand_back(system: MemorySystem) -> None:
    status, stdout, _ = run(system)
    assert (status, stdout) == (0, "Nothing on this machine is changed by mailseal.\n")
    assert json.loads(run(system, "--json")[1])["left"] == []


@pytest.mark.parametrize("configuration", [None, SMALLEST, SMALLEST + '\n[proof]\ntrust = "/gone.pem"\n'])
def test_it_needs_no_configuration(system: MemorySystem, configuration: str | None) -> None:
    if configuration is not None:
        system.machine.put(DEFAULT_PATH, configuration)
    change(system)
    status, stdout, stderr = run(system, "--yes")
    assert status == 0, stderr
    assert "restore /etc/main.cf (as it was found)" in stdout
    assert system.files.read("/etc/main.cf") == b"theirs\n"
    assert b'"command":"detach","event":"detached"' in system.files.read(f"{ROOT}/history.jsonl")


def test_nobody_is_asked_where_nobody_is(system: MemorySystem) -> None:
    change(system)
    status, _, stderr = run(system)
    assert status == 2 and "mailseal detach --yes" in stderr
    assert system.files.read("/etc/main.cf") == b"ours\n"


def test_an_interrupted_run_is_taken_back_too(system: MemorySystem) -> None:
    change(system, commit=False)
    status, stdout, _ = run(system, "--yes")
    assert status == 0 and "An interrupted run is taken back." in stdout
    assert system.files.read("/etc/main.cf") == b"theirs\n"
    assert not Journal(system, ROOT).open_records()


def test_what_is_left_is_told(system: MemorySystem) -> None:
    change(system)
    system.machine.put("/etc/main.cf", "edited\n")
    status, stdout, _ = run(system, "--yes", "--json")
    assert status == 1
    assert json.loads(stdout)["left"] == ["/etc/main.cf"]
    assert "nobody renews now" in run(system, "--yes")[1]

"""`mailseal rollback` and `mailseal revoke` as somebody types them, on a machine in memory where nothing is issued."""

from __future__ import annotations

import io
import json

import pytest

from mailseal.chains import SYSTEM_STORE
from mailseal.cli.main import main
from mailseal.cli.output import Output
from mailseal.cli.revoke import REASONS
from mailseal.config import DEFAULT_PATH
from mailseal.config.reference import SMALLEST
from mailseal.revoking import REASONS as CODES
from tests.support.certs import Ca
from tests.support.memory import MemorySystem


@pytest.fixture
def system() -> MemorySystem:
    made = MemorySystem()
    made.machine.put(SYSTEM_STORE, Ca.root().pem)
    made.machine.put(DEFAULT_PATH, SMALLEST)
    made.machine.put_directory("/var/lib/mailseal", mode=0o711)
    return made


def typed(system: MemorySystem, *argv: str) -> tuple[int, str, str]:
    """The status, stdout and stderr of a command line."""
    out, err = io.StringIO(), io.StringIO()
    status = main(argv, system=system, out=Output(out, err))
    return status, out.getvalue(), err.getvalue()


@pytest.mark.parametrize(
    ("argv", "told"),
    [
        (("rollback",), "No generation of 'mail' is live"),
        (("rollback", "mail", "0007"), "No generation of 'mail' is live"),
        (("rollback", "web"), "no certificate 'web'"),
        (("rollback", "mail", "first"), "is not a valid integer range"),
        (("revoke",), "Missing argument 'NAME'"),
        (("revoke", "mail"), "Nobody can be asked here"),
        (("revoke", "mail", "--yes"), "There is no certificate 'mail'"),
        (("revoke", "mail", "--yes", "--reason", "boredom"), "'boredom' is not one of"),
    ],
)
def test_what_cannot_be_done_is_a_fault_of_the_command_line(
    system: MemorySystem, argv: tuple[str, ...], told: str
) -> None:
    status, stdout, stderr = typed(system, *argv)
    assert status == 2 and told in stderr and not stdout
    assert "Next: " in stderr


def test_the_same_as_json(system: MemorySystem) -> None:
    status, stdout, _ = typed(system, "rollback", "--json")
    assert status == 2 and json.loads(stdout)["error"]["next"] == "mailseal apply"


def test_the_reasons_are_those_that_subscribers_may_give() -> None:
    assert tuple(CODES) == REASONS

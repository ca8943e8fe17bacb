"""What the tests of every depth share: the rule for a host that cannot run the lab."""

from __future__ import annotations

import os
import signal
from contextlib import suppress
from typing import NoReturn

import pytest

from lab.guard import Unavailable, require
from lab.sources import host_release
from tests.support import fuzzing

fuzzing.settle()
# Whoever starts the tests in the background may ignore these, and every child would: what is interrupted would go on.
for ending, usual in ((signal.SIGINT, signal.default_int_handler), (signal.SIGHUP, signal.SIG_DFL)):
    with suppress(ValueError):  # in another thread than the first
        if signal.getsignal(ending) is signal.SIG_IGN:
            signal.signal(ending, usual)


def give_up(why: Unavailable) -> NoReturn:
    """Skips with the reason, or fails where MAILSEAL_REQUIRE=1 says that nothing may be skipped."""
    if os.environ.get("MAILSEAL_REQUIRE") == "1":
        pytest.fail(f"MAILSEAL_REQUIRE=1, but: {why}", pytrace=False)
    pytest.skip(str(why))


@pytest.fixture(scope="session")
def own_release() -> str:
    """The Debian release of this host, which the lab uses unless a test asks for another."""
    try:
        return host_release()
    except Unavailable as why:
        give_up(why)


@pytest.fixture(scope="session")
def namespaces() -> None:
    """Asks once whether the lab can run here."""
    try:
        require("debootstrap", "openssl", "systemd-nspawn")
    except Unavailable as why:
        give_up(why)

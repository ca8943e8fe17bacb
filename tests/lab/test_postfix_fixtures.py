"""The recorded words of postconf in the unit tests' fixtures are what the real one says."""

from __future__ import annotations

import pytest

from lab import image
from lab.host import Host
from tests.lab.postfix_fixtures import Said, ask, cases


@pytest.mark.parametrize("release", image.RELEASES)
def test_the_fixtures_hold_what_postconf_says(mail: Host) -> None:
    for case in cases(mail.release):
        recorded = {
            name: (case / name).read_text() if (case / name).exists() else ""
            for name in ("postconf", "overrides", "status", "error")
        }
        said = ask(mail, case)
        assert Said(**recorded) == said, f"{case.name}: python -m tests.lab.postfix_fixtures"

"""What the real postconf says to the fixtures of tests/unit/services/fixtures/postfix.

`python -m tests.lab.postfix_fixtures` records it in each folder (`postconf`,
`overrides`, `status`, `error`); test_postfix_fixtures.py holds the recorded to
be what is said today.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

from lab.host import Host
from lab.image import ensure
from lab.network import Network
from mailseal.services.postfix_facts import ASKED

FOLDER = Path(__file__).parents[1] / "unit/services/fixtures/postfix"


@dataclass(frozen=True)
class Said:
    """What postconf printed: the effective values, the overrides with names resolved, and how the first ended."""

    postconf: str
    overrides: str
    status: str
    error: str


def cases(release: str) -> list[Path]:
    """The folders that are for this release."""
    return [path.parent for path in sorted(FOLDER.glob("*/release")) if path.read_text().strip() == release]


def ask(mail: Host, case: Path) -> Said:
    """Asks the real postconf about the files of one folder."""
    mail.sh("rm -rf /tmp/case && mkdir /tmp/case && cp -r /etc/postfix/. /tmp/case/")
    for name in ("main.cf", "master.cf"):
        mail.write(f"/tmp/case/{name}", (case / "tree/etc/postfix" / name).read_bytes().decode())
    values = mail.run(["postconf", "-c", "/tmp/case", "-x", *ASKED], check=False)
    overrides = mail.run(["postconf", "-c", "/tmp/case", "-x", "-P"], check=False)
    error = values.stderr.replace("/tmp/case", "/etc/postfix") if values.returncode else ""
    return Said(values.stdout, overrides.stdout, f"{values.returncode}\n", error)


def main() -> int:
    for release in ("bookworm", "trixie"):
        with Network() as net, Host(ensure(release), net) as mail:
            for case in cases(release):
                said = ask(mail, case)
                for name in ("postconf", "overrides", "status", "error"):
                    text: str = getattr(said, name)
                    (case / name).write_text(text) if text else (case / name).unlink(missing_ok=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""Pieces of the story: rows of its tables, what is shortened in mailseal's output, what its own check says."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass

from lab.box import Result
from lab.demo.clients import Seen

_SERVED = re.compile(r"(TLSv[\d.]+), the certificate of .+ by (.+), good until (.+) \(SHA-256 ([0-9a-f]+)…\)")
_PORT = re.compile(r":(\d+)$")

# Waits for a generation to go live and writes another key over it: what a second program, or a hand, may do.
SABOTAGE = """
cd "$1"
while [ "$(readlink current)" != "$2" ]; do sleep 0.01; done
openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out other.pem 2>/dev/null
cat other.pem >"$2/ecdsa-p256/privkey.pem"
cat other.pem "$2/ecdsa-p256/fullchain.pem" >"$2/ecdsa-p256/combined.pem"
rm other.pem
echo "wrote another key over $2"
"""


@dataclass(frozen=True)
class OwnView:
    """What `mailseal check` says of one port: good at every address, and the start of the leaf's SHA-256."""

    good: bool
    sha256: str


def own_views(check: Result) -> dict[int, OwnView]:
    """By port, out of `mailseal check --json`."""
    try:
        told = json.loads(check.stdout)
    except ValueError:
        return {}
    good = {one["subject"] for one in told["findings"] if one["code"] == "endpoint-good"}
    views: dict[int, OwnView] = {}
    for one in told["served"]:
        port, seen = _PORT.search(one["endpoint"]), _SERVED.match(one["seen"])
        if port is None:
            continue
        number, leaf = int(port.group(1)), seen.group(4) if seen else ""
        other = views.get(number, OwnView(True, leaf))
        same = other.sha256 == leaf and bool(leaf)
        views[number] = OwnView(other.good and same and one["endpoint"] in good, leaf)
    return views


def agree(seen: Seen, own: OwnView | None) -> bool:
    """Whether both saw the same leaf and found it good."""
    return seen.verified and own is not None and own.good and seen.sha256.startswith(own.sha256)


def found_row(seen: Seen) -> tuple[str, ...]:
    """A port as it was found."""
    return (
        str(seen.port.number),
        seen.port.protocol,
        seen.tls or "-",
        seen.subject or "-",
        seen.expires or "-",
        seen.verdict,
    )


def proof_row(seen: Seen, own: OwnView | None, name: str) -> tuple[str, ...]:
    """A port as both see it."""
    return (
        str(seen.port.number),
        seen.port.protocol,
        name,
        seen.tls or "-",
        seen.issuer.replace("Intermediate CA ", "") or "-",
        seen.expires or "-",
        "proven" if own is not None and own.good else "NOT GOOD",
        "trusted" if seen.verified else "NOT",
    )


def _told(line: str) -> bool:
    """Whether a line stands at the margin, or is what a finding saw."""
    return bool(line.strip()) and (not line.startswith(" ") or line.split(None, 1)[0] == "seen")


def without_diffs(text: str) -> str:
    """The output without the contents of files, which make a long read: of the configuration and of the plan."""
    config, kept = False, []
    for line in text.splitlines():
        config = line.endswith(".toml:") or (config and (line.startswith("  ") or not line))
        if line.strip() and not config and (not line.startswith("      ") or _told(line)):
            kept.append(line)
    return "\n".join(kept)


def error_of(done: Result) -> str:
    """What mailseal says to whoever reads its stderr at the end, without the progress before it."""
    return done.stderr[max(done.stderr.find("mailseal: "), 0) :]


def only_done(text: str) -> str:
    """The lines that say what was done and seen."""
    return "\n".join(line for line in text.splitlines() if _told(line))

"""Foreign input for property tests: real examples, damaged; and how many of them.

`damaged` takes what a parser meets on good days and cuts, doubles, swaps and
overwrites parts of it, so that what is drawn gets past the first check. The
same examples are drawn in every run (derandomised), so that a run that passes
once passes always; for more, and other ones:

    MAILSEAL_FUZZ=20000 .venv/bin/python -m pytest tests/unit/test_foreign_input.py -n 2
"""

from __future__ import annotations

import os
from collections.abc import Sequence

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

EXAMPLES = int(os.environ.get("MAILSEAL_FUZZ", "0"))
USUAL = 60

# What parsers trip over: numbers that are none or too large, ends, quotes, other alphabets, half characters.
NASTY = (
    b"\x00", b"\xff\xfe", b"\xc3\x28", b"\xed\xa0\x80", "\u0661\u0662".encode(), "\u00b2".encode(), b"\xb2",
    "\u202e".encode(), b"\x1b[31m", b"\r", b"\n", b"\r\n", b"\n\n", b"\t", b" ", b"\\", b'"', b"'", b"`", b"$", b"${",
    b"$(x)", b"{", b"}", b"[", b"]", b"<", b">", b"(", b")", b"#", b"=", b":", b";", b",", b".", b"..", b"/", b"*",
    b"%s", b"-1", b"0", b"1e999", b"99999999999999999999", b"0x10", b"NaN", b"null", b"true", b"[[[[[[[[", b'{"a":',
    b"2026-02-30T25:61:00Z", b"0000-00-00T00:00:00Z", b"9999-12-31T23:59:59Z", b"1969-12-31T00:00:00+23:59",
    b"-----BEGIN CERTIFICATE-----", b"-----END CERTIFICATE-----", b"[" * 5000, b"A" * 9000, b"xn--a.example", b"a..b",
)  # fmt: skip


def often(usual: int = USUAL) -> settings:
    """How often a property is tried: as CI does, or as often as MAILSEAL_FUZZ says, then with other draws each time."""
    return settings(
        max_examples=EXAMPLES or usual,
        derandomize=not EXAMPLES,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )


def settle() -> None:
    """Has every property test of the tree draw the same in each run, whatever the machine's speed."""
    settings.register_profile("mailseal", often(100))
    settings.load_profile("mailseal")


@st.composite
def damaged(draw: st.DrawFn, seeds: Sequence[bytes]) -> bytes:
    """One of the seeds with a few damages, rarely nothing but noise."""
    octets = bytearray(draw(st.sampled_from([*seeds, b""])))
    for _ in range(draw(st.integers(0, 4))):
        at = draw(st.integers(0, len(octets)))
        span = draw(st.sampled_from([0, 1, 2, 5, 20, 100]))
        match draw(st.sampled_from(["put", "put", "cut", "cut off", "double", "flip", "noise", "splice"])):
            case "put":
                octets[at : at + span] = draw(st.sampled_from(NASTY))
            case "cut":
                del octets[at : at + span]
            case "cut off":
                del octets[at:]
            case "double":
                octets[at:at] = octets[at : at + span * 3]
            case "flip" if at < len(octets):
                octets[at] ^= 1 << draw(st.integers(0, 7))
            case "noise":
                octets[at:at] = draw(st.binary(max_size=12))
            case "splice":
                other = draw(st.sampled_from(list(seeds)))
                octets[at:] = other[draw(st.integers(0, len(other))) :]
    return bytes(octets)

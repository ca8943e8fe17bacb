"""Taking our lines out of a file that somebody edited since, and remembering what it would be without us."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailseal.merging import rebase, take_out

ORIGINAL = b"a = 1\nb = 2\nc = 3\nd = 4\ne = 5\n"
OURS = b"a = 1\nb = two\nc = 3\nd = 4\ne = 5\n# ours\nf = 6\n"


def test_what_was_added_elsewhere_is_kept() -> None:
    theirs = b"# theirs\n" + OURS
    assert take_out(OURS, theirs, ORIGINAL) == b"# theirs\n" + ORIGINAL


def test_what_was_changed_elsewhere_is_kept() -> None:
    theirs = OURS.replace(b"d = 4", b"d = four")
    assert take_out(OURS, theirs, ORIGINAL) == ORIGINAL.replace(b"d = 4", b"d = four")


def test_an_edit_of_our_own_line_is_left_alone() -> None:
    assert take_out(OURS, OURS.replace(b"b = two", b"b = zwei"), ORIGINAL) is None


def test_an_addition_right_beside_our_lines_is_left_alone() -> None:
    assert take_out(OURS, OURS + b"g = 7\n", ORIGINAL) is None


@pytest.mark.parametrize(
    ("theirs", "without_us"),
    [
        (b"# theirs\n" + OURS, b"# theirs\n" + ORIGINAL),
        (OURS + b"g = 7\n", ORIGINAL + b"g = 7\n"),
        (OURS.replace(b"b = two", b"b = zwei"), ORIGINAL.replace(b"b = 2", b"b = zwei")),
        (OURS.replace(b"b = two\n", b""), ORIGINAL.replace(b"b = 2\n", b"")),
        (OURS.replace(b"# ours\n", b"# ours\n# more\n"), ORIGINAL + b"# more\n"),
        (OURS.replace(b"b = two", b"bb = 1\nb = two"), ORIGINAL.replace(b"b = 2", b"bb = 1\nb = 2")),
        (b"another file altogether\n", b"another file altogether\n"),
        (b"", b""),
        (ORIGINAL, ORIGINAL),
        (OURS, ORIGINAL),
    ],
)
def test_a_file_without_us(theirs: bytes, without_us: bytes) -> None:
    assert rebase(OURS, theirs, ORIGINAL) == without_us


def test_lines_that_we_took_away_come_back_beside_an_edit() -> None:
    original, ours = b"a\nb\nc\nd\n", b"a\nd\n"
    assert rebase(ours, b"a\nd\nmore\n", original) == b"a\nb\nc\nd\nmore\n"


def test_a_last_line_without_an_end_is_not_glued_to_what_follows() -> None:
    assert rebase(b"a\nours\n", b"a\nours\nmore\n", b"a") == b"a\nmore\n"


LINES = st.lists(st.sampled_from([b"x\n", b"y\n", b"z\n", b"\n"]), max_size=12).map(b"".join)


@given(LINES, LINES)
def test_without_an_edit_the_original_comes_back(ours: bytes, original: bytes) -> None:
    assert take_out(ours, ours, original) == original == rebase(ours, ours, original)


@given(LINES, LINES)
def test_without_a_change_of_ours_the_edit_stays(ours: bytes, theirs: bytes) -> None:
    assert take_out(ours, theirs, ours) == theirs == rebase(ours, theirs, ours)


@given(LINES, LINES, LINES)
def test_only_lines_that_somebody_wrote(ours: bytes, theirs: bytes, original: bytes) -> None:
    known = set(theirs.splitlines()) | set(original.splitlines())
    merged = take_out(ours, theirs, original)
    rebased = rebase(ours, theirs, original)
    assert set(rebased.splitlines()) <= known
    assert merged in (None, rebased)

"""Taking our lines out of a file that somebody edited since."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from mailseal.detach import merge

ORIGINAL = b"a = 1\nb = 2\nc = 3\nd = 4\ne = 5\n"
OURS = b"a = 1\nb = two\nc = 3\nd = 4\ne = 5\n# ours\nf = 6\n"


def test_what_was_added_elsewhere_is_kept() -> None:
    theirs = b"# theirs\n" + OURS
    assert merge(OURS, theirs, ORIGINAL) == b"# theirs\n" + ORIGINAL


def test_what_was_changed_elsewhere_is_kept() -> None:
    theirs = OURS.replace(b"d = 4", b"d = four")
    assert merge(OURS, theirs, ORIGINAL) == ORIGINAL.replace(b"d = 4", b"d = four")


def test_an_edit_of_our_own_line_is_left_alone() -> None:
    assert merge(OURS, OURS.replace(b"b = two", b"b = zwei"), ORIGINAL) is None


def test_an_addition_right_beside_our_lines_is_left_alone() -> None:
    assert merge(OURS, OURS + b"g = 7\n", ORIGINAL) is None


LINES = st.lists(st.sampled_from([b"x\n", b"y\n", b"z\n", b"\n"]), max_size=12).map(b"".join)


@given(LINES, LINES)
def test_without_an_edit_the_original_comes_back(ours: bytes, original: bytes) -> None:
    assert merge(ours, ours, original) == original


@given(LINES, LINES)
def test_without_a_change_of_ours_the_edit_stays(ours: bytes, theirs: bytes) -> None:
    assert merge(ours, theirs, ours) == theirs


@given(LINES, LINES, LINES)
def test_a_merge_only_holds_lines_that_somebody_wrote(ours: bytes, theirs: bytes, original: bytes) -> None:
    merged = merge(ours, theirs, original)
    if merged is not None:
        known = set(theirs.splitlines()) | set(original.splitlines())
        assert set(merged.splitlines()) <= known

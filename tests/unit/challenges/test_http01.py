"""Tokens are checked before they become names."""

from __future__ import annotations

import pytest

from mailseal.challenges.http01 import checked_answer, checked_token, path_of
from mailseal.errors import ChallengeError

GOOD = "evaGxfADs6pSRb2LAv9IZf17Dt3juxGJ-PCt92wr-oA"


def test_a_token_is_a_path() -> None:
    assert path_of(GOOD) == f"/.well-known/acme-challenge/{GOOD}"


@pytest.mark.parametrize(
    "token", ["", ".", "..", "../x", "a/b", "a b", "a\n", "a\0", "é", "x" * 201, "a.b", "a=", "%2e", "-\\"]
)
def test_what_is_no_token_is_refused(token: str) -> None:
    with pytest.raises(ChallengeError):
        checked_token(token)


@pytest.mark.parametrize(
    "authorization", ["", GOOD, f"{GOOD}.", f"other.{GOOD}", f"{GOOD}.a.b", f"{GOOD}.a\n", f"{GOOD}.é"]
)
def test_an_answer_belongs_to_its_token(authorization: str) -> None:
    with pytest.raises(ChallengeError):
        checked_answer(GOOD, authorization)
    assert checked_answer(GOOD, f"{GOOD}.thumb") == f"{GOOD}.thumb".encode()

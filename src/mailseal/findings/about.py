"""What a code of a finding is explained by."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class About:
    """A code's title, without a full stop, and its meaning in a sentence or two."""

    title: str
    meaning: str

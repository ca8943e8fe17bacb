"""What every answer is judged against, besides what was expected of it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from mailseal.chains import TrustAnchors


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What every answer is judged against: the roots, the time, the machine's own addresses."""

    now: datetime
    anchors: TrustAnchors | None
    own_addresses: tuple[str, ...] = ()

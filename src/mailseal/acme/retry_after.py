"""Retry-After in both its forms: seconds, or an HTTP-date (RFC 9110 section 10.2.3).

ACME sends it with polled objects (RFC 8555 section 7.4, 7.5.1), with rate
limits (6.6), with 503s, and with renewal information (RFC 9773 section 4.3.3).
A date is measured against the same answer's Date header where there is one, so
that a wrong clock on our side neither hurries nor stalls anything.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

LONGEST = 366 * 86400.0  # seconds; what asks for more is cut to this

_SECONDS = re.compile(r"[0-9]{1,15}")


def http_date(text: str) -> datetime | None:
    """An HTTP-date (any of the three forms of RFC 9110 section 5.6.7) as aware UTC, None if it is none."""
    if len(text) > 64:
        return None
    try:
        moment = parsedate_to_datetime(text)
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    try:
        return moment.astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def retry_after(headers: Mapping[str, str], now: datetime) -> float | None:
    """Seconds to wait from now on (never negative, at most `LONGEST`); None where no readable one is sent."""
    text = headers.get("retry-after", "").strip()
    if not text:
        return None
    if _SECONDS.fullmatch(text):
        return min(float(text), LONGEST)
    moment = http_date(text)
    if moment is None:
        return None
    sent = http_date(headers.get("date", "").strip()) or now
    return min(max((moment - sent).total_seconds(), 0.0), LONGEST)

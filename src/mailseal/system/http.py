"""HTTP as the rest of the tree asks for it: one bounded request, one whole answer.

The port (`Http`) knows nothing of ACME. Its promises: the body is never read
beyond `limit` bytes, the whole exchange ends within `timeout` seconds,
redirects are never followed (whoever wants that follows them itself and
counts), and every failure of the network is a `NetworkFault`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol


@dataclass(frozen=True, slots=True)
class HttpResponse:
    """An answer: `headers` with lower-case names, the last of a repeated one but for `link`."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    links: tuple[str, ...] = field(default=())  # every Link header, as sent


class Http(Protocol):
    """Sends requests over few, re-used connections; close it when done."""

    async def request(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        body: bytes | None = None,
        timeout: float = 30.0,
        limit: int = 1_048_576,
    ) -> HttpResponse:
        """One exchange, redirects not followed.

        Raises `NetworkFault` when no connection could be made, it broke off,
        the certificate is not trusted, the time (seconds) ran out or the body
        is longer than `limit` bytes.
        """
        ...

    async def close(self) -> None:
        """Closes every connection."""
        ...

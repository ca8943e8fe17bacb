"""Nonces (RFC 8555 section 6.5): each answer brings the next request's.

The pool keeps what answers brought and hands out the newest, since servers
forget the oldest first. It asks newNonce only when it is empty. A nonce leaves
the pool when taken, so none is ever sent twice. A server that refuses one
(badNonce) sends a fresh one along; the client retries with that, not with
another from the pool, which may be as stale.
"""

from __future__ import annotations

from collections import deque

from mailseal.acme.urls import is_nonce

MOST = 64  # more than can be in flight is only a way to hold stale ones


class Nonces:
    """The pool of one server's nonces."""

    def __init__(self) -> None:
        self._pool: deque[str] = deque(maxlen=MOST)

    def put(self, nonce: str | None) -> None:
        """Keeps what an answer's Replay-Nonce header holds; what is none is dropped (section 6.5.1)."""
        if nonce is not None and is_nonce(nonce):
            self._pool.append(nonce)

    def take(self) -> str | None:
        """The newest, None if newNonce must be asked."""
        return self._pool.pop() if self._pool else None

    def __len__(self) -> int:
        return len(self._pool)

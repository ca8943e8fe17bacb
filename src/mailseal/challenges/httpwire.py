"""HTTP/1.1 messages as far as a challenge needs them: heads of requests, heads and bodies of responses (RFC 9112).

Pure functions over octets that came from strangers. Promises: no input raises
anything but `Malformed`, work is linear in the input's length, and nothing is
kept beyond the limits. What is strict stays strict where leniency would let
two readers see different messages (obs-fold, blanks before a colon, several
lengths: RFC 9112 section 11.2). Does not promise a whole HTTP: no trailers,
no content codings, no pipelining.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

LONGEST_HEAD = 16_384
MOST_FIELDS = 100
HEAD_END = b"\r\n\r\n"

_REQUEST_LINE = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]{1,32}) ([!-~]{1,8192}) HTTP/1\.([0-9])")
_STATUS_LINE = re.compile(rb"HTTP/1\.[0-9] ([1-5][0-9]{2})(?: ([\t -~\x80-\xff]*))?")
_FIELD = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]{1,256}):[\t ]*([\t -~\x80-\xff]*)")
_CHUNK_SIZE = re.compile(rb"([0-9A-Fa-f]{1,8})[\t ]*(?:;[\t -~]*)?")


class Malformed(ValueError):
    """The octets are no message of the kind that was read; the text says why."""


@dataclass(frozen=True, slots=True)
class Request:
    """A request's head: method, target as sent, Host without port in lower case (empty: none sent)."""

    method: str
    target: str
    host: str

    @property
    def path(self) -> str:
        """The target's path; an absolute form is taken too, as RFC 9112 section 3.2.2 asks of servers."""
        target = self.target
        if target[:7].lower() == "http://":
            _, slash, rest = target[7:].partition("/")
            target = slash + rest
        return target.partition("?")[0]


@dataclass(frozen=True, slots=True)
class ResponseHead:
    """A response's head; header names in lower case, the first of repeated ones."""

    status: int
    reason: str
    headers: tuple[tuple[str, str], ...]

    def header(self, name: str) -> str:
        return next((value for known, value in self.headers if known == name), "")


def parse_request(head: bytes) -> Request:
    """Reads a request's head, up to and without the empty line. Raises `Malformed`."""
    lines = _lines(head)
    match = _REQUEST_LINE.fullmatch(lines[0])
    if match is None:
        raise Malformed("no request line of HTTP/1")
    fields = _fields(lines[1:])
    hosts = [value for name, value in fields if name == "host"]
    if len(hosts) > 1 or (not hosts and match[3] != b"0"):
        raise Malformed("one Host field is needed")  # RFC 9112 section 3.2
    return Request(match[1].decode(), match[2].decode(), _without_port(hosts[0]) if hosts else "")


def parse_response_head(head: bytes) -> ResponseHead:
    """Reads a response's head, up to and without the empty line. Raises `Malformed`."""
    lines = _lines(head)
    match = _STATUS_LINE.fullmatch(lines[0])
    if match is None:
        raise Malformed("no status line of HTTP/1")
    return ResponseHead(int(match[1]), (match[2] or b"").decode("latin-1").strip(), _fields(lines[1:]))


def body_length(head: ResponseHead) -> int | None:
    """How many octets the body has, None where its end is told otherwise. Raises `Malformed`."""
    if head.status < 200 or head.status in (204, 304):
        return 0
    if is_chunked(head):
        return None
    lengths = {value for name, value in head.headers if name == "content-length"}
    if not lengths:
        return None
    if len(lengths) > 1 or not (text := lengths.pop()).isascii() or not text.isdigit() or len(text) > 15:
        raise Malformed("a Content-Length that is none")
    return int(text)


def is_chunked(head: ResponseHead) -> bool:
    return head.header("transfer-encoding").strip().lower() == "chunked"


def unchunked(raw: bytes) -> tuple[bytes, bool]:
    """What is known of a chunked body, and whether its end was seen. Raises `Malformed`."""
    body, at = bytearray(), 0
    while True:
        end = raw.find(b"\r\n", at, at + 4096)
        if end < 0:
            if len(raw) - at >= 4096:
                raise Malformed("a chunk without a size")
            return bytes(body), False
        match = _CHUNK_SIZE.fullmatch(raw[at:end])
        if match is None:
            raise Malformed("a chunk without a size")
        size = int(match[1], 16)
        if size == 0:
            return bytes(body), True
        chunk = raw[end + 2 : end + 2 + size]
        body += chunk
        at = end + 2 + size + 2
        if len(chunk) < size or len(raw) < at:
            return bytes(body), False
        if raw[at - 2 : at] != b"\r\n":
            raise Malformed("a chunk longer than its size")


def response(
    status: int, reason: str, body: bytes, *, head_only: bool = False, content_type: str = "text/plain"
) -> bytes:
    """A whole response after which the connection is closed."""
    head = (
        f"HTTP/1.1 {status} {reason}\r\n"
        f"Content-Type: {content_type}\r\n"
        f"Content-Length: {len(body)}\r\n"
        "Cache-Control: no-store\r\n"
        "X-Content-Type-Options: nosniff\r\n"
        "Connection: close\r\n\r\n"
    )
    return head.encode("ascii") + (b"" if head_only else body)


def _lines(head: bytes) -> list[bytes]:
    if len(head) > LONGEST_HEAD:
        raise Malformed("the head is too long")
    lines = head.split(b"\r\n")
    if len(lines) > MOST_FIELDS + 1:
        raise Malformed("too many header fields")
    return lines


def _fields(lines: list[bytes]) -> tuple[tuple[str, str], ...]:
    fields = []
    for line in lines:
        match = _FIELD.fullmatch(line)
        if match is None:
            raise Malformed("a header field that is none")
        fields.append((match[1].decode().lower(), match[2].decode("latin-1").strip()))
    return tuple(fields)


def _without_port(host: str) -> str:
    host = host.lower()
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.partition(":")[0].rstrip(".")

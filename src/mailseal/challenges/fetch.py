"""One look at a challenge as a CA takes it: GET to a given address, redirects followed (RFC 8555 section 8.3).

A CA connects to an address that DNS gave for the name and sends the name as
Host. Redirects are followed, as Let's Encrypt documents it: ten at most, to
http and https only, to ports 80 and 443 only, to names and not to addresses,
with whatever certificate an https server shows. The name in a redirect is
looked up anew; while it stays the same name, the same address is asked, so
that a look at one address tells about that address.

Every way in which this can end is a value. Bounded: 16 KiB of head and 64 KiB
of body for each answer, and one time limit for the whole walk.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import ipaddress
import ssl
from dataclasses import dataclass
from enum import StrEnum
from urllib.parse import SplitResult, urljoin, urlsplit

from mailseal.challenges.httpwire import (
    HEAD_END,
    LONGEST_HEAD,
    Malformed,
    ResponseHead,
    body_length,
    is_chunked,
    parse_response_head,
    unchunked,
)
from mailseal.dns.lookup import addresses
from mailseal.errors import NetworkFault
from mailseal.system import Network
from mailseal.system.dns import Dns

MOST_REDIRECTS = 10
LONGEST_BODY = 65_536
USER_AGENT = "mailseal (a look at our own challenge)"


class Trouble(StrEnum):
    """Why no answer came, or why a CA would not follow it."""

    REFUSED = "refused"
    TIMEOUT = "timeout"
    UNREACHABLE = "unreachable"
    NO_HTTP = "no-http"
    LOOP = "loop"
    TOO_MANY = "too-many"
    BAD_REDIRECT = "bad-redirect"
    NO_ADDRESS = "no-address"

    @property
    def of_redirect(self) -> bool:
        return self in (Trouble.LOOP, Trouble.TOO_MANY, Trouble.BAD_REDIRECT, Trouble.NO_ADDRESS)


@dataclass(frozen=True, slots=True)
class Answered:
    """A final answer: `hops` are the URLs asked, `address` who gave it."""

    status: int
    server: str
    body: bytes
    address: str
    hops: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Failed:
    """No final answer. `address` is the one that failed or sent the redirect."""

    trouble: Trouble
    detail: str
    address: str
    hops: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Ports:
    """Where http and https stand: 80 and 443, but for laboratories on high ports."""

    http: int = 80
    https: int = 443


@dataclass(frozen=True, slots=True)
class _Exchange:
    status: int
    server: str
    location: str
    body: bytes


async def fetch(
    network: Network, dns: Dns, *, name: str, address: str, path: str, timeout: float, ports: Ports = Ports()
) -> Answered | Failed:
    """Fetches `http://name/path` from an address as a CA would. `timeout` is in seconds, for the whole walk."""
    hops: list[str] = []
    at = [address]
    try:
        async with asyncio.timeout(timeout):
            return await _walk(network, dns, _url(name, path, ports), at, hops, ports)
    except TimeoutError:
        return Failed(Trouble.TIMEOUT, f"no answer within {timeout:g} s", at[0], tuple(hops))


def _url(name: str, path: str, ports: Ports) -> str:
    host = f"[{name}]" if ":" in name else name
    return f"http://{host}{path}" if ports.http == 80 else f"http://{host}:{ports.http}{path}"


async def _walk(
    network: Network, dns: Dns, url: str, at: list[str], hops: list[str], ports: Ports
) -> Answered | Failed:
    """`at` holds the address asked last, `hops` the URLs: both are read by the caller when the time is up."""
    while True:
        hops.append(url)
        parts = urlsplit(url)
        try:
            got = await _exchange(network, at[0], parts, ports)
        except NetworkFault as fault:
            return Failed(_trouble(fault), fault.reason or str(fault), at[0], tuple(hops))
        except Malformed as error:
            return Failed(Trouble.NO_HTTP, f"what answers speaks no HTTP: {error}", at[0], tuple(hops))
        if got.status not in (301, 302, 303, 307, 308) or not got.location:
            return Answered(got.status, got.server, got.body, at[0], tuple(hops))
        following = urljoin(url, got.location).partition("#")[0]
        wrong = _refused_redirect(following, hops, ports)
        if wrong is not None:
            return Failed(*wrong, at[0], tuple(hops))
        elsewhere = urlsplit(following).hostname or ""
        if elsewhere != parts.hostname:
            found = (await addresses(dns, elsewhere)).all
            if not found:
                detail = f"it redirects to {elsewhere}, which has no address"
                return Failed(Trouble.NO_ADDRESS, detail, at[0], tuple(hops))
            at[0] = found[0]
        url = following


def _refused_redirect(url: str, hops: list[str], ports: Ports) -> tuple[Trouble, str] | None:
    """Why a CA would not follow a redirect, if it would not."""
    if url in hops:
        return Trouble.LOOP, f"it redirects in a circle, back to {url[:200]}"
    if len(hops) > MOST_REDIRECTS:
        return Trouble.TOO_MANY, f"more than {MOST_REDIRECTS} redirects, the last to {url[:200]}"
    try:
        parts = urlsplit(url)
        port, host = parts.port, parts.hostname or ""
    except ValueError as error:
        return Trouble.BAD_REDIRECT, f"it redirects to {url[:200]!r}, which is no URL: {error}"
    if (
        parts.scheme not in ("http", "https")
        or not host
        or not url.isascii()
        or not url.isprintable()
        or " " in url
    ):
        return Trouble.BAD_REDIRECT, f"it redirects to {url[:200]!r}, which a CA does not follow"
    with contextlib.suppress(ValueError):
        ipaddress.ip_address(host)
        return Trouble.BAD_REDIRECT, f"it redirects to the address {host}, which a CA does not follow"
    if port is not None and port not in (80, 443, ports.http, ports.https):
        return Trouble.BAD_REDIRECT, f"it redirects to port {port}; a CA follows to 80 and 443 only"
    return None


def _trouble(fault: NetworkFault) -> Trouble:
    if fault.errno in (errno.ECONNREFUSED, errno.ECONNRESET):
        return Trouble.REFUSED
    if fault.errno == errno.ETIMEDOUT:
        return Trouble.TIMEOUT
    return Trouble.UNREACHABLE


async def _exchange(network: Network, address: str, url: SplitResult, ports: Ports) -> _Exchange:
    tls = url.scheme == "https"
    port = url.port or (ports.https if tls else ports.http)
    reader, writer = await network.connect(address, port, timeout=60.0)
    try:
        if tls:
            await writer.start_tls(_any_certificate(), server_hostname=url.hostname)
        target = (url.path or "/") + (f"?{url.query}" if url.query else "")
        host = url.netloc.rpartition("@")[2]
        asked = f"GET {target} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: {USER_AGENT}\r\nAccept: */*\r\n"
        writer.write(f"{asked}Connection: close\r\n\r\n".encode("ascii"))
        await writer.drain()
        head = await _read_head(reader)
        body = await _read_body(reader, head)
    except (OSError, ssl.SSLError) as error:
        number = error.errno if not isinstance(error, ssl.SSLError) else None
        reason = f"the connection broke off: {error.strerror or error}"
        raise NetworkFault(f"Cannot ask {address}:{port}", reason=reason, errno=number) from error
    finally:
        writer.close()
    return _Exchange(head.status, head.header("server"), head.header("location"), body)


def _any_certificate() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


async def _read_head(reader: asyncio.StreamReader) -> ResponseHead:
    while True:
        try:
            raw = await reader.readuntil(HEAD_END)
        except asyncio.IncompleteReadError as error:
            if not error.partial:  # no answer at all, as when a connection is refused late
                raise NetworkFault(
                    "No answer came", reason="it hung up without a word", errno=errno.ECONNRESET
                ) from error
            raise Malformed("it hung up before the head of its answer was whole") from error
        except asyncio.LimitOverrunError as error:
            raise Malformed("the head is too long") from error
        if len(raw) > LONGEST_HEAD:
            raise Malformed("the head is too long")
        head = parse_response_head(raw[: -len(HEAD_END)])
        if head.status >= 200:  # 1xx answers come before the real one
            return head


async def _read_body(reader: asyncio.StreamReader, head: ResponseHead) -> bytes:
    """The body's first octets; how it ends matters only as far as it is read."""
    length = body_length(head)
    wanted = LONGEST_BODY if length is None else min(length, LONGEST_BODY)
    raw = b""
    while len(raw) < wanted:
        with contextlib.suppress(ssl.SSLError):  # a TLS peer that hangs up without a close_notify
            more = await reader.read(wanted - len(raw))
            if more:
                raw += more
                if is_chunked(head) and unchunked(raw)[1]:
                    break
                continue
        break
    return unchunked(raw)[0] if is_chunked(head) else raw

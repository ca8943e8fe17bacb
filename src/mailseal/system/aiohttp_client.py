"""The HTTP port over aiohttp: few connections, kept open, every answer bounded.

One `ClientSession` for each trust anchor, at most `per_host` connections to one
server. Bodies are asked for uncompressed, since a bound on what is read says
little about what a compressed body unfolds to. Cookies are neither kept nor
sent. Proxies named in the environment (https_proxy) are used, as other clients
on the machine use them.

Trust: the system's store as the distribution keeps it, or one CA file. The
variables SSL_CERT_FILE and SSL_CERT_DIR are not read, so that what a shell
exports cannot change whom a service run as root trusts.
"""

from __future__ import annotations

import asyncio
import os
import re
import ssl
from collections.abc import Mapping
from shlex import quote
from urllib.request import getproxies

import aiohttp

from mailseal import __version__
from mailseal.errors import NetworkFault
from mailseal.system.http import HttpResponse

USER_AGENT = f"mailseal/{__version__}"
SYSTEM_STORE = "/etc/ssl/certs/ca-certificates.crt"
# How asyncio tells of each address that it tried: [Errno 111] Connect call failed ('192.0.2.1', 443)
_TRIED = re.compile(r"\[Errno (\d+)\] Connect call failed \('([^']+)'")


def trust(ca_file: str | None = None) -> ssl.SSLContext:
    """A context that trusts the system's store, or only `ca_file`; `NetworkFault` if that cannot be read."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        if ca_file is not None:
            context.load_verify_locations(cafile=ca_file)
        elif os.path.exists(SYSTEM_STORE):
            context.load_verify_locations(cafile=SYSTEM_STORE)
        else:
            compiled_in = ssl.get_default_verify_paths()
            context.load_verify_locations(
                cafile=compiled_in.openssl_cafile if os.path.exists(compiled_in.openssl_cafile) else None,
                capath=compiled_in.openssl_capath,
            )
    except (OSError, ssl.SSLError, TypeError) as error:
        raise NetworkFault(
            f"The trusted roots in {ca_file or SYSTEM_STORE} cannot be read",
            reason="it holds no certificate in PEM" if isinstance(error, ssl.SSLError) else _plainly(error),
            next_command=f"openssl x509 -noout -subject -in {quote(ca_file)}"
            if ca_file
            else "apt install --reinstall ca-certificates",
        ) from error
    return context


class _TooLong(ValueError):
    """An answer has more bytes than were asked for."""

    def __init__(self, limit: int) -> None:
        super().__init__(limit)
        self.limit = limit


class AiohttpClient:
    """`mailseal.system.http.Http` over one aiohttp session, made with the first request."""

    def __init__(
        self, *, ca_file: str | None = None, per_host: int = 8, user_agent: str = USER_AGENT
    ) -> None:
        self._ca_file = ca_file
        self._per_host = per_host
        self._headers = {"User-Agent": user_agent, "Accept-Encoding": "identity"}
        self._session: aiohttp.ClientSession | None = None

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
        """As the port says; the errors of aiohttp and of the resolver become `NetworkFault`."""
        session = self._session or self._open()
        try:
            async with session.request(
                method,
                url,
                headers=headers,
                data=body,
                allow_redirects=False,
                timeout=aiohttp.ClientTimeout(total=timeout),
            ) as answer:
                content = await _bounded(answer, limit)
                found = {name.lower(): value for name, value in answer.headers.items()}
                return HttpResponse(answer.status, found, content, tuple(answer.headers.getall("Link", ())))
        except (aiohttp.ClientError, OSError, ValueError, TimeoutError, asyncio.IncompleteReadError) as error:
            raise _fault(method, url, timeout, error) from error

    async def close(self) -> None:
        """Closes every connection; a later request opens anew."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    def _open(self) -> aiohttp.ClientSession:
        connector = aiohttp.TCPConnector(
            ssl=trust(self._ca_file), limit=0, limit_per_host=self._per_host, keepalive_timeout=30.0
        )
        self._session = aiohttp.ClientSession(
            connector=connector,
            headers=self._headers,
            cookie_jar=aiohttp.DummyCookieJar(),
            trust_env=bool(getproxies()),
            max_line_size=16_384,
            max_field_size=16_384,
        )
        return self._session


async def _bounded(answer: aiohttp.ClientResponse, limit: int) -> bytes:
    """The body; raises before more than `limit` bytes of it are kept."""
    if (answer.content_length or 0) > limit:
        answer.close()
        raise _TooLong(limit)
    parts = []
    size = 0
    async for part in answer.content.iter_any():
        size += len(part)
        if size > limit:
            answer.close()
            raise _TooLong(limit)
        parts.append(part)
    return b"".join(parts)


def _fault(method: str, url: str, timeout: float, error: BaseException) -> NetworkFault:
    """The port's own error: says which server, and what to look at."""
    server = url.split("?", 1)[0][:200]
    number = error.errno if isinstance(error, OSError) else None
    look = f"curl -v {quote(server)}"
    if isinstance(error, _TooLong):
        return NetworkFault(
            f"The answer of {server} is longer than {error.limit} bytes",
            reason="no more than that was read, and nothing of it is used",
            next_command=look,
        )
    if isinstance(error, TimeoutError):
        return NetworkFault(
            f"No answer from {server}",
            reason=f"{timeout:.0f} seconds are over ({method})",
            errno=number,
            next_command=look,
        )
    if isinstance(error, aiohttp.ClientConnectorCertificateError | aiohttp.ClientConnectorSSLError):
        return NetworkFault(
            f"The TLS certificate of {server} cannot be trusted or used",
            reason=_plainly(error),
            errno=number,
            next_command="for a CA of your own name its root (setup: --ca-file FILE; [acme] ca_file); "
            "for a public CA look at the clock (date -u) and at the package ca-certificates",
        )
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return NetworkFault(
            f"The name in {server} does not resolve",
            reason=_plainly(error),
            errno=number,
            next_command="look whether the URL is right, and at the resolvers in /etc/resolv.conf",
        )
    if isinstance(error, aiohttp.ClientConnectorError):
        return NetworkFault(
            f"No connection to {server}", reason=_plainly(error), errno=number, next_command=look
        )
    return NetworkFault(
        f"The exchange with {server} failed", reason=_broken(error), errno=number, next_command=look
    )


def _broken(error: BaseException) -> str:
    """What is wrong with an exchange that began: it was closed, breaks off, or is no HTTP."""
    if isinstance(error, aiohttp.ServerDisconnectedError):
        return "it closed the connection without an answer"
    if isinstance(error, aiohttp.ClientPayloadError):
        return "its answer breaks off"
    if isinstance(error, aiohttp.ClientResponseError):
        return f"what it sends is not HTTP: {' '.join(error.message.split())[:200]}"
    return f"{type(error).__name__}: {error}".rstrip(": ")


def _plainly(error: BaseException) -> str:
    """The reason without the libraries' decoration: what the kernel, the resolver or OpenSSL said."""
    inner = getattr(error, "certificate_error", None) or getattr(error, "os_error", None) or error
    if isinstance(inner, ssl.SSLCertVerificationError):
        return inner.verify_message
    tried = _TRIED.findall(str(inner))
    if tried:
        return "; ".join(dict.fromkeys(f"{address}: {os.strerror(int(number))}" for number, address in tried))
    if isinstance(inner, ssl.SSLError):
        return str(inner.reason or inner)
    return (inner.strerror if isinstance(inner, OSError) else "") or str(inner)

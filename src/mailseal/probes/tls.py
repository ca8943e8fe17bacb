"""The TLS handshake of a probe, over streams that are already open.

TLS 1.2 is RFC 5246, TLS 1.3 RFC 8446, the server name indication RFC 6066
section 3 (never an address). A server with an ECDSA and an RSA certificate
chooses by what the client can verify: with TLS 1.2 the cipher's name says it
(RFC 8422), so a question for one key family offers TLS 1.2 alone with the
ciphers of that family. A question without a family offers 1.2 and 1.3, as
mail clients of today do.

Promises: nothing is verified, so a wrong certificate is seen and not refused;
the chain comes as it was sent; contexts are made once a process, since that
is slow. OpenSSL works on memory buffers, the streams are the caller's.
"""

from __future__ import annotations

import asyncio
import ipaddress
from dataclasses import dataclass
from functools import cache

from OpenSSL import SSL, crypto

from mailseal.model import KeyFamily
from mailseal.probes.faults import ProbeFault

# Security level 0: weak keys and old signatures are to be seen and told, not refused here.
_CIPHERS: dict[KeyFamily | None, bytes] = {
    None: b"DEFAULT:@SECLEVEL=0",
    "ecdsa": b"ECDHE+aECDSA:@SECLEVEL=0",
    "rsa": b"ECDHE+aRSA:DHE+aRSA:kRSA:@SECLEVEL=0",
}
_CHUNK = 16_384
_HANDSHAKE_LIMIT = 1_048_576  # octets; OpenSSL itself refuses a chain beyond 100 KiB


@cache
def _context(family: KeyFamily | None) -> SSL.Context:
    context = SSL.Context(SSL.TLS_CLIENT_METHOD)
    context.set_verify(SSL.VERIFY_NONE)
    context.set_min_proto_version(SSL.TLS1_2_VERSION)
    context.set_max_proto_version(SSL.TLS1_3_VERSION if family is None else SSL.TLS1_2_VERSION)
    context.set_cipher_list(_CIPHERS[family])
    context.set_session_cache_mode(SSL.SESS_CACHE_OFF)
    return context


@dataclass(frozen=True, slots=True)
class Handshake:
    """What a handshake showed: the version and cipher agreed, and every certificate sent, DER, in order."""

    version: str
    cipher: str
    chain: tuple[bytes, ...]


class TlsStream:
    """The encrypted side of a connection after its handshake."""

    __slots__ = ("_connection", "_reader", "_writer")

    def __init__(
        self, connection: SSL.Connection, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self._connection = connection
        self._reader = reader
        self._writer = writer

    async def read(self, limit: int) -> bytes:
        """Some octets, at most `limit`; none at the end, be it announced or not."""
        while True:
            try:
                return self._connection.recv(limit)
            except SSL.WantReadError:
                pass
            except (SSL.ZeroReturnError, SSL.SysCallError):
                return b""
            except SSL.Error as error:
                raise ProbeFault(f"TLS broke off: {_reason(error)}") from error
            _flush(self._connection, self._writer)
            octets = await self._reader.read(_CHUNK)
            if not octets:
                return b""
            self._connection.bio_write(octets)

    def write(self, octets: bytes) -> None:
        """Sends; what is still held back from the handshake goes with it."""
        try:
            self._connection.sendall(octets)
        except SSL.Error as error:
            raise ProbeFault(f"TLS broke off: {_reason(error)}") from error
        _flush(self._connection, self._writer)

    def farewell(self, octets: bytes) -> None:
        """Says goodbye in one packet: the end of the handshake, `octets`, close_notify."""
        try:
            if octets:
                self._connection.sendall(octets)
            self._connection.shutdown()
        except SSL.Error:
            pass
        _flush(self._connection, self._writer)


async def shake_hands(
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
    server_name: str | None,
    family: KeyFamily | None,
) -> tuple[Handshake, TlsStream]:
    """Shakes hands as a client. Raises `ProbeFault`, `OSError`."""
    connection = SSL.Connection(_context(family))
    if server_name is not None and not _is_address(server_name):
        connection.set_tlsext_host_name(server_name.encode("ascii", "replace"))
    connection.set_connect_state()
    await _to_the_end(connection, reader, writer)
    seen = Handshake(
        version=connection.get_protocol_version_name(),
        cipher=connection.get_cipher_name() or "",
        chain=tuple(
            crypto.dump_certificate(crypto.FILETYPE_ASN1, certificate)
            for certificate in connection.get_peer_cert_chain() or ()
        ),
    )
    return seen, TlsStream(connection, reader, writer)


async def _to_the_end(
    connection: SSL.Connection, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> None:
    received = 0
    while True:
        try:
            connection.do_handshake()
            return
        except SSL.WantReadError:
            _flush(connection, writer)
        except SSL.Error as error:
            _flush(connection, writer)  # our alert, so that the server's log says why
            raise ProbeFault(_reason(error)) from error
        octets = await reader.read(_CHUNK)
        received += len(octets)
        if not octets:
            raise ProbeFault("the server closed the connection during the handshake")
        if received > _HANDSHAKE_LIMIT:
            raise ProbeFault("the server's part of the handshake does not end")
        connection.bio_write(octets)


def _flush(connection: SSL.Connection, writer: asyncio.StreamWriter) -> None:
    """What OpenSSL wants sent, into the stream."""
    while True:
        try:
            writer.write(connection.bio_read(65_536))
        except SSL.WantReadError:
            return


def _reason(error: SSL.Error) -> str:
    """OpenSSL's own words for what went wrong, the last the most telling."""
    queue = error.args[0] if error.args else ()
    if isinstance(queue, list):
        reasons = [entry[-1] for entry in queue if isinstance(entry, tuple) and entry and entry[-1]]
        return "; ".join(dict.fromkeys(reasons)) or "TLS failed without a reason"
    return str(error) or "TLS failed without a reason"


def _is_address(name: str) -> bool:
    if not name or (name[-1] not in "0123456789" and ":" not in name):
        return False
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True

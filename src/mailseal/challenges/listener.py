"""http-01 by a listener of our own: for a free port 80, or any port that a proxy forwards to (RFC 8555 section 8.3).

The listener stands only while something is presented: the first `present`
opens it, the last `clean_up` closes it. `async with` holds it open in between,
and closes it at its end whatever is still presented. It answers GET and HEAD
for exactly the tokens it was given, under any Host (a proxy may rewrite it,
and the answer is no secret), and 404 for everything else. Requests are bounded
in size and time, and one connection is one request. What already listens on
the port is named in the error.
"""

from __future__ import annotations

import asyncio
import errno
from types import TracebackType
from typing import Self

from mailseal.challenges.http01 import KIND, checked_answer, path_of
from mailseal.challenges.httpwire import HEAD_END, LONGEST_HEAD, Malformed, parse_request, response
from mailseal.errors import ChallengeError, NetworkFault
from mailseal.model import Identifier
from mailseal.system import Server, System
from mailseal.system.listeners import covering, listeners

REQUEST_TIME = 10.0  # seconds from the connection to the end of the request's head
ALL_ADDRESSES = ("0.0.0.0", "::")  # the CA comes from the whole world
_NO_SUCH_FAMILY = {errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL, errno.EPROTONOSUPPORT}


class ListenerSolver:
    """Answers http-01 itself, on one port of one or more addresses."""

    kind = KIND

    def __init__(self, system: System, *, addresses: tuple[str, ...] = ALL_ADDRESSES, port: int = 80) -> None:
        self._system = system
        self._addresses = addresses
        self._port = port
        self._answers: dict[str, tuple[bytes, set[Identifier]]] = {}
        self._servers: list[Server] = []
        self._held = 0
        self._turn = asyncio.Lock()

    @property
    def endpoints(self) -> tuple[tuple[str, int], ...]:
        """Where it listens now."""
        return tuple((server.address, server.port) for server in self._servers)

    async def present(self, identifier: Identifier, token: str, key_authorization: str) -> None:
        path, answer = path_of(token), checked_answer(token, key_authorization)
        known, names = self._answers.setdefault(path, (answer, set()))
        if known != answer:
            raise ChallengeError(f"The token {token!r} is already presented with another answer")
        names.add(identifier)
        try:
            await self._open()
        except BaseException:
            self._forget(path, identifier)
            raise

    async def clean_up(self, identifier: Identifier, token: str) -> None:
        self._forget(path_of(token), identifier)
        await self._close_if_idle()

    async def __aenter__(self) -> Self:
        self._held += 1
        try:
            await self._open()
        except BaseException:
            self._held -= 1
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._held -= 1
        if self._held == 0:
            self._answers.clear()
        await self._close_if_idle()

    def _forget(self, path: str, identifier: Identifier) -> None:
        if path in self._answers:
            names = self._answers[path][1]
            names.discard(identifier)
            if not names:
                del self._answers[path]

    async def _open(self) -> None:
        async with self._turn:
            if self._servers:
                return
            opened: list[Server] = []
            try:
                for address in self._addresses:
                    server = await self._serve(address, opened)
                    if server is not None:
                        opened.append(server)
            except BaseException:
                for server in opened:
                    await server.close()
                raise
            self._servers = opened

    async def _serve(self, address: str, opened: list[Server]) -> Server | None:
        # Port 0 is the tests': every address then gets the port that the first was given.
        port = opened[0].port if opened else self._port
        try:
            return await self._system.network.serve(address, port, self._answer)
        except NetworkFault as fault:
            if fault.errno in _NO_SUCH_FAMILY and address == "::" and opened:
                return None  # a machine without IPv6
            raise self._refused(address, port, fault) from fault

    def _refused(self, address: str, port: int, fault: NetworkFault) -> ChallengeError:
        if fault.errno == errno.EADDRINUSE:
            holders = covering(listeners(self._system, {port}), address, port)
            who = ", ".join(dict.fromkeys(str(holder) for holder in holders)) or "another process"
            return ChallengeError(
                f"Port {port} is in use, so mailseal cannot answer the challenge there itself",
                reason=f"taken by {who}",
                next_command="stop it, or set [http01] method to apache or webroot, "
                "or let it forward the challenge path to a listener on another port (docs/http-01.md)",
            )
        if fault.errno == errno.EACCES:
            return ChallengeError(
                f"Listening on port {port} is not allowed", reason=str(fault), next_command="run it as root"
            )
        return ChallengeError(f"Cannot listen on port {port} for the challenge", reason=str(fault))

    async def _close_if_idle(self) -> None:
        async with self._turn:
            if self._answers or self._held:
                return
            servers, self._servers = self._servers, []
            for server in servers:
                await server.close()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(REQUEST_TIME):
                head = await reader.readuntil(HEAD_END)
                writer.write(self.reply(head[: -len(HEAD_END)]))
                await writer.drain()
        except asyncio.LimitOverrunError:
            writer.write(response(431, "Request Header Fields Too Large", b""))
        except (asyncio.IncompleteReadError, TimeoutError, ConnectionError):
            return

    def reply(self, head: bytes) -> bytes:
        """The whole response to a request's head."""
        try:
            request = parse_request(head)
        except Malformed as error:
            status = (
                (431, "Request Header Fields Too Large") if len(head) > LONGEST_HEAD else (400, "Bad Request")
            )
            return response(*status, f"{error}\n".encode())
        if request.method not in ("GET", "HEAD"):
            return response(405, "Method Not Allowed", b"only GET and HEAD\n")
        known = self._answers.get(request.path)
        only_head = request.method == "HEAD"
        if known is None:
            return response(404, "Not Found", b"no such challenge\n", head_only=only_head)
        return response(200, "OK", known[0], head_only=only_head, content_type="application/octet-stream")

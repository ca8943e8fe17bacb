"""One ACME server and one account key: signed requests that heal what is healed by asking again.

RFC 8555 section 6: every request but those for the directory, nonces and
renewal information is a POST signed with the account key; reading is a POST
with an empty payload (POST-as-GET). `AcmeClient.post` promises:

* a refused nonce is retried with the one that came with the refusal, at most
  `MOST_REFUSALS` times (section 6.5);
* a 5xx, a 429 or a broken connection is retried a few times, after Retry-After
  where the server sends it (section 6.6) as long as that is within `patience`
  seconds, else the problem is raised with its `retry_after`;
* nothing waits beyond the deadline set by `within`;
* at most `in_flight` requests are under way at once, so that many orders share
  few connections and few nonces.

A repeated request does no harm: a second newOrder is an order that nobody
finalizes; a second answer or finalize may be refused, and whoever sent it then
looks at what became of the first. It does not keep accounts or orders: callers do.
"""

from __future__ import annotations

import asyncio
import copy
from collections.abc import Coroutine, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from mailseal.acme.jws import SigningKey, sign
from mailseal.acme.limits import wait_told
from mailseal.acme.messages import Directory, decode
from mailseal.acme.nonces import Nonces
from mailseal.acme.polling import Pace
from mailseal.acme.ports import AcmeClock
from mailseal.acme.problems import AcmeProblem, AcmeProtocolError, AcmeTimeout, read_problem
from mailseal.acme.retry_after import retry_after
from mailseal.acme.urls import check_url, is_nonce, join_url
from mailseal.errors import IssueError, NetworkFault
from mailseal.system.http import Http, HttpResponse

MOST_REFUSALS = 24
MOST_RETRIES = 3
JOSE = {"content-type": "application/jose+json"}

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Reply:
    """A good answer (2xx): `retry_after` in seconds if the server sent it, `url` what was asked."""

    url: str
    status: int
    headers: Mapping[str, str]
    body: bytes
    links: tuple[str, ...]
    retry_after: float | None

    def decode(self, kind: type[T], *, what: str) -> T:
        """The body as that struct. Raises `AcmeProtocolError`."""
        return decode(self.body, kind, what=what)


class _Server:
    """What all views of one client share."""

    def __init__(self, in_flight: int) -> None:
        self.nonces = Nonces()
        self.gate = asyncio.Semaphore(in_flight)
        self.directory: Directory | None = None
        self.asking_directory = asyncio.Lock()
        self.account_url: str | None = None
        self.authorization_pace = Pace()
        self.order_pace = Pace()


class AcmeClient:
    """Asks one ACME server in the name of one account key.

    `directory_url` is https, or http in tests on loopback. `account_url` is the
    account's, kept from an earlier run; without it `account.register` or
    `account.find` comes first. To be used within one event loop.
    """

    def __init__(
        self,
        http: Http,
        clock: AcmeClock,
        key: SigningKey,
        directory_url: str,
        *,
        account_url: str | None = None,
        in_flight: int = 8,
        request_timeout: float = 30.0,
        patience: float = 30.0,
    ) -> None:
        self.clock = clock
        self.key = key
        self.insecure = directory_url.startswith("http://")
        self.directory_url = check_url(directory_url, what="directory", insecure=self.insecure)
        self.patience = patience
        self.request_timeout = request_timeout
        self.deadline: float | None = None
        self._http = http
        self._server = _Server(in_flight)
        self._server.account_url = account_url

    @property
    def account_url(self) -> str:
        """The account's URL, used as `kid`. Raises `IssueError` before there is an account."""
        url = self._server.account_url
        if url is None:
            raise IssueError("There is no account at this CA yet", next_command="mailseal setup")
        return url

    @account_url.setter
    def account_url(self, url: str) -> None:
        self._server.account_url = url

    @property
    def authorization_pace(self) -> Pace:
        return self._server.authorization_pace

    @property
    def order_pace(self) -> Pace:
        return self._server.order_pace

    def within(self, seconds: float) -> AcmeClient:
        """A view of the same client whose every wait ends `seconds` from now, if not earlier."""
        view = copy.copy(self)
        end = self.clock.monotonic() + seconds
        view.deadline = end if self.deadline is None else min(end, self.deadline)
        return view

    def signing_with(self, key: SigningKey) -> AcmeClient:
        """A view of the same client that signs with another key of the account (after a key rollover)."""
        view = copy.copy(self)
        view.key = key
        return view

    async def directory(self) -> Directory:
        """The directory (RFC 8555 section 7.1.1), asked for once."""
        if self._server.directory is None:
            async with self._server.asking_directory:
                if self._server.directory is None:
                    self._server.directory = await self._ask_directory()
        return self._server.directory

    async def _ask_directory(self) -> Directory:
        reply = await self.get(self.directory_url, doing="the directory")
        directory = reply.decode(Directory, what="the directory")
        for name in ("new_nonce", "new_account", "new_order", "revoke_cert", "key_change", "renewal_info"):
            url = getattr(directory, name)
            if url is not None:
                check_url(url, what=name, insecure=self.insecure)
        return directory

    async def get(self, url: str, *, doing: str) -> Reply:
        """An unsigned GET. Raises `AcmeProblem`, `AcmeTimeout`, `NetworkFault`."""
        check_url(url, what=doing, insecure=self.insecure)
        retries = 0
        while True:
            async with self._server.gate:
                answer = await self._send("GET", url)
            if isinstance(answer, HttpResponse) and 200 <= answer.status < 300:
                return self._reply(url, answer)
            retries += 1
            await self._wait_or_raise(answer, retries, doing)

    async def post(
        self, url: str, payload: bytes = b"", *, doing: str, key: SigningKey | None = None
    ) -> Reply:
        """A signed request; without a payload it reads. `key` signs as `jwk`, instead of the account's `kid`.

        `doing` completes "The CA refused …". Raises `AcmeProblem` when the
        server refuses, `AcmeTimeout`, `AcmeProtocolError`, `NetworkFault`.
        """
        check_url(url, what=doing, insecure=self.insecure)
        directory = await self.directory()
        kid = None if key is not None else self.account_url
        signer = key or self.key
        nonce: str | None = None
        refusals = retries = 0
        while True:
            async with self._server.gate:
                found = nonce or self._server.nonces.take() or await self._new_nonce(directory.new_nonce)
                answer = (
                    found
                    if not isinstance(found, str)
                    else await self._send("POST", url, sign(signer, url, payload, nonce=found, kid=kid))
                )
            nonce = None
            if isinstance(answer, HttpResponse):
                fresh = answer.headers.get("replay-nonce")
                if 200 <= answer.status < 300:
                    self._server.nonces.put(fresh)
                    return self._reply(url, answer)
                if refusals < MOST_REFUSALS and read_problem(answer.body, answer.status).kind == "badNonce":
                    refusals += 1
                    nonce = fresh if is_nonce(fresh) else None
                    continue
                self._server.nonces.put(fresh)
            retries += 1
            await self._wait_or_raise(answer, retries, doing)

    async def pause(self, seconds: float, *, doing: str, told: bool = False) -> None:
        """Waits, never beyond the deadline: raises `AcmeTimeout` then, at once if the server `told` us so."""
        if self.deadline is not None:
            left = self.deadline - self.clock.monotonic()
            if left <= 0 or (told and seconds > left):
                raise AcmeTimeout(
                    f"No end in time: {doing}",
                    reason=f"the CA asks to wait {seconds:.0f} seconds"
                    if told
                    else "it takes longer than allowed",
                    state="The certificate in use stays; the next run goes on where this one ended.",
                    retry_after=seconds if told else None,
                )
            seconds = min(seconds, left)
        await self.clock.sleep_async(seconds)

    def location(self, reply: Reply, *, what: str) -> str:
        """The Location header of an answer, checked. Raises `AcmeProtocolError`."""
        found = reply.headers.get("location", "")
        if not found:
            raise AcmeProtocolError(
                f"The CA did not say where {what} is", reason="its answer has no Location header"
            )
        return join_url(reply.url, found, what=what, insecure=self.insecure)

    async def _new_nonce(self, url: str) -> str | HttpResponse | NetworkFault:
        """A nonce, or the answer in which there is none because the server has no time."""
        answer = await self._send("HEAD", url)
        if isinstance(answer, NetworkFault) or answer.status >= 300:
            return answer
        nonce = answer.headers.get("replay-nonce")
        if nonce is None or not is_nonce(nonce):
            raise AcmeProtocolError(
                "The CA gave no nonce", reason="its answer has no good Replay-Nonce header"
            )
        return nonce

    async def _send(self, method: str, url: str, body: bytes | None = None) -> HttpResponse | NetworkFault:
        timeout = self.request_timeout
        if self.deadline is not None:
            timeout = min(timeout, max(self.deadline - self.clock.monotonic(), 0.5))
        try:
            return await self._http.request(
                method, url, headers=JOSE if body else None, body=body, timeout=timeout
            )
        except NetworkFault as fault:
            return fault

    def _reply(self, url: str, answer: HttpResponse) -> Reply:
        wait = retry_after(answer.headers, self.clock.now()) if "retry-after" in answer.headers else None
        return Reply(url, answer.status, answer.headers, answer.body, answer.links, wait)

    async def _wait_or_raise(self, answer: HttpResponse | NetworkFault, retries: int, doing: str) -> None:
        """Waits before a further try, or raises what stands in the way of one."""
        backoff = 0.25 * 4.0 ** (retries - 1)
        if isinstance(answer, NetworkFault):
            if retries > MOST_RETRIES - 1:
                raise answer
            await self.pause(backoff, doing=doing)
            return
        if 300 <= answer.status < 400:
            raise AcmeProtocolError(
                f"The CA redirects {doing}", reason=f"HTTP status {answer.status}, not followed"
            )
        wait, told = retry_after(answer.headers, self.clock.now()), read_problem(answer.body, answer.status)
        if wait is None:  # some CAs tell the end of a limit in its text only
            wait = wait_told(told, self.clock.now())
        problem = AcmeProblem(doing, told, status=answer.status, retry_after=wait)
        passing = answer.status in (500, 502, 503, 504) or (answer.status == 429 and wait is not None)
        if not passing or retries > MOST_RETRIES or (wait is not None and wait > self.patience):
            raise problem
        try:
            await self.pause(max(wait, backoff) if wait else backoff, doing=doing, told=bool(wait))
        except AcmeTimeout:
            raise problem from None


async def together(*tasks: Coroutine[Any, Any, T]) -> list[T]:
    """All at once; the first failure ends the others and is raised as itself."""
    if len(tasks) == 1:
        return [await tasks[0]]
    try:
        async with asyncio.TaskGroup() as group:
            running = [group.create_task(task) for task in tasks]
    except BaseExceptionGroup as failures:
        raise failures.exceptions[0] from None
    return [task.result() for task in running]

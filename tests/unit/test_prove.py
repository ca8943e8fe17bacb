"""Proving against real servers on loopback that change while they are asked."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from mailseal.chains import TrustAnchors
from mailseal.judge.expect import MANY, Expectation, ExpectedLeaf, expectations
from mailseal.judge.verdict import Verdict
from mailseal.model import AppProtocol, Endpoint, Identifier, KeyType, TlsMode
from mailseal.prove import Prover, look, prove
from mailseal.system.local import LocalSystem
from tests.support.certs import Ca, Issued
from tests.support.servers import hang_up, server_context

ROOT = Ca.root("Lab Root")
CA = ROOT.intermediate()
ANCHORS = TrustAnchors("the lab's root", ROOT.pem)
NAME = "mail.example.org"
NEW, OLD = CA.issue(NAME), CA.issue(NAME)
RSA = CA.issue(NAME, key_type=KeyType.RSA_2048)
LEAVES = (ExpectedLeaf(NEW.served),)


class Daemon:
    """Serves one certificate after another to its clients: the list says to whom which; the last goes on."""

    def __init__(self, *served: tuple[Issued, ...] | None) -> None:
        self._contexts = [server_context(issued) if issued else None for issued in served]
        self.clients = 0
        self.port = 0

    def _next(self) -> ssl.SSLContext | None:
        self.clients += 1
        return self._contexts[min(self.clients, len(self._contexts)) - 1]

    async def __aenter__(self) -> Daemon:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        await asyncio.sleep(0.05)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        context = self._next()
        try:
            if context is not None:
                writer.write(b"* OK [CAPABILITY IMAP4rev1 STARTTLS LOGINDISABLED] hi\r\n")
                await reader.readline()
                writer.write(b"b OK begin\r\n")
                await writer.start_tls(context)
                await asyncio.wait_for(reader.read(), 2)
        except (OSError, TimeoutError):
            pass
        finally:
            hang_up(writer)

    @property
    def endpoint(self) -> Endpoint:
        return Endpoint("dovecot", "127.0.0.1", self.port, AppProtocol.IMAP, TlsMode.STARTTLS)


def proven(daemon: Daemon, leaves: tuple[ExpectedLeaf, ...] = LEAVES, deadline: float = 5.0) -> Verdict:
    async def run() -> Verdict:
        async with daemon:
            wanted = Expectation(daemon.endpoint, (NAME,), leaves=leaves)
            return await prove(LocalSystem(), [wanted], ANCHORS, deadline_seconds=deadline, timeout=2.0)

    return asyncio.run(run())


def test_the_new_certificate_three_times_in_a_row_is_proof() -> None:
    daemon = Daemon((NEW,))
    verdict = proven(daemon)
    assert verdict.proven
    assert (daemon.clients, verdict.judged[0].asks, verdict.judged[0].good) == (3, 3, 3)


@pytest.mark.parametrize(
    "served",
    [
        ((OLD,), (NEW,)),
        ((NEW,), (OLD,), (NEW,)),
        (None, None, (NEW,)),
        ((NEW,), (NEW,), None, (OLD,), (NEW,)),
    ],
    ids=["old-first", "old-in-between", "starts-late", "falls-and-returns"],
)
def test_old_processes_are_waited_out(served: tuple[tuple[Issued, ...] | None, ...]) -> None:
    daemon = Daemon(*served)
    verdict = proven(daemon)
    assert verdict.proven, verdict.findings
    assert daemon.clients == len(served) + 2
    assert verdict.judged[0].good < verdict.judged[0].asks


def test_after_the_deadline_the_last_answer_counts() -> None:
    verdict = proven(Daemon((OLD,)), deadline=0.5)
    assert not verdict.proven
    assert [finding.code for finding in verdict.findings] == ["leaf-differs"]
    assert 0.5 <= verdict.seconds < 2.5


def test_what_waiting_cannot_heal_is_not_waited_for() -> None:
    other = CA.issue("other.example.org")
    verdict = proven(Daemon((other,)), leaves=(ExpectedLeaf(other.served),))
    assert [finding.code for finding in verdict.findings] == ["name-mismatch"]
    assert verdict.seconds < 2


def test_both_key_families() -> None:
    leaves = (*LEAVES, ExpectedLeaf(RSA.served))
    verdict = proven(Daemon((NEW, RSA)), leaves=leaves)
    assert verdict.proven, verdict.findings
    assert {one.answer.tls_version for one in verdict.judged} == {"TLSv1.2", "TLSv1.3"}


@dataclass(frozen=True)
class Instance:
    endpoints: tuple[Endpoint, ...]


@pytest.fixture
def dead_port() -> Iterator[int]:
    async def run() -> int:
        async with Daemon((NEW,)) as daemon:
            return daemon.port

    yield asyncio.run(run())


def test_a_prover_compares_before_and_after(dead_port: int) -> None:
    endpoint = Endpoint("dovecot", "127.0.0.1", dead_port, AppProtocol.IMAP, TlsMode.STARTTLS)
    prover = Prover(
        LocalSystem(), ANCHORS, (Identifier.parse(NAME),), primary=NAME, leaves=LEAVES, deadline_seconds=0.2
    )
    facts = [Instance((endpoint,))]
    before, after = prover.look(facts), prover.prove(facts)  # type: ignore[arg-type]
    assert [finding.code for finding in after.findings] == ["endpoint-unreachable"]
    assert prover.worse(before, after) == ()


@pytest.mark.parametrize(
    ("once", "now", "seconds"),
    [
        (((OLD,),), (None,), (0.4, 1.5)),
        (((OLD,),), ((OLD,),), (2.5, 4.0)),
        ((None,), (None,), (2.5, 4.0)),
    ],
    ids=["turned-away", "the-old-one-still", "broken-before"],
)
def test_only_what_is_worse_than_before_cuts_the_waiting_short(
    monkeypatch: pytest.MonkeyPatch,
    once: tuple[tuple[Issued, ...] | None, ...],
    now: tuple[tuple[Issued, ...] | None, ...],
    seconds: tuple[float, float],
) -> None:
    monkeypatch.setattr("mailseal.prove.OUTAGE", 0.4)

    async def run() -> Verdict:
        daemon = Daemon(*once, *now)
        async with daemon:
            wanted = [Expectation(daemon.endpoint, (NAME,), leaves=LEAVES)]
            before = await look(LocalSystem(), wanted, ANCHORS, timeout=2.0)
            return await prove(
                LocalSystem(), wanted, ANCHORS, deadline_seconds=2.5, before=before, timeout=2.0
            )

    verdict = asyncio.run(run())
    assert not verdict.proven
    assert seconds[0] <= verdict.seconds < seconds[1]


def test_expectations_leave_out_what_has_no_tls_and_ask_below_wildcards() -> None:
    clear = Endpoint("postfix", "127.0.0.1", 2525, AppProtocol.SMTP, TlsMode.NONE)
    web = Endpoint("apache", "127.0.0.1", 80, AppProtocol.HTTP, TlsMode.NONE)
    smtp = Endpoint("postfix", "127.0.0.1", 25, AppProtocol.SMTP, TlsMode.STARTTLS)
    names = [Identifier.parse(name) for name in (NAME, "*.example.org")]
    wanted = expectations([clear, web, smtp, smtp], names, primary=NAME, leaves=LEAVES, redirect=True)
    assert [one.endpoint for one in wanted] == [web, smtp]
    assert wanted[0].redirect and not wanted[1].redirect
    assert wanted[0].leaves == ()
    assert wanted[1].names == (NAME, "mailseal.example.org")


def test_of_very_many_names_each_is_asked_at_every_service() -> None:
    ports = [Endpoint("postfix", "127.0.0.1", port, AppProtocol.SMTP, TlsMode.STARTTLS) for port in (25, 587)]
    imaps = Endpoint("dovecot", "127.0.0.1", 993, AppProtocol.IMAP, TlsMode.IMPLICIT)
    names = [f"n{number}.example.org" for number in range(100)]
    wanted = expectations([*ports, imaps], [Identifier.parse(name) for name in names], primary=names[0])
    asked = {one.endpoint.port: set(one.names) for one in wanted}
    assert asked[993] == asked[25] | asked[587] == set(names)
    assert asked[25] & asked[587] == set(names[:MANY])
    assert len(asked[25]) == len(asked[587]) == MANY + (100 - MANY) // 2

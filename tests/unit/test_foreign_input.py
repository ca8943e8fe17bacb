"""Whatever comes from outside, a room understands it or says so in its own words; nothing else comes out of it.

Every parser that reads what a CA, a server, a daemon, an admin, the kernel or a torn disk wrote is in `ROOMS`, with
real examples of what it reads (tests/unit/foreign). To try more than CI does, see `tests.support.fuzzing`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from pathlib import Path

import dns.exception
import dns.message
import dns.name
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailseal import certificates, chains, history, material, merging, others
from mailseal import config as configuration
from mailseal.acme import ari, jws, limits, messages, problems, retry_after
from mailseal.acme import chains as acme_chains
from mailseal.acme import urls as acme_urls
from mailseal.challenges import httpwire
from mailseal.config.reader import decoded
from mailseal.dns import lookup
from mailseal.errors import MailsealError
from mailseal.issuers import accounts
from mailseal.issuers.limits import LimitBook
from mailseal.issuers.pending import PendingOrders
from mailseal.journal import Journal
from mailseal.model import Identifier, KeyType, Secret
from mailseal.notify.book import Bookcase
from mailseal.services.base import ServiceSettings
from mailseal.stores.filesystem import LineageStore
from mailseal.stores.revocations import RevocationStore
from mailseal.stores.state import StateStore
from mailseal.system import dnswire, listeners, resolver, routes
from mailseal.system.dns import DnsRecord, DnsReply
from tests.support.certs import Ca
from tests.support.fuzzing import damaged, often
from tests.support.memory import MemorySystem
from tests.unit.services import test_apache, test_dovecot, test_postfix

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
ROOT = "/var/lib/mailseal"
FIXTURES = Path(__file__).parent / "services" / "fixtures"
OWN: tuple[type[BaseException], ...] = (MailsealError,)


@dataclass(frozen=True)
class Room:
    """A parser: real examples, what it is called with, and the errors that it may answer with."""

    reads: Callable[[bytes], object]
    seeds: tuple[bytes, ...]
    errors: tuple[type[BaseException], ...] = OWN


# ACME.


def _example(name: str) -> bytes:
    """A file of tests/unit/foreign."""
    return (Path(__file__).parent / "foreign" / name).read_bytes()


KINDS: Mapping[type[object], bytes] = {
    messages.Order: _example("order.json"),
    messages.Authorization: _example("authorization.json"),
    messages.Directory: _example("directory.json"),
    messages.AccountBody: _example("acme-account.json"),
    messages.RenewalInfoBody: _example("renewal.json"),
}


def _problem(octets: bytes) -> object:
    error = problems.AcmeProblem("it", problems.read_problem(octets, 429), status=429, retry_after=5.0)
    assert all(line.isprintable() for line in error.lines())
    _ = (error.kind, error.identifiers, error.detail, error.subproblems)
    return limits.limit_of(error, NOW), limits.wait_told(error.problem, NOW)


def _message(kind: type[object]) -> Callable[[bytes], object]:
    def read(octets: bytes) -> object:
        found = messages.decode(octets, kind, what="it")
        if isinstance(found, messages.Order):
            return found.names
        if isinstance(found, messages.Authorization):
            return found.name, found.challenge("http-01")
        return found

    return read


def _wait(octets: bytes) -> object:
    text = octets.decode("latin-1")
    wait = retry_after.retry_after({"retry-after": text, "date": text}, NOW)
    assert wait is None or 0 <= wait <= retry_after.LONGEST
    return wait


def _url(octets: bytes) -> object:
    return acme_urls.join_url("https://ca.test/x", octets.decode("latin-1"), what="it", insecure=True)


# Certificates and keys.


@cache
def _pem() -> tuple[bytes, bytes, bytes]:
    """A chain, its key, and its roots."""
    root = Ca.root("Test Root")
    issued = root.intermediate("Test Intermediate").issue("mail.example.org", "*.example.org")
    return issued.fullchain_pem, issued.key_pem, root.pem


def _every_fact(der: bytes) -> object:
    facts = certificates.certificate_facts(der)
    assert all(identifier.value for identifier in facts.identifiers)
    return (
        facts,
        certificates.key_family(der),
        certificates.covers(der, "mail.example.org"),
        certificates.for_servers(der),
        certificates.is_authority(der),
        certificates.weakness(der),
        certificates.subject(der),
        ari.certificate_id(certificates.parse(der)),
    )


def _chain(octets: bytes) -> object:
    served = certificates.read_pem(octets)
    if not served:
        return ()
    anchors = chains.TrustAnchors("the tests'", _pem()[2])
    return (
        [_every_fact(der) for der in served],
        chains.shape(served),
        chains.incomplete(served),
        chains.trust(served, anchors, NOW),
    )


def _material(octets: bytes) -> object:
    served = certificates.read_pem(_pem()[0])
    names = (Identifier.parse("mail.example.org"),)
    found = material.faults(Secret(octets), served, identifiers=names, now=NOW)
    served = certificates.read_pem(octets)
    return found, material.faults(Secret(_pem()[1]), served, identifiers=names, now=NOW)


def _roots(octets: bytes) -> object:
    anchors = chains.TrustAnchors("somebody's", octets)
    return chains.anchor_count(anchors), chains.trust(certificates.read_pem(_pem()[0]), anchors, NOW)


# HTTP, DNS.


def _request(octets: bytes) -> object:
    return httpwire.parse_request(octets).path


def _response(octets: bytes) -> object:
    head, _, body = octets.partition(b"\r\n\r\n")
    found = httpwire.parse_response_head(head)
    return httpwire.body_length(found), httpwire.unchunked(body) if httpwire.is_chunked(found) else body


def _dns_wire() -> bytes:
    return dns.message.from_text(_example("zone.txt").decode()).to_wire()


def _plain_dns(octets: bytes) -> object:
    name = dns.name.from_text("mail.example.org").to_wire() or b""
    asked = dnswire.query(1, name, 28, payload=1232, checking_disabled=False)
    return dnswire.plain_addresses(octets, asked, "mail.example.org", "AAAA", "192.0.2.53") or ()


def _dns(octets: bytes) -> object:
    try:
        response = dns.message.from_wire(octets, ignore_trailing=True, raise_on_truncation=True)
    except (dns.exception.DNSException, EOFError):  # what the resolver takes as no answer
        return None
    return resolver._reply(response, "192.0.2.53")


NAMES = st.sampled_from(["a.example.org", "b.example.org", "A.example.org.", "", ".", "*", "x" * 70])
RECORDS = st.builds(DnsRecord, NAMES, st.sampled_from(["A", "CNAME", "AAAA", "X"]), st.integers(-1, 9), NAMES)
REPLIES = st.builds(
    DnsReply,
    st.sampled_from(["NOERROR", "NXDOMAIN", "SERVFAIL", "REFUSED", "BADKEY"]),
    st.booleans(),
    st.lists(RECORDS, max_size=5).map(tuple),
)


# Files and programs on the machine.


def _on(path: str, work: Callable[[MemorySystem], object]) -> Callable[[bytes], object]:
    def read(octets: bytes) -> object:
        system = MemorySystem()
        system.machine.put(path, octets)
        return work(system)

    return read


def _postfix(path: str) -> Callable[[bytes], object]:
    def read(octets: bytes) -> object:
        system = test_postfix.machine("guide12")
        system.machine.put(path, octets)
        facts = test_postfix.ADAPTER.observe(system, ServiceSettings("postfix"))
        return facts and test_postfix.ADAPTER.audit(facts)

    return read


def _printed(program: str) -> Callable[[bytes], object]:
    """The daemon's own program says it."""

    def read(octets: bytes) -> object:
        text = octets.decode("utf-8", "replace")
        modules = {
            "postconf": test_postfix,
            "doveconf": test_dovecot,
            "dovecot": test_dovecot,
            "apache2": test_apache,
        }
        module = modules[program]
        system = module.machine("debian12")
        where = "/usr/bin" if program == "doveconf" else "/usr/sbin"
        system.machine.programs.says(f"{where}/{program}", stdout=text, stderr=text)
        facts = module.ADAPTER.observe(system, ServiceSettings(module.ADAPTER.kind))
        return facts and module.ADAPTER.audit(facts)

    return read


def _dovecot(octets: bytes) -> object:
    system = test_dovecot.machine("guide12")
    system.machine.put("/etc/dovecot/conf.d/10-ssl.conf", octets)
    facts = test_dovecot.ADAPTER.observe(system, ServiceSettings("dovecot"))
    return facts and test_dovecot.ADAPTER.audit(facts)


def _apache(octets: bytes) -> object:
    text = octets.decode("latin-1")
    system = test_apache.machine("debian12", sites={"a": ""})
    system.machine.put("/etc/apache2/sites-available/a.conf", text.encode("latin-1"))
    facts = test_apache.ADAPTER.observe(system, ServiceSettings("apache"))
    return facts and test_apache.ADAPTER.audit(facts)


def _fixture(*parts: str) -> bytes:
    return FIXTURES.joinpath(*parts).read_bytes()


def _config(octets: bytes) -> object:
    return configuration.load(decoded(octets))


def _state(system: MemorySystem) -> object:
    store = StateStore(system, ROOT)
    state = store.load("mail")
    store.save("mail", state)
    return state.rejection(1), state.failure, state.renewal_instant(frozenset())


def _journal(system: MemorySystem) -> object:
    journal = Journal(system, ROOT)
    return journal.open_records(), journal.baseline()


def _merged(octets: bytes) -> object:
    third = len(octets) // 3
    a, b, c = octets[:third], octets[third : 2 * third], octets[2 * third :]
    return merging.take_out(a, b, c), merging.rebase(a, b, c)


ROOMS: dict[str, Room] = {
    **{
        f"ACME {kind.__name__}": Room(_message(kind), (seed, _example("order.json")))
        for kind, seed in KINDS.items()
    },
    "ACME problem": Room(_problem, (_example("problem.json"),), ()),
    "Retry-After": Room(
        _wait, (b"120", b"Sun, 06 Nov 1994 08:49:37 GMT", b"Sunday, 06-Nov-94 08:49:37 GMT"), ()
    ),
    "ACME URL": Room(_url, (b"https://ca.test:443/a?b=c", b"../x", b"//user@[::1]:99/#f")),
    "Link": Room(
        lambda octets: acme_chains.alternate_links([octets.decode("latin-1")], "alternate"),
        (b'<https://ca.test/cert/1/alternate/1>;rel="alternate", </dir>; title="a,b"; rel=index',),
        (),
    ),
    "ACME chain": Room(lambda octets: acme_chains.read_chain(octets, "x").top_issuer, (_pem()[0],)),
    "EAB key": Room(
        lambda octets: jws.ExternalAccount.from_text("k", octets.decode("latin-1")), (b"c2VjcmV0" * 4,)
    ),
    "account key": Room(jws.SigningKey.from_pem, (_pem()[1], _pem()[0])),
    "PEM chain": Room(_chain, (_pem()[0],)),
    "DER certificate": Room(_every_fact, certificates.read_pem(_pem()[0])),
    "PEM material": Room(_material, (_pem()[0], _pem()[1])),
    "PEM roots": Room(_roots, (_pem()[2], _pem()[0])),
    "HTTP request": Room(
        _request,
        (b"GET http://a/.well-known/acme-challenge/x?y HTTP/1.1\r\nHost: a:80\r\nX: y",),
        (httpwire.Malformed,),
    ),
    "HTTP response": Room(
        _response,
        (
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5;x=y\r\nhello\r\n0\r\n\r\n",
            b"HTTP/1.0 301 x\r\nContent-Length: 5\r\nLocation: /\r\n\r\nhello",
        ),
        (httpwire.Malformed,),
    ),
    "DNS wire": Room(_dns, (_dns_wire(),), ()),
    "DNS addresses": Room(_plain_dns, (_dns_wire(),), ()),
    "main.cf": Room(
        _postfix("/etc/postfix/main.cf"), (_fixture("postfix", "guide12", "tree", "etc/postfix/main.cf"),)
    ),
    "master.cf": Room(
        _postfix("/etc/postfix/master.cf"), (_fixture("postfix", "guide12", "tree", "etc/postfix/master.cf"),)
    ),
    "master.pid": Room(_postfix("/var/spool/postfix/pid/master.pid"), (b"                 815\n",)),
    "postconf": Room(_printed("postconf"), (_fixture("postfix", "debian12", "postconf"),)),
    "doveconf": Room(_printed("doveconf"), (_fixture("dovecot", "debian12", "doveconf"),)),
    "dovecot --version": Room(_printed("dovecot"), (_fixture("dovecot", "debian12", "version"),)),
    "apache2 -v": Room(_printed("apache2"), (_fixture("apache", "debian12", "version"),)),
    "dovecot.conf": Room(_dovecot, (_example("dovecot.conf"),)),
    "Apache's site": Room(_apache, (_example("site.conf"),)),
    "/proc/net/tcp": Room(_on("/proc/net/tcp", listeners.listeners), (_example("proc-net-tcp"),), ()),
    "/proc/net/route": Room(
        lambda octets: routes.parse_routes(octets.decode("latin-1")), (_example("proc-net-route"),), ()
    ),
    "state": Room(_on(f"{ROOT}/state/mail.json", _state), (_example("state.json"),), ()),
    "journal record": Room(
        _on(f"{ROOT}/journal/20261123T120000Z-00000000.json", _journal), (_example("record.json"),)
    ),
    "journal baseline": Room(_on(f"{ROOT}/journal/baseline.json", _journal), (_example("baseline.json"),)),
    "meta.json": Room(
        _on(
            f"{ROOT}/lineages/mail/0001/meta.json",
            lambda system: LineageStore(system, ROOT).load("mail", 1),
        ),
        (_example("meta.json"),),
    ),
    "history": Room(
        _on(f"{ROOT}/history.jsonl", lambda system: list(history.History(system, ROOT).lines())),
        (_example("history.jsonl"),),
        (),
    ),
    "revocations": Room(
        _on(f"{ROOT}/revocations.json", lambda system: RevocationStore(system, ROOT).all()),
        (_example("revocations.json"),),
    ),
    "limits": Room(
        _on(f"{ROOT}/accounts/ca/limits.json", lambda system: LimitBook(system.files, f"{ROOT}/accounts/ca")),
        (_example("limits.json"),),
        (),
    ),
    "pending order": Room(
        _on(
            f"{ROOT}/pending/mail.ecdsa-p256.json",
            lambda system: PendingOrders(system, ROOT).load("mail", KeyType.ECDSA_P256, "w"),
        ),
        (_example("pending.json"),),
        (),
    ),
    "who was told": Room(
        _on(f"{ROOT}/notify.json", lambda system: Bookcase(system, ROOT).load()),
        (_example("notify.json"),),
        (),
    ),
    "account": Room(
        _on("/a/account.json", lambda system: accounts.stored(system.files, "/a")),
        (_example("account.json"),),
    ),
    "configuration": Room(_config, (_example("mailseal.toml"),)),
    "another client's certificate": Room(
        _on("/etc/letsencrypt/live/a.example.org/cert.pem", lambda system: others.managed(system.files)),
        (_pem()[0],),
        (),
    ),
    "three texts": Room(_merged, (b"a = 1\nb = 2\na = 1\nc\nb = 2\na = 1\nb = 2\n",), ()),
}


@pytest.mark.parametrize("name", ROOMS)
def test_a_room_understands_it_or_says_so(name: str) -> None:
    room = ROOMS[name]

    @often()
    @given(damaged(room.seeds))
    def property_(octets: bytes) -> None:
        try:
            room.reads(octets)
        except room.errors as error:
            assert str(error)

    property_()


@pytest.mark.parametrize("name", ROOMS)
def test_the_examples_themselves_are_understood(name: str) -> None:
    room = ROOMS[name]
    for seed in room.seeds[:1]:
        assert room.reads(seed) is not None


class AnyDns:
    """A resolver that answers with whatever was drawn."""

    def __init__(self, replies: list[DnsReply]) -> None:
        self.replies = replies
        self.asked = 0

    async def query(
        self, name: str, rdtype: str, *, timeout: float = 10.0, checking_disabled: bool = False
    ) -> DnsReply:
        self.asked += 1
        return self.replies[self.asked % len(self.replies)]


@often()
@given(st.lists(REPLIES, min_size=1, max_size=4))
def test_any_answers_of_a_resolver_come_to_an_end(replies: list[DnsReply]) -> None:
    dns = AnyDns(replies)
    found = asyncio.run(lookup.addresses(dns, "a.example.org"))
    assert found.all is not None and dns.asked <= 60

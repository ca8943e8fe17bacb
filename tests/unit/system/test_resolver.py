"""The real resolver against a real DNS server of the test's, over UDP and TCP on loopback."""

from __future__ import annotations

import asyncio
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import dns.flags
import dns.message
import dns.rcode
import dns.rrset
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mailseal.errors import NetworkFault
from mailseal.system.dns import DnsRecord
from mailseal.system.resolver import SystemDns

Answer = Callable[[dns.message.Message, bool], dns.message.Message | None]


@contextmanager
def dns_server(answer: Answer) -> Iterator[str]:
    """Answers each query by the function (query, whether over TCP); None: silence."""
    tcp = socket.create_server(("127.0.0.1", 0))
    port = tcp.getsockname()[1]
    udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    udp.bind(("127.0.0.1", port))
    stop = threading.Event()
    for each in (tcp, udp):
        each.settimeout(0.05)

    def over_udp() -> None:
        while not stop.is_set():
            with suppress(TimeoutError):
                wire, peer = udp.recvfrom(4096)
                reply = answer(dns.message.from_wire(wire), False)
                if reply is not None:
                    udp.sendto(reply.to_wire(max_size=65535), peer)

    def over_tcp() -> None:
        while not stop.is_set():
            with suppress(TimeoutError):
                connection, _ = tcp.accept()
                with connection:
                    length = struct.unpack("!H", connection.recv(2))[0]
                    reply = answer(dns.message.from_wire(connection.recv(length)), True)
                    if reply is not None:
                        wire = reply.to_wire(max_size=65535)
                        connection.sendall(struct.pack("!H", len(wire)) + wire)

    threads = [threading.Thread(target=over_udp), threading.Thread(target=over_tcp)]
    for thread in threads:
        thread.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        stop.set()
        for thread in threads:
            thread.join()
        udp.close()
        tcp.close()


def records(*lines: tuple[str, str, str], rcode: str = "NOERROR", ad: bool = False) -> Answer:
    def answer(query: dns.message.Message, tcp: bool) -> dns.message.Message:
        reply = dns.message.make_response(query)
        reply.set_rcode(dns.rcode.from_text(rcode))
        if ad:
            reply.flags |= dns.flags.AD
        for name, rdtype, data in lines:
            reply.answer.append(dns.rrset.from_text(name, 60, "IN", rdtype, data))
        return reply

    return answer


def ask(*servers: str, name: str = "Mail.example.org", rdtype: str = "A", timeout: float = 3.0) -> object:
    return asyncio.run(SystemDns(servers).query(name, rdtype, timeout=timeout))


def test_records_and_flags() -> None:
    with dns_server(
        records(
            ("WWW.example.org.", "CNAME", "mail.example.org."),
            ("mail.example.org.", "A", "192.0.2.1"),
            ad=True,
        )
    ) as server:
        reply = asyncio.run(SystemDns([server]).query("www.example.org", "A"))
    assert reply.records == (
        DnsRecord("www.example.org", "CNAME", 60, "mail.example.org."),
        DnsRecord("mail.example.org", "A", 60, "192.0.2.1"),
    )
    assert (reply.rcode, reply.authenticated, reply.server) == ("NOERROR", True, server)


def test_a_truncated_answer_is_asked_again_over_tcp() -> None:
    def answer(query: dns.message.Message, tcp: bool) -> dns.message.Message:
        reply = dns.message.make_response(query)
        if tcp:
            texts = [f'"{"x" * 250}{number}"' for number in range(40)]
            reply.answer.append(dns.rrset.from_text("mail.example.org.", 60, "IN", "TXT", *texts))
        else:
            reply.flags |= dns.flags.TC
        return reply

    with dns_server(answer) as server:
        reply = asyncio.run(SystemDns([server]).query("mail.example.org", "TXT"))
    assert len(reply.records) == 40


def test_the_next_resolver_is_asked_where_one_fails() -> None:
    good = records(("mail.example.org.", "A", "192.0.2.1"))
    with dns_server(records(rcode="SERVFAIL")) as broken, dns_server(good) as working:
        reply = asyncio.run(SystemDns([broken, working]).query("mail.example.org", "A"))
        assert (reply.rcode, reply.server) == ("NOERROR", working)
        only = asyncio.run(SystemDns([broken]).query("mail.example.org", "A"))
        assert (only.rcode, only.server) == ("SERVFAIL", broken)


def test_a_lost_packet_is_sent_again() -> None:
    seen: list[int] = []

    def answer(query: dns.message.Message, tcp: bool) -> dns.message.Message | None:
        seen.append(query.id)
        return None if len(seen) == 1 else records(("mail.example.org.", "A", "192.0.2.1"))(query, tcp)

    with dns_server(answer) as server:
        reply = asyncio.run(SystemDns([server]).query("mail.example.org", "A", timeout=3.0))
    assert reply.rcode == "NOERROR" and len(seen) == 2


def test_a_silent_resolver_is_a_fault_in_time() -> None:
    with dns_server(lambda query, tcp: None) as server, pytest.raises(NetworkFault, match="did not answer"):
        ask(server, timeout=0.6)


def test_a_resolver_that_is_not_there_is_a_fault_at_once() -> None:
    with dns_server(records()) as server:
        pass
    began = time.monotonic()
    with pytest.raises(NetworkFault, match="refused"):
        ask(server, timeout=20.0)
    assert time.monotonic() - began < 5


def test_checking_disabled_is_told_to_the_resolver() -> None:
    def answer(query: dns.message.Message, tcp: bool) -> dns.message.Message | None:
        assert query.flags & dns.flags.AD and query.ednsflags & dns.flags.DO
        rcode = "NOERROR" if query.flags & dns.flags.CD else "SERVFAIL"
        return records(rcode=rcode)(query, tcp)

    with dns_server(answer) as server:
        for disabled, rcode in ((False, "SERVFAIL"), (True, "NOERROR")):
            reply = asyncio.run(SystemDns([server]).query("x.example", "A", checking_disabled=disabled))
            assert reply.rcode == rcode


@pytest.mark.parametrize(
    "server", ["ns.example.org", "192.0.2.1:x", "192.0.2.1:0", "[::1]:99999", "", "192.0.2"]
)
def test_what_is_no_server(server: str) -> None:
    with pytest.raises(NetworkFault, match="not the address of a name server"):
        SystemDns([server])


@pytest.mark.parametrize("name", ["a" * 70 + ".example", "a..example", "x" * 300])
def test_names_that_cannot_be_asked(name: str) -> None:
    with pytest.raises(NetworkFault, match="cannot be asked"):
        ask("127.0.0.1:9", name=name)


@given(st.binary(max_size=200), st.integers(0, 12))
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_no_octets_of_a_server_raise_anything_else(noise: bytes, kept: int) -> None:
    """Noise after as much of a right answer as `kept` says: an answer or a `NetworkFault`, never another error."""

    async def story() -> None:
        loop = asyncio.get_running_loop()

        class Noise(asyncio.DatagramProtocol):
            def connection_made(self, transport: asyncio.BaseTransport) -> None:
                self.transport = transport

            def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
                head = data[:2] + bytes([data[2] | 0x80]) + data[3:]
                assert isinstance(self.transport, asyncio.DatagramTransport)
                self.transport.sendto(head[:kept] + noise, addr)

        transport, _ = await loop.create_datagram_endpoint(Noise, local_addr=("127.0.0.1", 0))
        port = transport.get_extra_info("sockname")[1]
        with suppress(NetworkFault):
            await SystemDns([f"127.0.0.1:{port}"]).query("mail.example.org", "A", timeout=0.05)
        transport.close()

    asyncio.run(story())

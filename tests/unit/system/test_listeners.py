"""Who listens, by the kernel's own tables and by what this very process opens."""

from __future__ import annotations

import asyncio
import os

import pytest

from mailseal.system.listen import serve
from mailseal.system.listeners import Listener, covering, listeners, on_port, parse_table
from mailseal.system.local import LocalSystem

TCP = """\
  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:0050 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 111 1 0 100 0 0 10 0
   1: 00000000:0019 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 112 1 0 100 0 0 10 0
   2: 0100007F:0050 0100007F:C350 01 00000000:00000000 00:00000000 00000000     0        0 113 1 0 100 0 0 10 0
   3: nonsense
"""
TCP6 = """\
  sl  local_address                         remote_address                        st tx_queue rx_queue tr …
   0: 00000000000000000000000000000000:0050 00000000000000000000000000000000:0000 0A 0:0 00:0 0 0 0 221 1 0
   1: B80D0120000000000000000001000000:01BB 00000000000000000000000000000000:0000 0A 0:0 00:0 0 0 0 222 1 0
   2: 0000000000000000FFFF00000100007F:0BB8 00000000000000000000000000000000:0000 0A 0:0 00:0 0 0 0 223 1 0
"""


def test_tables_of_a_little_endian_kernel() -> None:
    assert parse_table(TCP) == {111: ("127.0.0.1", 80), 112: ("0.0.0.0", 25)}
    assert parse_table(TCP6) == {221: ("::", 80), 222: ("2001:db8::1", 443), 223: ("127.0.0.1", 3000)}
    assert parse_table("") == {}


@pytest.mark.parametrize(
    ("theirs", "wanted", "in_the_way"),
    [
        ("127.0.0.1", "127.0.0.1", True),
        ("127.0.0.1", "127.0.0.2", False),
        ("0.0.0.0", "127.0.0.1", True),
        ("127.0.0.1", "0.0.0.0", True),
        ("::", "0.0.0.0", True),
        ("::", "127.0.0.1", True),
        ("0.0.0.0", "::", False),
        ("::1", "0.0.0.0", False),
        ("::1", "::", True),
    ],
)
def test_who_is_in_the_way(theirs: str, wanted: str, in_the_way: bool) -> None:
    listener = Listener(theirs, 80, 1, "x")
    assert covering([listener], wanted, 80) == ((listener,) if in_the_way else ())
    assert covering([listener], wanted, 81) == ()


def test_our_own_sockets_are_found_with_our_name() -> None:
    async def story() -> None:
        async def hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            return

        system = LocalSystem()
        ipv4 = await serve("127.0.0.1", 0, hang_up)
        ipv6 = await serve("::1", ipv4.port, hang_up)
        found = on_port(listeners(system), ipv4.port)
        assert listeners(system, {ipv4.port}) == found
        with open(f"/proc/{os.getpid()}/comm") as file:
            program = file.read().strip()
        assert found == (
            Listener("127.0.0.1", ipv4.port, os.getpid(), program),
            Listener("::1", ipv4.port, os.getpid(), program),
        )
        await ipv6.close()
        await ipv4.close()
        assert on_port(listeners(system), ipv4.port) == ()

    asyncio.run(story())


def test_in_words() -> None:
    assert str(Listener("::", 80, 812, "apache2")) == "apache2 (pid 812) on [::]:80"
    assert str(Listener("0.0.0.0", 80)) == "a process that cannot be seen on 0.0.0.0:80"

"""What the port `System` promises of its lock, clock, randomness and network."""

from __future__ import annotations

import asyncio
import errno
from contextlib import suppress
from datetime import UTC

import pytest

from mailseal.errors import Locked, NetworkFault
from tests.support.stages import Stage, refused

# Lock.


def test_the_lock_keeps_a_second_out_and_names_the_first(stage: Stage) -> None:
    path = f"{stage.root}/mailseal.lock"
    other = stage.other()
    with stage.system.lock(path):
        before = stage.system.clock.monotonic()
        with pytest.raises(Locked) as caught, other.lock(path, wait=0.2):
            pass
        assert stage.system.clock.monotonic() - before > 0.19
        told = " ".join(caught.value.lines())
        assert f"pid {stage.pid}" in told
        assert f"since {stage.system.clock.now():%Y-%m-%d}" in told
        assert "Nothing was changed" in told
        assert caught.value.next_command
    with other.lock(path):
        pass
    assert stage.system.files.state(path).mode == 0o600


def test_the_lock_is_let_go_when_the_work_fails(stage: Stage) -> None:
    path = f"{stage.root}/mailseal.lock"
    with suppress(ValueError), stage.system.lock(path):
        raise ValueError
    with stage.system.lock(path):
        pass


def test_the_locks_file_may_have_been_removed_or_be_a_link(stage: Stage) -> None:
    path = f"{stage.root}/mailseal.lock"
    with stage.system.lock(path):
        pass
    stage.system.files.remove(path)
    with stage.system.lock(path):
        pass
    stage.system.files.remove(path)
    stage.system.files.symlink(path, "elsewhere")
    refused(stage, errno.ELOOP, lambda: stage.system.lock(path).__enter__())


# Clock and randomness.


def test_the_clock(stage: Stage) -> None:
    clock = stage.system.clock
    assert clock.now().tzinfo is UTC
    before = clock.monotonic()
    clock.sleep(0.02)
    asyncio.run(clock.sleep_async(0.02))
    assert clock.monotonic() - before > 0.039
    clock.sleep(-1)


def test_sleepers_wake_in_order_and_share_the_time(stage: Stage) -> None:
    clock, woken = stage.system.clock, list[float]()

    async def sleeper(seconds: float) -> None:
        await clock.sleep_async(seconds)
        woken.append(seconds)

    async def all_sleep() -> None:
        await asyncio.gather(*(sleeper(seconds) for seconds in (0.09, 0.03, 0.06)))

    before = clock.monotonic()
    asyncio.run(all_sleep())
    assert woken == [0.03, 0.06, 0.09]
    assert 0.089 <= clock.monotonic() - before < 0.17


def test_randomness(stage: Stage) -> None:
    draw = stage.system.random
    assert len(draw.token(16)) == 32
    assert draw.token(16) != draw.token(16)
    drawn = [draw.uniform(2.0, 3.0) for _ in range(100)]
    assert all(2.0 <= number <= 3.0 for number in drawn)
    assert len(set(drawn)) > 90


# Network.


async def _echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    peer = writer.get_extra_info("peername")[0].encode()
    writer.write(peer + b" said " + await reader.readline())
    await writer.drain()


def test_connecting_from_an_address_of_our_choice(stage: Stage) -> None:
    async def talk() -> bytes:
        network = stage.system.network
        server = await network.serve("127.0.0.1", 0, _echo)
        try:
            reader, writer = await network.connect("127.0.0.1", server.port, timeout=5, source="127.0.0.2")
            writer.write(b"hello\n")
            answer = await reader.read()
            writer.close()
            await writer.wait_closed()
            return answer
        finally:
            await server.close()

    assert asyncio.run(talk()) == b"127.0.0.2 said hello\n"


def test_a_port_is_listened_on_once_and_refuses_when_closed(stage: Stage) -> None:
    async def listen() -> tuple[NetworkFault, NetworkFault]:
        network = stage.system.network
        server = await network.serve("127.0.0.1", 0, _echo)
        with pytest.raises(NetworkFault) as taken:
            await network.serve("127.0.0.1", server.port, _echo)
        await server.close()
        with pytest.raises(NetworkFault) as closed:
            await network.connect("127.0.0.1", server.port, timeout=5)
        return taken.value, closed.value

    taken, closed = asyncio.run(listen())
    assert taken.errno == errno.EADDRINUSE
    assert closed.errno == errno.ECONNREFUSED
    assert "127.0.0.1" in closed.message


def test_names_are_not_connected_to(stage: Stage) -> None:
    with pytest.raises(NetworkFault):
        asyncio.run(stage.system.network.connect("localhost", 25, timeout=1))


def test_own_addresses_leave_loopback_out(stage: Stage) -> None:
    own = stage.system.network.own_addresses()
    assert not [address for address in own if address.startswith(("127.", "fe80:")) or address == "::1"]
    assert list(own) == sorted(own, key=lambda address: ":" in address)

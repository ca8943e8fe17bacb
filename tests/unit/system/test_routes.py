"""The default gateway, read from tables as the kernel prints them."""

from __future__ import annotations

import sys

import pytest

from mailseal.system.local import LocalSystem
from mailseal.system.routes import default_gateway, parse_routes

HEAD = "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n"

pytestmark = pytest.mark.skipif(sys.byteorder != "little", reason="the tables are a little-endian kernel's")


@pytest.mark.parametrize(
    ("rows", "gateway"),
    [
        ("", None),
        ("eth0\t00000000\t010200C0\t0003\t0\t0\t0\t00000000\t0\t0\t0\n", "192.0.2.1"),
        ("eth0\t000200C0\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0\n", None),
        ("tun0\t00000000\t010200C0\t0003\t0\t0\t0\t00000080\t0\t0\t0\n", None),
        (
            (
                "eth0\t00000000\t010200C0\t0003\t0\t0\t600\t00000000\t0\t0\t0\n"
                "wlan\t00000000\t020200C0\t0003\t0\t0\t100\t00000000\t0\t0\t0\n"
            ),
            "192.0.2.2",
        ),
        ("eth0 nonsense\n\n", None),
        ("eth0\t00000000\t0102030405\t0003\t0\t0\t0\t00000000\t0\t0\t0\n", None),
    ],
)
def test_tables(rows: str, gateway: str | None) -> None:
    assert parse_routes(HEAD + rows) == gateway


def test_this_machine_has_one_or_none() -> None:
    found = default_gateway(LocalSystem().files)
    assert found is None or found.count(".") == 3

"""Renewal information: the certificate's ID, windows, Retry-After."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import pytest
from cryptography import x509

from mailseal.acme import ari
from mailseal.acme.problems import AcmeProblem, AcmeProtocolError
from tests.support.acme import Desk
from tests.support.fake_ca import Rules


def test_the_certificate_id_of_rfc_9773() -> None:
    # The example of RFC 9773 section 4.1: AKI and serial as given there.
    class Extension:
        value = x509.AuthorityKeyIdentifier(
            bytes.fromhex("69885b6b87464041e1b37b847bd4ae2cde01c8d4"), None, None
        )

    class Extensions:
        def get_extension_for_class(self, kind: Any) -> Any:
            return Extension

    class Certificate:
        extensions = Extensions()
        serial_number = 0x8765_4321

    assert ari.certificate_id(Certificate()) == "aYhba4dGQEHhs3uEe9SuLN4ByNQ.AIdlQyE"  # type: ignore[arg-type]


def test_windows_are_read_and_clamped() -> None:
    desk = Desk(Rules(ask_again=5))

    async def work() -> None:
        client = await desk.register()
        issued = await desk.obtain("mail.example.org")
        key = ari.certificate_id(x509.load_pem_x509_certificate(issued.leaf.encode()))
        assert key is not None
        info = await ari.renewal_info(client, key)
        assert info is not None
        assert info.end - info.start == timedelta(days=90) / 50
        assert (info.ask_again_at - desk.clock.now()).total_seconds() == ari.SHORTEST_RETRY
        assert info.start <= ari.instant(info, 0.37) <= info.end
        assert ari.instant(info, 5) == info.end
        desk.ca.rules.ask_again = 10**9
        desk.ca.state.windows[key] = (
            desk.clock.now() - timedelta(days=2),
            desk.clock.now() - timedelta(days=1),
        )
        moved = await ari.renewal_info(client, key)
        assert moved is not None
        assert moved.explanation_url == "https://ca.test/why"
        assert (moved.ask_again_at - desk.clock.now()).total_seconds() == ari.LONGEST_RETRY
        desk.ca.state.windows[key] = (desk.clock.now(), desk.clock.now() - timedelta(days=1))
        with pytest.raises(AcmeProtocolError, match="window"):
            await ari.renewal_info(client, key)
        with pytest.raises(AcmeProblem):
            await ari.renewal_info(client, "AAAA.BBBB")

    asyncio.run(work())


def test_a_ca_without_renewal_information_says_none() -> None:
    desk = Desk(Rules(renewal_information=False))
    assert asyncio.run(ari.renewal_info(desk.client, "AAAA.BBBB")) is None

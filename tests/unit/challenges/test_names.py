"""Names that can never receive mail, and names that everybody shares."""

from __future__ import annotations

import pytest

from mailseal.challenges.names import CLOUDFLARE_TAKEN, name_findings, web_proxy
from mailseal.model import Identifier, Severity


@pytest.mark.parametrize(
    ("addresses", "proxy"),
    [
        (["104.16.1.1"], "104.16.1.1"),
        (["192.0.2.1", "2606:4700::6810:101"], "2606:4700::6810:101"),
        (["172.71.255.255"], "172.71.255.255"),
        (["172.72.0.0"], None),
        (["192.0.2.1", "2001:db8::1"], None),
        ([], None),
    ],
)
def test_web_proxies(addresses: list[str], proxy: str | None) -> None:
    assert web_proxy(addresses) == proxy


@pytest.mark.parametrize(
    ("name", "addresses", "receives_mail", "expected"),
    [
        ("mail.example.org", ["104.16.1.1"], True, [("name-behind-web-proxy", Severity.ERROR)]),
        ("autoconfig.example.org", ["104.16.1.1"], False, [("name-behind-web-proxy", Severity.INFO)]),
        ("mail.192-0-2-7.sslip.io", ["192.0.2.7"], True, [("name-of-shared-domain", Severity.WARNING)]),
        ("192.0.2.7.nip.io", ["192.0.2.7"], True, [("name-of-shared-domain", Severity.WARNING)]),
        ("mail.notsslip.io", ["192.0.2.7"], True, []),
        ("mail.example.org", ["192.0.2.7"], True, []),
    ],
)
def test_findings(
    name: str, addresses: list[str], receives_mail: bool, expected: list[tuple[str, Severity]]
) -> None:
    found = name_findings(Identifier.parse(name), addresses, receives_mail=receives_mail)
    assert [(each.code, each.severity) for each in found] == expected
    assert all(each.mend and each.why and name in each.seen for each in found)


def test_the_day_of_the_list_is_told() -> None:
    (finding,) = name_findings(Identifier.parse("mail.example.org"), ["104.16.1.1"], receives_mail=True)
    assert CLOUDFLARE_TAKEN in finding.seen

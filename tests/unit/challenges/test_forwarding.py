"""Rules to paste: names, address and port are filled in (tests/lab asks the real products)."""

from __future__ import annotations

from pathlib import Path

import pytest

from mailseal.challenges.forwarding import Forward, rules

FORWARD = Forward(("mail.example.org", "webmail.example.org"), "192.0.2.25", 8402)


@pytest.mark.parametrize("rule", rules(FORWARD), ids=lambda rule: rule.product)
def test_each_rule_is_filled_in(rule: object) -> None:
    text = getattr(rule, "text", "")
    for word in (*FORWARD.names, "192.0.2.25", "8402"):
        assert word in text
    assert getattr(rule, "where", "")


def test_every_product_of_the_promise_is_there() -> None:
    assert [rule.product for rule in rules(FORWARD)] == ["Nginx Proxy Manager", "nginx", "HAProxy", "Apache"]


def test_ipv6_is_bracketed_where_a_port_follows() -> None:
    for rule in rules(Forward(("mail.example.org",), "2001:db8::25", 8402))[1:]:
        assert "[2001:db8::25]:8402" in rule.text


def test_the_page_shows_what_the_code_prints() -> None:
    page = Path(__file__).parents[3].joinpath("docs", "http-01.md").read_text(encoding="utf-8")
    shown = rules(Forward(("mail.example.org",), "192.0.2.25", 8402))
    for rule in shown[1:]:
        text = "\n".join(line for line in rule.text.splitlines() if not line.strip().startswith("#"))
        assert text in page, rule.product

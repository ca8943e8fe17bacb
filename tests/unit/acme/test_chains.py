"""Chains and Link headers: what is read, what is refused, and fuzzing."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from hypothesis import given
from hypothesis import strategies as st

from mailseal.acme.chains import MOST_CERTIFICATES, alternate_links, read_chain
from mailseal.acme.problems import AcmeProtocolError
from tests.support.acme import names, request_for
from tests.support.certs import Ca
from tests.support.fake_pki import FakePki

NOW = datetime(2026, 11, 1, 12, 0, tzinfo=UTC)

ROOT = Ca.root("Test Root")
INTERMEDIATE = ROOT.intermediate("Test Intermediate")
ISSUED = INTERMEDIATE.issue("mail.example.org")
CHAIN = ISSUED.fullchain_pem


def test_a_good_chain_is_read_whole() -> None:
    chain = read_chain(CHAIN, "https://ca.test/cert/1")
    assert "".join(chain.pem).encode() == CHAIN
    assert chain.top_issuer == "Test Root"
    spaced = CHAIN.replace(b"\n", b"\r\n").replace(
        b"-----END CERTIFICATE-----", b"-----END CERTIFICATE-----\r\n\r\n"
    )
    assert read_chain(spaced, "x").pem == chain.pem


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (b"", "no certificate"),
        (b"\n\n", "no certificate"),
        (b"<html>", "something other"),
        (CHAIN + b"hello", "something other"),
        (b"Subject: x\n" + CHAIN, "something other"),
        (CHAIN + ISSUED.key_pem, "something other"),
        (CHAIN.rstrip()[:-5], "no end"),
        (b"-----BEGIN CERTIFICATE-----\n!!!\n-----END CERTIFICATE-----\n", "not base64"),
        (b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", "does not load"),
        (b"-----BEGIN CERTIFICATE-----\n-----BEGIN CERTIFICATE-----\n", "no end"),
        (CHAIN + CHAIN, "did not issue"),
        (ROOT.pem + CHAIN, "did not issue"),
        (ISSUED.cert_pem * (MOST_CERTIFICATES + 1), "more than"),
        (b"x" * 300_000, "longer"),
        ("ä".encode(), "not PEM"),
    ],
)
def test_a_bad_chain_is_refused(body: bytes, why: str) -> None:
    with pytest.raises(AcmeProtocolError, match=why) as caught:
        read_chain(body, "x")
    assert caught.value.message == "The CA's certificate chain cannot be used"


@given(st.integers(0, len(CHAIN) - 1), st.binary(max_size=8))
def test_a_damaged_chain_is_read_or_refused(at: int, damage: bytes) -> None:
    try:
        chain = read_chain(CHAIN[:at] + damage + CHAIN[at + len(damage) :], "x")
    except AcmeProtocolError:
        return
    assert all(text.startswith("-----BEGIN CERTIFICATE-----\n") for text in chain.pem)


@pytest.mark.parametrize(
    ("headers", "links"),
    [
        ([], []),
        (['<https://ca.test/1>;rel="alternate"'], ["https://ca.test/1"]),
        (["</2>; rel=alternate"], ["/2"]),
        (['<a>; title="x; rel=alternate"; rel="index"'], []),
        (['<a>;rel="index", <b>; type="x"; rel="alternate next", <c>;REL=ALTERNATE'], ["b", "c"]),
        (["rubbish", "<a>", "<>;rel=alternate", "<a b>;rel=alternate"], []),
    ],
)
def test_link_headers(headers: list[str], links: list[str]) -> None:
    assert alternate_links(headers, "alternate") == links


@given(st.lists(st.text(max_size=200), max_size=5))
def test_any_link_header_gives_texts(headers: list[str]) -> None:
    assert all(isinstance(link, str) for link in alternate_links(headers, "alternate"))


def test_a_hostile_link_header_takes_no_time() -> None:
    assert alternate_links(["<a>" + ";a=" * 5000, "<a>;" + " " * 8000 + "rel"] * 64, "alternate") == []


def test_the_fake_pki_chains_to_both_roots() -> None:
    pki = FakePki(NOW, 3)
    csr = x509.load_der_x509_csr(request_for(names("mail.example.org")))
    _, chains = pki.issue(csr, names("mail.example.org"), NOW, timedelta(days=90))
    tops = [read_chain(chain.encode(), "x") for chain in chains]
    assert [chain.top_issuer for chain in tops] == ["Fake Root X1", "Fake Root X2"]
    assert [len(chain.pem) for chain in tops] == [4, 4]

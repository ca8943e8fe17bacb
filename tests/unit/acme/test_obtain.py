"""The whole way of an order against the fake CA: what comes out, what was asked, what is left behind."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest
from cryptography import x509

from mailseal.acme import ari
from mailseal.acme.obtain import IssuedChain
from mailseal.acme.problems import AcmeProblem, AcmeProtocolError, AcmeTimeout, ValidationFailed
from mailseal.errors import ChallengeError, IssueError
from mailseal.model import Identifier
from tests.support.acme import Desk, names, request_for
from tests.support.certs import new_key
from tests.support.fake_ca import Rules, lets_encrypt, respond


def leaf(pem: str) -> x509.Certificate:
    return x509.load_pem_x509_certificate(pem.encode())


def sans(pem: str) -> set[str]:
    found = leaf(pem).extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    return {*found.get_values_for_type(x509.DNSName), *map(str, found.get_values_for_type(x509.IPAddress))}


def run_obtain(desk: Desk, *texts: str, **options: object) -> IssuedChain:
    async def work() -> IssuedChain:
        await desk.register()
        return await desk.obtain(*texts, **options)

    return asyncio.run(work())


@pytest.mark.parametrize(
    ("texts", "rules"),
    [
        (["mail.example.org"], Rules()),
        (["mail.example.org", "webmail.example.org", "*.example.net"], Rules()),
        (["192.0.2.7", "2001:db8::7", "mail.example.org"], Rules()),
        (["mail.example.org"], Rules(nonces_refused=0.5)),
        (["mail.example.org"], Rules(chain_length=6)),
        (["mail.example.org"], Rules(validation_takes=4, issuance_takes=7)),
        (["mail.example.org"], Rules(validation_takes=4, issuance_takes=7, poll_retry_after="3")),
        ([f"h{number}.example.org" for number in range(100)], Rules(nonces_refused=0.3)),
    ],
)
def test_a_certificate_for_exactly_the_names(texts: list[str], rules: Rules) -> None:
    desk = Desk(rules)
    issued = run_obtain(desk, *texts)
    assert sans(issued.leaf) == set(texts)
    assert len(issued.pem) == 1 + rules.chain_length
    assert desk.solver.left == 0


def test_all_are_presented_before_any_is_answered_and_all_cleaned_up() -> None:
    desk = Desk()
    run_obtain(desk, "a.example.org", "b.example.org", "c.example.org")
    assert [what for what, _ in desk.solver.log] == ["present"] * 3 + ["look"] * 3 + ["clean_up"] * 3


def test_a_simple_order_is_seven_requests() -> None:
    desk = Desk()
    run_obtain(desk, "mail.example.org")
    paths = [path.split("/")[1] for _, path in desk.ca.asked]
    assert paths == ["dir", "nonce", "new-account", "new-order", "authz", "chall", "authz", "order", "cert"]


def test_valid_authorizations_are_not_answered_again() -> None:
    desk = Desk()

    async def work() -> None:
        await desk.register()
        await desk.obtain("mail.example.org")
        desk.ca.asked.clear()
        await desk.obtain("mail.example.org")

    asyncio.run(work())
    assert [path.split("/")[1] for _, path in desk.ca.asked] == ["new-order", "order", "cert"]


def test_polls_are_never_faster_than_the_server_asks() -> None:
    desk = Desk(Rules(validation_takes=10, issuance_takes=9, poll_retry_after="3"))
    run_obtain(desk, "mail.example.org")
    # A short first look at the authorization; the order was told at once to come again in 3 seconds.
    first, *rest = desk.clock.slept
    assert first < 0.05
    assert min(rest) >= 3


def test_the_first_wait_is_learned() -> None:
    desk = Desk(Rules(validation_takes=0.5, poll_retry_after="3"))

    async def work() -> list[float]:
        await desk.register()
        took = []
        for number in range(12):
            began = desk.clock.monotonic()
            await desk.obtain(f"h{number}.example.org")
            took.append(desk.clock.monotonic() - began)
        return took

    took = asyncio.run(work())
    assert took[0] > 3
    assert took[-1] < 1.5


@pytest.mark.parametrize("leaves_pending", [False, True])
def test_every_identifier_that_fails_is_named(leaves_pending: bool) -> None:
    desk = Desk(Rules(leaves_pending=leaves_pending))
    real = desk.solver.present

    async def present(authorization, challenge, key_authorization):  # type: ignore[no-untyped-def]
        if authorization.name.value.startswith("bad"):
            return
        await real(authorization, challenge, key_authorization)

    desk.solver.present = present  # type: ignore[method-assign]
    with pytest.raises(ValidationFailed) as caught:
        run_obtain(desk, "bad1.example.org", "good.example.org", "bad2.example.org")
    error = caught.value
    assert set(error.identifiers) == {"bad1.example.org", "bad2.example.org"}
    assert error.message == "The CA could not confirm control of bad1.example.org, bad2.example.org"
    text = "\n".join(error.lines())
    assert "bad1.example.org" in text
    assert "bad2.example.org shows something else" in text
    assert "good.example.org" not in text
    assert desk.solver.left == 0


def test_what_cannot_be_presented_stops_the_order_and_is_cleaned_up() -> None:
    desk = Desk()
    desk.solver.broken = {"b.example.org"}
    with pytest.raises(ChallengeError, match=r"b\.example\.org cannot be shown"):
        run_obtain(desk, "a.example.org", "b.example.org")
    assert desk.solver.left == 0
    assert not [path for _, path in desk.ca.asked if path.startswith("/chall")]


def test_a_wildcard_without_dns_names_the_way_out() -> None:
    desk = Desk(kinds=["http-01"])
    with pytest.raises(ChallengeError) as caught:
        run_obtain(desk, "*.example.org")
    assert "*.example.org" in caught.value.message
    assert "dns-01" in caught.value.next_command


def test_an_order_that_is_ready_late_is_waited_for() -> None:
    desk = Desk()
    early = respond(403, {"type": "urn:ietf:params:acme:error:orderNotReady", "detail": "not yet"})
    body = {
        "status": "pending",
        "identifiers": [{"type": "dns", "value": "mail.example.org"}],
        "authorizations": [],
        "finalize": "https://ca.test/order/2/finalize",
    }
    desk.ca.outages.extend(
        [("/order", early), ("/order", respond(200, body)), ("/order", respond(200, body))]
    )
    assert sans(run_obtain(desk, "mail.example.org").leaf) == {"mail.example.org"}


def test_fourteen_months_of_renewals_in_their_windows() -> None:
    """Each profile is renewed again and again, at an instant inside the CA's window, past every limit."""
    desk = Desk(lets_encrypt())

    async def work(profile: str) -> int:
        client = desk.client
        issued = await desk.obtain("mail.example.org", "webmail.example.org", profile=profile)
        end = desk.clock.now() + timedelta(days=425)
        renewals = 0
        while desk.clock.now() < end:
            certificate = leaf(issued.leaf)
            old = ari.certificate_id(certificate)
            info = await ari.renewal_info(client, old or "")
            assert info is not None
            due = ari.instant(info, 0.5)
            assert desk.clock.now() < due < certificate.not_valid_after_utc
            desk.clock.advance(due - desk.clock.now())
            issued = await desk.obtain(
                "mail.example.org", "webmail.example.org", profile=profile, replaces=old
            )
            renewals += 1
        return renewals

    async def all_of_them() -> list[int]:
        await desk.register()
        return [await work(profile) for profile in ("classic", "tlsserver", "shortlived")]

    assert asyncio.run(all_of_them()) == [8, 15, 130]


def test_the_preferred_chain_is_chosen_by_its_topmost_issuer() -> None:
    desk = Desk(Rules(chain_length=2))

    async def work() -> None:
        await desk.register()
        default = await desk.obtain("mail.example.org")
        new = await desk.obtain("mail.example.org", preferred_chain="Fake Root X2")
        none = await desk.obtain("mail.example.org", preferred_chain="Nobody")
        assert _top(default.pem[-1]) == "Fake Root X1"
        assert _top(new.pem[-1]) == "Fake Root X2"
        assert new.url.endswith("/alternate/1")
        assert _top(none.pem[-1]) == "Fake Root X1"

    asyncio.run(work())


def _top(pem: str) -> str:
    return str(leaf(pem).issuer.rdns[0].rfc4514_string()).removeprefix("CN=")


def test_profiles_are_asked_for_and_checked() -> None:
    desk = Desk(Rules(profiles={"shortlived": timedelta(hours=160), "tlsserver": timedelta(days=45)}))
    issued = run_obtain(desk, "mail.example.org", profile="shortlived")
    found = leaf(issued.leaf)
    assert found.not_valid_after_utc - found.not_valid_before_utc == timedelta(hours=160)
    with pytest.raises(IssueError) as caught:
        run_obtain(desk, "mail.example.org", profile="classic")
    assert "shortlived, tlsserver" in caught.value.reason
    with pytest.raises(IssueError, match="no profiles"):
        run_obtain(Desk(), "mail.example.org", profile="classic")


def test_a_renewal_names_its_predecessor_and_no_limit_touches_it() -> None:
    desk = Desk(Rules(same_set_per_week=1))

    async def work() -> None:
        client = await desk.register()
        first = await desk.obtain("mail.example.org")
        old = ari.certificate_id(leaf(first.leaf))
        assert old is not None
        with pytest.raises(AcmeProblem) as caught:
            await desk.obtain("mail.example.org")
        assert caught.value.kind == "rateLimited"
        assert caught.value.retry_after == pytest.approx(7 * 86400, abs=60)
        info = await ari.renewal_info(client, old)
        assert info is not None
        desk.clock.advance(info.start - desk.clock.now())
        await desk.obtain("mail.example.org", replaces=old)
        assert desk.ca.state.issued[old].replaced
        # Replaced already: the order is placed without a predecessor.
        desk.clock.advance(timedelta(days=8))
        await desk.obtain("mail.example.org", replaces=old)

    asyncio.run(work())


def test_no_predecessor_is_sent_to_a_ca_without_renewal_information() -> None:
    desk = Desk(Rules(renewal_information=False))
    run_obtain(desk, "mail.example.org", replaces="AAAA.BBBB")
    assert [order.replaces for order in desk.ca.state.orders.values()] == [None]


@pytest.mark.parametrize("fault", ["key", "names"])
def test_a_certificate_that_does_not_fit_is_refused(fault: str, monkeypatch: pytest.MonkeyPatch) -> None:
    desk = Desk()
    issue = desk.ca.state.pki.issue

    def wrong(csr, names_, now, lifetime):  # type: ignore[no-untyped-def]
        if fault == "key":
            csr = x509.load_der_x509_csr(request_for(names_, new_key()))
        else:
            names_ = names("evil.example.org")
        return issue(csr, names_, now, lifetime)

    monkeypatch.setattr(desk.ca.state.pki, "issue", wrong)
    with pytest.raises(AcmeProtocolError):
        run_obtain(desk, "mail.example.org")


def test_the_time_allowed_is_kept_and_the_order_can_be_resumed() -> None:
    desk = Desk(Rules(validation_takes=3600))
    kept: list[str] = []
    with pytest.raises(AcmeTimeout):
        run_obtain(desk, "mail.example.org", on_order=kept.append, timeout=60)
    assert 55 < desk.clock.monotonic() <= 61
    assert desk.solver.left == 0
    desk = Desk(Rules(validation_takes=30, poll_retry_after="86400"))
    with pytest.raises(AcmeTimeout) as caught:
        run_obtain(desk, "mail.example.org", timeout=60)
    assert caught.value.retry_after == 86400
    assert desk.clock.monotonic() < 1


def test_a_callback_that_fails_stops_the_order_before_anything_is_shown() -> None:
    desk = Desk()

    def full(url: str) -> None:
        raise IssueError("the disk is full")

    with pytest.raises(IssueError, match="disk is full"):
        run_obtain(desk, "mail.example.org", on_order=full)
    assert desk.solver.log == []


def test_rejected_names_are_named() -> None:
    desk = Desk(Rules(forbidden=frozenset({"bad.example.org", "worse.example.org"})))
    with pytest.raises(AcmeProblem) as caught:
        run_obtain(desk, "bad.example.org", "good.example.org", "worse.example.org")
    assert set(caught.value.identifiers) == {"bad.example.org", "worse.example.org"}
    assert caught.value.kind == "rejectedIdentifier"


def test_an_order_for_other_names_than_asked_for_is_not_followed() -> None:
    desk = Desk()
    body = {
        "status": "ready",
        "identifiers": [{"type": "dns", "value": "other.example.org"}],
        "authorizations": [],
        "finalize": "https://ca.test/order/1/finalize",
    }
    desk.ca.outages.append(("/new-order", respond(201, body, {"location": "https://ca.test/order/1"})))
    with pytest.raises(AcmeProtocolError, match="other names"):
        run_obtain(desk, "mail.example.org")


def test_a_token_that_is_a_path_is_refused_before_anybody_sees_it() -> None:
    desk = Desk()
    authz = {
        "status": "pending",
        "identifier": {"type": "dns", "value": "mail.example.org"},
        "challenges": [
            {
                "type": "http-01",
                "url": "https://ca.test/chall/1/http-01",
                "token": "../../../etc/cron.d/aaaaaaaaaaaa",
            }
        ],
    }
    desk.ca.outages.append(("/authz", respond(200, authz)))
    with pytest.raises(AcmeProtocolError, match="token"):
        run_obtain(desk, "mail.example.org")
    assert desk.solver.log == []


def test_control_is_shown_only_of_what_was_ordered() -> None:
    desk = Desk()
    authz = {
        "status": "pending",
        "identifier": {"type": "dns", "value": "other.example.org"},
        "challenges": [{"type": "dns-01", "url": "https://ca.test/chall/1/dns-01", "token": "a" * 43}],
    }
    desk.ca.outages.append(("/authz", respond(200, authz)))
    with pytest.raises(AcmeProtocolError, match="not ordered"):
        run_obtain(desk, "mail.example.org")
    assert desk.solver.log == []


@pytest.mark.parametrize("answers_once", [True, False])
def test_two_orders_for_the_same_names_may_share_their_authorizations(answers_once: bool) -> None:
    """As two key types of one certificate do."""
    desk = Desk(Rules(reuse_pending=True, answers_once=answers_once, validation_takes=2))

    async def work() -> None:
        await desk.register()
        texts = ("mail.example.org", "webmail.example.org")
        first, second = await asyncio.gather(desk.obtain(*texts), desk.obtain(*texts))
        assert sans(first.leaf) == sans(second.leaf) == set(texts)

    asyncio.run(work())
    assert len(desk.ca.state.authz) == 2
    assert desk.solver.left == 0


def test_identifiers_may_come_in_any_order_and_shape() -> None:
    desk = Desk()
    issued = run_obtain(desk, "B.Example.ORG", "a.example.org", "bücher.example")
    assert sans(issued.leaf) == {"b.example.org", "a.example.org", "xn--bcher-kva.example"}
    assert Identifier.parse("bücher.example").value == "xn--bcher-kva.example"

"""Orders that were interrupted: found again, gone on with, never bought twice; let go when they are of no use."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest

from mailseal.acme import orders
from mailseal.errors import NetworkFault
from tests.support.acme import Desk, names, request_for
from tests.support.fake_ca import Rules


@pytest.mark.parametrize("stage", ["new-order", "authz", "chall", "order", "cert"])
def test_an_interrupted_order_is_resumed_and_not_bought_twice(stage: str) -> None:
    desk = Desk()
    csr = request_for(names("mail.example.org"))
    kept: list[str] = []

    async def work() -> str:
        await desk.register()
        fault = NetworkFault("the machine lost its power")
        desk.client.patience = 0
        desk.ca.outages.extend([(f"/{stage}", fault)] * 3)
        with pytest.raises(NetworkFault):
            await desk.obtain("mail.example.org", csr_der=csr, on_order=kept.append)
        resume = kept[0] if kept else None
        issued = await desk.obtain("mail.example.org", csr_der=csr, on_order=kept.append, resume_url=resume)
        return issued.order_url

    url = asyncio.run(work())
    assert kept == [url]
    assert len(desk.ca.state.orders) == 1
    assert len(desk.ca.state.issued) == 1
    assert desk.solver.left == 0


@pytest.mark.parametrize("path", ["/new-order", "/chall", "/order"])
@pytest.mark.parametrize("answers_once", [True, False])
def test_an_answer_that_got_lost_is_asked_for_again(path: str, answers_once: bool) -> None:
    desk = Desk(Rules(answers_once=answers_once, validation_takes=2, issuance_takes=2))
    ask = desk.ca.request
    lost: list[str] = []

    async def request(method, url, **options):  # type: ignore[no-untyped-def]
        answer = await ask(method, url, **options)
        if path in url and not lost:
            lost.append(url)
            raise NetworkFault("broken off")
        return answer

    desk.ca.request = request  # type: ignore[method-assign]

    async def work() -> None:
        await desk.register()
        await desk.obtain("mail.example.org")

    asyncio.run(work())
    assert lost
    assert len(desk.ca.state.issued) == 1


def test_a_finished_order_is_downloaded_again() -> None:
    desk = Desk()
    csr = request_for(names("mail.example.org"))

    async def work() -> None:
        await desk.register()
        first = await desk.obtain("mail.example.org", csr_der=csr)
        again = await desk.obtain("mail.example.org", csr_der=csr, resume_url=first.order_url)
        assert again == first

    asyncio.run(work())
    assert len(desk.ca.state.issued) == 1


@pytest.mark.parametrize(
    "why", ["other key", "other names", "gone", "invalid", "expired", "not a URL of the CA"]
)
def test_an_order_of_no_use_is_let_go(why: str) -> None:
    desk = Desk(Rules(order_lifetime=timedelta(hours=8)))

    async def work() -> None:
        client = await desk.register()
        wanted = names("mail.example.org")
        if why == "other key":
            url = (await desk.obtain("mail.example.org")).order_url
        else:
            url = (await orders.new_order(client, wanted)).url
        if why == "other names":
            url = (await orders.new_order(client, names("other.example.org"))).url
        elif why == "gone":
            desk.ca.state.orders.clear()
        elif why == "invalid":
            next(iter(desk.ca.state.authz.values())).status = "deactivated"
        elif why == "expired":
            desk.clock.advance(timedelta(hours=9))
        elif why == "not a URL of the CA":
            url = "https://ca.test/elsewhere/9"
        issued = await desk.obtain("mail.example.org", resume_url=url)
        assert issued.order_url != url

    asyncio.run(work())

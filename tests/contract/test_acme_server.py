"""The CA in memory keeps what real servers promise; tests/lab asks the same of Pebble and of smallstep's."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from mailseal.acme import account
from tests.support.acme import Desk, Shown
from tests.support.acme_promises import PROMISES, Customer
from tests.support.fake_ca import FakeCa, Question, Refused, Rules, lets_encrypt

BLOCKED = "blocked.example.test"
RULES = {
    "plain": Rules(forbidden=frozenset({BLOCKED})),
    "as Let's Encrypt": replace(lets_encrypt(), forbidden=frozenset({BLOCKED})),
    "as Pebble": Rules(forbidden=frozenset({BLOCKED}), nonces_refused=0.5, chain_length=3),
}


class Liar(Shown):
    """Shows something else for the names in `wrong`."""

    def __init__(self) -> None:
        super().__init__("http-01")
        self.wrong: set[str] = set()

    async def look(self, question: Question) -> Refused | None:
        if question.name.value in self.wrong:
            return Refused("unauthorized", "something else is there", 403)
        return await super().look(question)


@pytest.mark.parametrize("rules", RULES.values(), ids=RULES)
@pytest.mark.parametrize("promise", PROMISES.values(), ids=PROMISES)
def test_the_ca_in_memory(promise: object, rules: Rules) -> None:
    desk = Desk(rules)
    solver = Liar()
    desk.ca = FakeCa(desk.clock, rules, solver.look)
    desk.client._http = desk.ca

    async def work() -> None:
        await account.register(desk.client, contact=["postmaster@example.test"], agree_to_terms=True)
        asked = [f"n{number}.example.test" for number in range(5)]
        await promise(Customer(desk.ca, desk.client, solver, asked, BLOCKED))  # type: ignore[operator]

    asyncio.run(work())
    assert solver.left == 0

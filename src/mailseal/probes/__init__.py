"""Questions to endpoints: the table of protocols, and the two ways of asking.

`ask` puts one question over one connection, `ask_many` many with a bounded
number in flight. Neither raises for what a server does or fails to do: that
is in the `Answer`. The protocols' modules (and OpenSSL with them) are
imported when the first question of their kind is asked.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from functools import cache
from importlib import import_module
from typing import cast

from mailseal.model import AppProtocol
from mailseal.probes.base import Answer, Probe, Question
from mailseal.system import Network

PROBES: dict[AppProtocol, str] = {
    AppProtocol.SMTP: "mailseal.probes.smtp:SmtpProbe",
    AppProtocol.SUBMISSION: "mailseal.probes.smtp:SmtpProbe",
    AppProtocol.IMAP: "mailseal.probes.imap:ImapProbe",
    AppProtocol.POP3: "mailseal.probes.pop3:Pop3Probe",
    AppProtocol.SIEVE: "mailseal.probes.sieve:SieveProbe",
    AppProtocol.HTTP: "mailseal.probes.http:HttpProbe",
}

# A Postfix without DNS takes over eight seconds to greet a stranger, and greylisting
# or postscreen add some: twice that is still an answer, not a fault.
PATIENCE = 20.0


@cache
def probe_for(protocol: AppProtocol) -> Probe:
    """The probe of a protocol, imported on first use."""
    module, _, name = PROBES[protocol].partition(":")
    return cast(Probe, getattr(import_module(module), name)())


async def ask(question: Question, network: Network, timeout: float = PATIENCE) -> Answer:
    """Asks one question; `timeout` (seconds) bounds the whole of it."""
    return await probe_for(question.endpoint.protocol).ask(question, network, timeout=timeout)


async def ask_many(
    questions: Sequence[Question], network: Network, *, timeout: float = PATIENCE, in_flight: int = 16
) -> tuple[Answer, ...]:
    """Asks all, at most `in_flight` at once; answers in the order of the questions."""
    answers: list[Answer | None] = [None] * len(questions)
    waiting: Iterator[tuple[int, Question]] = iter(enumerate(questions))

    async def work() -> None:
        for index, question in waiting:
            answers[index] = await ask(question, network, timeout)

    async with asyncio.TaskGroup() as group:
        for _ in range(max(1, min(in_flight, len(questions)))):
            group.create_task(work())
    return tuple(answer for answer in answers if answer is not None)

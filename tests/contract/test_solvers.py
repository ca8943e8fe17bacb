"""What every http-01 solver promises (`mailseal.challenges.base.Solver`), asked of each over real sockets and files.

A web server of the test serves the directory and the web root; the listener
serves itself. So what is asserted is what a CA would see.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from mailseal.challenges.base import Solver
from mailseal.challenges.directory import DirectorySolver
from mailseal.challenges.fetch import Answered, Ports, fetch
from mailseal.challenges.listener import ListenerSolver
from mailseal.challenges.webroot import WebrootSolver
from mailseal.errors import ChallengeError
from mailseal.model import CHALLENGE_PREFIX, Identifier
from mailseal.system.local import LocalSystem
from tests.support.files_server import serve_files
from tests.support.zones import Zones

MAIL = Identifier.parse("mail.example.org")
WEB = Identifier.parse("webmail.example.org")
TOKEN = "evaGxfADs6pSRb2LAv9IZf17Dt3juxGJ-PCt92wr-oA"
ANSWER = f"{TOKEN}.9jg46WB3rR_AHD-EBXdN7cBkH1WOu0tA3M9fm21mqTI"


@dataclass
class Standing:
    """A solver, the port where the world would ask it, and what it may leave behind: nothing."""

    solver: Solver
    port: Callable[[], int]
    left: Callable[[], list[str]]


async def see(port: int, name: Identifier, token: str = TOKEN) -> tuple[int, bytes] | None:
    got = await fetch(
        LocalSystem().network,
        Zones({}),
        name=name.value,
        address="127.0.0.1",
        path=CHALLENGE_PREFIX + token,
        timeout=5,
        ports=Ports(port),
    )
    return (got.status, got.body) if isinstance(got, Answered) else None


@asynccontextmanager
async def directory(folder: Path) -> AsyncIterator[Standing]:
    tokens = folder / "state" / "challenges"
    async with serve_files(lambda path: tokens / path.removeprefix(CHALLENGE_PREFIX)) as port:
        yield Standing(
            DirectorySolver(LocalSystem(), str(tokens)),
            lambda: port,
            lambda: [each.name for each in tokens.iterdir()],
        )


@asynccontextmanager
async def webroot(folder: Path) -> AsyncIterator[Standing]:
    root = folder / "html"
    root.mkdir()
    async with serve_files(lambda path: root / path.removeprefix("/")) as port:
        yield Standing(
            WebrootSolver(LocalSystem(), default=str(root)),
            lambda: port,
            lambda: [each.name for each in root.iterdir()],
        )


@asynccontextmanager
async def listener(folder: Path) -> AsyncIterator[Standing]:
    solver = ListenerSolver(LocalSystem(), addresses=("127.0.0.1", "::1"), port=0)
    yield Standing(
        solver,
        lambda: solver.endpoints[0][1] if solver.endpoints else 1,
        lambda: [str(each) for each in solver.endpoints],
    )


Kind = Callable[[Path], AbstractAsyncContextManager[Standing]]
KINDS: tuple[Kind, ...] = (directory, webroot, listener)


@pytest.fixture(params=KINDS, ids=lambda kind: kind.__name__)
def kind(request: pytest.FixtureRequest) -> Kind:
    found: Kind = request.param
    return found


def test_it_is_http_01(kind: Kind, tmp_path: Path) -> None:
    async def story() -> None:
        async with kind(tmp_path) as standing:
            assert standing.solver.kind == "http-01"

    asyncio.run(story())


def test_presented_is_seen_and_cleaned_up_is_gone(kind: Kind, tmp_path: Path) -> None:
    async def story() -> None:
        async with kind(tmp_path) as standing:
            await standing.solver.present(MAIL, TOKEN, ANSWER)
            status, body = await see(standing.port(), MAIL) or (0, b"")
            assert (status, body.strip()) == (200, ANSWER.encode())
            await standing.solver.clean_up(MAIL, TOKEN)
            assert (await see(standing.port(), MAIL) or (404, b""))[0] == 404
            assert standing.left() == []

    asyncio.run(story())


def test_two_names_may_share_a_token(kind: Kind, tmp_path: Path) -> None:
    async def story() -> None:
        async with kind(tmp_path) as standing:
            await standing.solver.present(MAIL, TOKEN, ANSWER)
            await standing.solver.present(WEB, TOKEN, ANSWER)
            await standing.solver.clean_up(MAIL, TOKEN)
            status, _ = await see(standing.port(), WEB) or (0, b"")
            assert status == 200
            await standing.solver.clean_up(WEB, TOKEN)
            assert standing.left() == []

    asyncio.run(story())


def test_many_at_the_same_time(kind: Kind, tmp_path: Path) -> None:
    tokens = [f"token-{number}" for number in range(100)]

    async def story() -> None:
        async with kind(tmp_path) as standing:
            await asyncio.gather(*(standing.solver.present(MAIL, each, f"{each}.thumb") for each in tokens))
            seen = await asyncio.gather(*(see(standing.port(), MAIL, each) for each in tokens))
            assert [each and each[1].strip() for each in seen] == [
                f"{each}.thumb".encode() for each in tokens
            ]
            await asyncio.gather(*(standing.solver.clean_up(MAIL, each) for each in tokens))
            assert standing.left() == []

    asyncio.run(story())


def test_cleaning_up_what_is_gone_is_no_fault(kind: Kind, tmp_path: Path) -> None:
    async def story() -> None:
        async with kind(tmp_path) as standing:
            await standing.solver.clean_up(MAIL, TOKEN)
            await standing.solver.present(MAIL, TOKEN, ANSWER)
            await standing.solver.clean_up(MAIL, TOKEN)
            await standing.solver.clean_up(MAIL, TOKEN)

    asyncio.run(story())


@pytest.mark.parametrize("token", ["../../etc/cron.d/x", "", "a/b", "x" * 300, "a\n"])
def test_a_hostile_token_goes_nowhere(kind: Kind, tmp_path: Path, token: str) -> None:
    async def story() -> None:
        async with kind(tmp_path) as standing:
            before = sorted(tmp_path.rglob("*"))
            with pytest.raises(ChallengeError):
                await standing.solver.present(MAIL, token, f"{token}.thumb")
            with pytest.raises(ChallengeError):
                await standing.solver.clean_up(MAIL, token)
            assert sorted(tmp_path.rglob("*")) == before

    asyncio.run(story())


def test_an_answer_left_behind_by_a_killed_run_is_replaced(kind: Kind, tmp_path: Path) -> None:
    async def story() -> None:
        async with kind(tmp_path) as standing:
            await standing.solver.present(MAIL, TOKEN, f"{TOKEN}.old")
            again = standing.solver
            if isinstance(again, DirectorySolver):
                again = DirectorySolver(LocalSystem(), str(tmp_path / "state" / "challenges"))
            elif isinstance(again, WebrootSolver):
                again = WebrootSolver(LocalSystem(), default=str(tmp_path / "html"))
            else:
                await standing.solver.clean_up(MAIL, TOKEN)  # a listener dies with its process
            await again.present(MAIL, TOKEN, ANSWER)
            _, body = await see(standing.port(), MAIL) or (0, b"")
            assert body.strip() == ANSWER.encode()
            await again.clean_up(MAIL, TOKEN)

    asyncio.run(story())

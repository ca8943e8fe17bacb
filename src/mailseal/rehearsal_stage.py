"""The inside of the rehearsal: runs as root in namespaces of its own, reads its order from stdin, answers on stdout.

Everything it changes lies on overlays whose upper layer is a tmpfs that only
this mount namespace sees; the daemons it starts die with its process
namespace. It refuses to run where other processes can be seen, which is how
it knows that it was not started by hand.
"""

from __future__ import annotations

import asyncio
import hashlib
import sys

import msgspec

from mailseal import services
from mailseal.effects import write
from mailseal.errors import ApplyFailed, MailsealError
from mailseal.model import Endpoint, FileState, TlsMode
from mailseal.probes import ask_many
from mailseal.probes.base import Answer, Question, Stage
from mailseal.rehearsal import StageAnswer, StagedPut, StageOrder, StageReport
from mailseal.services.base import Facts, ServiceSettings
from mailseal.system import System
from mailseal.system.local import LocalSystem

START = 15.0  # seconds that a daemon may take until every port of its own answers


def main() -> int:
    """Reads a StageOrder, prints a StageReport; 3 where the namespaces are not what they must be."""
    system = LocalSystem()
    order = msgspec.json.decode(sys.stdin.buffer.read(), type=StageOrder)
    if len([name for name in system.files.listdir("/proc") if name.isdigit()]) > 2:
        sys.stderr.write("the rehearsal's stage runs only in a process namespace of its own\n")
        return 3
    try:
        _network(system, order.addresses)
        _cover(system, order)
        for put in order.puts:
            write(system.files, put.path, _state(put), system.files.state(put.path))
        report = _play(system, order)
    except MailsealError as error:
        report = StageReport(impossible=str(error))
    sys.stdout.write(msgspec.json.encode(report).decode())
    return 0


def _must(system: System, *argv: str) -> None:
    done = system.processes.run(argv, timeout=20.0)
    if not done.ok:
        raise ApplyFailed(f"{' '.join(argv[:2])} failed", reason=done.said)


def _network(system: System, addresses: list[str]) -> None:
    """The machine's addresses, on this namespace's loopback, so that daemons bound to one of them start."""
    _must(system, "ip", "link", "set", "lo", "up")
    for address in addresses:
        length = "128" if ":" in address else "32"
        extra = ("nodad",) if ":" in address else ()
        _must(system, "ip", "address", "add", f"{address}/{length}", "dev", "lo", *extra)


def _cover(system: System, order: StageOrder) -> None:
    _must(system, "mount", "-t", "tmpfs", "-o", "mode=0700", "tmpfs", order.folder)
    for number, path in enumerate(order.covers):
        upper, work = f"{order.folder}/{number}-upper", f"{order.folder}/{number}-work"
        found = system.files.stat(path, follow=True)
        mode, owner = (found.mode, (found.uid, found.gid)) if found else (0o755, (0, 0))
        system.files.mkdir(upper, mode=mode, owner=owner)
        system.files.mkdir(work, mode=0o700)
        options = f"lowerdir={path},upperdir={upper},workdir={work}"
        _must(system, "mount", "-t", "overlay", "-o", options, "overlay", path)


def _state(put: StagedPut) -> FileState:
    if put.kind not in ("absent", "file", "link", "directory"):
        raise ApplyFailed(f"{put.path}: a put of an unknown kind {put.kind!r}")
    return FileState(put.kind, put.content, put.target, put.mode, put.uid, put.gid)  # type: ignore[arg-type]


def _play(system: System, order: StageOrder) -> StageReport:
    answers: list[StageAnswer] = []
    endpoints: list[Endpoint] = []
    for settings in order.services:
        found = _start(system, settings)
        if found is not None:
            endpoints.extend(e for e in found.endpoints if e.tls is not TlsMode.NONE)
    for answer in asyncio.run(_ask_until_up(system, endpoints, order.server_name)):
        endpoint = answer.question.endpoint
        leaf = hashlib.sha256(answer.chain[0]).hexdigest() if answer.chain else ""
        said = "" if answer.ok else f"{answer.stage}: {answer.detail}"
        answers.append(StageAnswer(endpoint.service, f"{endpoint.service} {endpoint}", leaf, said))
    return StageReport(answers)


def _start(system: System, settings: ServiceSettings) -> Facts | None:
    adapter = services.load(settings.kind)
    facts = adapter.observe(system, settings)
    plan = adapter.rehearsal(facts) if facts is not None else None
    if facts is None or plan is None:
        return None
    for path in plan.scratch:
        _must(system, "mount", "-t", "tmpfs", "-o", "mode=0755", "tmpfs", path)
    for command in plan.prepare:
        system.processes.run(command.argv, timeout=command.timeout, env=dict(command.env))
    system.processes.spawn(plan.start.argv, env=dict(plan.start.env))
    return facts


async def _ask_until_up(system: System, endpoints: list[Endpoint], server_name: str) -> list[Answer]:
    """Asks every endpoint; those that refuse the connection are asked again until the daemons had time to start."""
    questions = [Question(endpoint, server_name or None) for endpoint in endpoints]
    done: dict[int, Answer] = {}
    end = system.clock.monotonic() + START
    while True:
        left = [number for number in range(len(questions)) if number not in done or not done[number].ok]
        late = system.clock.monotonic() >= end
        answers = await ask_many([questions[n] for n in left], system.network, timeout=10.0, in_flight=8)
        done.update(zip(left, answers, strict=True))
        waiting = [n for n in left if done[n].stage in (Stage.CONNECT, Stage.GREETING)]
        if late or not waiting:
            return [done[number] for number in range(len(questions))]
        await system.clock.sleep_async(0.1)


if __name__ == "__main__":
    sys.exit(main())

"""A daemon in memory, shaped like a real one: it reads its configuration at a reload and serves what it read.

`/etc/daemon.conf` names a file; a reload (`daemonctl reload`) takes up that
file's content, `daemonctl restart` too, and `daemonctl check` only looks
whether the configuration has a line. As with the real ones, a checker that is
content says little: a content of `poison` kills the daemon at its reload.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from mailseal.daemons import Service
from mailseal.judge.verdict import Judged, Verdict
from mailseal.model import AppProtocol, Command, Endpoint, FileState, FileWish, Finding, Severity, TlsMode
from mailseal.probes.base import Answer, Question, Stage
from mailseal.services.base import (
    ConfiguredCertificate,
    Facts,
    Rehearsal,
    Rendering,
    ServiceSettings,
    ServiceWish,
)
from mailseal.steps import Deploy
from mailseal.system import Completed, System
from tests.support.memory import Machine, MemorySystem

CONF = "/etc/daemon.conf"
ENDPOINT = Endpoint("daemon", "127.0.0.1", 25, AppProtocol.SMTP, TlsMode.STARTTLS)


@dataclass(frozen=True)
class DaemonFacts:
    """What the adapter sees."""

    kind: str = "daemon"
    version: tuple[int, ...] = (1,)
    config_dir: str = "/etc"
    running: bool = True
    systemd: bool = False
    endpoints: tuple[Endpoint, ...] = (ENDPOINT,)
    configured: tuple[ConfiguredCertificate, ...] = ()
    names: tuple[str, ...] = ()


class DaemonAdapter:
    """The adapter's contract, kept."""

    kind = "daemon"
    title = "Daemon"

    def observe(self, system: System, settings: ServiceSettings) -> DaemonFacts:
        return DaemonFacts()

    def render(self, wish: ServiceWish, facts: Facts) -> Rendering:
        files = tuple(FileWish(CONF, one.combined.encode()) for one in wish.certificates[:1])
        return Rendering(files)

    def checks(self, facts: Facts) -> Sequence[Command]:
        return (Command(("daemonctl", "check")),)

    def reload(self, facts: Facts) -> tuple[Command, ...]:
        return (Command(("daemonctl", "reload")),)

    def restart(self, facts: Facts) -> tuple[Command, ...]:
        return (Command(("daemonctl", "restart")),)

    def rehearsal(self, facts: Facts) -> Rehearsal | None:
        return None

    def audit(self, facts: Facts) -> tuple[Finding, ...]:
        return ()


SERVICE = Service(DaemonAdapter(), DaemonFacts())


@dataclass
class Daemon:
    """What runs: `serves` is the content that it read last, "" when it is dead."""

    machine: Machine
    serves: str = ""
    reloads: int = 0
    restarts: int = 0
    refuses: str = ""  # the checker says no while `current` leads there
    throttled: bool = False  # as master(8) after a bad value: a good reload does not heal, a restart does

    def __post_init__(self) -> None:
        programs = self.machine.programs
        programs.on("daemonctl", "check")(self._check)
        programs.on("daemonctl", "reload")(self._reload)
        programs.on("daemonctl", "restart")(self._restart)

    def start(self) -> None:
        """Reads its configuration."""
        self._read(MemorySystem(self.machine))

    def _read(self, system: MemorySystem) -> None:
        # What the disk holds is read past the fault plan: a daemon's reading is no effect of ours.
        tree = self.machine.tree("/")
        named = tree[CONF].content.decode().partition("\n")[0]
        found = tree.get(_followed(tree, named))
        content = found.content.decode() if found is not None else ""
        self.serves = "" if content == "poison" else content

    def _check(self, system: MemorySystem, argv: tuple[str, ...], stdin: bytes) -> Completed:
        tree = self.machine.tree("/")
        leads = {state.target for path, state in tree.items() if path.endswith("/current")}
        good = bool(tree[CONF].content.strip()) and not (self.refuses and self.refuses in leads)
        return Completed(argv, 0 if good else 1, "", "" if good else "daemon.conf: line 1: nothing there")

    def _reload(self, system: MemorySystem, argv: tuple[str, ...], stdin: bytes) -> Completed:
        self.reloads += 1
        if not self.serves and not self.throttled:
            return Completed(argv, 1, "", "the daemon is not running")
        if not self.throttled:
            self._read(system)
        return Completed(argv, 0, "", "")

    def _restart(self, system: MemorySystem, argv: tuple[str, ...], stdin: bytes) -> Completed:
        self.restarts += 1
        self.throttled = False
        self._read(system)
        return Completed(argv, 0, "", "")


def _followed(tree: Mapping[str, FileState], path: str) -> str:
    """The path with the links on it followed (their targets stand beside them)."""
    way = ""
    for part in path.split("/")[1:]:
        found = tree.get(f"{way}/{part}")
        way = f"{way}/{found.target if found is not None and found.kind == 'link' else part}"
    return way


@dataclass
class DaemonProver:
    """Asks the daemon in memory; what should be served is `wanted`."""

    daemon: Daemon
    wanted: str = ""
    looks: list[str] = field(default_factory=list)

    def look(self, facts: Sequence[Facts]) -> Verdict:
        self.looks.append(self.daemon.serves)
        served = "" if self.daemon.throttled else self.daemon.serves
        stage = Stage.DONE if served else Stage.CONNECT
        findings: tuple[Finding, ...] = ()
        if not served:
            findings = (Finding("endpoint-unreachable", Severity.ERROR, "daemon", "nobody answers"),)
        elif self.wanted and served != self.wanted:
            findings = (Finding("leaf-differs", Severity.ERROR, "daemon", f"serves {served}"),)
        answer = Answer(Question(ENDPOINT), stage, chain=(served.encode(),) if served else ())
        return Verdict((Judged(answer, findings),))

    def prove(
        self, facts: Sequence[Facts], *, before: Verdict | None = None, patience: float | None = None
    ) -> Verdict:
        return self.look(facts)

    def worse(self, before: Verdict, after: Verdict) -> tuple[Finding, ...]:
        was, now = before.judged[0].answer.ok, after.judged[0].answer.ok
        return after.findings if was and not now else ()


class NoRehearsal:
    """Rehearses nothing."""

    def rehearse(self, step: Deploy, services: Sequence[Service]) -> tuple[Finding, ...]:
        return ()

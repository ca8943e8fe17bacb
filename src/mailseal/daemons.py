"""Daemons checked, reloaded and restarted: the commands that an adapter names, carried out.

A reload is what a change asks for; a restart is the fallback where a reload
fails or does not heal. A daemon whose own checker refuses its configuration is
never restarted: it may still run on the one that it read before, and would not
come up again. No exit status of a reload is trusted to mean that clients are
served: that is for the proof to say.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from mailseal import transient
from mailseal.errors import ApplyFailed, BrokenBefore, MailsealError
from mailseal.model import Command
from mailseal.services.base import Facts, ServiceAdapter
from mailseal.system import System

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Service:
    """One daemon as the transaction meets it."""

    adapter: ServiceAdapter
    facts: Facts

    @property
    def kind(self) -> str:
        return self.adapter.kind

    @property
    def title(self) -> str:
        return self.adapter.title


class Daemons:
    """Controls the daemons of one machine; `say` gets progress, a line each."""

    def __init__(self, system: System, say: Say) -> None:
        self._system = system
        self._processes = system.processes
        self._say = say

    def check(self, services: Iterable[Service]) -> None:
        """Runs the daemons' own checkers. Raises `ApplyFailed` that quotes the first that complains."""
        for service in services:
            for command in service.adapter.checks(service.facts):
                problem = self._complaint(command)
                if problem:
                    raise ApplyFailed(
                        f"{service.title} refuses its configuration",
                        reason=problem,
                        next_command=str(command),
                    )

    def refuse_broken(self, services: Sequence[Service]) -> None:
        """Raises `BrokenBefore` where a daemon refuses what stands already; nothing of ours is to blame then."""
        self._say("checking the configuration as it stands")
        try:
            self.check(services)
        except ApplyFailed as error:
            raise BrokenBefore(
                f"{error.message} as it stands, before any change of ours",
                reason=error.reason,
                state="Nothing was changed and nothing was reloaded.",
                next_command=f"mend it until this ends well: {error.next_command}; then type the same command again",
            ) from error

    def refusal(self, service: Service) -> str:
        """Why a daemon refuses its configuration; empty where it does not."""
        try:
            self.check((service,))
        except MailsealError as error:
            return error.reason or error.message
        return ""

    def reload(self, services: Iterable[Service]) -> None:
        """Has them take up changed files. Raises `ApplyFailed` for the first that says no."""
        for service in services:
            self._say(f"reloading {service.title}")
            self._reload(service)

    def take_up(self, services: Iterable[Service]) -> None:
        """Has them take up changed files: a reload, a restart where that fails; never raises for a daemon's answer."""
        for service in services:
            try:
                self._reload(service)
            except MailsealError:
                self.restart((service,))

    def restart(self, services: Iterable[Service]) -> None:
        """Stops and starts them, except those that would not come up again; what goes wrong is said, not raised."""
        for service in services:
            refusal = self.refusal(service)
            if refusal:
                self._say(f"{service.title} is not restarted, since it refuses its configuration: {refusal}")
                continue
            self._say(f"restarting {service.title}")
            for command in service.adapter.restart(service.facts):
                try:
                    problem = self._complaint(command, leaves=not service.facts.systemd)
                except MailsealError as error:
                    problem = str(error)
                if problem:
                    self._say(f"{command}: {problem}")

    def _reload(self, service: Service) -> None:
        for command in service.adapter.reload(service.facts):
            problem = self._complaint(command)
            if problem:
                raise ApplyFailed(
                    f"{service.title} did not take up its new configuration",
                    reason=f"{command}: {problem}",
                )

    def _complaint(self, command: Command, *, leaves: bool = False) -> str:
        """What a command says against us; empty where it ended well. `leaves`: it may leave a daemon behind.

        One that no unit runs would end with our own unit, and be bound by its sandbox: systemd starts it beside.
        """
        env = dict(command.env)
        if leaves and transient.in_own_unit(self._system):
            done = transient.run(
                self._system, command.argv, timeout=command.timeout, stdin=b"", env=env, daemon=True
            )
        else:
            done = self._processes.run(command.argv, timeout=command.timeout, env=env)
        return "" if done.ok else (done.said or f"{command} ended with status {done.status}")

"""The real machine: the port `System` by this process's own system calls.

Its parts are in `files`, `processes`, `network`, `clock`, `lock` and `signals`. Loading
this module loads none of the heavy libraries: asyncio, the HTTP client and the
resolver are imported by the first call that needs them.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING

from mailseal import __version__
from mailseal.system.clock import LocalClock, LocalRandom
from mailseal.system.files import LocalFiles
from mailseal.system.lock import locked
from mailseal.system.network import LocalNetwork
from mailseal.system.processes import LocalProcesses
from mailseal.system.signals import held_back

if TYPE_CHECKING:
    from mailseal.system import System
    from mailseal.system.dns import Dns
    from mailseal.system.http import Http

USER_AGENT = f"mailseal/{__version__}"


class LocalSystem:
    """The port `System` on this machine; has no state of its own, so that any number may be made."""

    def __init__(self) -> None:
        self.files = LocalFiles()
        self.processes = LocalProcesses()
        self.network = LocalNetwork(self.files, self.processes)
        self.clock = LocalClock()
        self.random = LocalRandom()

    def http(self, *, ca_file: str | None = None) -> Http:
        from mailseal.system.aiohttp_client import AiohttpClient

        return AiohttpClient(ca_file=ca_file, user_agent=USER_AGENT)

    def dns(self, nameservers: Sequence[str] = ()) -> Dns:
        from mailseal.system.resolver import SystemDns

        return SystemDns(nameservers)

    def lock(self, path: str, *, wait: float = 0.0) -> AbstractContextManager[None]:
        return locked(path, wait=wait)

    def uninterrupted(self) -> AbstractContextManager[None]:
        return held_back()


if TYPE_CHECKING:

    def _is_a_system(local: LocalSystem) -> System:
        return local

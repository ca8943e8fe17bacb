"""http-01 through the machine's web server, for every site at once: tokens in one directory that root owns.

The web server's adapter renders the drop-in that serves the directory under
`/.well-known/acme-challenge/`; this module only puts files there. The
directory belongs to root and nobody else may write it, so no user of the web
server can make root follow a link; web servers read it, so it is 0755 and
the tokens 0644 (/var/lib/mailseal above it is 0711).

Tokens that a killed run left behind are harmless, and removed a day later.
"""

from __future__ import annotations

from datetime import timedelta

from mailseal.challenges.http01 import KIND, checked_answer, checked_token
from mailseal.errors import ChallengeError, SystemFault
from mailseal.model import Identifier
from mailseal.system import System

STATE_DIRECTORY = "/var/lib/mailseal"
CHALLENGE_DIRECTORY = STATE_DIRECTORY + "/challenges"
LEFT_BEHIND = timedelta(days=1)
SHORTEST_TOKEN = 22  # 128 bits in base64url, the least that RFC 8555 section 8.1 allows


class DirectorySolver:
    """Presents http-01 answers as files of one directory, which must be on the same machine as the web server."""

    kind = KIND

    def __init__(self, system: System, directory: str = CHALLENGE_DIRECTORY) -> None:
        self._system = system
        self._directory = directory
        self._presented: dict[str, set[Identifier]] = {}
        self._ready = False

    async def present(self, identifier: Identifier, token: str, key_authorization: str) -> None:
        answer = checked_answer(token, key_authorization)
        path = f"{self._directory}/{token}"
        try:
            self._prepare()
            if token not in self._presented:
                # Not synced to disk, as `replace` would: a token is worth nothing after a crash.
                self._system.files.plant(self._directory, (token,), answer)
        except SystemFault as fault:
            raise ChallengeError(
                f"The challenge for {identifier} could not be written to {path}",
                reason=str(fault),
                next_command=fault.next_command,
            ) from fault
        self._presented.setdefault(token, set()).add(identifier)

    async def clean_up(self, identifier: Identifier, token: str) -> None:
        path = f"{self._directory}/{checked_token(token)}"
        names = self._presented.get(token, set())
        names.discard(identifier)
        if names:
            return
        self._presented.pop(token, None)
        try:
            self._system.files.uproot(self._directory, (token,))
        except SystemFault as fault:
            raise ChallengeError(f"The challenge {path} could not be removed", reason=str(fault)) from fault

    def _prepare(self) -> None:
        if self._ready:
            return
        files = self._system.files
        parent = self._directory.rpartition("/")[0]
        if parent:
            files.mkdir(parent, mode=0o711, exist_ok=True)
        files.mkdir(self._directory, mode=0o755, exist_ok=True)
        before = self._system.clock.now() - LEFT_BEHIND
        for name in files.listdir(self._directory):
            seen = files.stat(f"{self._directory}/{name}")
            token = (
                len(name) >= SHORTEST_TOKEN
            )  # anything else is not ours to sweep: the sign of the path stays
            if token and seen is not None and seen.kind == "file" and seen.mtime < before:
                files.remove(f"{self._directory}/{name}")
        self._ready = True

"""http-01 through the web root of a site that is there already: `<root>/.well-known/acme-challenge/<token>`.

Web roots often belong to the web server's user (the layout that many guides
teach: /var/www/<host> owned by www-data), who could turn any path below them
elsewhere while root writes. So files go through `Files.plant`, which follows
no link that anybody but root could have made, and writes with the owner's
rights. Directories that had to be made are removed with the last token in
them; directories that were there stay.
"""

from __future__ import annotations

from collections.abc import Mapping

from mailseal.challenges.http01 import BELOW, KIND, checked_answer, checked_token
from mailseal.errors import ChallengeError, SystemFault
from mailseal.model import Identifier
from mailseal.system import System


class WebrootSolver:
    """Presents http-01 answers below web roots: `roots` for single names, `default` for the others.

    A wildcard has no web root, since http-01 cannot show control of one.
    """

    kind = KIND

    def __init__(
        self, system: System, *, default: str | None = None, roots: Mapping[Identifier, str] | None = None
    ):
        self._system = system
        self._default = default
        self._roots = dict(roots or {})
        self._made: dict[str, int] = {}
        self._presented: dict[tuple[str, str], set[Identifier]] = {}

    def root_of(self, identifier: Identifier) -> str:
        """The web root that a name is served from. Raises `ChallengeError` where none is known."""
        root = self._roots.get(identifier) or self._default
        if root is None:
            raise ChallengeError(
                f"No web root is known for {identifier}",
                next_command=f'name it: [http01] webroots = {{ "{identifier}" = "/var/www/…" }}',
            )
        return root.rstrip("/") or "/"

    async def present(self, identifier: Identifier, token: str, key_authorization: str) -> None:
        answer = checked_answer(token, key_authorization)
        root = self.root_of(identifier)
        names = self._presented.setdefault((root, token), set())
        if not names:
            self._plant(identifier, root, token, answer)
        names.add(identifier)

    def _plant(self, identifier: Identifier, root: str, token: str, answer: bytes) -> None:
        files = self._system.files
        below = (*BELOW, token)
        try:
            if files.stat(root, follow=True) is None:
                raise ChallengeError(
                    f"The web root of {identifier} is not there: {root}",
                    next_command="set [http01] webroot to the DocumentRoot of the site that answers on port 80",
                )
            made = files.plant(root, below, answer)
        except SystemFault as fault:
            del self._presented[root, token]
            raise ChallengeError(
                f"The challenge for {identifier} could not be written below {root}",
                reason=str(fault),
                next_command=fault.next_command,
            ) from fault
        self._made[root] = max(self._made.get(root, 0), made)

    async def clean_up(self, identifier: Identifier, token: str) -> None:
        checked_token(token)
        root = self.root_of(identifier)
        names = self._presented.get((root, token))
        if names is None:
            return
        names.discard(identifier)
        if names:
            return
        del self._presented[root, token]
        try:
            self._system.files.uproot(root, (*BELOW, token), directories=self._made.get(root, 0))
        except SystemFault as fault:
            raise ChallengeError(
                f"A challenge could not be removed from {root}", reason=str(fault)
            ) from fault
        if not any(known == root for known, _ in self._presented):
            self._made.pop(root, None)

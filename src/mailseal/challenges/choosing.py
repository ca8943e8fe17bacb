"""Which of the ways of http-01 to take on this machine, and why. Pure but for `solver_of`, which only constructs.

The CA asks at port 80, so who listens there decides. What the configuration
names is taken, and refused where it cannot work; left to itself (`auto`),
mailseal takes Apache where Apache has the port, its own listener where nobody
has it, a web root that is named where another program has it, and a listener
on the port that is named where a proxy elsewhere forwards to it. It never
guesses a web root or a port: then it says who has port 80, and what to set.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Literal

from mailseal.challenges.base import Solver
from mailseal.challenges.directory import CHALLENGE_DIRECTORY, DirectorySolver
from mailseal.challenges.listener import ALL_ADDRESSES, ListenerSolver
from mailseal.challenges.webroot import WebrootSolver
from mailseal.errors import ChallengeError
from mailseal.model import Identifier
from mailseal.system import System
from mailseal.system.listeners import Listener, covering, on_port

APACHE_PROGRAMS = ("apache2", "httpd")
CA_PORT = 80


class Way(StrEnum):
    """How the CA's question on port 80 is answered."""

    APACHE = "apache"
    WEBROOT = "webroot"
    LISTENER = "listener"


@dataclass(frozen=True, slots=True)
class Wished:
    """What the configuration says in [http01]; `roots` maps names to web roots, `webroot` is for the others."""

    method: Literal["auto", "apache", "webroot", "listener"] = "auto"
    webroot: str | None = None
    roots: Mapping[Identifier, str] = field(default_factory=dict)
    listen: str | None = None
    port: int = CA_PORT

    @property
    def has_webroot(self) -> bool:
        return bool(self.webroot or self.roots)


@dataclass(frozen=True, slots=True)
class Choice:
    """The way, and why. `addresses` and `port` are the listener's; `forwarded`: a proxy must lead port 80 there."""

    way: Way
    reason: str
    addresses: tuple[str, ...] = ()
    port: int = CA_PORT
    forwarded: bool = False


def choose(wished: Wished, seen: Iterable[Listener], *, http_port: int = CA_PORT) -> Choice:
    """The way to take. `seen` is everybody who listens, `http_port` where this machine's Apache answers for port 80.

    Raises `ChallengeError` where no way can work, or the one that was asked for cannot.
    """
    seen = tuple(seen)
    if wished.method == "listener" or (wished.method == "auto" and wished.port != CA_PORT):
        return _listener(wished, seen)
    holders = on_port(seen, http_port)
    who = ", ".join(dict.fromkeys(str(holder) for holder in holders))
    apache = next((each for each in holders if each.program in APACHE_PROGRAMS), None)
    if wished.method == "apache":
        return _apache(holders, who, apache, http_port)
    if wished.method == "webroot":
        return _webroot(wished, holders, who, http_port)
    if apache is not None:
        return Choice(Way.APACHE, f"Apache has port {http_port}: {apache}")
    if not holders:
        return _listener(wished, seen)
    if wished.has_webroot:
        return _webroot(wished, holders, who, http_port)
    raise ChallengeError(
        f"Port {http_port} is taken by a program that mailseal does not configure",
        reason=f"it is {who}",
        next_command="name the directory that it serves (setup: --http01 webroot --webroot DIR; [http01] webroot), "
        "or let it forward /.well-known/acme-challenge/ to a port of yours (setup: --http01 listener --port N; "
        '[http01] method = "listener", port = N)',
    )


def _apache(holders: tuple[Listener, ...], who: str, apache: Listener | None, port: int) -> Choice:
    if apache is not None:
        return Choice(Way.APACHE, f"the configuration says so, and Apache has port {port}: {apache}")
    if not holders:
        # Not an error: the http site that makes Apache listen may be part of the same plan.
        return Choice(Way.APACHE, f"the configuration says so; nothing listens on port {port} yet")
    raise ChallengeError(
        f"Apache cannot answer the challenge: port {port} is taken by another program",
        reason=f"it is {who}",
        next_command='stop it, or choose another way (setup: --http01 auto; [http01] method = "auto")',
    )


def _webroot(wished: Wished, holders: tuple[Listener, ...], who: str, port: int) -> Choice:
    if not wished.has_webroot:
        raise ChallengeError(
            "No web root is named",
            next_command="name the DocumentRoot of the site that answers on port 80 "
            "(setup: --webroot DIR; [http01] webroot)",
        )
    if not holders:
        raise ChallengeError(
            f"Nothing listens on port {port}, so no web root is served",
            next_command="start the web server, or choose another way "
            '(setup: --http01 listener; [http01] method = "listener")',
        )
    return Choice(Way.WEBROOT, f"a web root is named, and port {port} is {who}")


def _listener(wished: Wished, seen: tuple[Listener, ...]) -> Choice:
    addresses = (wished.listen,) if wished.listen else ALL_ADDRESSES
    holders = {str(each) for address in addresses for each in covering(seen, address, wished.port)}
    if holders:
        raise ChallengeError(
            f"Port {wished.port} is in use, so mailseal cannot listen there for the challenge",
            reason=f"taken by {', '.join(sorted(holders))}",
            next_command="let whoever has it answer (setup: --http01 auto; [http01] method), "
            "or name another port that port 80 is forwarded to (setup: --port N; [http01] port)",
        )
    if wished.port == CA_PORT:
        return Choice(Way.LISTENER, f"nothing listens on port {CA_PORT}", addresses)
    reason = f"port {CA_PORT} is forwarded to port {wished.port} here, says the configuration"
    return Choice(Way.LISTENER, reason, addresses, wished.port, forwarded=True)


def solver_of(
    choice: Choice, wished: Wished, system: System, *, directory: str = CHALLENGE_DIRECTORY
) -> Solver:
    """The solver of a choice. `directory` is what the web server's drop-in serves."""
    if choice.way is Way.APACHE:
        return DirectorySolver(system, directory)
    if choice.way is Way.WEBROOT:
        return WebrootSolver(system, default=wished.webroot, roots=wished.roots)
    return ListenerSolver(system, addresses=choice.addresses, port=choice.port)

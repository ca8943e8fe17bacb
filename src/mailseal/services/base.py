"""What mailseal asks of a daemon: the contract of every service adapter.

An adapter is one file and one line in `mailseal.services.ADAPTERS`. It looks
(`observe`), says what files it wishes for (`render`, pure), which commands
check and reload the daemon (data, not calls), where clients reach it
(`Facts.endpoints`), and what it finds odd (`audit`, pure). It never changes
the machine itself: the transaction does, with the wishes as its material.

Two promises carry the rest. `render(wish, facts)` names every file that would
stand when the wish is fulfilled, also those that stand already, so that a
second render on a machine that complies differs in nothing. And `render` with
an empty wish (`Wish.certificates == ()`, no challenge) wishes for no change.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from mailseal.model import Command, Endpoint, Finding, Identifier, KeyFiles, Wish
from mailseal.system import System


@dataclass(frozen=True, slots=True)
class ServiceSettings:
    """What the configuration says of one instance, `[services.<kind>]`; None: as Debian has it.

    `ports` maps a port of the packages' defaults to another, for instances on
    high ports; `control` is the command prefix that starts, stops and reloads
    (None: systemd where it is PID 1, else the daemon's own command).
    """

    kind: str
    enabled: bool = True
    config_dir: str | None = None
    binary: str | None = None
    systemd_unit: str | None = None
    web_root: str | None = None
    http_port: int = 80
    https_port: int = 443


@dataclass(frozen=True, slots=True)
class ChallengeWish:
    """Ask of a web server: GET CHALLENGE_PREFIX + token, under any name, answers the file of that name here."""

    directory: str


@dataclass(frozen=True, slots=True)
class ServiceWish:
    """What a service should do: serve these files by default, under these names; answer challenges.

    `certificates` holds one entry a key type, the preferred first, and is
    empty while nothing has been issued. `primary` is the name that the host
    goes by (and that its web site is named after). `submission` asks Postfix
    for the ports 587 and 465 where its master.cf lacks them and a login works.
    """

    certificates: tuple[KeyFiles, ...] = ()
    identifiers: tuple[Identifier, ...] = ()
    primary: str = ""
    challenge: ChallengeWish | None = None
    redirect_to_https: bool = True
    submission: bool = False


@dataclass(frozen=True, slots=True)
class ConfiguredCertificate:
    """Certificate files as a daemon's configuration names them now, and where it says so.

    `setting` is the setting's name (`smtpd_tls_chain_files`, `ssl_cert`,
    `SSLCertificateFile`), `place` the file (and line, where it can be told),
    `names` the host names it is for (empty: the default), `ports` the ports it
    holds for (empty: all of the service's), `shadowed` whether another
    setting hides it.
    """

    setting: str
    place: str
    cert_file: str
    key_file: str
    names: tuple[str, ...] = ()
    ports: tuple[int, ...] = ()
    shadowed: bool = False


class Facts(Protocol):
    """What is true of one instance of a daemon now. Each adapter has its own frozen dataclass with more in it."""

    @property
    def kind(self) -> str: ...

    @property
    def version(self) -> tuple[int, ...]: ...

    @property
    def config_dir(self) -> str: ...

    @property
    def running(self) -> bool: ...

    @property
    def systemd(self) -> bool:
        """Whether systemd is PID 1 and controls it."""
        ...

    @property
    def endpoints(self) -> tuple[Endpoint, ...]:
        """Where clients reach it, by its configuration: a wildcard listener as 127.0.0.1 and ::1."""
        ...

    @property
    def configured(self) -> tuple[ConfiguredCertificate, ...]: ...

    @property
    def names(self) -> tuple[str, ...]:
        """The host names that its configuration knows itself by (myhostname, ServerName, …)."""
        ...


@dataclass(frozen=True, slots=True)
class Rendering:
    """An adapter's wishes, in the order in which they may be fulfilled, and what it could not wish for."""

    wishes: tuple[Wish, ...] = ()
    findings: tuple[Finding, ...] = ()


@dataclass(frozen=True, slots=True)
class Rehearsal:
    """A throw-away instance on the staged configuration, run in mount and network namespaces of its own.

    `scratch` are directories that are covered by an empty tmpfs before it
    starts (run-time state, spools, logs), `prepare` commands run first inside,
    `start` runs the daemon in the foreground; the endpoints of the facts are
    then shaken hands with inside, on the real ports.
    """

    scratch: tuple[str, ...]
    prepare: tuple[Command, ...]
    start: Command


class ServiceAdapter(Protocol):
    """One daemon. Stateless; `kind` is its word in the configuration and in messages."""

    @property
    def kind(self) -> str: ...

    @property
    def title(self) -> str:
        """The daemon's name as people write it: Postfix, Dovecot, Apache."""
        ...

    def observe(self, system: System, settings: ServiceSettings) -> Facts | None:
        """Looks at the instance, changing nothing; None where it is not installed."""
        ...

    def render(self, wish: ServiceWish, facts: Facts) -> Rendering:
        """Pure: every file that should stand."""
        ...

    def checks(self, facts: Facts) -> Sequence[Command]:
        """The daemon's own checkers; any that ends with another status than 0 says the configuration is broken."""
        ...

    def reload(self, facts: Facts) -> tuple[Command, ...]:
        """Takes up changed files without dropping connections; run in order, the first that fails ends it."""
        ...

    def restart(self, facts: Facts) -> tuple[Command, ...]:
        """Starts it anew, and starts it where it had died; all are run, and the last one's status counts."""
        ...

    def rehearsal(self, facts: Facts) -> Rehearsal | None:
        """How to run it beside itself; None where it cannot."""
        ...

    def audit(self, facts: Facts) -> tuple[Finding, ...]:
        """Pure: what is odd in its configuration, whoever wrote it."""
        ...

"""What is true of a Dovecot instance now.

Dovecot itself is asked: `dovecot --version` for the dialect (2.3 has `ssl_cert
= </path`, 2.4 `ssl_server_cert_file = /path`; each refuses the other's), and
`doveconf -n` for the effective settings with every include resolved. The
files are read beside it, to tell where a setting is written and which file is
read after which. `doveconf -h` is not used: 2.4.1 ends with "Multiple settings
matched" for most names.

Listening ports come from the login services (`service imap-login { inet_listener
… }`). A listener of a protocol that `protocols` does not name is off, though
doveconf prints it. A listener with `haproxy = yes` expects a PROXY header
before anything else, so that no client can reach it directly: it is no
endpoint, but it is told.

`doveconf -P` is used so that key paths are shown; what else it shows
(passwords of other settings) is dropped here and never kept or printed.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterable
from dataclasses import dataclass, field

from mailseal.errors import SystemFault
from mailseal.model import AppProtocol, Endpoint, TlsMode
from mailseal.services import dovecot_conf as conf
from mailseal.services.base import ConfiguredCertificate, ServiceSettings
from mailseal.services.control import systemd_is_init
from mailseal.services.dovecot_conf import Scope, Setting
from mailseal.services.reach import coverable, has_ipv6, reachable
from mailseal.system import Files, System

CONFIG_DIR = "/etc/dovecot"
BASE_DIR = "/run/dovecot"
STATE_DIR = "/var/lib/dovecot"
DROP_IN = "conf.d/99-mailseal.conf"
LONE_FILE = "mailseal.conf"  # where dovecot.conf does not include conf.d

_LOGIN_SERVICES = {
    "service imap-login": ("imap", AppProtocol.IMAP),
    "service pop3-login": ("pop3", AppProtocol.POP3),
    "service managesieve-login": ("sieve", AppProtocol.SIEVE),
    "service submission-login": ("submission", AppProtocol.SUBMISSION),
}
_LISTENERS = {
    "imap": (143, False),
    "imaps": (993, True),
    "pop3": (110, False),
    "pop3s": (995, True),
    "sieve": (4190, False),
    "submission": (587, False),
    "submissions": (465, True),
}
_LISTENERS_SINCE_24 = ("submissions",)
_FILTERS = ("protocol ", "local_name ", "local ", "remote ")


@dataclass(frozen=True, slots=True)
class Dialect:
    """The names of the TLS settings in one of Dovecot's two configuration languages."""

    cert: str
    key: str
    alt_cert: str
    alt_key: str
    cleartext: tuple[str, str, str]  # the setting's name, its value for "forbidden", and for "allowed"
    file_sign: str  # what stands before a file's path

    @property
    def tls_names(self) -> tuple[str, ...]:
        return (
            self.cert,
            self.key,
            self.alt_cert,
            self.alt_key,
            self.cleartext[0],
            "ssl",
            "ssl_min_protocol",
        )

    def path(self, value: str) -> str:
        """The file that a value names; empty for a certificate written into the configuration itself."""
        bare = value.strip()
        if self.file_sign:
            return bare[1:].strip() if bare.startswith(self.file_sign) else ""
        return bare


DIALECT_23 = Dialect(
    "ssl_cert", "ssl_key", "ssl_alt_cert", "ssl_alt_key", ("disable_plaintext_auth", "yes", "no"), "<"
)
DIALECT_24 = Dialect(
    "ssl_server_cert_file",
    "ssl_server_key_file",
    "ssl_server_alt_cert_file",
    "ssl_server_alt_key_file",
    ("auth_allow_cleartext", "no", "yes"),
    "",
)


@dataclass(frozen=True, slots=True)
class DovecotFacts:
    """One instance. `settings` are the effective TLS settings, `written` the same names as the files have them."""

    version: tuple[int, ...]
    config_dir: str
    running: bool
    systemd: bool
    unit: str
    programs: tuple[str, str, str]  # dovecot, doveconf, doveadm
    drop_in: str
    main_content: bytes | None = field(repr=False)  # None: dovecot.conf includes the drop-in by itself
    settings: tuple[Setting, ...] = ()
    written: tuple[Setting, ...] = ()
    later: tuple[Setting, ...] = ()  # global TLS settings in files read after the drop-in
    endpoints: tuple[Endpoint, ...] = ()
    configured: tuple[ConfiguredCertificate, ...] = ()
    names: tuple[str, ...] = ()
    haproxy_ports: tuple[int, ...] = ()
    base_dir: str = BASE_DIR
    scratch: tuple[str, ...] = ()  # where it makes sockets and keeps state
    config_error: str = ""
    kind: str = "dovecot"

    @property
    def dialect(self) -> Dialect:
        return DIALECT_23 if self.version < (2, 4) else DIALECT_24

    @property
    def main(self) -> str:
        return posixpath.join(self.config_dir, "dovecot.conf")

    def value(self, name: str, default: str = "", scope: Scope = ()) -> str:
        """The effective value of a TLS setting."""
        found = conf.effective(self.settings, name, scope)
        return found.value if found else default


def observe(system: System, settings: ServiceSettings) -> DovecotFacts | None:
    """Looks at the instance; None where Dovecot is not installed or has no dovecot.conf."""
    program = settings.binary or system.processes.which("dovecot")
    config_dir = settings.config_dir or CONFIG_DIR
    main = posixpath.join(config_dir, "dovecot.conf")
    if program is None or system.files.stat(main, follow=True) is None:
        return None
    programs = (program, _beside(system, program, "doveconf"), _beside(system, program, "doveadm"))
    version = _version(system, program)
    dialect = DIALECT_23 if version < (2, 4) else DIALECT_24
    drop_in, written = _drop_in(system.files, main)
    said = system.processes.run((programs[1], "-c", main, "-n", "-P"))
    everything = tuple(conf.parse(said.stdout)) if said.ok else ()
    kept = tuple(s for s in everything if s.name in dialect.tls_names)
    base_dir = _global(everything, "base_dir", BASE_DIR)
    endpoints, haproxy_ports = (
        _endpoints(everything, version, has_ipv6(system.files)) if said.ok else ((), ())
    )
    included = drop_in == posixpath.join(config_dir, DROP_IN)
    return DovecotFacts(
        version=version,
        config_dir=config_dir,
        running=_running(system.files, base_dir),
        systemd=systemd_is_init(system) and config_dir == CONFIG_DIR,
        unit=settings.systemd_unit or "dovecot.service",
        programs=programs,
        drop_in=drop_in,
        main_content=None if included else system.files.read(main),
        settings=kept,
        written=tuple(s for s in written if s.name in (*DIALECT_23.tls_names, *DIALECT_24.tls_names)),
        later=_later(written, dialect),
        endpoints=endpoints,
        configured=_configured(kept, written, dialect, endpoints),
        names=_names(everything),
        haproxy_ports=haproxy_ports,
        base_dir=base_dir,
        scratch=coverable(
            system.files, (base_dir, _global(everything, "state_dir", STATE_DIR), *_socket_dirs(everything))
        ),
        config_error="" if said.ok else said.said,
    )


def _beside(system: System, program: str, name: str) -> str:
    """doveconf and doveadm: in /usr/bin, whatever PATH says, for Debian; beside another build's own binary."""
    neighbour = posixpath.join(posixpath.dirname(posixpath.dirname(program)), "bin", name)
    if system.files.stat(neighbour, follow=True) is not None:
        return neighbour
    return system.processes.which(name) or neighbour


def _version(system: System, program: str) -> tuple[int, ...]:
    said = system.processes.run((program, "--version"))
    match = re.match(r"(\d+)\.(\d+)(?:\.(\d+))?", said.stdout.strip())
    if match is None:
        raise SystemFault(f"{program} --version told no version", reason=said.said)
    return tuple(int(part) for part in match.groups() if part is not None)


def _drop_in(files: Files, main: str) -> tuple[str, tuple[Setting, ...]]:
    """Where our file belongs, and all settings of the files with that place marked.

    In conf.d where dovecot.conf includes it, else beside dovecot.conf, which
    then needs an include line of ours at its end.
    """
    directory = posixpath.dirname(main)
    lone = posixpath.join(directory, LONE_FILE)
    for planned in (lone, posixpath.join(directory, DROP_IN)):
        written = conf.read(files, main, planned)
        if any(setting.name == conf.HERE for setting in written):
            return planned, written
    return lone, written


def _later(written: Iterable[Setting], dialect: Dialect) -> tuple[Setting, ...]:
    found: list[Setting] = []
    seen = False
    for setting in written:
        if setting.name == conf.HERE:
            seen, found, ours = True, [], setting.path
        elif seen and not setting.scope and setting.name in dialect.tls_names and setting.path != ours:
            found.append(setting)
    return tuple(found)


def _global(settings: Iterable[Setting], name: str, default: str) -> str:
    for setting in settings:
        if setting.name == name and not setting.scope:
            return setting.value or default
    return default


def _running(files: Files, base_dir: str) -> bool:
    try:
        pid = int(files.read(posixpath.join(base_dir, "master.pid"), 64).strip())
        return files.read(f"/proc/{pid}/comm", 64).strip() == b"dovecot"
    except (SystemFault, ValueError):
        return False


def _protocols(settings: Iterable[Setting]) -> frozenset[str]:
    found: set[str] = set()
    for setting in settings:
        if setting.name == "protocols" and not setting.scope:
            found.update(setting.value.split())
        elif setting.scope == ("protocols",) and setting.value == "yes":
            found.add(setting.name)
    return frozenset(found)


@dataclass(slots=True)
class _Listener:
    port: int
    ssl: bool
    addresses: str = ""
    haproxy: bool = False


def _endpoints(
    settings: tuple[Setting, ...], version: tuple[int, ...], ipv6: bool
) -> tuple[tuple[Endpoint, ...], tuple[int, ...]]:
    listen = _global(settings, "listen", "*, ::")
    tls = _global(settings, "ssl", "yes") != "no"
    protocols = _protocols(settings)
    found: list[Endpoint] = []
    haproxy: list[int] = []
    for scope, (protocol, spoken) in _LOGIN_SERVICES.items():
        if protocol not in protocols:
            continue
        for listener in _listeners(settings, scope, protocol, version).values():
            if listener.haproxy and listener.port:
                haproxy.append(listener.port)
            if not listener.port or listener.haproxy:
                continue
            mode = TlsMode.NONE if not tls else TlsMode.IMPLICIT if listener.ssl else TlsMode.STARTTLS
            for address in reachable(listener.addresses or listen, ipv6):
                found.append(Endpoint("dovecot", address, listener.port, spoken, mode))
    return tuple(dict.fromkeys(found)), tuple(dict.fromkeys(haproxy))


def _listeners(
    settings: Iterable[Setting], service: str, protocol: str, version: tuple[int, ...]
) -> dict[str, _Listener]:
    found = {
        name: _Listener(port, ssl)
        for name, (port, ssl) in _LISTENERS.items()
        if name in (protocol, protocol + "s") and (version >= (2, 4) or name not in _LISTENERS_SINCE_24)
    }
    for setting in settings:
        if (
            len(setting.scope) != 2
            or setting.scope[0] != service
            or not setting.scope[1].startswith("inet_listener")
        ):
            continue
        name = setting.scope[1].removeprefix("inet_listener").strip()
        listener = found.setdefault(name, _Listener(*_LISTENERS.get(name, (0, False))))
        match setting.name:
            case "port":
                listener.port = int(setting.value) if setting.value.isdigit() else 0
            case "ssl":
                listener.ssl = setting.value == "yes"
            case "address" | "listen":
                listener.addresses = setting.value
            case "haproxy":
                listener.haproxy = setting.value == "yes"
    return found


def _configured(
    effective: tuple[Setting, ...],
    written: tuple[Setting, ...],
    dialect: Dialect,
    endpoints: Iterable[Endpoint],
) -> tuple[ConfiguredCertificate, ...]:
    scopes = dict.fromkeys(s.scope for s in effective if s.name in (dialect.cert, dialect.alt_cert))
    found = []
    for scope in scopes:
        for cert_name, key_name in ((dialect.cert, dialect.key), (dialect.alt_cert, dialect.alt_key)):
            cert = conf.effective(effective, cert_name, scope)
            if cert is None or not cert.value:
                continue
            key = conf.effective(effective, key_name, scope) or conf.effective(effective, key_name)
            place = conf.effective(written, cert_name, scope)
            found.append(
                ConfiguredCertificate(
                    setting=cert_name,
                    place=place.place if place else "doveconf",
                    cert_file=dialect.path(cert.value),
                    key_file=dialect.path(key.value) if key else "",
                    names=tuple(
                        name for part in scope if part.startswith("local_name ") for name in part.split()[1:]
                    ),
                    ports=_ports(scope, endpoints),
                )
            )
    return tuple(found)


def _ports(scope: Scope, endpoints: Iterable[Endpoint]) -> tuple[int, ...]:
    wanted = {part.removeprefix("protocol ").strip() for part in scope if part.startswith("protocol ")}
    if not wanted:
        return ()
    return tuple(dict.fromkeys(e.port for e in endpoints if e.protocol.value in wanted))


def _names(settings: Iterable[Setting]) -> tuple[str, ...]:
    found: list[str] = []
    for setting in settings:
        if setting.name == "hostname" and not setting.scope and setting.value:
            found.append(setting.value)
        elif setting.scope and setting.scope[-1].startswith("local_name "):
            found.extend(name for name in setting.scope[-1].split()[1:] if not name.startswith("*"))
    return tuple(dict.fromkeys(name.lower() for name in found))


def _socket_dirs(settings: Iterable[Setting]) -> tuple[str, ...]:
    """Folders of other programs in which Dovecot makes sockets: Postfix's private one, most often."""
    found = []
    for setting in settings:
        for part in setting.scope:
            kind, _, path = part.partition(" ")
            if kind in ("unix_listener", "fifo_listener") and path.startswith("/"):
                found.append(posixpath.dirname(path))
    return tuple(dict.fromkeys(found))


def is_filter(scope: Scope) -> bool:
    """Whether a scope narrows a setting to some connections."""
    return any(part.startswith(_FILTERS) for part in scope)

"""What is true of a Postfix instance now.

main.cf and master.cf are read as text, so that they can be edited as text;
what they mean is asked of Postfix: one `postconf -x` gives the effective
values with defaults and `$name` resolved (postconf(1)). Overrides of single
services are read from master.cf; only where one refers to another parameter is
`postconf -x -P` asked too. Where postconf refuses the files, its words are
kept in `broken` and the values are as written, so that the fault can be told.

Running is: master.pid names a process that is called `master`. Private keys
are opened to see which kinds of PEM blocks a file holds (a chain file may hold
key and certificates, or only one of them); their contents are dropped at once.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace

from mailseal.errors import SystemFault
from mailseal.model import Endpoint, FileState
from mailseal.services import postfix_conf as conf
from mailseal.services import postfix_listeners as listeners
from mailseal.services.base import ConfiguredCertificate, ServiceSettings
from mailseal.services.control import systemd_is_init
from mailseal.services.postfix_conf import MasterService, Setting
from mailseal.services.postfix_listeners import Listener
from mailseal.system import Files, System

CONFIG_DIR = "/etc/postfix"

LEGACY = (
    ("smtpd_tls_cert_file", "smtpd_tls_key_file"),
    ("smtpd_tls_eccert_file", "smtpd_tls_eckey_file"),
    ("smtpd_tls_dcert_file", "smtpd_tls_dkey_file"),
)
CLIENT = ("smtp_tls_chain_files", "smtp_tls_cert_file", "smtp_tls_eccert_file", "smtp_tls_dcert_file")
ASKED = (
    "mail_version",
    "mail_owner",
    "myhostname",
    "mydestination",
    "virtual_alias_domains",
    "virtual_mailbox_domains",
    "inet_interfaces",
    "inet_protocols",
    "queue_directory",
    "data_directory",
    "daemon_directory",
    "smtpd_tls_chain_files",
    *(name for pair in LEGACY for name in pair),
    "smtpd_tls_security_level",
    "smtpd_use_tls",
    "smtpd_enforce_tls",
    "smtpd_tls_wrappermode",
    "smtpd_tls_auth_only",
    "smtpd_tls_protocols",
    "smtpd_tls_mandatory_protocols",
    "tls_server_sni_maps",
    "smtpd_sasl_auth_enable",
    "smtpd_sasl_type",
    "smtpd_sasl_path",
    *CLIENT,
    "smtp_tls_security_level",
    "smtp_dns_support_level",
    "tlsproxy_tls_chain_files",
    "tlsproxy_tls_cert_file",
)
_CERTIFICATE_SETTINGS = ("smtpd_tls_chain_files", *(name for pair in LEGACY for name in pair))
_PEM = re.compile(rb"-----BEGIN ([A-Z0-9 ]+)-----")


@dataclass(frozen=True, slots=True)
class PostfixFacts:
    """One instance. `values` are effective values; `listeners` the TCP services that speak SMTP to clients."""

    version: tuple[int, ...]
    config_dir: str
    running: bool
    systemd: bool
    unit: str
    programs: tuple[str, str]  # postfix, postconf
    main_path: str
    master_path: str
    main: FileState = field(repr=False)
    master: FileState = field(repr=False)
    values: tuple[Setting, ...] = ()
    services: tuple[MasterService, ...] = ()
    listeners: tuple[Listener, ...] = ()
    endpoints: tuple[Endpoint, ...] = ()
    configured: tuple[ConfiguredCertificate, ...] = ()
    missing: tuple[str, ...] = ()  # files that `configured` names and that are not there
    stale_maps: tuple[str, ...] = ()  # SNI maps that are older than a file which their source names
    broken: str = ""
    sasl_socket: bool | None = None  # whether Dovecot's socket is there; None: another kind of SASL
    resolver_validates: bool | None = None  # None: not asked, or not known
    kind: str = "postfix"

    def value(self, name: str, service: MasterService | None = None) -> str:
        """The effective value of a parameter, of one service where it overrides it; empty where it is not known."""
        own = service.override(name) if service else None
        if own is not None:
            return own
        return next((s.value for s in self.values if s.name == name), "")

    def flag(self, name: str, service: MasterService | None = None) -> bool:
        return self.value(name, service).lower() == "yes"

    def level(self, service: MasterService | None = None) -> str:
        """The server's TLS security level; the two parameters that it took the place of count where it is empty."""
        level = self.value("smtpd_tls_security_level", service).lower()
        if level:
            return level
        if self.flag("smtpd_enforce_tls", service):
            return "encrypt"
        return "may" if self.flag("smtpd_use_tls", service) else "none"

    def place(self, name: str, service: MasterService | None = None) -> str:
        """Where a parameter is set: file and line."""
        if service is not None and service.override(name) is not None:
            return f"{self.master_path}:{service.line}"
        found = conf.find(conf.decode(self.main.content), name)
        return f"{self.main_path}:{found.line}" if found else self.main_path

    @property
    def names(self) -> tuple[str, ...]:
        """myhostname, and nothing where it is no full name."""
        name = self.value("myhostname").lower().rstrip(".")
        return (name,) if "." in name else ()

    @property
    def mail_domains(self) -> tuple[str, ...]:
        """The domains that it takes mail for, as far as they are written out and not in a table."""
        found = []
        for parameter in ("mydestination", "virtual_mailbox_domains", "virtual_alias_domains"):
            for item in conf.items(self.value(parameter)):
                name = item.lower().rstrip(".")
                local = "localhost" in name.split(".") or name.endswith(".localdomain")
                if re.fullmatch(r"[a-z0-9_.-]+\.[a-z0-9-]+", name) and not local:
                    found.append(name)
        return tuple(dict.fromkeys(found))


def observe(system: System, settings: ServiceSettings) -> PostfixFacts | None:
    """Looks at the instance; None where Postfix is not installed or has no main.cf."""
    program = settings.binary or system.processes.which("postfix")
    config_dir = settings.config_dir or CONFIG_DIR
    files = system.files
    main_path = posixpath.join(config_dir, "main.cf")
    if program is None or files.stat(main_path, follow=True) is None:
        return None
    main_path = files.resolve(main_path)
    master_path = files.resolve(posixpath.join(config_dir, "master.cf"))
    main, master = files.state(main_path), files.state(master_path)
    programs = (program, _beside(system, program))
    values, broken = _effective(system, programs[1], config_dir, main)
    services = _services(system, programs[1], config_dir, master)
    facts = PostfixFacts(
        version=_version(values),
        config_dir=config_dir,
        running=False,
        systemd=systemd_is_init(system) and (config_dir == CONFIG_DIR or bool(settings.systemd_unit)),
        unit=settings.systemd_unit or "postfix.service",
        programs=programs,
        main_path=main_path,
        master_path=master_path,
        main=main,
        master=master,
        values=values,
        services=services,
        broken=broken,
    )
    return _completed(system, facts)


def _completed(system: System, facts: PostfixFacts) -> PostfixFacts:
    """What is told by the values: processes, listeners, certificates."""
    files = system.files
    heard = listeners.listeners(files, facts.services, facts)
    configured = tuple(_configured(files, facts, heard))
    named = {path for c in configured for path in (c.cert_file, c.key_file) if path.startswith("/")}
    return replace(
        facts,
        running=_running(files, facts.value("queue_directory") or "/var/spool/postfix"),
        listeners=heard,
        endpoints=listeners.endpoints(heard),
        configured=configured,
        stale_maps=tuple(_stale(files, facts, configured)),
        missing=tuple(sorted(path for path in named if files.stat(path, follow=True) is None)),
        sasl_socket=_sasl_socket(files, facts),
        resolver_validates=_resolver_validates(system) if asks_dnssec(facts) else None,
    )


def asks_dnssec(facts: PostfixFacts) -> bool:
    """Whether outbound TLS relies on a resolver that validates."""
    level = facts.value("smtp_tls_security_level").lower()
    return facts.value("smtp_dns_support_level").lower() == "dnssec" or level in ("dane", "dane-only")


def _beside(system: System, program: str) -> str:
    beside = posixpath.join(posixpath.dirname(program), "postconf")
    if system.files.stat(beside, follow=True) is not None:
        return beside
    return system.processes.which("postconf") or beside


def _effective(
    system: System, postconf: str, config_dir: str, main: FileState
) -> tuple[tuple[Setting, ...], str]:
    """The effective values, and what postconf says when it refuses the files."""
    done = system.processes.run((postconf, "-c", config_dir, "-x", *ASKED))
    if done.ok:
        return conf.settings(done.stdout), ""
    written = conf.settings(conf.decode(main.content))
    last = {setting.name: setting for setting in written}
    return tuple(last.values()), done.said or f"postconf ended with {done.status}"


def _services(system: System, postconf: str, config_dir: str, master: FileState) -> tuple[MasterService, ...]:
    found = conf.services(conf.decode(master.content))
    if not any("$" in override.value for service in found for override in service.overrides):
        return found
    done = system.processes.run((postconf, "-c", config_dir, "-x", "-P"))
    if not done.ok:
        return found
    return conf.expanded(found, done.stdout)


def _version(values: Iterable[Setting]) -> tuple[int, ...]:
    said = next((s.value for s in values if s.name == "mail_version"), "")
    return tuple(int(number) for number in re.findall(r"\d+", said)[:3])


def _running(files: Files, queue: str) -> bool:
    try:
        pid = files.read(posixpath.join(queue, "pid/master.pid")).strip()
        return pid.isdigit() and files.read(f"/proc/{pid.decode()}/comm").strip() == b"master"
    except SystemFault:
        return False


def _sasl_socket(files: Files, facts: PostfixFacts) -> bool | None:
    path = facts.value("smtpd_sasl_path")
    if facts.value("smtpd_sasl_type") != "dovecot" or path.startswith("inet:"):
        return None
    queue = facts.value("queue_directory") or "/var/spool/postfix"
    return files.stat(posixpath.join(queue, path.removeprefix("unix:")), follow=True) is not None


def _resolver_validates(system: System) -> bool | None:
    """Whether the machine's resolver sets AD on a name that is signed: the root's own SOA (RFC 4035 section 3.2.3)."""
    import asyncio

    from mailseal.errors import NetworkFault

    try:
        asyncio.get_running_loop()
    except RuntimeError:
        pass
    else:
        return None
    try:
        reply = asyncio.run(system.dns().query(".", "SOA", timeout=3.0))
    except NetworkFault:
        return None
    return reply.authenticated if reply.rcode == "NOERROR" else None


def _configured(
    files: Files, facts: PostfixFacts, heard: tuple[Listener, ...]
) -> Iterator[ConfiguredCertificate]:
    """Certificates by the services that they are for: main.cf's, then those of services with settings of their own."""
    own = [one for one in heard if any(one.service.override(n) is not None for n in _CERTIFICATE_SETTINGS)]
    shared = tuple(one.port for one in heard if one not in own) if own else ()
    yield from _certificates(files, facts, None, shared)
    for one in own:
        yield from _certificates(files, facts, one.service, (one.port,))
    for source in sni_sources(facts):
        yield from _sni(files, source)


def _certificates(
    files: Files, facts: PostfixFacts, service: MasterService | None, ports: tuple[int, ...]
) -> Iterator[ConfiguredCertificate]:
    def told(setting: str, cert: str, key: str, *, shadowed: bool = False) -> ConfiguredCertificate:
        place = facts.place(setting, service)
        return ConfiguredCertificate(setting, place, cert, key, ports=ports, shadowed=shadowed)

    chain_files = conf.items(facts.value("smtpd_tls_chain_files", service))
    for cert, key in _pairs(files, chain_files):
        yield told("smtpd_tls_chain_files", cert, key)
    for cert_setting, key_setting in LEGACY:
        cert = facts.value(cert_setting, service)
        if cert and cert != "none":
            key = facts.value(key_setting, service)
            if not key or "$" in key:
                key = cert
            yield told(cert_setting, cert, key, shadowed=bool(chain_files))


def _pairs(files: Files, paths: tuple[str, ...]) -> Iterator[tuple[str, str]]:
    """Certificate file and key file of each chain: a file with a key alone belongs to the file that follows."""
    key = ""
    for path in paths:
        kinds = _pem_kinds(files, path)
        if kinds and all(kind.endswith("PRIVATE KEY") for kind in kinds):
            key = path
            continue
        yield path, key or path
        key = ""


def _pem_kinds(files: Files, path: str) -> tuple[str, ...]:
    try:
        return tuple(kind.decode() for kind in _PEM.findall(files.read(path)))
    except SystemFault:
        return ()


_COMPILED = {"hash": ".db", "btree": ".db", "lmdb": ".lmdb", "cdb": ".cdb"}


def _stale(files: Files, facts: PostfixFacts, configured: tuple[ConfiguredCertificate, ...]) -> Iterator[str]:
    """Maps that were compiled before a file that they hold a copy of was written."""
    for item in conf.items(facts.value("tls_server_sni_maps")):
        kind, _, source = item.partition(":")
        built = files.stat(source + _COMPILED[kind], follow=True) if kind in _COMPILED else None
        named = [c for c in configured if c.place.startswith(f"{source}:")]
        for path in (source, *(path for c in named for path in (c.cert_file, c.key_file))):
            found = files.stat(path, follow=True)
            if built and found and found.mtime > built.mtime:
                yield item
                break


def sni_sources(facts: PostfixFacts) -> tuple[str, ...]:
    """The source files of the SNI maps: what postmap -F compiles."""
    return tuple(
        item.partition(":")[2]
        for item in conf.items(facts.value("tls_server_sni_maps"))
        if item.partition(":")[0] in ("hash", "btree", "lmdb", "cdb", "texthash")
    )


def _sni(files: Files, source: str) -> Iterator[ConfiguredCertificate]:
    try:
        text = conf.decode(files.read(source))
    except SystemFault:
        return
    for number, line in enumerate(text.split("\n"), 1):
        name, *paths = conf.items(line)[:64] or ("",)
        if name and not name.startswith("#"):
            for cert, key in _pairs(files, tuple(paths)):
                yield ConfiguredCertificate(
                    "tls_server_sni_maps", f"{source}:{number}", cert, key, names=(name,)
                )

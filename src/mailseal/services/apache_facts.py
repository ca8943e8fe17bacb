"""What is true of an Apache instance now, as Debian lays it out (/usr/share/doc/apache2/README.Debian).

The configuration is read by `mailseal.services.apache_conf` and not asked of
Apache: `apache2ctl -S` tells no certificate, and nothing at all once a line is
wrong. Apache is asked only for its version.

It is read twice, once as it is and once as if mod_ssl were loaded, because
Debian's ports.conf has `Listen 443` inside `<IfModule ssl_module>`: only the
second reading tells whether the port opens once the module is enabled.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterable
from dataclasses import dataclass, field

from mailseal.errors import SystemFault
from mailseal.model import CHALLENGE_PREFIX, AppProtocol, Endpoint, TlsMode
from mailseal.services import apache_conf as conf
from mailseal.services.apache_conf import Configuration, Directive, VirtualHost
from mailseal.services.base import ConfiguredCertificate, ServiceSettings
from mailseal.services.control import systemd_is_init
from mailseal.services.reach import coverable, has_ipv6, reachable
from mailseal.system import Files, System

CONFIG_DIR = "/etc/apache2"
OUR_FILES = ("mailseal-acme.conf", "mailseal-http.conf", "mailseal-https.conf")
RENEWAL_DIR = "/etc/letsencrypt/renewal"
CERTBOT_APACHE = "/var/lib/letsencrypt/http_challenges"  # where certbot's Apache plugin puts tokens
DEBIAN_PAGE = ("index.html",)  # all that a package's /var/www/html holds


@dataclass(frozen=True, slots=True)
class Module:
    """A module that can be enabled: what its .load file asks for, and whether it brings a .conf."""

    name: str
    depends: tuple[str, ...] = ()
    has_conf: bool = False


@dataclass(frozen=True, slots=True)
class ApacheFacts:
    """One instance. `vhosts` are the enabled sites in Apache's order, ours among them."""

    version: tuple[int, ...]
    config_dir: str
    running: bool
    systemd: bool
    unit: str
    programs: tuple[str, str]  # apache2, apache2ctl
    pid_file: str
    http_port: int = 80
    https_port: int = 443
    web_root: str | None = None
    debian_layout: bool = True  # mods-enabled, conf-enabled and sites-enabled are read
    vhosts: tuple[VirtualHost, ...] = ()
    loaded: frozenset[str] = frozenset()
    available: tuple[Module, ...] = ()
    links: tuple[tuple[str, str], ...] = ()  # mods-enabled: file name and target
    planned_listens: tuple[Directive, ...] = ()  # with mod_ssl loaded, ours left out
    server_names: tuple[Directive, ...] = ()  # the global ServerName lines, ours left out
    server_tls: tuple[Directive, ...] = ()  # global SSL… directives
    contents: tuple[tuple[str, bytes], ...] = field(default=(), repr=False)  # files that hold TLS hosts
    default_root: str = ""  # a nameless http site's DocumentRoot that holds more than Debian's page
    tokens_elsewhere: tuple[str, ...] = ()  # where other ACME clients put their answers
    log_dirs: tuple[str, ...] = ()
    endpoints: tuple[Endpoint, ...] = ()
    configured: tuple[ConfiguredCertificate, ...] = ()
    names: tuple[str, ...] = ()
    scratch: tuple[str, ...] = ()
    kind: str = "apache"

    @property
    def others(self) -> tuple[VirtualHost, ...]:
        """The sites that are not ours."""
        return tuple(vhost for vhost in self.vhosts if not is_ours(vhost.path))

    def on_port(self, port: int) -> tuple[VirtualHost, ...]:
        """Other people's sites that answer at this port."""
        return tuple(vhost for vhost in self.others if port in vhost.ports or 0 in vhost.ports)

    def content(self, path: str) -> bytes:
        return dict(self.contents)[path]

    @property
    def environment(self) -> tuple[tuple[str, str], ...]:
        """What apache2ctl must be told to mean this instance."""
        return () if self.config_dir == CONFIG_DIR else (("APACHE_CONFDIR", self.config_dir),)


def observe(system: System, settings: ServiceSettings) -> ApacheFacts | None:
    """Looks at the instance; None where Apache is not installed or has no apache2.conf."""
    program = settings.binary or system.processes.which("apache2")
    config_dir = settings.config_dir or CONFIG_DIR
    files = system.files
    if program is None or files.stat(posixpath.join(config_dir, "apache2.conf"), follow=True) is None:
        return None
    control = posixpath.join(posixpath.dirname(program), "apache2ctl")
    if files.stat(control, follow=True) is None:
        control = system.processes.which("apache2ctl") or control
    variables = conf.environment(_text(files, posixpath.join(config_dir, "envvars")), config_dir)
    now = conf.read(files, config_dir, variables)
    planned = conf.read(files, config_dir, variables, assumed=("ssl", "socache_shmcb"))
    pid_file = _pid_file(now, variables)
    log_dir = variables.get("APACHE_LOG_DIR", "/var/log/apache2")
    run_dir = variables.get("APACHE_RUN_DIR", "/var/run/apache2")
    state = (run_dir, variables.get("APACHE_LOCK_DIR", "/var/lock/apache2"), log_dir)
    return ApacheFacts(
        version=_version(system, program),
        config_dir=config_dir,
        running=_running(files, pid_file, posixpath.basename(program)),
        systemd=systemd_is_init(system) and config_dir.startswith(CONFIG_DIR),
        unit=settings.systemd_unit or _unit(config_dir),
        programs=(program, control),
        pid_file=pid_file,
        http_port=settings.http_port,
        https_port=settings.https_port,
        web_root=settings.web_root,
        debian_layout=_debian_layout(now, config_dir),
        vhosts=now.vhosts,
        loaded=now.modules,
        available=_available(files, config_dir),
        links=_links(files, posixpath.join(config_dir, "mods-enabled")),
        planned_listens=tuple(d for d in planned.server("listen") if not is_ours(d.path)),
        server_names=tuple(d for d in now.server("servername") if not is_ours(d.path)),
        server_tls=tuple(
            d for d in now.directives if d.vhost is None and d.name.startswith("ssl") and not d.sections
        ),
        contents=_contents(files, now.vhosts),
        default_root=_default_root(files, now, settings.http_port),
        tokens_elsewhere=_tokens_elsewhere(files, now),
        log_dirs=_log_dirs(now, log_dir),
        endpoints=_endpoints(now, has_ipv6(files)),
        configured=_configured(now),
        names=tuple(dict.fromkeys(n for v in now.vhosts for n in v.names if "*" not in n and "?" not in n)),
        scratch=coverable(files, state),
    )


def is_ours(path: str) -> bool:
    """Whether a file is one that mailseal writes whole."""
    return posixpath.basename(path) in OUR_FILES


def serves_tls(vhost: VirtualHost) -> bool:
    """Whether mod_ssl is switched on in a site."""
    return vhost.last("sslengine").lower() in ("on", "optional")


def _text(files: Files, path: str) -> str:
    try:
        return files.read(path).decode("utf-8", "surrogateescape")
    except SystemFault:
        return ""


def _version(system: System, program: str) -> tuple[int, ...]:
    said = system.processes.run((program, "-v"))
    match = re.search(r"Apache/(\d+)\.(\d+)\.(\d+)", said.stdout)
    if match is None:
        raise SystemFault(f"{program} -v told no version", reason=said.said)
    return tuple(int(part) for part in match.groups())


def _pid_file(now: Configuration, variables: dict[str, str]) -> str:
    lines = now.server("pidfile")
    if lines and lines[-1].args and "${" not in lines[-1].args[0]:
        return lines[-1].args[0]
    return variables.get("APACHE_PID_FILE", "/var/run/apache2/apache2.pid")


def _running(files: Files, pid_file: str, program: str) -> bool:
    try:
        pid = int(files.read(pid_file, 64).strip())
        return files.read(f"/proc/{pid}/comm", 64).strip().decode() == program[:15]
    except (SystemFault, ValueError):
        return False


def _unit(config_dir: str) -> str:
    instance = config_dir.removeprefix(CONFIG_DIR + "-")
    return "apache2.service" if instance == config_dir else f"apache2@{instance}.service"


def _debian_layout(now: Configuration, config_dir: str) -> bool:
    wanted = ("mods-enabled/*.load", "mods-enabled/*.conf", "conf-enabled/*.conf", "sites-enabled/*.conf")
    return all(posixpath.join(config_dir, pattern) in now.includes for pattern in wanted)


def _available(files: Files, config_dir: str) -> tuple[Module, ...]:
    folder = posixpath.join(config_dir, "mods-available")
    names = files.listdir(folder)
    found = []
    for name in names:
        if not name.endswith(".load"):
            continue
        match = re.search(r"^#\s*Depends:\s*(.*)$", _text(files, posixpath.join(folder, name)), re.MULTILINE)
        module = name.removesuffix(".load")
        found.append(Module(module, tuple(match[1].split()) if match else (), f"{module}.conf" in names))
    return tuple(found)


def _links(files: Files, folder: str) -> tuple[tuple[str, str], ...]:
    found = ((name, files.state(posixpath.join(folder, name))) for name in files.listdir(folder))
    return tuple((name, state.target) for name, state in found if state.kind == "link")


def _contents(files: Files, vhosts: Iterable[VirtualHost]) -> tuple[tuple[str, bytes], ...]:
    paths = dict.fromkeys(v.path for v in vhosts if serves_tls(v) and not is_ours(v.path))
    return tuple((path, files.read(path)) for path in paths)


def _default_root(files: Files, now: Configuration, port: int) -> str:
    for vhost in now.vhosts:
        if port in vhost.ports and not vhost.names and not is_ours(vhost.path):
            root = vhost.last("documentroot")
            shown = tuple(name for name in files.listdir(root) if not name.startswith(".")) if root else ()
            return root if shown not in ((), DEBIAN_PAGE) else ""
    return ""


def _tokens_elsewhere(files: Files, now: Configuration) -> tuple[str, ...]:
    """Directories with other clients' tokens: certbot's, and those that an Alias names (dehydrated, getssl, …).

    A site's own web root is left out: the drop-in looks there by itself.
    """
    found: list[str] = []
    for name in files.listdir(RENEWAL_DIR):
        text = _text(files, posixpath.join(RENEWAL_DIR, name)) if name.endswith(".conf") else ""
        if re.search(r"^authenticator\s*=\s*apache\s*$", text, re.MULTILINE):
            found.append(CERTBOT_APACHE)
        elif re.search(r"^authenticator\s*=\s*webroot\s*$", text, re.MULTILINE):
            roots = re.findall(r"^webroot_path\s*=\s*(.*)$", text, re.MULTILINE)
            found += [
                f"{root.strip().rstrip('/')}{CHALLENGE_PREFIX[:-1]}"
                for line in roots
                for root in line.replace(",", " ").split()
            ]
    for directive in now.directives:
        if directive.name == "alias" and len(directive.args) == 2 and not is_ours(directive.path):
            path, folder = directive.args[0].rstrip("/") + "/", directive.args[1].rstrip("/")
            if path.startswith("/.well-known/") and CHALLENGE_PREFIX.startswith(path):
                found.append((folder + "/" + CHALLENGE_PREFIX.removeprefix(path)).rstrip("/"))
    own = {
        d.args[0].rstrip("/") + CHALLENGE_PREFIX[:-1]
        for d in now.directives
        if d.name == "documentroot" and d.args
    }
    return tuple(dict.fromkeys(one for one in found if one not in own and re.fullmatch(r"/[\w./+@-]+", one)))


def _log_dirs(now: Configuration, log_dir: str) -> tuple[str, ...]:
    names = ("errorlog", "customlog", "transferlog", "forensiclog")
    logs = [d.args[0] for d in now.directives if d.name in names and d.args and d.args[0].startswith("/")]
    return tuple(
        dict.fromkeys(folder for log in logs if (folder := posixpath.dirname(log)).startswith(log_dir))
    )


def _endpoints(now: Configuration, ipv6: bool) -> tuple[Endpoint, ...]:
    everywhere = any(d.args and d.args[0].lower() == "on" for d in now.server("sslengine"))
    tls_ports = {port for vhost in now.vhosts if serves_tls(vhost) for port in vhost.ports}
    found: list[Endpoint] = []
    for listen in now.server("listen"):
        address, port = listen_at(listen)
        if not port:
            continue
        mode = TlsMode.IMPLICIT if everywhere or port in tls_ports else TlsMode.NONE
        for reached in reachable(address, ipv6):
            found.append(Endpoint("apache", reached, port, AppProtocol.HTTP, mode))
    return tuple(dict.fromkeys(found))


def listen_at(listen: Directive) -> tuple[str, int]:
    """Address and port of a Listen line; a port alone means every address of both families."""
    if not listen.args:
        return "", 0
    address, sep, port = listen.args[0].rpartition(":")
    return (address if sep else "*, ::"), int(port) if port.isdigit() else 0


def _configured(now: Configuration) -> tuple[ConfiguredCertificate, ...]:
    found = [*_pairs(now.server("sslcertificatefile"), now.server("sslcertificatekeyfile"), (), ())]
    for vhost in now.vhosts:
        if serves_tls(vhost):
            keys = vhost.all("sslcertificatekeyfile")
            ports = tuple(port for port in vhost.ports if port)
            found += _pairs(vhost.all("sslcertificatefile"), keys, vhost.names, ports)
    return tuple(found)


def _pairs(
    certs: tuple[Directive, ...], keys: tuple[Directive, ...], names: tuple[str, ...], ports: tuple[int, ...]
) -> Iterable[ConfiguredCertificate]:
    for index, cert in enumerate(certs):
        if not cert.args:
            continue
        key = keys[index] if index < len(keys) else None
        # Without a key file of its own a certificate file holds its key too.
        key_file = key.args[0] if key and key.args else cert.args[0]
        yield ConfiguredCertificate("SSLCertificateFile", cert.place, cert.args[0], key_file, names, ports)

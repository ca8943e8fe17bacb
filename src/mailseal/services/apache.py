"""Apache: the web server beside the mail server (httpd.apache.org/docs/2.4, Debian's layout and apache2ctl).

Wished for are, one independent of the other: a drop-in that answers ACME
challenges under every name; and, once there is a certificate, an https site
for its names and an http site that redirects to it. Where an https site of
somebody else's has these names, its certificate lines are changed in place
and nothing is added; where an http site has them, it is left alone, since
what it does there may be meant.

A site is taken over only if the certificate covers all its names; a site that
also answers for a name of another certificate keeps its own, and is told.
Sites bound to an address of their own (`<VirtualHost 192.0.2.7:443>`) hide
those on `*`, so ours names every address that others name.

Promises: rendering is pure; the edit changes certificate lines only. Reload
does not start an Apache that is dead, where `apache2ctl graceful` would. Does
not promise that `apache2ctl configtest` finds a key that does not fit: it
does not, and the graceful restart that follows then ends Apache.
"""

from __future__ import annotations

import fnmatch
import posixpath
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

from mailseal.model import (
    Command,
    DirectoryWish,
    FileWish,
    Finding,
    Identifier,
    LinkWish,
    Severity,
    Wish,
)
from mailseal.services import apache_audit, apache_sites
from mailseal.services.apache_conf import STATIC_MODULES, VirtualHost
from mailseal.services.apache_edit import with_certificates
from mailseal.services.apache_facts import ApacheFacts, is_ours, listen_at, observe, serves_tls
from mailseal.services.base import ChallengeWish, Rehearsal, Rendering, ServiceSettings, ServiceWish
from mailseal.services.control import systemctl_restart
from mailseal.services.reach import lent_addresses
from mailseal.system import System

WEB_ROOT = "/var/www/mailseal"

_CHALLENGE_MODULES = ("alias", "setenvif", "authz_core")
_SITE_MODULES = ("ssl", "socache_shmcb", "alias", "authz_core")


class Apache:
    """The adapter."""

    kind = "apache"
    title = "Apache"

    def observe(self, system: System, settings: ServiceSettings) -> ApacheFacts | None:
        return observe(system, settings)

    def render(self, wish: ServiceWish, facts: ApacheFacts) -> Rendering:
        if not wish.certificates and wish.challenge is None:
            return Rendering()
        if not facts.debian_layout:
            return Rendering(findings=(_strange_layout(facts),))
        modules: list[str] = []
        wishes: list[Wish] = []
        findings: list[Finding] = []
        if wish.challenge is not None:
            modules += _CHALLENGE_MODULES
            wishes += _challenge_wishes(wish.challenge, facts)
        if wish.certificates:
            modules += _SITE_MODULES
            wishes += [*_taken_over(wish, facts), *_https_wishes(wish, facts), *_http_wishes(wish, facts)]
            findings += _left_alone(wish, facts)
        links, missing = _module_wishes(modules, facts)
        return Rendering((*links, *wishes), (*missing, *findings))

    def checks(self, facts: ApacheFacts) -> Sequence[Command]:
        return (_control(facts, "configtest", "Apache reads its configuration"),)

    def reload(self, facts: ApacheFacts) -> tuple[Command, ...]:
        if facts.systemd:
            why = "Apache takes up changed files and finishes open requests"
            return (Command(("systemctl", "reload", facts.unit), why=why),)
        # What `apache2ctl graceful` does for an Apache that runs; it would start one that does not.
        signal = ("start-stop-daemon", "--stop", "--signal", "USR1", "--quiet", *_process(facts))
        why = "Apache takes up changed files and finishes open requests"
        return (*self.checks(facts), Command(signal, why=why))

    def restart(self, facts: ApacheFacts) -> tuple[Command, ...]:
        if facts.systemd:
            return (systemctl_restart(facts.unit, self.title),)
        stop = (
            "start-stop-daemon",
            "--stop",
            "--oknodo",
            "--quiet",
            "--retry",
            "TERM/20/KILL/5",
            *_process(facts),
        )
        return (
            Command(stop, timeout=40.0, why="Apache stops, if it runs"),
            _started(facts),
        )

    def rehearsal(self, facts: ApacheFacts) -> Rehearsal | None:
        folders = (
            (Command(("mkdir", "-p", *facts.log_dirs), why="the folders of its logs"),)
            if facts.log_dirs
            else ()
        )
        return Rehearsal(
            scratch=facts.scratch,
            # configtest makes the run-time folders, as every apache2ctl command does.
            prepare=(*folders, *lent_addresses(facts.endpoints, self.title), *self.checks(facts)),
            start=_control(facts, "-DFOREGROUND", "a throw-away Apache"),
        )

    def audit(self, facts: ApacheFacts) -> tuple[Finding, ...]:
        return apache_audit.audit(facts)


def _control(facts: ApacheFacts, action: str, why: str) -> Command:
    return Command((facts.programs[1], action), why=why, env=facts.environment)


def _started(facts: ApacheFacts) -> Command:
    """`apache2ctl start`, kept from handing an instance that no unit runs over to systemd's unit of another."""
    start = _control(facts, "start", "Apache starts")
    return replace(start, env=(*start.env, ("APACHE_STARTED_BY_SYSTEMD", "true")))


def _process(facts: ApacheFacts) -> tuple[str, ...]:
    return ("--pidfile", facts.pid_file, "--name", posixpath.basename(facts.programs[0]))


def _strange_layout(facts: ApacheFacts) -> Finding:
    return Finding(
        "apache-layout",
        Severity.WARNING,
        facts.config_dir,
        seen="apache2.conf does not read mods-enabled, conf-enabled and sites-enabled",
        expected="Debian's layout",
        why="mailseal would write files that Apache never reads, so it writes none.",
        mend="include them in apache2.conf as the package does, or switch the service off in mailseal.toml",
    )


def _challenge_wishes(challenge: ChallengeWish, facts: ApacheFacts) -> Iterator[Wish]:
    why = "Apache answers ACME challenges under every name"
    yield FileWish(
        posixpath.join(facts.config_dir, "conf-available/mailseal-acme.conf"),
        apache_sites.challenge(challenge.directory, facts.tokens_elsewhere).encode(),
        why=why,
    )
    link = posixpath.join(facts.config_dir, "conf-enabled/mailseal-acme.conf")
    yield LinkWish(link, "../conf-available/mailseal-acme.conf", why=why)


# Certificates: which names go where


def _covered(names: Iterable[str], identifiers: Iterable[Identifier]) -> list[bool]:
    wanted = tuple(identifiers)
    return [any(i.value == name or (i.covers(name) and "*" not in name) for i in wanted) for name in names]


def _answers_for(vhost: VirtualHost, name: str) -> bool:
    return any(fnmatch.fnmatchcase(name, known) for known in vhost.names)


def _tls_hosts(wish: ServiceWish, facts: ApacheFacts) -> Iterator[tuple[VirtualHost, bool]]:
    """Other people's https sites that have a wished name, and whether the certificate covers all their names."""
    for vhost in facts.on_port(facts.https_port):
        if serves_tls(vhost):
            covered = _covered(vhost.names, wish.identifiers)
            if any(covered):
                yield vhost, all(covered)


def _pairs(wish: ServiceWish) -> list[tuple[str, str]]:
    return [(files.fullchain, files.privkey) for files in wish.certificates]


def _editable(vhost: VirtualHost) -> bool:
    certs = vhost.all("sslcertificatefile")
    return bool(certs) and all(d.path == vhost.path for d in certs)


def _taken_over(wish: ServiceWish, facts: ApacheFacts) -> Iterator[Wish]:
    edited: dict[str, bytes] = {}
    hosts = [vhost for vhost, whole in _tls_hosts(wish, facts) if whole and _editable(vhost)]
    for vhost in sorted(hosts, key=lambda host: -host.line):  # from below, so that line numbers hold
        content = edited.get(vhost.path) or facts.content(vhost.path)
        edited[vhost.path] = with_certificates(content, vhost.line, _pairs(wish))
    for path, content in sorted(edited.items()):
        yield FileWish(path, content, keep_metadata=True, why="the site that is there serves the certificate")


def _unclaimed(wish: ServiceWish, hosts: Iterable[VirtualHost]) -> list[str]:
    """The wished names that no site has, the primary first."""
    known = list(hosts)
    named = {i.value for i in wish.identifiers if i.kind == "dns"}
    names = [
        name for name in dict.fromkeys([wish.primary, *(i.value for i in wish.identifiers)]) if name in named
    ]
    return [name for name in names if not any(_answers_for(host, name) for host in known)]


def _addresses(facts: ApacheFacts, port: int) -> list[str]:
    """What our `<VirtualHost>` must name so that no site bound to one address hides it."""
    wildcards = (f"*:{port}", f"_default_:{port}", "*", "_default_", "*:*")
    others = [a for host in facts.on_port(port) for a in host.addresses if a not in wildcards]
    return [f"*:{port}", *dict.fromkeys(a for a in others if a.endswith(f":{port}"))]


def _names_server(wish: ServiceWish, facts: ApacheFacts, port: int) -> bool:
    """Whether a site without a name would take ours: its name is the global one, or the machine's own."""
    if all(host.names for host in facts.on_port(port)):
        return False
    last = (
        facts.server_names[-1].args[0].lower() if facts.server_names and facts.server_names[-1].args else ""
    )
    return not last or last in {wish.primary, *(i.value for i in wish.identifiers)}


def _https_wishes(wish: ServiceWish, facts: ApacheFacts) -> Iterator[Wish]:
    port = facts.https_port
    names = _unclaimed(wish, (host for host in facts.on_port(port) if serves_tls(host)))
    if not names:
        return
    root = _root(facts)
    if root == WEB_ROOT:
        why = "a web root of its own, which only root can write to"
        yield DirectoryWish(WEB_ROOT, why=why)
        yield FileWish(f"{WEB_ROOT}/index.html", apache_sites.page(names[0]).encode(), why=why)
    listening = any(listen_at(listen)[1] == port for listen in facts.planned_listens)
    text = apache_sites.https_site(
        names,
        _addresses(facts, port),
        _pairs(wish),
        root,
        listen=None if listening else port,
        name_server=_names_server(wish, facts, port),
    )
    yield from _site(facts, "mailseal-https.conf", text, "Apache serves the certificate under its names")


def _root(facts: ApacheFacts) -> str:
    """Where the https site's pages lie: configured, as it is already, what http showed so far, or a page of ours."""
    if facts.web_root:
        return facts.web_root
    for vhost in facts.vhosts:
        if posixpath.basename(vhost.path) == "mailseal-https.conf":
            return vhost.last("documentroot") or WEB_ROOT
    return facts.default_root or WEB_ROOT


def _http_wishes(wish: ServiceWish, facts: ApacheFacts) -> Iterator[Wish]:
    port = facts.http_port
    names = _unclaimed(wish, facts.on_port(port))
    if not names or not wish.redirect_to_https:
        return
    naming = _names_server(wish, facts, port)
    text = apache_sites.http_site(names, _addresses(facts, port), facts.https_port, name_server=naming)
    yield from _site(facts, "mailseal-http.conf", text, "visitors of these names are sent to https")


def _site(facts: ApacheFacts, name: str, text: str, why: str) -> Iterator[Wish]:
    yield FileWish(posixpath.join(facts.config_dir, "sites-available", name), text.encode(), why=why)
    link = posixpath.join(facts.config_dir, "sites-enabled", name)
    yield LinkWish(link, f"../sites-available/{name}", why=why)


def _left_alone(wish: ServiceWish, facts: ApacheFacts) -> Iterator[Finding]:
    for vhost, whole in _tls_hosts(wish, facts):
        if not whole:
            foreign = [
                n
                for n, ok in zip(vhost.names, _covered(vhost.names, wish.identifiers), strict=True)
                if not ok
            ]
            yield Finding(
                "apache-site-mixed-names",
                Severity.WARNING,
                vhost.place,
                seen=f"the site answers for {', '.join(foreign)} too",
                expected="a site whose names are all in one certificate",
                why="With mailseal's certificate those names would be refused; so the site keeps its own.",
                mend=f"add {', '.join(foreign)} to the certificate in mailseal.toml, or part the site in two",
            )
        elif not _editable(vhost):
            yield Finding(
                "apache-certificate-elsewhere",
                Severity.WARNING,
                vhost.place,
                seen="the site's certificate is named in another file that it includes, or in none",
                expected="SSLCertificateFile inside the <VirtualHost>",
                why="Other sites may read that file too, so mailseal does not change it.",
                mend=f"name SSLCertificateFile and SSLCertificateKeyFile in {vhost.path}, then: mailseal apply",
            )


def _module_wishes(wanted: Sequence[str], facts: ApacheFacts) -> tuple[list[Wish], list[Finding]]:
    """The links that a2enmod would make, with what each module depends on."""
    available = {module.name: module for module in facts.available}
    links = dict(facts.links)
    wishes: list[Wish] = []
    findings: list[Finding] = []
    queue, seen = list(wanted), set[str]()
    while queue:
        name = queue.pop(0)
        if name in seen or name in STATIC_MODULES:
            continue
        seen.add(name)
        load = f"{name}.load"
        if load not in links and name in facts.loaded:
            continue
        if name not in available:
            findings.append(_missing(name, facts))
            continue
        queue += available[name].depends
        for file in (load, f"{name}.conf") if available[name].has_conf else (load,):
            path = posixpath.join(facts.config_dir, "mods-enabled", file)
            why = f"Apache loads mod_{name}"
            wishes.append(LinkWish(path, links.get(file, f"../mods-available/{file}"), why=why))
    return wishes, findings


def _missing(name: str, facts: ApacheFacts) -> Finding:
    return Finding(
        "apache-module-missing",
        Severity.ERROR,
        posixpath.join(facts.config_dir, "mods-available"),
        seen=f"no {name}.load",
        expected=f"mod_{name}, which Debian's apache2 brings",
        why="Apache would refuse the configuration that mailseal writes.",
        mend="apt-get install --reinstall apache2",
    )


__all__ = ["WEB_ROOT", "Apache", "ApacheFacts", "is_ours"]

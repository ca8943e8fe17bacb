"""Postfix: SMTP for servers on 25, for people on 587 and 465 (postfix(1), postconf(5), TLS_README).

What is wished for is main.cf with `smtpd_tls_chain_files` naming one file a key
type (key, leaf and chain in one, so that Postfix never reads a key beside
another generation's certificate), TLS offered on 25 but never demanded there
(RFC 7672 section 2.2, RFC 3207 section 4), and no AUTH before TLS. The older
`smtpd_tls_cert_file` and its kin are ignored beside chain files, with a
warning in the log at every start: where they were set they are set empty,
unless another setting refers to them.

master.cf is left as it is. Ports 587 and 465 are added to it only where the
wish asks for it and SASL works; overrides of single services win over main.cf
and are told, not touched: somebody meant them.

Promises: pure rendering by edits of text that `postconf -e` would make too, but
with comments, order and line endings kept. Does not promise that `postfix
check` finds all: a bad value, a missing file or a key that does not fit ends
with 0. The rehearsal finds those.
"""

from __future__ import annotations

import ipaddress
import posixpath
import re
from collections.abc import Iterator, Sequence

from mailseal.model import Command, FileWish, Finding, Severity, Wish
from mailseal.services import control, postfix_audit
from mailseal.services import postfix_conf as conf
from mailseal.services.base import Rehearsal, Rendering, ServiceSettings, ServiceWish
from mailseal.services.postfix_conf import Setting
from mailseal.services.postfix_facts import LEGACY, PostfixFacts, observe
from mailseal.services.postfix_submission import with_submission
from mailseal.system import System

COMMENT = "Added by mailseal. To undo all that mailseal changed: mailseal detach"
_APART = (
    ("smtpd_sasl_auth_enable", "no"),
    ("smtpd_milters", ""),
    ("non_smtpd_milters", ""),
    ("syslog_name", "mailseal-rehearsal"),
)


class Postfix:
    """The adapter."""

    kind = "postfix"
    title = "Postfix"

    def observe(self, system: System, settings: ServiceSettings) -> PostfixFacts | None:
        return observe(system, settings)

    def render(self, wish: ServiceWish, facts: PostfixFacts) -> Rendering:
        if not wish.certificates:
            return Rendering()
        text = conf.decode(facts.main.content)
        edited = conf.with_settings(text, _changes(wish, facts), COMMENT)
        wishes: list[Wish] = [
            FileWish(
                facts.main_path,
                conf.encode(edited),
                mode=facts.main.mode or 0o644,
                keep_metadata=True,
                why="Postfix serves the certificate on every port, and offers no login before TLS",
            )
        ]
        findings = list(_obstacles(wish, facts))
        if wish.submission:
            content, told = with_submission(facts)
            findings += told
            wishes.append(
                FileWish(
                    facts.master_path,
                    content,
                    mode=facts.master.mode or 0o644,
                    keep_metadata=True,
                    why="mail clients submit on 587 (STARTTLS) and 465 (TLS at once)",
                )
            )
        return Rendering(tuple(wishes), tuple(findings))

    def checks(self, facts: PostfixFacts) -> Sequence[Command]:
        # `postfix check` tells its reasons to the log alone where stderr is no terminal (3.7). Every Postfix
        # program ends with the same reasons on stderr; a look-up in a table of one entry touches nothing.
        lookup = (_beside(facts, "postmap"), "-c", facts.config_dir, "-q", "x", "inline:{x=y}")
        return (
            Command(_postconf(facts, "-M"), why="Postfix reads main.cf and master.cf"),
            Command(lookup, why="Postfix takes the values of main.cf"),
            Command(_postfix(facts, "check"), why="Postfix checks its configuration and its folders"),
        )

    def reload(self, facts: PostfixFacts) -> tuple[Command, ...]:
        return (Command(_postfix(facts, "reload"), why="Postfix takes up changed files"),)

    def restart(self, facts: PostfixFacts) -> tuple[Command, ...]:
        if facts.systemd:
            return (control.systemctl_restart(facts.unit, self.title),)
        return (
            Command(_postfix(facts, "stop"), why="Postfix stops, if it runs"),
            Command(_postfix(facts, "start"), why="Postfix starts"),
        )

    def rehearsal(self, facts: PostfixFacts) -> Rehearsal | None:
        if facts.broken or not facts.master.content:
            return None
        scratch = (facts.value("queue_directory"), facts.value("data_directory"))
        copy = posixpath.join(scratch[0], "rehearsal")
        return Rehearsal(
            scratch=scratch,
            prepare=(*_addresses(facts), *_prepared(facts, copy)),
            start=Command((facts.programs[0], "-c", copy, "start-fg"), why="a throw-away Postfix"),
        )

    def audit(self, facts: PostfixFacts) -> tuple[Finding, ...]:
        return postfix_audit.audit(facts)


def _postfix(facts: PostfixFacts, *arguments: str) -> tuple[str, ...]:
    return (facts.programs[0], "-c", facts.config_dir, *arguments)


def _postconf(facts: PostfixFacts, *arguments: str) -> tuple[str, ...]:
    return (facts.programs[1], "-c", facts.config_dir, *arguments)


def _beside(facts: PostfixFacts, program: str) -> str:
    return posixpath.join(posixpath.dirname(facts.programs[1]), program)


def _changes(wish: ServiceWish, facts: PostfixFacts) -> Iterator[Setting]:
    """The parameters that should be in force, whether they are already or not."""
    yield Setting("smtpd_tls_chain_files", ", ".join(files.combined for files in wish.certificates))
    for name in _emptied(facts):
        yield Setting(name, "")
    if facts.level() == "none":
        yield Setting("smtpd_tls_security_level", "may")
    if not facts.flag("smtpd_tls_auth_only"):
        yield Setting("smtpd_tls_auth_only", "yes")


def _emptied(facts: PostfixFacts) -> Iterator[str]:
    """The older settings that are set in main.cf and that nothing else refers to."""
    text = conf.decode(facts.main.content)
    for pair in LEGACY:
        for name in pair:
            if conf.find(text, name) and not references(facts, name):
                yield name


def references(facts: PostfixFacts, name: str) -> tuple[str, ...]:
    """The settings in force, the older certificate settings left out, whose value is made from this one."""
    legacy = {member for pair in LEGACY for member in pair}
    wanted = re.compile(rf"\$[({{]?{name}\b")
    in_force = {s.name: s.value for s in conf.settings(conf.decode(facts.main.content))}
    found = [n for n, value in in_force.items() if n not in legacy and wanted.search(value)]
    for service in conf.services(conf.decode(facts.master.content)):
        found += [f"{service.key}/{o.name}" for o in service.overrides if wanted.search(o.value)]
    return tuple(found)


def _obstacles(wish: ServiceWish, facts: PostfixFacts) -> Iterator[Finding]:
    """What will keep clients from getting the wished certificate although main.cf is right."""
    ours = {files.combined for files in wish.certificates}
    for one in facts.configured:
        served = one.place.startswith(facts.master_path) and not one.shadowed and one.cert_file not in ours
        if served and one.setting == "smtpd_tls_chain_files":
            yield postfix_audit.service_certificate(facts, one, Severity.ERROR)
    for listener in facts.listeners:
        if listener.service.override("smtpd_tls_chain_files") == "":
            yield postfix_audit.no_chain_files(facts, listener)
    names = {identifier.value for identifier in wish.identifiers}
    for one in facts.configured:
        if (
            one.setting == "tls_server_sni_maps"
            and names.intersection(one.names)
            and one.cert_file not in ours
        ):
            yield postfix_audit.sni_entry(one)


def _addresses(facts: PostfixFacts) -> Iterator[Command]:
    """In a network namespace of its own the rehearsal needs the addresses that Postfix listens on."""
    for address in dict.fromkeys(endpoint.address for endpoint in facts.endpoints):
        parsed = ipaddress.ip_address(address)
        if not parsed.is_loopback:
            net = f"{address}/{parsed.max_prefixlen}"
            argv = ("ip", "address", "add", net, "dev", "lo", *(("nodad",) if parsed.version == 6 else ()))
            yield Command(argv, why="an address that Postfix listens on")


def _prepared(facts: PostfixFacts, copy: str) -> Iterator[Command]:
    """A copy of the configuration that reaches for nobody else: no SASL socket, no milter, not the machine's log.

    smtpd ends at once where a SASL server that it is told of does not answer, and the live one's
    socket lies under the queue directory, which is covered here. Tables are linked, not copied.
    The log goes to a file of its own (MAILLOG_README) where master.cf has the service for it.
    """
    why = "the rehearsal reaches for nobody else"
    owner = facts.value("mail_owner") or "postfix"
    yield Command(("chown", f"{owner}:", facts.value("data_directory")), why="Postfix's own state")
    yield Command(("cp", "-rs", f"{facts.config_dir}/.", copy), why="a configuration to rehearse with")
    real = (facts.main_path, facts.master_path)
    yield Command(("cp", "--remove-destination", *real, f"{copy}/"), why="files that may be edited")
    postconf = (facts.programs[1], "-c", copy)
    logged = any(service.command == "postlogd" for service in facts.services)
    log = (f"maillog_file={copy}.log", f"maillog_file_prefixes={posixpath.dirname(copy)}") if logged else ()
    yield Command((*postconf, "-e", *(f"{name}={value}" for name, value in _APART), *log), why=why)
    overrides = tuple(
        f"{service.key}/{name}={value}"
        for service in facts.services
        for name, value in _APART
        if service.override(name) is not None
    )
    if overrides:
        yield Command((*postconf, "-P", *overrides), why=why)

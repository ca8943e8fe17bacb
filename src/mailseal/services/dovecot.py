"""Dovecot: IMAP, POP3 and ManageSieve (doc.dovecot.org, doveconf(1), doveadm-reload(1)).

What is wished for is one file of our own, conf.d/99-mailseal.conf, read after
the package's 10-ssl.conf, with `ssl = required`, certificate and key of every
key type and a minimum of TLS 1.2. Both dialects are written, chosen by
`dovecot --version`: the file of one dialect stops a Dovecot of the other, so
after an upgrade of Debian 12 to 13 the file is wished for anew. Empty
alternative settings are written out, so that a second key type that is no
longer there is switched off, whoever had set it.

Where dovecot.conf does not include conf.d (a configuration kept in one file),
nothing there would be read, and including the whole folder could bring old
files back to life. So the file stands beside dovecot.conf and only it is
included, by one line at the end, where it wins over all before it.

A filter (`protocol imap { ssl_cert … }`, `local_name …`) and a file read later
win over ours. They are told, not touched: somebody meant them.

Promises: pure rendering, and no reload that would be refused by 2.4 because
cleartext logins are allowed beside `ssl = required`. Does not promise that
`doveconf -n` finds all: it opens certificate and key files only with `-x`, and
never sees that they do not fit together.
"""

from __future__ import annotations

import posixpath
from collections.abc import Iterator, Sequence

from mailseal.model import Command, FileWish, Finding, Severity, Wish
from mailseal.services import dovecot_audit
from mailseal.services import dovecot_conf as conf
from mailseal.services.base import Rehearsal, Rendering, ServiceSettings, ServiceWish
from mailseal.services.control import systemctl_restart
from mailseal.services.dovecot_facts import BASE_DIR, CONFIG_DIR, LONE_FILE, DovecotFacts, observe
from mailseal.services.reach import lent_addresses
from mailseal.system import System

_HEADER = """\
# Written by mailseal, and written anew when the certificates change their place or kind.
# Changes belong in another file. To undo all that mailseal changed: mailseal detach
"""
_INCLUDE_COMMENT = "Added by mailseal: its certificate settings. To undo: mailseal detach"


class Dovecot:
    """The adapter."""

    kind = "dovecot"
    title = "Dovecot"

    def observe(self, system: System, settings: ServiceSettings) -> DovecotFacts | None:
        return observe(system, settings)

    def render(self, wish: ServiceWish, facts: DovecotFacts) -> Rendering:
        if not wish.certificates:
            return Rendering()
        wishes: list[Wish] = [
            FileWish(
                facts.drop_in,
                drop_in(wish, facts).encode(),
                why="Dovecot serves the certificate on every port and asks for TLS before a login",
            )
        ]
        if facts.main_content is not None:
            wishes.append(
                FileWish(
                    facts.main,
                    conf.with_include(facts.main_content, LONE_FILE, _INCLUDE_COMMENT),
                    keep_metadata=True,
                    why="dovecot.conf includes no conf.d: one line includes mailseal's settings",
                )
            )
        return Rendering(tuple(wishes), tuple(_obstacles(wish, facts)))

    def checks(self, facts: DovecotFacts) -> Sequence[Command]:
        # -x reads what the settings name, so that a missing file is found; keys stay hidden without -P.
        argv = (facts.programs[1], "-c", facts.main, "-n", "-x")
        return (Command(argv, why="Dovecot reads its configuration and the files it names"),)

    def reload(self, facts: DovecotFacts) -> tuple[Command, ...]:
        # What ExecReload of the package's unit runs, with or without systemd; it fails where Dovecot is dead.
        argv = (facts.programs[2], "-c", facts.main, "reload")
        return (Command(argv, why="Dovecot takes up changed files without closing sessions"),)

    def restart(self, facts: DovecotFacts) -> tuple[Command, ...]:
        if facts.systemd:
            return (systemctl_restart(facts.unit, self.title),)
        pid_file = posixpath.join(facts.base_dir, "master.pid")
        which = ("--pidfile", pid_file, "--name", posixpath.basename(facts.programs[0]))
        stop = ("start-stop-daemon", "--stop", "--oknodo", "--quiet", "--retry", "TERM/30/KILL/5", *which)
        return (
            Command(stop, timeout=45.0, why="Dovecot stops, if it runs"),
            Command((facts.programs[0], "-c", facts.main), why="Dovecot starts"),
        )

    def rehearsal(self, facts: DovecotFacts) -> Rehearsal | None:
        # Postfix's private folder is among the scratch: a second Dovecot must not take its auth socket away.
        return Rehearsal(
            scratch=facts.scratch,
            prepare=tuple(lent_addresses(facts.endpoints, self.title)),
            start=Command((facts.programs[0], "-F", "-c", facts.main), why="a throw-away Dovecot"),
        )

    def audit(self, facts: DovecotFacts) -> tuple[Finding, ...]:
        return dovecot_audit.audit(facts)


def drop_in(wish: ServiceWish, facts: DovecotFacts) -> str:
    """The text of our file, in the dialect of the version that will read it."""
    dialect = facts.dialect
    lines = [] if _cleartext_filters(facts) else ["ssl = required"]
    if lines:
        lines.append(f"{dialect.cleartext[0]} = {dialect.cleartext[1]}")
    names = ((dialect.cert, dialect.key), (dialect.alt_cert, dialect.alt_key))
    served = wish.certificates[:1] if _lending_filters(facts) else wish.certificates
    for index, (cert, key) in enumerate(names):
        if index < len(served):
            files = served[index]
            lines += [
                f"{cert} = {dialect.file_sign}{files.fullchain}",
                f"{key} = {dialect.file_sign}{files.privkey}",
            ]
        else:
            lines += [f"{cert} =", f"{key} ="]
    if _minimum(facts) != "TLSv1.3":
        lines.append("ssl_min_protocol = TLSv1.2")
    return _HEADER + "\n" + "\n".join(lines) + "\n"


def _minimum(facts: DovecotFacts) -> str:
    """The lowest TLS version that somebody else's global setting asks for."""
    found = ""
    for setting in facts.written:
        if setting.name == "ssl_min_protocol" and not setting.scope and setting.path != facts.drop_in:
            found = setting.value
    return found


def _cleartext_filters(facts: DovecotFacts) -> tuple[conf.Setting, ...]:
    """Filters that allow cleartext logins: with `ssl = required` 2.4.1 then drops every connection they match."""
    name, _, allowed = facts.dialect.cleartext
    if facts.version < (2, 4):
        return ()
    return tuple(s for s in facts.written if s.name == name and s.value == allowed and s.scope)


def _lending_filters(facts: DovecotFacts) -> tuple[conf.Setting, ...]:
    """Filters with a certificate and no alternative of their own: they would serve a global alternative to theirs.

    OpenSSL keeps one certificate a key type, so that an RSA alternative of ours takes the place of a filter's own
    RSA certificate, and an RSA client gets ours beside a filter's ECDSA one, both under the wrong name.
    """
    dialect = facts.dialect
    kept = {s.scope for s in facts.written if s.name == dialect.alt_cert}
    return tuple(s for s in facts.written if s.name == dialect.cert and s.scope and s.scope not in kept)


def _obstacles(wish: ServiceWish, facts: DovecotFacts) -> Iterator[Finding]:
    """What will keep clients from getting the wished certificate although our file stands."""
    ours = {path for files in wish.certificates for path in (files.fullchain, files.privkey)}
    for setting in facts.later:
        if facts.dialect.path(setting.value) in ours or not setting.name.startswith("ssl_"):
            continue
        yield Finding(
            "dovecot-later-setting",
            Severity.ERROR,
            setting.place,
            seen=f"{setting.name} = {setting.value}, read after {facts.drop_in}",
            expected="no TLS setting in a file that is read later",
            why="The last assignment wins, so Dovecot would not serve mailseal's certificate.",
            mend=f"remove the line at {setting.place}, then: mailseal apply",
        )
    yield from _costly_filters(wish, facts)
    if len(wish.certificates) > 2:
        yield Finding(
            "dovecot-third-key-type",
            Severity.INFO,
            facts.drop_in,
            seen=f"{len(wish.certificates)} key types",
            expected="two: Dovecot has one alternative certificate",
            why="The third is served by the other services only.",
        )


def _costly_filters(wish: ServiceWish, facts: DovecotFacts) -> Iterator[Finding]:
    """Filters for whose sake something is left out of our file."""
    for setting in _cleartext_filters(facts):
        yield Finding(
            "dovecot-cleartext-filter",
            Severity.WARNING,
            setting.place,
            seen=f"{' / '.join(setting.scope)}: {setting.name} = {setting.value}",
            expected="no login in the clear for anybody",
            why="Dovecot 2.4 drops every connection that such a filter matches once ssl = required is set; "
            "mailseal leaves ssl as it is.",
            mend=f"remove the line at {setting.place}, then: mailseal apply",
        )
    for setting in _lending_filters(facts) if len(wish.certificates) > 1 else ():
        yield Finding(
            "dovecot-second-key-type",
            Severity.WARNING,
            setting.place,
            seen=f"{' / '.join(setting.scope)} has a certificate and no {facts.dialect.alt_cert}",
            expected=f"{facts.dialect.alt_cert} = and {facts.dialect.alt_key} = beside it, empty or with its own",
            why="Dovecot would serve mailseal's second key type in that filter too, in place of its own certificate; "
            "so only the first key type is served.",
            mend=f"add both lines after {setting.place}, then: mailseal apply",
        )


__all__ = ["BASE_DIR", "CONFIG_DIR", "Dovecot", "DovecotFacts", "drop_in"]

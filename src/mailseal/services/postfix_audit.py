"""What is odd in a Postfix configuration, whoever wrote it. Pure.

Each finding names the setting, its place, why it matters and the command that
mends it. Nothing here opens a file or asks a server: what the facts do not
hold is not judged. Certificates themselves are judged by the proof.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator

from mailseal.model import Finding, Severity, TlsMode
from mailseal.services import postfix_conf as conf
from mailseal.services.base import ConfiguredCertificate
from mailseal.services.postfix_facts import CLIENT, CONFIG_DIR, LEGACY, PostfixFacts, asks_dnssec
from mailseal.services.postfix_listeners import Listener

_LEVELS = ("none", "may", "encrypt")
_OLD = ("SSLv2", "SSLv3", "TLSv1", "TLSv1.1")
_PROTOCOLS = (*_OLD, "TLSv1.2", "TLSv1.3")


def audit(facts: PostfixFacts) -> tuple[Finding, ...]:
    """All findings, the gravest first."""
    if facts.broken:
        return (_broken(facts),)
    found = [
        *_listening(facts),
        *_certificates(facts),
        *_levels(facts),
        *_auth(facts),
        *_protocols(facts),
        *_client(facts),
        *_resolver(facts),
        *_sni(facts),
    ]
    return tuple(sorted(dict.fromkeys(found), key=lambda finding: -finding.severity))


def postconf(facts: PostfixFacts, *arguments: str) -> str:
    """A postconf command to type, with the instance named where it is not the usual one."""
    where = () if facts.config_dir == CONFIG_DIR else ("-c", facts.config_dir)
    return shlex.join(("postconf", *where, *arguments))


def _reload(facts: PostfixFacts) -> str:
    where = () if facts.config_dir == CONFIG_DIR else ("-c", facts.config_dir)
    return shlex.join(("postfix", *where, "reload"))


def _mend(facts: PostfixFacts, *arguments: str) -> str:
    return f"{postconf(facts, *arguments)} && {_reload(facts)}"


def _broken(facts: PostfixFacts) -> Finding:
    return Finding(
        "postfix-broken-configuration",
        Severity.ERROR,
        facts.config_dir,
        seen=facts.broken,
        expected="main.cf and master.cf that Postfix can read",
        why="Postfix does not start with it, and processes that a reload starts fail.",
        mend=f"mend the line that it names, then: {postconf(facts, '-M')}",
    )


def _listening(facts: PostfixFacts) -> Iterator[Finding]:
    if not conf.items(facts.value("inet_protocols")):
        yield Finding(
            "postfix-no-protocols",
            Severity.ERROR,
            facts.place("inet_protocols"),
            seen="inet_protocols is empty",
            expected="inet_protocols = all",
            why="Postfix listens nowhere. Debian's package leaves it so when it is installed without a network.",
            mend=f"{postconf(facts, '-e', 'inet_protocols=all')} && {_restart(facts)}",
        )
    for listener in facts.listeners:
        place = f"{facts.master_path}:{listener.service.line}"
        if listener.unresolved:
            yield Finding(
                "postfix-unknown-host",
                Severity.INFO,
                place,
                seen=f"{', '.join(listener.unresolved)} is no address and not in /etc/hosts",
                expected="addresses, or names that /etc/hosts knows",
                why="mailseal cannot tell where this service listens, so it is not proven.",
            )
        if listener.port == 465 and listener.tls is not TlsMode.IMPLICIT:
            yield Finding(
                "postfix-no-wrappermode",
                Severity.WARNING,
                place,
                seen="port 465 without smtpd_tls_wrappermode",
                expected="TLS with the first octet (RFC 8314 section 3.3)",
                why="Mail clients speak TLS at once on 465 and get an SMTP greeting instead.",
                mend=_mend(facts, "-P", f"{listener.service.key}/smtpd_tls_wrappermode=yes"),
            )


def _restart(facts: PostfixFacts) -> str:
    if facts.systemd:
        return f"systemctl restart {facts.unit}"
    where = "" if facts.config_dir == CONFIG_DIR else f"-c {shlex.quote(facts.config_dir)} "
    return f"postfix {where}stop; postfix {where}start"


def _certificates(facts: PostfixFacts) -> Iterator[Finding]:
    for one in facts.configured:
        if one.shadowed:
            yield _shadowed(facts, one)
        elif one.place.startswith(f"{facts.master_path}:"):
            yield service_certificate(facts, one, Severity.WARNING)
        for path in dict.fromkeys((one.cert_file, one.key_file)):
            if path in facts.missing and not one.shadowed:
                yield Finding(
                    "postfix-missing-file",
                    Severity.ERROR,
                    path,
                    seen=f"{one.setting} at {one.place} names it, and it is not there",
                    expected="a PEM file",
                    why="Postfix goes on to offer TLS and every handshake fails, or it offers none; "
                    "postfix check does not tell.",
                    mend=f"ls -l {shlex.quote(path)}; mailseal apply",
                )
    chain, proxied = facts.value("smtpd_tls_chain_files"), facts.value("tlsproxy_tls_chain_files")
    screened = any(listener.service.command == "postscreen" for listener in facts.listeners)
    if screened and proxied != chain:
        yield Finding(
            "postfix-service-certificate",
            Severity.WARNING,
            facts.place("tlsproxy_tls_chain_files"),
            seen=f"postscreen's tlsproxy serves {proxied or 'no chain files'}",
            expected="tlsproxy_tls_chain_files = $smtpd_tls_chain_files, which is the default",
            why="Clients that postscreen looks at more closely get this certificate on port 25.",
            mend=_mend(facts, "-X", "tlsproxy_tls_chain_files"),
        )
    if not any(not one.shadowed and not one.names for one in facts.configured):
        yield Finding(
            "postfix-no-certificate",
            Severity.WARNING,
            facts.main_path,
            seen="no certificate is set",
            expected="smtpd_tls_chain_files",
            why="Postfix offers no TLS: mail arrives in the clear.",
            mend="mailseal setup",
        )


def _shadowed(facts: PostfixFacts, one: ConfiguredCertificate) -> Finding:
    key = next(key for cert, key in LEGACY if cert == one.setting)
    arguments: tuple[str, ...] = ("-e", f"{one.setting}=", f"{key}=")
    if one.place.startswith(f"{facts.master_path}:"):
        services = [listener.service for listener in facts.listeners if listener.port in one.ports]
        names = [f"{s.key}/{n}" for s in services for n in (one.setting, key) if s.override(n) is not None]
        arguments = ("-PX", *names)
    return Finding(
        "postfix-shadowed-setting",
        Severity.WARNING,
        one.place,
        seen=f"{one.setting} = {one.cert_file} beside smtpd_tls_chain_files",
        expected="one of the two",
        why="smtpd_tls_chain_files wins: this file is never served, whatever is written here.",
        mend=_mend(facts, *arguments),
    )


def service_certificate(facts: PostfixFacts, one: ConfiguredCertificate, severity: Severity) -> Finding:
    """A service of master.cf serves a certificate of its own."""
    services = [listener.service for listener in facts.listeners if listener.port in one.ports]
    names = [f"{s.key}/{o.name}" for s in services for o in s.overrides if o.name in _CERTIFICATE_SETTINGS]
    return Finding(
        "postfix-service-certificate",
        severity,
        one.place,
        seen=f"port {', '.join(map(str, one.ports))} serves {one.cert_file} by -o {one.setting}",
        expected="the certificate that main.cf names, on every port",
        why="A setting in master.cf wins over main.cf: this port does not follow a renewal.",
        mend=_mend(facts, "-PX", *names),
    )


_CERTIFICATE_SETTINGS = ("smtpd_tls_chain_files", *(name for pair in LEGACY for name in pair))


def no_chain_files(facts: PostfixFacts, listener: Listener) -> Finding:
    """A service of master.cf switches main.cf's chain files off."""
    key = listener.service.key
    names = [f"{key}/{o.name}" for o in listener.service.overrides if o.name in _CERTIFICATE_SETTINGS]
    return Finding(
        "postfix-service-certificate",
        Severity.ERROR,
        f"{facts.master_path}:{listener.service.line}",
        seen=f"port {listener.port} sets smtpd_tls_chain_files empty",
        expected="the certificate that main.cf names, on every port",
        why="A setting in master.cf wins over main.cf: this port serves another certificate, or none.",
        mend=_mend(facts, "-PX", *names),
    )


def _levels(facts: PostfixFacts) -> Iterator[Finding]:
    for listener in facts.listeners:
        service, level = listener.service, facts.level(listener.service)
        place = facts.place("smtpd_tls_security_level", service)
        own = service.override("smtpd_tls_security_level") is not None
        setting = f"{service.key}/smtpd_tls_security_level" if own else "smtpd_tls_security_level"
        flag = "-P" if own else "-e"
        if level not in _LEVELS:
            yield Finding(
                "postfix-bad-value",
                Severity.ERROR,
                place,
                seen=f"smtpd_tls_security_level = {level}",
                expected="none, may or encrypt",
                why="smtpd ends with it at every connection; postfix check does not tell.",
                mend=_mend(facts, flag, f"{setting}=may"),
            )
        elif listener.port == 25 and level == "encrypt":
            yield Finding(
                "postfix-encrypt-on-25",
                Severity.ERROR,
                place,
                seen="TLS is demanded on port 25",
                expected="smtpd_tls_security_level = may",
                why="Servers that cannot do TLS cannot deliver mail to you (RFC 3207 section 4 forbids it).",
                mend=_mend(facts, flag, f"{setting}=may"),
            )
        elif listener.tls is TlsMode.NONE and not listener.loopback_only:
            yield Finding(
                "postfix-no-tls",
                Severity.WARNING,
                place,
                seen=f"port {listener.port} offers no TLS",
                expected="smtpd_tls_security_level = may",
                why="Mail and logins pass in the clear.",
                mend=_mend(facts, flag, f"{setting}=may"),
            )


def _auth(facts: PostfixFacts) -> Iterator[Finding]:
    for listener in facts.listeners:
        service = listener.service
        if listener.tls is TlsMode.IMPLICIT or not facts.flag("smtpd_sasl_auth_enable", service):
            continue
        if facts.flag("smtpd_tls_auth_only", service) or facts.level(service) == "encrypt":
            continue
        own = service.override("smtpd_tls_auth_only") is not None
        change = (
            ("-P", f"{service.key}/smtpd_tls_auth_only=yes") if own else ("-e", "smtpd_tls_auth_only=yes")
        )
        yield Finding(
            "postfix-auth-before-tls",
            Severity.ERROR,
            facts.place("smtpd_tls_auth_only", service),
            seen=f"port {listener.port} offers AUTH before STARTTLS",
            expected="smtpd_tls_auth_only = yes",
            why="Clients that do not ask for TLS send passwords in the clear.",
            mend=_mend(facts, *change),
        )


def _protocols(facts: PostfixFacts) -> Iterator[Finding]:
    written = conf.decode(facts.main.content)
    for name in ("smtpd_tls_mandatory_protocols", "smtpd_tls_protocols"):
        services = [one.service for one in facts.listeners if one.service.override(name) is not None]
        for service in (None, *services):
            if service is None and conf.find(written, name) is None:
                continue  # the distribution's default; its OpenSSL refuses the old ones by itself
            old = _allowed_old(facts.value(name, service))
            if name == "smtpd_tls_protocols":  # opportunistic: old TLS is better than none, old SSL is not
                old = tuple(protocol for protocol in old if protocol.startswith("SSL"))
            if old:
                own = service.key if service else ""
                change = ("-P", f"{own}/{name}=>=TLSv1.2") if own else ("-e", f"{name}=>=TLSv1.2")
                yield Finding(
                    "postfix-old-protocols",
                    Severity.WARNING,
                    facts.place(name, service),
                    seen=f"{name} = {facts.value(name, service)}, which allows {', '.join(old)}",
                    expected=f"{name} = >=TLSv1.2",
                    why="RFC 8996 takes TLS 1.0 and 1.1 out of use, RFC 7568 SSL 3.",
                    mend=_mend(facts, *change),
                )


def _allowed_old(value: str) -> tuple[str, ...]:
    """Which of the old protocols a list allows: `>=X`, `<=X`, `!X` to leave out, or names to allow (postconf(5))."""
    lowest, left_out, named = 0, set[str](), set[str]()
    spelled = {protocol.lower(): protocol for protocol in _PROTOCOLS}
    for item in conf.items(value.replace(":", " ")):
        if item.startswith(">="):
            bound = spelled.get(item[2:].lower())
            lowest = _PROTOCOLS.index(bound) if bound else lowest
        elif item.startswith("!"):
            left_out.add(spelled.get(item[1:].lower(), ""))
        elif not item.startswith("<="):
            named.add(spelled.get(item.lower(), ""))
    allowed = [p for p in _PROTOCOLS[lowest:] if p not in left_out and (not named or p in named)]
    return tuple(protocol for protocol in allowed if protocol in _OLD and protocol != "SSLv2")


def _client(facts: PostfixFacts) -> Iterator[Finding]:
    for name in CLIENT:
        value = facts.value(name)
        if value:
            key = name.replace("cert_file", "key_file")
            names = (f"{name}=",) if key == name else (f"{name}=", f"{key}=")
            yield Finding(
                "postfix-client-certificate",
                Severity.WARNING,
                facts.place(name),
                seen=f"{name} = {value}",
                expected=f"{name} empty",
                why="Postfix shows it as a client's certificate when it sends mail. Certificates of public CAs are "
                "no longer good for that (no clientAuth), and servers that look refuse it.",
                mend=_mend(facts, "-e", *names),
            )


def _resolver(facts: PostfixFacts) -> Iterator[Finding]:
    if not asks_dnssec(facts) or facts.resolver_validates:
        return
    unknown = facts.resolver_validates is None
    name = (
        "smtp_dns_support_level"
        if facts.value("smtp_dns_support_level") == "dnssec"
        else "smtp_tls_security_level"
    )
    yield Finding(
        "postfix-resolver-not-validating",
        Severity.INFO if unknown else Severity.WARNING,
        facts.place(name),
        seen=f"{name} = {facts.value(name)}, and "
        + ("the resolver could not be asked" if unknown else "the resolver does not validate DNSSEC"),
        expected="a validating resolver on this machine, such as unbound on 127.0.0.1",
        why="Without it no answer counts as secure: DANE never takes effect, and nothing says so.",
        mend="apt-get install unbound, point /etc/resolv.conf at 127.0.0.1, then: "
        "dig +dnssec . SOA shows the flag ad",
    )


def _sni(facts: PostfixFacts) -> Iterator[Finding]:
    for item in conf.items(facts.value("tls_server_sni_maps")):
        if item.partition(":")[0] not in ("hash", "btree", "lmdb", "cdb"):
            continue
        stale = item in facts.stale_maps
        yield Finding(
            "postfix-sni-map-stale" if stale else "postfix-sni-map",
            Severity.ERROR if stale else Severity.INFO,
            facts.place("tls_server_sni_maps"),
            seen=f"{item}, built before a file that it holds a copy of was written" if stale else item,
            expected="a map that is rebuilt after every renewal",
            why="postmap -F copies keys and certificates into the map: renewed files are not served until it "
            "is rebuilt, not even after a restart.",
            mend=f"postmap -F {shlex.quote(item)}",
        )


def sni_entry(one: ConfiguredCertificate) -> Finding:
    """A name of the wished certificate is served from an SNI map."""
    return Finding(
        "postfix-sni-entry",
        Severity.WARNING,
        one.place,
        seen=f"{', '.join(one.names)} is served from {one.cert_file}",
        expected="the default certificate for this name",
        why="An entry of tls_server_sni_maps wins over the default for clients that send this name.",
        mend=f"remove the line at {one.place}, then: postmap -F on the map",
    )

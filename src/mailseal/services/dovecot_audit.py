"""What is odd in a Dovecot's TLS settings, whoever wrote them: pure rules over the facts.

The rules: the configuration can be read; TLS is on; no login goes in the clear
(RFC 8314 section 4.1, RFC 9051 section 11.2); the minimum is TLS 1.2 (RFC
8996); a certificate has its key, and both come from one place; the chain is
with the leaf; no filter serves another certificate unnoticed; every listener
that expects a PROXY header is told, since no probe reaches it.
"""

from __future__ import annotations

import posixpath
from collections.abc import Iterator

from mailseal.model import Finding, Severity
from mailseal.services.base import ConfiguredCertificate
from mailseal.services.dovecot_conf import Setting
from mailseal.services.dovecot_facts import DovecotFacts, is_filter

_OLD = ("SSLv2", "SSLv3", "TLSv1", "TLSv1.1", "ANY")


def audit(facts: DovecotFacts) -> tuple[Finding, ...]:
    """All findings, the gravest first."""
    if facts.config_error:
        return (_broken(facts),)
    found = [*_tls(facts), *_cleartext(facts), *_protocols(facts), *_certificates(facts), *_proxies(facts)]
    return tuple(sorted(found, key=lambda finding: -finding.severity))


def _broken(facts: DovecotFacts) -> Finding:
    old = [s for s in facts.written if facts.version >= (2, 4) and s.name in ("ssl_cert", "ssl_key")]
    why = "Dovecot does not start with it, and a reload goes on with the old configuration or ends it."
    if old:
        why += f" {old[0].place} is written for Dovecot 2.3; this is {'.'.join(map(str, facts.version))}."
    return Finding(
        "dovecot-configuration-broken",
        Severity.ERROR,
        facts.main,
        seen=facts.config_error,
        expected="a configuration that doveconf -n reads",
        why=why,
        mend=f"{facts.programs[1]} -c {facts.main} -n, and mend the line it names",
    )


def _tls(facts: DovecotFacts) -> Iterator[Finding]:
    if facts.value("ssl", "yes") == "no":
        yield Finding(
            "dovecot-tls-off",
            Severity.ERROR,
            _place(facts, "ssl"),
            seen="ssl = no",
            expected="ssl = required",
            why="Passwords and mail cross the network readable.",
            mend="mailseal setup",
        )
    elif not facts.value(facts.dialect.cert):
        yield Finding(
            "dovecot-no-certificate",
            Severity.ERROR,
            facts.main,
            seen=f"no {facts.dialect.cert}",
            expected="a certificate",
            why="TLS is offered and every handshake fails.",
            mend="mailseal setup",
        )


def _cleartext(facts: DovecotFacts) -> Iterator[Finding]:
    name, _, allowed = facts.dialect.cleartext
    required = facts.value("ssl", "yes") == "required"
    for setting in facts.settings:
        if setting.name != name or setting.value != allowed or (required and not setting.scope):
            continue
        where = " / ".join(setting.scope)
        yield Finding(
            "dovecot-cleartext-login",
            Severity.WARNING if setting.scope else Severity.ERROR,
            _place(facts, name, setting),
            seen=f"{name} = {allowed}" + (f" for {where}" if where else ""),
            expected="ssl = required",
            why="Clients may send passwords before TLS, and some do.",
            mend="mailseal setup" if not where else f"remove {name} from {where}",
        )


def _protocols(facts: DovecotFacts) -> Iterator[Finding]:
    for setting in facts.settings:
        if setting.name == "ssl_min_protocol" and setting.value in _OLD:
            yield Finding(
                "dovecot-old-tls",
                Severity.WARNING,
                _place(facts, setting.name, setting),
                seen=f"ssl_min_protocol = {setting.value}",
                expected="TLSv1.2",
                why="TLS 1.0 and 1.1 are broken and must not be used (RFC 8996).",
                mend="set ssl_min_protocol = TLSv1.2, then: doveadm reload",
            )


def _certificates(facts: DovecotFacts) -> Iterator[Finding]:
    default = {(c.setting, c.cert_file) for c in facts.configured if not c.names and not c.ports}
    for configured in facts.configured:
        yield from _pair(configured)
        narrowed = configured.names or configured.ports or configured.place == "doveconf"
        if (
            narrowed
            and _is_override(facts, configured)
            and (configured.setting, configured.cert_file) not in default
        ):
            yield Finding(
                "dovecot-certificate-override",
                Severity.INFO if configured.names else Severity.WARNING,
                configured.place,
                seen=f"{configured.setting} = {configured.cert_file} for {_whom(configured)}",
                expected="one certificate for all, or a filter that somebody looks after",
                why="It wins over the global setting, and stays as it is when the global one is renewed.",
                mend=f"look at {configured.place}; remove it where the global certificate carries the name",
            )


def _is_override(facts: DovecotFacts, configured: ConfiguredCertificate) -> bool:
    return any(
        is_filter(s.scope)
        and s.name == configured.setting
        and facts.dialect.path(s.value) == configured.cert_file
        for s in facts.settings
    )


def _pair(configured: ConfiguredCertificate) -> Iterator[Finding]:
    cert, key = configured.cert_file, configured.key_file
    if cert and not key:
        yield Finding(
            "dovecot-key-missing",
            Severity.ERROR,
            configured.place,
            seen=f"{configured.setting} = {cert} without a key",
            expected="the key of this certificate",
            why="TLS fails for every client that is offered this certificate.",
            mend=f"set the key beside {configured.setting}",
        )
    elif _lineage(cert) and _lineage(key) and _lineage(cert) != _lineage(key):
        yield Finding(
            "dovecot-key-of-another",
            Severity.ERROR,
            configured.place,
            seen=f"certificate {cert} with key {key}",
            expected="both from one directory",
            why="doveconf does not see that they do not fit; every TLS connection is then reset.",
            mend=f"name the key in {posixpath.dirname(cert)}",
        )
    if posixpath.basename(cert) == "cert.pem":
        yield Finding(
            "dovecot-leaf-only",
            Severity.ERROR,
            configured.place,
            seen=f"{configured.setting} = {cert}",
            expected=posixpath.join(posixpath.dirname(cert), "fullchain.pem"),
            why="cert.pem holds no intermediate: clients that do not know it already refuse the chain.",
            mend=f"name fullchain.pem at {configured.place}, then: doveadm reload",
        )


def _lineage(path: str) -> str:
    return posixpath.dirname(path) if "/live/" in path or "/lineages/" in path else ""


def _whom(configured: ConfiguredCertificate) -> str:
    if configured.names:
        return ", ".join(configured.names)
    return "port " + ", ".join(map(str, configured.ports)) if configured.ports else "some connections"


def _proxies(facts: DovecotFacts) -> Iterator[Finding]:
    for port in facts.haproxy_ports:
        yield Finding(
            "dovecot-proxy-protocol",
            Severity.INFO,
            f"dovecot port {port}",
            seen="haproxy = yes",
            expected="a proxy before it that sends the PROXY header",
            why="Only that proxy can reach the port; what it serves to the world is not proven here.",
            mend="mailseal check HOST, from outside",
        )


def _place(facts: DovecotFacts, name: str, setting: Setting | None = None) -> str:
    scope = setting.scope if setting else ()
    found = facts.main
    for written in facts.written:
        if written.name == name and written.scope == scope:
            found = written.place
    return found

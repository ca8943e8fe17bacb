"""What is odd in an Apache's TLS sites, whoever wrote them: pure rules over the facts.

The rules: the chain is sent with the leaf, and from one file; certificate and
key come from one place; no public name shows the machine's snake-oil
certificate; http leads to https where there is an https site of that name;
what listens on the https port speaks TLS; nobody asks for TLS 1.0 or 1.1 (RFC
8996).
"""

from __future__ import annotations

import posixpath
from collections.abc import Iterator

from mailseal.model import CHALLENGE_PREFIX, Finding, Severity, TlsMode
from mailseal.services.apache_conf import Directive, VirtualHost
from mailseal.services.apache_facts import ApacheFacts, is_ours, serves_tls

_OLD = ("sslv3", "tlsv1", "tlsv1.1")


def audit(facts: ApacheFacts) -> tuple[Finding, ...]:
    """All findings, the gravest first."""
    found: list[Finding] = [*_plain_https_port(facts), *_no_redirect(facts), *_old_tls(facts)]
    for vhost in facts.vhosts:
        if serves_tls(vhost):
            found += [*_files(vhost), *_snakeoil(vhost)]
    return tuple(sorted(found, key=lambda finding: -finding.severity))


def _files(vhost: VirtualHost) -> Iterator[Finding]:
    certs, keys = vhost.all("sslcertificatefile"), vhost.all("sslcertificatekeyfile")
    for index, cert in enumerate(certs):
        path = cert.args[0] if cert.args else ""
        key = keys[index].args[0] if index < len(keys) and keys[index].args else ""
        if posixpath.basename(path) == "cert.pem" and not vhost.all("sslcertificatechainfile"):
            yield Finding(
                "apache-leaf-only",
                Severity.ERROR,
                cert.place,
                seen=f"SSLCertificateFile {path}",
                expected=posixpath.join(posixpath.dirname(path), "fullchain.pem"),
                why="cert.pem holds no intermediate: clients that do not know it already refuse the chain.",
                mend=f"name fullchain.pem at {cert.place}, then: apache2ctl graceful",
            )
        if _lineage(path) and _lineage(key) and _lineage(path) != _lineage(key):
            yield Finding(
                "apache-key-of-another",
                Severity.ERROR,
                cert.place,
                seen=f"certificate {path} with key {key}",
                expected="both from one directory",
                why="configtest does not see that they do not fit, and the next reload ends Apache.",
                mend=f"name the key in {posixpath.dirname(path)}",
            )
    for chain in vhost.all("sslcertificatechainfile"):
        yield Finding(
            "apache-chain-file",
            Severity.INFO,
            chain.place,
            seen=f"SSLCertificateChainFile {chain.args[0] if chain.args else ''}",
            expected="the chain in SSLCertificateFile (fullchain.pem)",
            why="Obsolete since Apache 2.4.8; a chain in a file of its own goes stale when the CA changes "
            "intermediates.",
            mend="mailseal setup",
        )


def _lineage(path: str) -> str:
    return posixpath.dirname(path) if "/live/" in path or "/lineages/" in path else ""


def _snakeoil(vhost: VirtualHost) -> Iterator[Finding]:
    for cert in vhost.all("sslcertificatefile"):
        if cert.args and "snakeoil" in cert.args[0]:
            who = vhost.names[0] if vhost.names else "every name without a site of its own"
            yield Finding(
                "apache-snakeoil",
                Severity.WARNING,
                cert.place,
                seen=f"the self-signed ssl-cert-snakeoil.pem for {who}",
                expected="a certificate that browsers trust",
                why="Browsers warn, and mail clients that look for their settings here give up.",
                mend="mailseal setup" if vhost.names else "a2dissite the site, if nobody needs it",
            )


def _plain_https_port(facts: ApacheFacts) -> Iterator[Finding]:
    plain = {e.port for e in facts.endpoints if e.port == facts.https_port and e.tls is TlsMode.NONE}
    for port in sorted(plain):
        yield Finding(
            "apache-plain-https-port",
            Severity.WARNING,
            f"apache port {port}",
            seen="Apache listens and no enabled site has SSLEngine on",
            expected="a site with a certificate",
            why="Whoever asks for https gets plain HTTP and an error.",
            mend="mailseal setup",
        )


def _no_redirect(facts: ApacheFacts) -> Iterator[Finding]:
    secure = {name for vhost in facts.vhosts if serves_tls(vhost) for name in vhost.names}
    for vhost in facts.on_port(facts.http_port):
        shared = [name for name in vhost.names if name in secure]
        if not shared or serves_tls(vhost) or _redirects(vhost):
            continue
        yield Finding(
            "apache-no-redirect",
            Severity.INFO,
            vhost.place,
            seen=f"http://{shared[0]}/ is served without TLS",
            expected=f"a redirect to https, except for {CHALLENGE_PREFIX}",
            why="Passwords typed there cross the network readable.",
            mend=f"add to {vhost.path}: RedirectMatch permanent "
            f'"^/(?!\\.well-known/acme-challenge/)(.*)$" "https://{shared[0]}/$1"',
        )


def _redirects(vhost: VirtualHost) -> bool:
    names = ("redirect", "redirectmatch", "redirectpermanent", "rewriterule")
    return any("https://" in arg for name in names for d in vhost.anywhere(name) for arg in d.args)


def _old_tls(facts: ApacheFacts) -> Iterator[Finding]:
    lines = [*facts.server_tls, *(d for vhost in facts.vhosts for d in vhost.all("sslprotocol"))]
    for line in lines:
        if line.name == "sslprotocol" and not is_ours(line.path) and _asks_for_old(line):
            yield Finding(
                "apache-old-tls",
                Severity.WARNING,
                line.place,
                seen="SSLProtocol " + " ".join(line.args),
                expected="SSLProtocol -all +TLSv1.2 +TLSv1.3",
                why="TLS 1.0 and 1.1 are broken and must not be used (RFC 8996).",
                mend=f"change {line.place}, then: apache2ctl graceful",
            )


def _asks_for_old(line: Directive) -> bool:
    """Whether an old version is named. `all` is not: OpenSSL's own level keeps them off in Debian 12 and later."""
    return any(arg.lower().lstrip("+") in _OLD for arg in line.args)

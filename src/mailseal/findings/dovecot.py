"""What is found in Dovecot's configuration."""

from __future__ import annotations

from mailseal.findings.about import About

DOVECOT = {
    "dovecot-certificate-override": About(
        "A filter serves another certificate",
        "A local, local_name or protocol block sets a certificate of its own, which wins over the global one and is "
        "forgotten when that is renewed.",
    ),
    "dovecot-cleartext-filter": About(
        "A filter allows logins in the clear",
        "Dovecot 2.4 drops every connection that such a filter matches once ssl = required is set.",
    ),
    "dovecot-cleartext-login": About(
        "Logins in the clear are allowed", "Clients may send passwords before TLS; ssl = required forbids it."
    ),
    "dovecot-configuration-broken": About(
        "Dovecot's configuration cannot be read",
        "doveconf refuses it. A reload says nothing of that: Dovecot goes on with the old configuration, or ends.",
    ),
    "dovecot-key-missing": About(
        "A certificate stands without its key", "Every client that is offered this certificate fails."
    ),
    "dovecot-key-of-another": About(
        "Key and certificate come from different folders",
        "They hardly fit. doveconf does not see it, and every TLS connection is then reset.",
    ),
    "dovecot-later-setting": About(
        "A setting that is read later wins",
        "The last assignment counts in Dovecot's configuration, so the drop-in of mailseal has no effect there.",
    ),
    "dovecot-leaf-only": About(
        "Dovecot is given the leaf alone",
        "cert.pem holds no intermediate; fullchain.pem does. Clients that do not know the intermediate refuse.",
    ),
    "dovecot-no-certificate": About(
        "Dovecot has no certificate", "TLS is offered and every handshake fails."
    ),
    "dovecot-old-tls": About(
        "Dovecot speaks TLS before 1.2", "TLS 1.0 and 1.1 must not be used any more (RFC 8996)."
    ),
    "dovecot-proxy-protocol": About(
        "A port expects the PROXY header",
        "Only the proxy before it can reach the port, so what it serves to the world is not proven from here.",
    ),
    "dovecot-second-key-type": About(
        "A filter keeps the second key type from being served",
        "A filter with a certificate and no alternative of its own would serve the global alternative, in place of "
        "its certificate; so only the first key type is served.",
    ),
    "dovecot-third-key-type": About(
        "Dovecot takes two kinds of key",
        "It has one alternative certificate; a third is served by the others only.",
    ),
    "dovecot-tls-off": About("Dovecot speaks no TLS", "Passwords and mail cross the network readable."),
}

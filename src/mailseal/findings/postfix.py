"""What is found in Postfix's configuration."""

from __future__ import annotations

from mailseal.findings.about import About

POSTFIX = {
    "postfix-auth-before-tls": About(
        "Postfix takes passwords before TLS",
        "smtpd_tls_auth_only = yes hides the login until TLS has started.",
    ),
    "postfix-bad-value": About(
        "A TLS setting has a value that does not exist",
        "smtpd ends with it at every connection, and postfix check does not tell.",
    ),
    "postfix-broken-configuration": About(
        "Postfix's configuration cannot be read", "It does not start with it, and what a reload starts fails."
    ),
    "postfix-client-certificate": About(
        "A server certificate is shown as a client's",
        "smtp_tls_cert_file is for mail that Postfix sends; certificates of public CAs are for servers only.",
    ),
    "postfix-encrypt-on-25": About(
        "TLS is demanded on port 25", "Servers that cannot do TLS cannot deliver (RFC 3207 section 4)."
    ),
    "postfix-missing-file": About(
        "A certificate file that Postfix names is not there", "Handshakes fail, or no TLS is offered."
    ),
    "postfix-no-certificate": About(
        "Postfix has no certificate", "It offers no TLS: mail arrives in the clear."
    ),
    "postfix-no-protocols": About(
        "Postfix listens nowhere",
        "inet_protocols is empty, as Debian's package leaves it when it is installed without a network.",
    ),
    "postfix-no-sasl": About(
        "Nobody can log in to Postfix", "No SASL server answers, so 587 and 465 were not opened."
    ),
    "postfix-no-tls": About("A Postfix service speaks no TLS", "Mail and logins pass in the clear."),
    "postfix-no-wrappermode": About(
        "Port 465 does not begin with TLS", "Clients speak TLS at once there (RFC 8314 section 3.3)."
    ),
    "postfix-old-protocols": About(
        "Postfix speaks TLS before 1.2",
        "TLS 1.0 and 1.1 must not be used any more (RFC 8996), nor SSL 3 (RFC 7568).",
    ),
    "postfix-resolver-not-validating": About(
        "DNSSEC is asked for and the resolver does not validate",
        "No answer then counts as secure: DANE never takes effect, and nothing says so.",
    ),
    "postfix-service-certificate": About(
        "A service in master.cf has a certificate of its own",
        "A setting there wins over main.cf: this port does not follow a renewal.",
    ),
    "postfix-shadowed-setting": About(
        "A certificate setting has no effect",
        "smtpd_tls_chain_files wins over smtpd_tls_cert_file and its kin.",
    ),
    "postfix-sni-entry": About(
        "A map serves another certificate for a name",
        "An entry of tls_server_sni_maps wins over the default for clients that send this name.",
    ),
    "postfix-sni-map": About(
        "Postfix reads certificates from a map",
        "postmap -F copies keys and certificates into it: renewed files are not served until it is built again.",
    ),
    "postfix-sni-map-stale": About(
        "Postfix's SNI map serves old certificates",
        "It was built before a file that it holds a copy of was written; postmap -F copies keys and certificates.",
    ),
    "postfix-unknown-host": About(
        "Where a service listens cannot be told",
        "It names a host that nothing here resolves; it is not proven.",
    ),
}

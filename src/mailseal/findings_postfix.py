"""What the codes of findings about Postfix stand for: title and meaning (part of `mailseal.findings`). Pure data."""

from __future__ import annotations

POSTFIX = {
    "postfix-auth-before-tls": (
        "Postfix offers AUTH before STARTTLS",
        "SASL is on and smtpd_tls_auth_only is off: a client that asks for no TLS sends its password in the clear.",
    ),
    "postfix-bad-value": (
        "A TLS setting of Postfix has a value that it does not know",
        "smtpd ends at every connection; `postfix check` does not tell.",
    ),
    "postfix-broken-configuration": (
        "Postfix cannot read its configuration",
        "postconf refuses main.cf or master.cf; nothing is changed or reloaded before that is mended.",
    ),
    "postfix-client-certificate": (
        "Postfix shows a certificate when it sends mail",
        "smtp_tls_cert_file or its kin is set. Public CAs issue no client certificates; receivers that look refuse.",
    ),
    "postfix-encrypt-on-25": (
        "Port 25 demands TLS",
        "Servers without TLS cannot deliver mail; RFC 3207 section 4 forbids it for a public server.",
    ),
    "postfix-missing-file": (
        "A certificate file that Postfix is told of is not there",
        "STARTTLS is still offered and handshakes fail, or TLS is off; `postfix check` does not tell.",
    ),
    "postfix-no-certificate": (
        "Postfix has no certificate",
        "TLS cannot be offered, and mail arrives in the clear.",
    ),
    "postfix-no-protocols": (
        "Postfix listens nowhere",
        "inet_protocols is empty, as Debian's package leaves it when it is installed without a network.",
    ),
    "postfix-no-sasl": (
        "Submission cannot be offered",
        "Ports 587 and 465 were asked for, and no SASL server answers Postfix, so that nobody could log in.",
    ),
    "postfix-no-tls": (
        "A port of Postfix offers no TLS",
        "smtpd_tls_security_level is none for a port that clients can reach.",
    ),
    "postfix-no-wrappermode": (
        "Port 465 does not begin with TLS",
        "Mail clients speak TLS with the first octet there (RFC 8314 section 3.3); smtpd_tls_wrappermode is missing.",
    ),
    "postfix-old-protocols": (
        "Postfix is told to allow old protocols",
        "A list of protocols lets SSL 3, TLS 1.0 or TLS 1.1 in (RFC 7568, RFC 8996).",
    ),
    "postfix-resolver-not-validating": (
        "DANE is asked for, and the resolver does not validate",
        "Without the AD flag no answer counts as secure: DANE for outgoing mail never takes effect, silently.",
    ),
    "postfix-service-certificate": (
        "A service in master.cf has a certificate of its own",
        "An -o in master.cf wins over main.cf: that port does not follow what main.cf says.",
    ),
    "postfix-shadowed-setting": (
        "A certificate setting of Postfix has no effect",
        "smtpd_tls_chain_files wins over smtpd_tls_cert_file and its kin; what they name is never served.",
    ),
    "postfix-sni-entry": (
        "A name is served from Postfix's SNI map",
        "The map's entry wins over the default certificate for clients that send this name.",
    ),
    "postfix-sni-map": (
        "Postfix has an SNI map",
        "Keys and certificates are copied into it by `postmap -F`: it serves the old ones until it is rebuilt.",
    ),
    "postfix-unknown-host": (
        "Where a Postfix service listens is not known",
        "master.cf or inet_interfaces names a host that is not in /etc/hosts; the service is not proven.",
    ),
}

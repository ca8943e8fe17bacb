"""What is found in the certificates that are served, and in the files that they come from."""

from __future__ import annotations

from mailseal.findings.about import About

SERVED = {
    "leaf-differs": About(
        "Another certificate is served than the one on disk",
        "What was issued and what is served differ: a daemon was not reloaded, a map not rebuilt, a setting wins "
        "over ours, or another process or a proxy owns the port.",
    ),
    "certificates-disagree": About(
        "One service serves another certificate than the rest",
        "All services of a machine should show the same certificate; the one that differs was forgotten at a "
        "renewal, or is configured by itself.",
    ),
    "certificate-unreadable": About(
        "What was served as a certificate cannot be read",
        "The server sent something that is not an X.509 certificate (RFC 5280).",
    ),
    "certificate-weak": About(
        "A certificate is weaker than clients accept",
        "Its key is too short or its signature uses a hash that is broken; current libraries refuse it.",
    ),
    "chain-incomplete": About(
        "An intermediate certificate is missing",
        "The server sent its leaf without the certificates that lead to a root. Clients that happen to know the "
        "intermediate connect, all others refuse; browsers hide the fault.",
    ),
    "chain-order": About(
        "The chain is sent in a wrong order",
        "Each certificate must be followed by the one that signed it (RFC 5246 section 7.4.2); RFC 8446 advises the "
        "same, and some clients insist.",
    ),
    "chain-superfluous": About(
        "Certificates are sent that belong to nothing",
        "They lengthen every handshake and confuse strict clients; a file was put together from two issuances.",
    ),
    "chain-with-root": About(
        "The root is sent along",
        "Nobody needs it, since whoever trusts it has it; it only lengthens every handshake.",
    ),
    "chain-expired": About(
        "A certificate of the chain has expired",
        "The leaf is good and one above it is not: clients refuse the whole.",
    ),
    "untrusted": About(
        "The chain leads to no trusted root",
        "By the roots that were asked (the system's, or the file in [proof] trust) no client would trust it: a "
        "self-signed certificate, a staging CA, or one of one's own.",
    ),
    "name-mismatch": About(
        "The certificate is not for this name",
        "Clients compare the name they asked for with the certificate's names (RFC 9525) and refuse another's.",
    ),
    "not-for-servers": About(
        "The certificate is not for servers",
        "Its extended key usage leaves out serverAuth (RFC 5280 section 4.2.1.12).",
    ),
    "not-yet-valid": About(
        "The certificate is not valid yet", "Its first day has not come, or the clock is wrong."
    ),
    "expired": About(
        "The certificate has expired", "Clients refuse it; senders may deliver without TLS or not at all."
    ),
    "expiring": About(
        "The certificate expires soon",
        "A renewal should have replaced it by now; that it did not is the fault to look for.",
    ),
}

FILES = {
    "file-missing": About(
        "A configured file is not there",
        "A daemon is configured with a path (or a link) that leads to nothing: it fails at its next start or reload.",
    ),
    "file-unreadable": About(
        "A configured file cannot be read", "It is there and could not be read; run the check as root."
    ),
    "file-not-a-certificate": About(
        "A configured file holds no certificate", "It is empty, damaged, or something else than PEM."
    ),
    "file-leaf-only": About(
        "A service is given the leaf alone",
        "The file holds the leaf without the chain above it: cert.pem in place of fullchain.pem.",
    ),
    "file-out-of-order": About(
        "A certificate file begins with an authority",
        "Daemons take the first certificate of a file as their own: the leaf must come first.",
    ),
    "file-key-mismatch": About(
        "A key does not fit its certificate",
        "No daemon's own checker sees it; Apache ends at its next reload, Dovecot and Postfix stop doing TLS.",
    ),
    "file-key-unreadable": About(
        "A private key cannot be used", "It is damaged, locked by a passphrase, or no key at all."
    ),
    "file-key-readable": About(
        "A private key is readable by every user", "Whoever copied it can pass for this server."
    ),
}

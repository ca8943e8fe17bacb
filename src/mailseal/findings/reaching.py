"""What is found on the way to an endpoint, and in looking at a machine at all."""

from __future__ import annotations

from mailseal.findings.about import About

REACHING = {
    "endpoint-unreachable": About(
        "Nothing accepts connections there",
        "The daemon's configuration names this address and port, and connecting to it failed: the daemon does not "
        "run, listens elsewhere, or a firewall drops it.",
    ),
    "endpoint-silent": About(
        "It accepts connections and does not greet",
        "A connection was made and no greeting came in time: an overloaded or throttled daemon, another program on "
        "the port, or a daemon that waits for DNS.",
    ),
    "endpoint-gone": About(
        "An endpoint that was there before is gone",
        "It was served when the change began and is not in the daemon's configuration any more.",
    ),
    "starttls-missing": About(
        "STARTTLS is not offered",
        "The server greets and does not offer STARTTLS (RFC 3207, 2595, 5804): clients log in and send mail in the "
        "clear, or not at all.",
    ),
    "starttls-refused": About(
        "STARTTLS is offered and refused",
        "The command was answered with an error: most often the daemon cannot load its key or certificate.",
    ),
    "handshake-failed": About(
        "The TLS handshake fails",
        "The server broke the handshake off: a key that does not fit its certificate, an unreadable file, or no "
        "cipher in common.",
    ),
    "tls-too-old": About(
        "Only TLS before 1.2 is spoken",
        "TLS 1.0 and 1.1 must not be used any more (RFC 8996); today's clients refuse them.",
    ),
    "key-family-missing": About(
        "A kind of key that should be served is not",
        "A client that can use only this family of keys (ECDSA or RSA) finds no certificate for it.",
    ),
    "key-family-not-asked": About(
        "One kind of key could not be asked for by itself",
        "With TLS 1.3 a client cannot insist on a kind of key by its ciphers, and the server speaks no TLS 1.2.",
    ),
    "auth-before-tls": About(
        "Passwords are taken before TLS",
        "A stranger's connection is offered a login before TLS has started: passwords cross the network readable "
        "(RFC 8314 section 4).",
    ),
    "redirect-missing": About(
        "http is not redirected to https",
        "Whoever types the name without https stays on a page that anybody on the way can read and change.",
    ),
    "redirect-temporary": About(
        "The redirect to https is not permanent",
        "A 302 or 307 is asked for again at every visit, in the clear; a 301 or 308 is remembered (RFC 9110 "
        "section 15.4).",
    ),
    "challenge-not-served": About(
        "The challenge's path is not served on port 80",
        "The CA fetches a file below /.well-known/acme-challenge/ at every renewal (RFC 8555 section 8.3); as it is, "
        "the next one fails.",
    ),
}

LOOKING = {
    "endpoint-good": About(
        "Everything is well there",
        "It shook hands, and what it serves is what it should be, trusted and for the right name.",
    ),
    "port-closed": About(
        "Nothing answers on these ports from outside",
        "Told by `mailseal check HOST`; whether they should be open only the admin knows.",
    ),
    "service-not-running": About(
        "A service is configured and does not run",
        "None of its ports accepts a connection and its process is not there.",
    ),
    "service-unreadable": About(
        "A service could not be looked at", "Its configuration or its program could not be read."
    ),
    "no-services": About(
        "None of the services that mailseal knows is installed",
        "There is nothing to judge on this machine; `mailseal check HOST` looks at another.",
    ),
    "no-trust-anchors": About(
        "The store of roots is empty",
        "Without roots nothing can be trusted, so that every chain looks untrusted.",
    ),
    "names-not-asked": About(
        "Not every name was asked",
        "A service has certificates of its own for very many names; only the first of them were asked.",
    ),
}

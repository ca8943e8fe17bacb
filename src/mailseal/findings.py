"""What each finding's code stands for: the registry behind docs/reference/findings.md.

A code is stable: scripts and monitoring may match it. It is written where the
finding is made (`Finding("dovecot-tls-off", …)`) and explained here; a test
walks the tree and fails for a code that is in one place only. A code says in a
few words what is wrong; one that only a certain daemon can have begins with
that daemon. Pure data.
"""

from __future__ import annotations

from dataclasses import dataclass

from mailseal.findings_postfix import POSTFIX as _POSTFIX


@dataclass(frozen=True, slots=True)
class About:
    """A code's title, without a full stop, and its meaning in a sentence or two."""

    title: str
    meaning: str


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
    "dovecot-third-key-type": About(
        "Dovecot takes two kinds of key",
        "It has one alternative certificate; a third is served by the others only.",
    ),
    "dovecot-tls-off": About("Dovecot speaks no TLS", "Passwords and mail cross the network readable."),
}

APACHE = {
    "apache-certbot-webroot": About(
        "certbot still renews through this Apache",
        "mailseal's drop-in answers every challenge path, so certbot's own tokens are not found and its renewals fail.",
    ),
    "apache-certificate-elsewhere": About(
        "A site's certificate is named in a shared file",
        "The site has names of ours, and its certificate stands in a file that other sites may read too: it is not "
        "edited.",
    ),
    "apache-chain-file": About(
        "A chain in a file of its own",
        "SSLCertificateChainFile is obsolete since Apache 2.4.8 and goes stale when the CA changes intermediates.",
    ),
    "apache-key-of-another": About(
        "Certificate and key of different directories",
        "configtest does not see that they do not fit; the next reload ends Apache.",
    ),
    "apache-layout": About(
        "Apache does not have Debian's layout",
        "apache2.conf does not read conf-enabled, mods-enabled and sites-enabled, so nothing is written there.",
    ),
    "apache-leaf-only": About(
        "A site is given the leaf alone",
        "cert.pem in place of fullchain.pem: clients that do not know the intermediate refuse the chain.",
    ),
    "apache-module-missing": About(
        "A module that is needed is not installed", "Apache would refuse the configuration that uses it."
    ),
    "apache-no-redirect": About(
        "A name is served over http without a redirect",
        "The same name has an https site; passwords typed on the http one cross the network readable.",
    ),
    "apache-old-tls": About(
        "A site asks for TLS 1.0 or 1.1", "They are broken and must not be used any more (RFC 8996)."
    ),
    "apache-plain-https-port": About(
        "The https port speaks plain HTTP", "Apache listens there and no enabled site has SSLEngine on."
    ),
    "apache-site-mixed-names": About(
        "A site also has names of another certificate",
        "With mailseal's certificate those names would be refused, so the site keeps its own.",
    ),
    "apache-snakeoil": About(
        "The machine's self-signed certificate is served", "Browsers warn, and mail clients give up."
    ),
}

POSTFIX = {code: About(*told) for code, told in _POSTFIX.items()}

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
    "postfix-unknown-host": About(
        "Where a service listens cannot be told",
        "It names a host that nothing here resolves; it is not proven.",
    ),
}

CHALLENGE = {
    "reached": About("Our own token was fetched", "The name leads here on port 80, over this address."),
    "unreachable-from-here": About(
        "The address cannot be reached from here",
        "It is not this machine's own, and nothing answered. Behind a router that does not lead back in (no hairpin "
        "NAT) that is usual, and the CA may still come in.",
    ),
    "connection-refused": About(
        "Nothing listens on port 80", "The address is this machine's own and refuses."
    ),
    "timeout": About(
        "Port 80 does not answer", "The address is this machine's own: a firewall drops it, most often."
    ),
    "unreachable": About(
        "There is no way to the address", "It is this machine's own and no route leads there."
    ),
    "no-http": About("Something that is not HTTP answers on port 80", "Another program holds the port."),
    "not-served": About(
        "The web server does not find the token", "It answered 404 for the challenge's path."
    ),
    "forbidden": About(
        "The web server refuses the token", "It answered 401 or 403 for the challenge's path."
    ),
    "other-server": About("Another program answers on port 80", "The answer is not our token."),
    "wrong-address": About(
        "The name leads to another machine",
        "Another server answers at the address that DNS gives for the name.",
    ),
    "wrong-aaaa": About(
        "The AAAA record leads elsewhere",
        "IPv4 answers rightly, but CAs try IPv6 first: the classic reason why a renewal fails.",
    ),
    "no-address": About("The name has no address", "DNS gives neither an A nor an AAAA record for it."),
    "no-such-name": About("The name is not in DNS", "DNS says for certain that there is no such name."),
    "dns-silent": About("DNS does not answer", "Whether the name has an address could not be found out."),
    "dnssec-broken": About(
        "The zone's signatures are broken",
        "CAs must check DNSSEC and refuse; mail servers that check it do too.",
    ),
    "redirect-loop": About(
        "The redirect goes round in a circle", "The challenge's path never ends at a file."
    ),
    "too-many-redirects": About("There are too many redirects", "CAs follow ten at most."),
    "bad-redirect": About(
        "The redirect leads where no CA follows", "CAs follow http on port 80 and https on port 443 alone."
    ),
    "redirect-without-address": About(
        "The redirect leads to a name without address", "Its target is not in DNS."
    ),
    "wildcard": About("A wildcard cannot be shown by http-01", "It needs dns-01 (RFC 8555 section 8.4)."),
    "name-behind-web-proxy": About(
        "The name points at a web proxy",
        "Such a proxy forwards web pages only: the certificate can be had, and mail never arrives at this name.",
    ),
    "name-of-shared-domain": About(
        "The name belongs to a domain that everybody shares",
        "Names that carry an address, such as those below sslip.io, share one weekly limit of certificates at the CA.",
    ),
}

WORK = {
    "interrupted-run": About(
        "An earlier run was interrupted",
        "It was finished, or taken back, as the finding says; see the log for why.",
    ),
    "not-rehearsed": About(
        "A daemon could not be tried out beforehand",
        "A throw-away instance on the staged configuration was not possible here; the proof after the switch holds "
        "all the same.",
    ),
}

CODES: dict[str, About] = {
    **REACHING,
    **SERVED,
    **LOOKING,
    **FILES,
    **POSTFIX,
    **DOVECOT,
    **APACHE,
    **CHALLENGE,
    **WORK,
}

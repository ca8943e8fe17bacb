"""What is found in Apache's configuration."""

from __future__ import annotations

from mailseal.findings.about import About

APACHE = {
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

"""A machine set up by hand in the way that a popular guide tells it: certbot's files, Postfix, Dovecot, Apache.

`set_up` leaves everything well: certificates under /etc/letsencrypt/live as
links into archive, Postfix with `smtpd_tls_cert_file`, 465 and 587 in
master.cf, Dovecot by a drop-in in the dialect of its version, Apache with a
web root of its own below /var/www, redirecting all but the challenge.
"""

from __future__ import annotations

from lab.host import Host
from tests.support.certs import Ca, Issued

NAME = "mail.example.test"
STORE = "/etc/ssl/certs/ca-certificates.crt"
LIVE = f"/etc/letsencrypt/live/{NAME}"
ARCHIVE = f"/etc/letsencrypt/archive/{NAME}"

POSTFIX = f"""
postconf -e smtpd_tls_cert_file={LIVE}/fullchain.pem smtpd_tls_key_file={LIVE}/privkey.pem
postconf -e smtpd_tls_security_level=may smtpd_tls_auth_only=yes myhostname={NAME}
postconf -M 'submission/inet=submission inet n - y - - smtpd' 'submissions/inet=submissions inet n - y - - smtpd'
postconf -P submission/inet/smtpd_tls_security_level=encrypt submissions/inet/smtpd_tls_wrappermode=yes
postfix reload
"""
DOVECOT_23 = f"ssl = required\nssl_cert = <{LIVE}/fullchain.pem\nssl_key = <{LIVE}/privkey.pem\n"
DOVECOT_24 = (
    f"ssl = required\nssl_server_cert_file = {LIVE}/fullchain.pem\nssl_server_key_file = {LIVE}/privkey.pem\n"
)
HTTP = f"""<VirtualHost *:80>
  ServerName {NAME}
  DocumentRoot /var/www/{NAME}
  RewriteEngine On
  RewriteCond %{{REQUEST_URI}} !^/\\.well-known/acme-challenge
  RewriteRule ^ https://{NAME}%{{REQUEST_URI}} [R=301,L]
</VirtualHost>
"""
HTTPS = f"""<VirtualHost *:443>
  ServerName {NAME}
  DocumentRoot /var/www/{NAME}
  SSLEngine on
  SSLCertificateFile {LIVE}/fullchain.pem
  SSLCertificateKeyFile {LIVE}/privkey.pem
</VirtualHost>
"""
APACHE = f"""
install -d -o www-data -g www-data /var/www/{NAME}
a2enmod -q ssl rewrite
a2dissite -q 000-default
a2ensite -q {NAME}-http {NAME}-https
apache2ctl restart
"""
DROP_IN = "/etc/dovecot/conf.d/99-local.conf"


def set_up(mail: Host, ca: Ca, root: Ca) -> Issued:
    """Everything well; the certificate that is served. `ca` issues it, `root` is trusted by the machine."""
    mail.write("/root/lab-root.pem", root.pem.decode())
    mail.sh(
        f"cp {STORE} {STORE}.before; cat /root/lab-root.pem >>{STORE}"
    )  # as update-ca-certificates does, in no time
    issued = ca.issue(NAME)
    put(mail, issued, 1)
    mail.sh(POSTFIX)
    mail.write(DROP_IN, DOVECOT_23 if mail.release == "bookworm" else DOVECOT_24)
    mail.sh("doveadm reload")
    mail.write(f"/etc/apache2/sites-available/{NAME}-http.conf", HTTP)
    mail.write(f"/etc/apache2/sites-available/{NAME}-https.conf", HTTPS)
    mail.sh(APACHE)
    mail.wait_listening(25, 465, 587, 143, 993, 80, 443)
    connect_once(mail)
    return issued


def put(mail: Host, issued: Issued, version: int) -> None:
    """Certbot's way of putting files: a new version in archive, links in live."""
    mail.sh(f"umask 077; mkdir -p {LIVE} {ARCHIVE}")
    files = {
        "privkey": issued.key_pem,
        "cert": issued.cert_pem,
        "chain": issued.chain_pem,
        "fullchain": issued.fullchain_pem,
    }
    for name, content in files.items():
        mail.write(f"{ARCHIVE}/{name}{version}.pem", content.decode(), 0o600)
        mail.sh(f"ln -sfn ../../archive/{NAME}/{name}{version}.pem {LIVE}/{name}.pem")


def reload_all(mail: Host) -> None:
    mail.sh("postfix reload; doveadm reload; apache2ctl graceful; sleep 0.3")
    connect_once(mail)


def connect_once(mail: Host) -> None:
    """Dovecot reads its files with the first connection after a reload, and keeps them from then on."""
    mail.sh("openssl s_client -connect 127.0.0.1:993 </dev/null >/dev/null 2>&1")

"""Apache's adapter against Debian's own Apache: look, wish, check, rehearse, reload, ask openssl and curl."""

from __future__ import annotations

import hashlib
import json
import re
import ssl
import textwrap
from typing import Any

import pytest

from lab import image
from lab.host import Host
from mailseal.model import KeyType
from tests.lab.certificates import CURRENT, KEY_TYPES, NAME, deploy
from tests.support.certs import Ca, Issued

pytestmark = pytest.mark.parametrize("release", image.RELEASES)

CHALLENGES = "/var/lib/mailseal/challenges"
TOKEN = "dG9rZW4tXzEyMw"
CIPHER = {
    KeyType.ECDSA_P256: "ECDHE-ECDSA-AES256-GCM-SHA384",
    KeyType.RSA_2048: "ECDHE-RSA-AES256-GCM-SHA384",
}


@pytest.fixture(scope="module")
def issued() -> dict[KeyType, Issued]:
    between = Ca.root("Lab Root").intermediate("Lab Intermediate")
    return {key_type: between.issue(NAME, key_type=key_type) for key_type in KEY_TYPES}


def job(mail: Host, action: str, **told: Any) -> dict[str, Any]:
    wish = {
        "certificates": [[k.value, f"{CURRENT}/{k.value}"] for k in KEY_TYPES],
        "names": [NAME],
        "challenge": CHALLENGES,
    } | told
    ran = mail.python("import tests.lab.service_job as job; job.main()", "apache", action, json.dumps(wish))
    answer: dict[str, Any] = json.loads(ran.stdout)
    return answer


def token(mail: Host) -> None:
    mail.sh(f"mkdir -p {CHALLENGES}; chmod 711 /var/lib/mailseal; chmod 755 {CHALLENGES}")
    mail.write(f"{CHALLENGES}/{TOKEN}", f"{TOKEN}.thumb", 0o644)


def site(mail: Host, name: str, text: str) -> None:
    mail.write(f"/etc/apache2/sites-available/{name}.conf", textwrap.dedent(text))
    mail.run(["a2ensite", "-q", name])


def served(mail: Host, key_type: KeyType, name: str = NAME, address: str = "127.0.0.1") -> str | None:
    """The SHA-256 of the leaf that openssl sees on 443 with ciphers of one key family."""
    said = mail.sh(
        f"openssl s_client -connect '{address}:443' -servername {name} -tls1_2 "
        f"-cipher {CIPHER[key_type]} </dev/null 2>&1",
        check=False,
    )
    found = re.search(r"-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----", said, re.S)
    return hashlib.sha256(ssl.PEM_cert_to_DER_cert(found[0])).hexdigest() if found else None


def fetched(mail: Host, url: str, *more: str) -> tuple[int, str, str]:
    """Status, Location and body of a GET that follows nothing and trusts any certificate."""
    host, _, _ = url.partition("://")[2].partition("/")
    name, _, port = host.partition(":")
    to = ["--resolve", f"{name}:{port or ('443' if url.startswith('https') else '80')}:127.0.0.1"]
    shape = "%{stderr}%{http_code} %{redirect_url}"
    ran = mail.run(["curl", "-sSk", "--path-as-is", *to, "-w", shape, *more, url])
    status, _, location = ran.stderr.strip().partition(" ")
    return int(status), location, ran.stdout


def challenge_is_answered(mail: Host, name: str, scheme: str = "http") -> bool:
    return fetched(mail, f"{scheme}://{name}/.well-known/acme-challenge/{TOKEN}")[::2] == (
        200,
        f"{TOKEN}.thumb",
    )


def settled(mail: Host) -> None:
    """The graceful restart is over: the new configuration answers."""
    mail.wait_listening(80)
    mail.sh("sleep 0.5")


def test_the_packages_defaults_come_to_serve_both_key_types(
    mail: Host, issued: dict[KeyType, Issued]
) -> None:
    deploy(mail, issued)
    token(mail)
    before = mail.snapshot("/etc/apache2")

    said = job(mail, "apply")

    assert said["again"] == []
    assert [status for _, status, _ in said["checks"] + said["reload"]] == [0, 0, 0]
    assert said["findings"] + said["audit"] + said["audit_after"] == []
    settled(mail)
    for key_type, leaf in issued.items():
        for address in ("127.0.0.1", "[::1]"):
            assert served(mail, key_type, address=address) == leaf.fingerprint
    assert {(port, tls) for _, port, _, tls in said["after"]["endpoints"]} == {
        (80, "none"),
        (443, "implicit"),
    }
    assert fetched(mail, f"http://{NAME}/a%20b?c=d&e=%2F")[:2] == (301, f"https://{NAME}/a%20b?c=d&e=%2F")
    assert fetched(mail, f"https://{NAME}/")[0] == 200
    assert challenge_is_answered(mail, NAME)
    assert fetched(mail, f"http://{NAME}/.well-known/acme-challenge/none")[0] == 404
    changed = {path for path, state in mail.snapshot("/etc/apache2").items() if before.get(path) != state}
    assert all(
        "mailseal" in path or "mods-enabled" in path or path.endswith(("-enabled", "-available"))
        for path in changed
    )


def test_other_names_go_on_as_before(mail: Host, issued: dict[KeyType, Issued]) -> None:
    deploy(mail, issued)
    token(mail)
    before = {name: fetched(mail, f"http://{name}/") for name in ("localhost", "other.example.test")}
    assert all(answer[0] == 200 for answer in before.values())

    job(mail, "apply")

    settled(mail)
    assert {name: fetched(mail, f"http://{name}/") for name in before} == before


HOSTILE = {
    "rewrite": "RewriteEngine On\nRewriteRule ^ https://elsewhere.test/ [R=301,L]",
    "rewrite-inside": "RewriteEngine On\nRewriteRule ^/(.*)$ /index.php/$1 [L]",
    "proxy": "ProxyPass / http://127.0.0.1:9/\nProxyPassReverse / http://127.0.0.1:9/",
    "proxy-location": "<Location />\nProxyPass http://127.0.0.1:9/\n</Location>",
    "proxy-rewrite": "RewriteEngine On\nRewriteRule ^/(.*)$ http://127.0.0.1:9/$1 [P]",
    "alias": "Alias /.well-known/acme-challenge/ /var/www/elsewhere/\nAlias /.well-known/ /var/www/elsewhere/",
    "alias-match": "AliasMatch ^/\\.well-known/(.*)$ /var/www/elsewhere/$1",
    "denied": "<Location />\nRequire all denied\n</Location>\n<Directory />\nRequire all denied\n</Directory>",
    "denied-match": "<LocationMatch ^/\\.>\nRequire all denied\n</LocationMatch>\n"
    "<FilesMatch .>\nRequire all denied\n</FilesMatch>",
    "denied-old": "<Location />\nOrder allow,deny\nDeny from all\n</Location>",
    "password": "<Location />\nAuthType Basic\nAuthName x\nAuthUserFile /etc/hostname\nRequire valid-user\n</Location>",
    "fallback": "FallbackResource /index.php",
    "script": "<Location />\nSetHandler cgi-script\n</Location>",
}
LOSING = {  # mod_alias asks a site's redirects before any alias
    "redirect": "Redirect permanent / https://elsewhere.test/",
    "redirect-match": "RedirectMatch ^(.*)$ https://elsewhere.test$1",
    "redirect-location": '<Location />\nRedirect permanent "https://elsewhere.test%{REQUEST_URI}"\n</Location>',
}


def test_the_challenge_wins_over_the_sites_own_rules(mail: Host) -> None:
    token(mail)
    mail.run(["a2enmod", "-q", "rewrite", "proxy", "proxy_http", "access_compat"])
    for kind, rules in (HOSTILE | LOSING).items():
        inside = f"ServerName {kind}.test\nDocumentRoot /var/www/html\n{rules}\n"
        site(mail, kind, f"<VirtualHost *:80>\n{inside}</VirtualHost>\n")
    mail.run(["apache2ctl", "graceful"])
    settled(mail)
    assert [kind for kind in HOSTILE | LOSING if challenge_is_answered(mail, f"{kind}.test")] == []

    said = job(mail, "apply", certificates=[])

    assert said["checks"][0][1] == 0, said["checks"]
    settled(mail)
    lost = {kind for kind in HOSTILE | LOSING if not challenge_is_answered(mail, f"{kind}.test")}
    assert lost == set(LOSING)


@pytest.mark.parametrize("kind", LOSING)
def test_a_redirect_leads_to_the_challenge_over_https(
    mail: Host, issued: dict[KeyType, Issued], kind: str
) -> None:
    deploy(mail, issued)
    token(mail)
    rules = LOSING[kind].replace("elsewhere.test", "old.test")
    site(mail, "old", f"<VirtualHost *:80>\nServerName old.test\n{rules}\n</VirtualHost>\n")
    mail.run(["apache2ctl", "graceful"])

    job(mail, "apply", names=[NAME, "old.test"])

    settled(mail)
    status, location, _ = fetched(mail, f"http://old.test/.well-known/acme-challenge/{TOKEN}")
    assert status in (301, 302)
    assert location.startswith("https://old.test/")
    assert challenge_is_answered(mail, "old.test", "https")


def test_only_tokens_are_answered(mail: Host) -> None:
    token(mail)
    mail.sh(f"echo secret >/root/secret; ln -s /etc/passwd {CHALLENGES}/linked; mkdir {CHALLENGES}/folder")
    mail.write(f"{CHALLENGES}/.hidden", "x", 0o644)
    job(mail, "apply", certificates=[])
    settled(mail)
    base = f"http://{NAME}/.well-known/acme-challenge"
    for path in (
        "/linked",
        "/.hidden",
        "/../../../etc/passwd",
        "/..%2f..%2fetc/passwd",
        "/",
        "/folder/",
        f"/{TOKEN}/x",
    ):
        assert fetched(mail, base + path)[0] in (400, 403, 404), path
    assert challenge_is_answered(mail, "a.name.that.nobody.knows.test")


def test_tokens_of_another_client_are_answered_too(mail: Host) -> None:
    token(mail)
    folders = {
        "own.test": "/srv/own/.well-known/acme-challenge",  # a web root, as certbot and acme.sh use it
        "alias.test": "/srv/alias",  # as dehydrated does it
        "plugin.test": "/var/lib/letsencrypt/http_challenges",
    }
    for folder in folders.values():
        mail.sh(f"mkdir -p {folder}; echo theirs >{folder}/theirs; echo theirs >{folder}/{TOKEN}")
    site(mail, "own", "<VirtualHost *:80>\nServerName own.test\nDocumentRoot /srv/own\n</VirtualHost>\n")
    site(
        mail,
        "alias",
        "<VirtualHost *:80>\nServerName alias.test\nAlias /.well-known/acme-challenge /srv/alias\n</VirtualHost>\n",
    )
    site(mail, "plugin", "<VirtualHost *:80>\nServerName plugin.test\n</VirtualHost>\n")
    mail.sh("mkdir -p /etc/letsencrypt/renewal")
    mail.write("/etc/letsencrypt/renewal/plugin.test.conf", "[renewalparams]\nauthenticator = apache\n")

    assert job(mail, "apply", certificates=[])["checks"][0][1] == 0

    settled(mail)
    for name in folders:
        assert fetched(mail, f"http://{name}/.well-known/acme-challenge/theirs")[::2] == (200, "theirs\n"), (
            name
        )
        assert challenge_is_answered(mail, name)
        assert fetched(mail, f"http://{name}/.well-known/acme-challenge/nobodys")[0] == 404
    for path in (
        "//.well-known/acme-challenge/etc",
        "/.well-known//acme-challenge/vmlinuz",
        "/x/../.well-known/acme-challenge/bin",
    ):
        assert fetched(mail, f"http://own.test{path}")[0] in (403, 404), path


GUIDE_HTTP = f"""\
<VirtualHost *:80>
    ServerName {NAME}
    DocumentRoot /var/www/{NAME}
    RewriteEngine On
    RewriteCond %{{REQUEST_URI}} !^/\\.well-known/acme-challenge
    RewriteRule ^(.*)$ https://%{{HTTP_HOST}}$1 [R=301,L]
</VirtualHost>
"""
GUIDE_HTTPS = f"""\
<IfModule mod_ssl.c>
<VirtualHost *:443>
    # the webmail
    ServerName {NAME}
    DocumentRoot /var/www/{NAME}
    SSLEngine on
    SSLCertificateFile /etc/ssl/certs/ssl-cert-snakeoil.pem
    SSLCertificateKeyFile /etc/ssl/private/ssl-cert-snakeoil.key
    SSLCertificateChainFile /etc/ssl/certs/ssl-cert-snakeoil.pem
</VirtualHost>
</IfModule>
"""


def test_the_guides_sites_are_taken_over(mail: Host, issued: dict[KeyType, Issued]) -> None:
    deploy(mail, issued)
    token(mail)
    mail.sh(f"mkdir /var/www/{NAME}; echo webmail >/var/www/{NAME}/index.html")
    mail.run(["a2enmod", "-q", "ssl", "rewrite"])
    site(mail, f"{NAME}-http", GUIDE_HTTP)
    site(mail, f"{NAME}-https", GUIDE_HTTPS)
    mail.run(["apache2ctl", "restart"])
    settled(mail)

    said = job(mail, "apply")

    https = f"/etc/apache2/sites-available/{NAME}-https.conf"
    assert [path for path in said["changed"] if "acme" not in path] == [https]
    assert said["again"] == []
    assert {f["code"] for f in said["audit"]} == {"apache-snakeoil", "apache-chain-file"}
    assert said["audit_after"] == []
    settled(mail)
    for key_type, leaf in issued.items():
        assert served(mail, key_type) == leaf.fingerprint
    assert fetched(mail, f"https://{NAME}/") == (200, "", "webmail\n")
    assert challenge_is_answered(mail, NAME)


def test_the_checks_find_what_keeps_apache_from_starting(mail: Host) -> None:
    mail.write("/etc/apache2/conf-enabled/wrong.conf", "Nonsense on\n")
    [check] = job(mail, "write", certificates=[])["checks"]
    assert check[1] != 0
    assert "wrong.conf" in check[2]


def test_a_missing_file_is_found_before_a_reload(mail: Host) -> None:
    [check] = job(mail, "write")["checks"]
    assert check[1] != 0
    assert CURRENT in check[2]


def test_a_reload_does_not_start_a_dead_apache(mail: Host) -> None:
    said = job(mail, "reload")
    assert [status for _, status, _ in said["reload"]] == [0, 0]
    mail.sh("apache2ctl stop; while pgrep -x apache2 >/dev/null; do sleep 0.1; done")

    said = job(mail, "reload")

    assert not said["facts"]["running"]
    assert said["reload"][-1][1] != 0
    assert (("0.0.0.0", 80) in mail.listening() or ("::", 80) in mail.listening()) is False
    assert job(mail, "restart")["restart"][-1][1] == 0
    mail.wait_listening(80)
    assert [status for _, status, _ in job(mail, "restart")["restart"]] == [0, 0]
    mail.wait_listening(80)


def test_a_rehearsal_leaves_the_running_one_alone(mail: Host, issued: dict[KeyType, Issued]) -> None:
    deploy(mail, issued)
    token(mail)
    site(
        mail,
        "logs",
        "<VirtualHost *:80>\nServerName logs.test\nErrorLog /var/log/apache2/logs/error.log\n</VirtualHost>\n",
    )
    mail.sh("mkdir /var/log/apache2/logs; apache2ctl graceful")
    rehearsal = job(mail, "rehearse")["rehearsal"]
    state = "stat -c '%i %s' /run/apache2/* /var/log/apache2/* /var/log/apache2/logs/*; cat /run/apache2/apache2.pid"
    settled(mail)
    before = mail.sh(state)

    covers = "\n".join(f"mount -t tmpfs tmpfs {path}" for path in rehearsal["scratch"])
    prepare = "\n".join(" ".join(command["argv"]) for command in rehearsal["prepare"])
    inside = (
        f"ip link set lo up\n{covers}\n{prepare}\n{' '.join(rehearsal['start']['argv'])} & pid=$!\n"
        "for i in $(seq 100); do openssl s_client -connect 127.0.0.1:443 </dev/null >/tmp/said 2>/dev/null && break; "
        "sleep 0.1; done; openssl x509 -noout -fingerprint -sha256 </tmp/said; "
        "kill $(cat /run/apache2/apache2.pid); wait $pid"
    )
    said = mail.run(["unshare", "--mount", "--net", "--propagation", "private", "sh", "-c", inside]).stdout

    shown = said.strip().rsplit("=", 1)[-1].replace(":", "").lower()
    assert shown in {leaf.fingerprint for leaf in issued.values()}, said
    assert mail.sh(state) == before

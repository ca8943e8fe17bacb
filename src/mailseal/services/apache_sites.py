"""The files that mailseal writes for Apache: pure text from names, paths and ports.

`mailseal-acme.conf` answers http-01 (RFC 8555 section 8.3) for every site at
once. A plain server-wide `Alias` loses to a site's own RewriteRule, Redirect,
ProxyPass, Alias and `Require all denied`; this one, each line of it measured,
wins over all but `Redirect`, whose target on port 443 it answers again:
`<Directory>` opens the folder and nothing in it follows links; `no-proxy`
keeps mod_proxy off; the `Alias` inside `<LocationMatch>` takes its file name
from the match, so that only base64url letters ever become one; `<If>` is
merged after a site's own sections and so wins over their denials, also
those in Apache 2.2's words (mod_access_compat, which Debian enables).

It would hide the tokens of another ACME client that still renews through this
Apache. So where mailseal has no such token and the client's own directory has
(the site's web root, or one of those found in the configuration), that one is
answered. The environment variable is set for every request, since an `Alias`
made from an empty one would begin at the root of the file system.

The http site uses the expression form of `Redirect` (2.4.19), which keeps the
query and escapes as the client did, needs no mod_rewrite, and leaves the
challenge path alone.

Apache gives a site without ServerName the global one, or the machine's own
full name: Debian's 000-default then takes a mail server's name before any
later site is asked. Where such a site is enabled, our file sets the global
name to `localhost`, as Apache's own start-up warning proposes.
"""

from __future__ import annotations

from collections.abc import Sequence

from mailseal.model import CHALLENGE_PREFIX

_PATH = CHALLENGE_PREFIX.replace(".", r"\.")
_TOKEN = f"%{{REQUEST_URI}} =~ m#^{_PATH}([A-Za-z0-9_-]+)$#"
_NOTE = "To undo all that mailseal changed: mailseal detach"


def challenge(directory: str, elsewhere: Sequence[str] = ()) -> str:
    """The drop-in that serves challenge tokens from a directory, under any name; `elsewhere`: others' directories."""
    others = "".join(
        f"SetEnvIfExpr \"{_TOKEN} && ! -f '{directory}/$1' && -f '{other}/$1'\" MAILSEAL_TOKENS={other}\n"
        for other in elsewhere
    )
    return f"""\
# Written by mailseal: answers to ACME challenges, for every site and name. {_NOTE}

<Directory "{directory}">
    Require all granted
    AllowOverride None
    Options None
</Directory>

# Where the answer lies: with mailseal; else, if it is there, where another ACME client put its own.
SetEnvIf Request_URI "^" MAILSEAL_TOKENS={directory}
SetEnvIfExpr "{_TOKEN} && ! -f '{directory}/$1' && -f '%{{DOCUMENT_ROOT}}{CHALLENGE_PREFIX}$1' \
&& %{{DOCUMENT_ROOT}} =~ m#^(.+)$#" MAILSEAL_TOKENS=$1{CHALLENGE_PREFIX[:-1]}
{others}
SetEnvIf Request_URI "^{_PATH}" no-proxy

<LocationMatch "^{_PATH}(?<TOKEN>[A-Za-z0-9_-]+)$">
    Alias "%{{env:MAILSEAL_TOKENS}}/%{{env:MATCH_TOKEN}}"
    <If "-n reqenv('MAILSEAL_TOKENS')">
        Require all granted
        <IfModule access_compat_module>
            Order deny,allow
            Allow from all
        </IfModule>
        ForceType text/plain
        <IfModule rewrite_module>
            RewriteEngine Off
        </IfModule>
    </If>
</LocationMatch>
"""


def http_site(names: Sequence[str], addresses: Sequence[str], https_port: int, *, name_server: bool) -> str:
    """The site that sends everything but challenges to https."""
    port = "" if https_port == 443 else f":{https_port}"
    return f"""\
# Written by mailseal: sends visitors to https, except for ACME challenges. {_NOTE}
{_server_name(name_server)}
<VirtualHost {" ".join(addresses)}>
{_names(names)}
    <LocationMatch "^/(?!{_PATH[1:]})">
        Redirect permanent "https://%{{SERVER_NAME}}{port}%{{REQUEST_URI}}"
    </LocationMatch>
</VirtualHost>
"""


def https_site(
    names: Sequence[str],
    addresses: Sequence[str],
    pairs: Sequence[tuple[str, str]],
    root: str,
    *,
    listen: int | None,
    name_server: bool,
) -> str:
    """The site that serves the certificate; `listen` is a port that nobody listens on yet."""
    certificates = "\n".join(
        f"    SSLCertificateFile {cert}\n    SSLCertificateKeyFile {key}" for cert, key in pairs
    )
    listening = f"Listen {listen}\n\n" if listen else ""
    return f"""\
# Written by mailseal, and written anew when the certificates change their place or kind. {_NOTE}
# The site itself is a page of one line: put yours into another site with the names, and mailseal takes that over.
{_server_name(name_server)}
{listening}<VirtualHost {" ".join(addresses)}>
{_names(names)}
    DocumentRoot "{root}"
    <Directory "{root}">
        Require all granted
        AllowOverride None
        Options None
    </Directory>

    SSLEngine on
    SSLProtocol -all +TLSv1.2 +TLSv1.3
{certificates}
</VirtualHost>
"""


def page(primary: str) -> str:
    """The page of the https site: says nothing about the machine."""
    return f"""\
<!DOCTYPE html>
<!-- Written by mailseal. {_NOTE} -->
<html lang="en"><head><meta charset="utf-8"><title>{primary}</title></head>
<body><p>{primary}</p></body></html>
"""


def _server_name(wanted: bool) -> str:
    if not wanted:
        return ""
    return """
# The name of sites that have none: without this line they would answer for this machine's own name.
ServerName localhost
"""


def _names(names: Sequence[str]) -> str:
    first, *rest = names
    lines = [f"    ServerName {first}"]
    lines += [f"    ServerAlias {' '.join(rest[index : index + 6])}" for index in range(0, len(rest), 6)]
    return "\n".join(lines)

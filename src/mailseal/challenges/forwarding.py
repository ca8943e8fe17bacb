"""The rule to give to whoever owns port 80, so that challenges reach a listener elsewhere. Pure text.

When another host (a reverse proxy, a router's container host) owns port 80,
it forwards one path, `/.well-known/acme-challenge/`, for the certificate's
names. What is written here goes into configurations that are not ours and
that we cannot see, so each rule says where it belongs and what would
override it: HAProxy's `redirect` is done before any `use_backend`, and Nginx
Proxy Manager answers the path itself for hosts whose certificate it got from
Let's Encrypt.
"""

from __future__ import annotations

from dataclasses import dataclass

from mailseal.model import CHALLENGE_PREFIX


@dataclass(frozen=True, slots=True)
class Forward:
    """What is forwarded: these names, to this address and port of the mail server."""

    names: tuple[str, ...]
    address: str
    port: int

    @property
    def upstream(self) -> str:
        host = f"[{self.address}]" if ":" in self.address else self.address
        return f"{host}:{self.port}"


@dataclass(frozen=True, slots=True)
class Rule:
    """A rule for one product: what it is for, where it goes, and the text to paste (or type)."""

    product: str
    where: str
    text: str


def rules(forward: Forward) -> tuple[Rule, ...]:
    """The rule for each product that is known."""
    return (nginx_proxy_manager(forward), nginx(forward), haproxy(forward), apache(forward))


def nginx_proxy_manager(forward: Forward) -> Rule:
    names = "\n".join(f"                       {name}" for name in forward.names).strip()
    return Rule(
        product="Nginx Proxy Manager",
        where="Hosts → Proxy Hosts → Add Proxy Host (for names that have no host yet)",
        text=f"""\
Details
  Domain Names         {names}
  Scheme               http
  Forward Hostname/IP  {forward.address}
  Forward Port         {forward.port}
  Block Common Exploits and Access List: off
SSL
  SSL Certificate      None

For a name that has a proxy host already, add to that host instead:
Custom locations → Add location
  Location             {CHALLENGE_PREFIX}
  Scheme               http
  Forward Hostname/IP  {forward.address}
  Forward Port         {forward.port}

A host whose certificate Nginx Proxy Manager itself gets from Let's Encrypt answers this path itself;
set its certificate to None or to a custom one first.
""",
    )


def nginx(forward: Forward) -> Rule:
    return Rule(
        product="nginx",
        where="/etc/nginx/conf.d/mailseal.conf; where a server block of port 80 has these names already, "
        "put only the location into it. Then: nginx -t && nginx -s reload",
        text=f"""\
server {{
    listen 80;
    listen [::]:80;
    server_name {" ".join(forward.names)};

    location ^~ {CHALLENGE_PREFIX} {{
        proxy_pass http://{forward.upstream};
        proxy_set_header Host $host;
    }}
}}
""",
    )


def haproxy(forward: Forward) -> Rule:
    return Rule(
        product="HAProxy",
        where="/etc/haproxy/haproxy.cfg: the first four lines into the frontend of port 80, the backend beside it. "
        "A redirect of that frontend needs “unless mailseal_path”. "
        "Then: haproxy -c -f /etc/haproxy/haproxy.cfg && systemctl reload haproxy",
        text=f"""\
    # in the frontend that binds port 80
    acl mailseal_path path_beg {CHALLENGE_PREFIX}
    acl mailseal_name hdr(host),field(1,:) -i {" ".join(forward.names)}
    use_backend mailseal if mailseal_path mailseal_name

backend mailseal
    mode http
    timeout connect 5s
    timeout server 30s
    server mailseal {forward.upstream}
""",
    )


def apache(forward: Forward) -> Rule:
    first, *others = forward.names
    aliases = f"\n    ServerAlias {' '.join(others)}" if others else ""
    return Rule(
        product="Apache",
        where="/etc/apache2/sites-available/mailseal-forward.conf; where a site of port 80 has these names already, "
        "put only the last four lines into it, before its own ProxyPass and RewriteRule. "
        "Then: a2enmod proxy_http && a2ensite mailseal-forward && apache2ctl configtest && apache2ctl graceful",
        text=f"""\
<VirtualHost *:80>
    ServerName {first}{aliases}

    RewriteEngine On
    RewriteRule ^{CHALLENGE_PREFIX.replace(".", chr(92) + ".")} - [END]
    ProxyPreserveHost On
    ProxyPass {CHALLENGE_PREFIX} http://{forward.upstream}{CHALLENGE_PREFIX}
</VirtualHost>
""",
    )

"""What a name's addresses, or the name itself, say that an order's success would hide. Pure.

A web proxy such as Cloudflare's answers HTTP for a name and forwards it, so
http-01 passes; it forwards neither SMTP nor IMAP, so no mail ever arrives at
that name. Names that carry an address (sslip.io, nip.io) belong to one
registered domain for everybody in the world, and Let's Encrypt gives a
registered domain 50 certificates in 7 days (sources: FACTS of the field in
docs/http-01.md).
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable

from mailseal.model import Finding, Identifier, Severity

# Cloudflare's own list of the ranges its proxies answer from, www.cloudflare.com/ips, as of this day.
CLOUDFLARE_TAKEN = "2026-10-05"
CLOUDFLARE = (
    "173.245.48.0/20",
    "103.21.244.0/22",
    "103.22.200.0/22",
    "103.31.4.0/22",
    "141.101.64.0/18",
    "108.162.192.0/18",
    "190.93.240.0/20",
    "188.114.96.0/20",
    "197.234.240.0/22",
    "198.41.128.0/17",
    "162.158.0.0/15",
    "104.16.0.0/13",
    "104.24.0.0/14",
    "172.64.0.0/13",
    "131.0.72.0/22",
    "2400:cb00::/32",
    "2606:4700::/32",
    "2803:f800::/32",
    "2405:b500::/32",
    "2405:8100::/32",
    "2a06:98c0::/29",
    "2c0f:f248::/32",
)
SHARED_DOMAINS = ("sslip.io", "nip.io")

_NETWORKS = tuple(ipaddress.ip_network(text) for text in CLOUDFLARE)


def web_proxy(addresses: Iterable[str]) -> str | None:
    """The first address that a web-only proxy answers at, if one does."""
    for text in addresses:
        address = ipaddress.ip_address(text)
        if any(address in network for network in _NETWORKS if network.version == address.version):
            return text
    return None


def name_findings(
    identifier: Identifier, addresses: Iterable[str], *, receives_mail: bool
) -> tuple[Finding, ...]:
    """What is odd about a name. `receives_mail`: clients or servers speak SMTP or IMAP to it, not only HTTP."""
    found = []
    proxied = web_proxy(addresses)
    if proxied is not None:
        found.append(_proxied(identifier, proxied, receives_mail))
    if any(identifier.value.endswith(f".{domain}") for domain in SHARED_DOMAINS):
        found.append(_shared(identifier))
    return tuple(found)


def _proxied(identifier: Identifier, address: str, receives_mail: bool) -> Finding:
    return Finding(
        code="name-behind-web-proxy",
        severity=Severity.ERROR if receives_mail else Severity.INFO,
        subject=str(identifier),
        seen=f"{identifier} points at {address}, a web proxy of Cloudflare's (its list of {CLOUDFLARE_TAKEN})",
        expected="the address of this machine" if receives_mail else "",
        why="The proxy forwards web pages only: the certificate can be had, and mail still never arrives at this name."
        if receives_mail
        else "The proxy forwards web pages only: mail clients and servers cannot use this name.",
        mend=f"Switch the proxy off for {identifier} (“DNS only”, the grey cloud) in Cloudflare's DNS settings.",
    )


def _shared(identifier: Identifier) -> Finding:
    domain = ".".join(identifier.value.rsplit(".", 2)[-2:])
    return Finding(
        code="name-of-shared-domain",
        severity=Severity.WARNING,
        subject=str(identifier),
        seen=f"{identifier} belongs to {domain}, which everybody shares",
        expected="a name of a domain of your own",
        why=f"A CA such as Let's Encrypt gives all of {domain} 50 certificates in 7 days: an order may be refused "
        "through no fault of yours, and other mail servers may refuse mail from such a name.",
        mend="Take a domain of your own, or a name below one that is on the Public Suffix List, or try again later.",
    )

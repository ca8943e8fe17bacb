"""What the look at a name's own challenge says before anything is ordered, and what is odd about a name."""

from __future__ import annotations

from mailseal.findings.about import About

CHALLENGE = {
    "reached": About("Our own token was fetched", "The name leads here on port 80, over this address."),
    "unreachable-from-here": About(
        "The address cannot be reached from here",
        "It is not this machine's own, and nothing answered. Behind a router that does not lead back in (no hairpin "
        "NAT) that is usual, and the CA may still come in.",
    ),
    "router-answers": About(
        "The router's own page answers",
        "The default gateway gives the very same answer at its own address, so this is what the inside of the network "
        "sees; the CA, outside, may well be led to this machine.",
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

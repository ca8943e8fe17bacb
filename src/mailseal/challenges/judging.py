"""What a look at one's own challenge means: confirmed, refuted or unknown. Pure.

Only what is certain refutes, since a refuted name is not ordered:

- An answer came, and it is not ours: whatever a CA asks there, it gets the
  same.
- The address is this machine's own and nothing useful answers.
- DNS says for certain that there is no address, or DNSSEC is broken: CAs must
  check it (CA/Browser Forum ballot SC-085).

An address that is not ours and cannot be reached from here says nothing: the
way back in may need a hairpin NAT that is not there, while the world comes in.
The same holds where the default gateway gives the very same answer at its own
address: then it is the router's own page, which only the inside sees.
"""

from __future__ import annotations

from mailseal.challenges.base import Preflight, Reach
from mailseal.challenges.fetch import Answered, Failed, Trouble
from mailseal.dns.lookup import Addresses, Lookup, Outcome
from mailseal.model import Identifier

SHOWN_OCTETS = 60


def judge(
    identifier: Identifier,
    address: str,
    *,
    ours: bool,
    got: Answered | Failed,
    expected: bytes,
    router: str = "",
) -> Preflight:
    """The verdict over one address that DNS gives for a name.

    `ours`: it is one of this machine's addresses; `router`: the default gateway, where it answers alike.
    """
    if router:
        return _router(identifier, address, got, router)
    if isinstance(got, Answered):
        return _answered(identifier, address, ours, got, expected)
    if got.trouble.of_redirect:
        code = {
            Trouble.LOOP: "redirect-loop",
            Trouble.TOO_MANY: "too-many-redirects",
            Trouble.BAD_REDIRECT: "bad-redirect",
            Trouble.NO_ADDRESS: "redirect-without-address",
        }[got.trouble]
        mend = "Exempt /.well-known/acme-challenge/ from the redirect, or mend its target."
        return _said(identifier, address, Reach.REFUTED, code, f"{got.detail}{_way(got.hops)}", mend)
    moved = got.address != address
    if got.trouble is Trouble.NO_HTTP:
        mend = "Another program has port 80: ss -ltnp 'sport = :80' names it."
        mend = mend if ours else _wrong_address(identifier, address)
        return _said(
            identifier,
            address,
            Reach.REFUTED,
            "no-http",
            f"{got.address}: {got.detail}{_way(got.hops)}",
            mend,
        )
    if ours and not moved:
        return _own_silent(identifier, address, got)
    seen = f"{got.address} cannot be reached from here ({got.detail}){_way(got.hops)}"
    mend = (
        "Nothing, if this machine stands behind a router that forwards ports: many do not lead back in "
        "(no hairpin NAT), while the CA comes from outside."
    )
    return _said(identifier, address, Reach.UNKNOWN, "unreachable-from-here", seen, mend)


def alike(one: Answered | Failed, other: Answered | Failed) -> bool:
    """Whether two looks met the same server, as far as its answers tell."""
    if isinstance(one, Answered) and isinstance(other, Answered):
        # Only the beginning: pages carry times and secrets of forms further down.
        return (one.status, one.server, one.body[:SHOWN_OCTETS]) == (
            other.status,
            other.server,
            other.body[:SHOWN_OCTETS],
        )
    if isinstance(one, Failed) and isinstance(other, Failed):
        return one.trouble is other.trouble and one.detail == other.detail
    return False


def judge_names(identifier: Identifier, found: Addresses) -> Preflight | None:
    """The verdict where DNS gives no address to ask; None where it gives one."""
    both = (found.ipv6, found.ipv4)
    bogus = next((each for each in both if each.outcome is Outcome.BOGUS), None)
    if bogus is not None:
        mend = f"Mend the DNSSEC signatures or the DS record of the zone (delv {identifier} A tells where they break)."
        return _said(identifier, "", Reach.REFUTED, "dnssec-broken", bogus.detail, mend)
    if found.all:
        return None
    if all(each.certain for each in both):
        mend = f"Give {identifier} an A or AAAA record with this machine's address."
        return _said(identifier, "", Reach.REFUTED, _absence(both[1]), both[1].detail, mend)
    uncertain = next(each for each in both if not each.certain)
    mend = "Look at the resolvers in /etc/resolv.conf and at the zone's name servers."
    return _said(identifier, "", Reach.UNKNOWN, "dns-silent", uncertain.detail, mend)


def name_wrong_aaaa(results: tuple[Preflight, ...]) -> tuple[Preflight, ...]:
    """Names the classic failure: IPv4 is right, and the AAAA record that CAs try first leads elsewhere."""
    of_ipv4 = [each for each in results if each.address and ":" not in each.address]
    if not of_ipv4 or any(each.reach is not Reach.CONFIRMED for each in of_ipv4):
        return results
    return tuple(_as_wrong_aaaa(each) for each in results)


def _as_wrong_aaaa(result: Preflight) -> Preflight:
    if ":" not in result.address or result.reach is not Reach.REFUTED:
        return result
    mend = (
        f"Correct the AAAA record of {result.identifier} ({result.address}), or remove it: "
        "IPv4 answers rightly, but CAs try IPv6 first."
    )
    return _said(result.identifier, result.address, Reach.REFUTED, "wrong-aaaa", result.seen, mend)


def _absence(lookup: Lookup) -> str:
    return "no-such-name" if lookup.outcome is Outcome.NO_NAME else "no-address"


def _answered(identifier: Identifier, address: str, ours: bool, got: Answered, expected: bytes) -> Preflight:
    if got.status == 200 and got.body.strip() == expected:
        seen = f"{address} answers with our token{_way(got.hops)}"
        return _said(identifier, address, Reach.CONFIRMED, "reached", seen)
    seen = f"{got.address} answered {_shown(got)}{_way(got.hops)}"
    if not ours:
        return _said(
            identifier, address, Reach.REFUTED, "wrong-address", seen, _wrong_address(identifier, address)
        )
    code, mend = {
        404: (
            "not-served",
            (
                "The web server does not serve the challenge's directory under this name: look at its [http01] way, "
                "its DocumentRoot, and rewrites or proxies of /.well-known/."
            ),
        ),
        403: (
            "forbidden",
            "The web server may not read the challenge's directory, or denies hidden paths under this name.",
        ),
        401: (
            "forbidden",
            "The web server asks for a password: exempt /.well-known/acme-challenge/ from it.",
        ),
    }.get(
        got.status,
        (
            "other-server",
            "Another program answers on port 80 under this name: ss -ltnp 'sport = :80' names it.",
        ),
    )
    return _said(identifier, address, Reach.REFUTED, code, seen, mend)


def _router(identifier: Identifier, address: str, got: Answered | Failed, router: str) -> Preflight:
    what = _shown(got) if isinstance(got, Answered) else got.detail
    seen = f"the router at {router} answers for {address} itself, with its own page ({what})"
    mend = f"Nothing, if the router forwards port 80 of {address} to this machine for everybody outside."
    return _said(identifier, address, Reach.UNKNOWN, "router-answers", seen, mend)


def _wrong_address(identifier: Identifier, address: str) -> str:
    kind = "AAAA" if ":" in address else "A"
    return (
        f"Another server answers at {address}, which is not an address of this machine. Correct the {kind} record of "
        f"{identifier}, or let that server forward /.well-known/acme-challenge/ here."
    )


def _own_silent(identifier: Identifier, address: str, got: Failed) -> Preflight:
    code = {Trouble.REFUSED: "connection-refused", Trouble.TIMEOUT: "timeout"}.get(got.trouble, "unreachable")
    seen = f"{address} is this machine's own address, and does not answer: {got.detail}{_way(got.hops)}"
    mend = "Let the web server listen on port 80 of this address, and let no firewall drop it."
    if ":" in address:
        mend = (
            f"Let the web server listen on port 80 over IPv6 too, or remove the AAAA record of {identifier}."
        )
    if len(got.hops) > 1:
        mend = (
            f"Exempt /.well-known/acme-challenge/ from the redirect, or let {got.hops[-1][:80]} be answered."
        )
    return _said(identifier, address, Reach.REFUTED, code, seen, mend)


def _shown(got: Answered) -> str:
    """The answer in a line: status, Server, first octets; nothing in it can move a terminal's cursor."""
    start = "".join(
        letter if letter.isprintable() else " "
        for letter in got.body[:SHOWN_OCTETS].decode("utf-8", "replace")
    )
    told = [str(got.status)]
    if got.server:
        told.append(
            f"Server: {''.join(letter for letter in got.server if letter.isprintable())[:SHOWN_OCTETS]}"
        )
    if start.strip():
        told.append(f"beginning “{' '.join(start.split())}”")
    return ", ".join(told)


def _way(hops: tuple[str, ...]) -> str:
    return f", by way of {' → '.join(hops[1:3])}{' → …' if len(hops) > 3 else ''}" if len(hops) > 1 else ""


def _said(
    identifier: Identifier, address: str, reach: Reach, code: str, seen: str, mend: str = ""
) -> Preflight:
    return Preflight(identifier, address, reach, code, seen, mend)

"""What setup proposes: the names that this server goes by, found by looking at its services and in DNS.

A name is proposed when a service knows itself by it or a mail domain's MX
record leads to it, it has a dot, and DNS gives it an address. Names that DNS
does not know are told and left out: no CA could reach them.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterable
from dataclasses import dataclass

from mailseal.dns.lookup import addresses, look_up
from mailseal.model import Identifier
from mailseal.services.base import Facts
from mailseal.system import System
from mailseal.system.dns import Dns

_PRIVATE = (".localdomain", ".localhost", ".local", ".lan", ".internal", ".home.arpa")


@dataclass(frozen=True, slots=True)
class Proposal:
    """Names to ask a certificate for, the one the host goes by first; mail domains; what was left out and why."""

    names: tuple[Identifier, ...]
    domains: tuple[str, ...]
    left_out: tuple[str, ...]


def propose(system: System, facts: Iterable[Facts], dns: Dns) -> Proposal:
    """Looks the machine's names up and proposes those that DNS knows."""
    facts = tuple(facts)
    own = _own_names(system, facts)
    domains = _mail_domains(system, facts)
    return asyncio.run(_checked(dns, own, domains))


def _own_names(system: System, facts: tuple[Facts, ...]) -> list[str]:
    found: list[str] = []
    for one in sorted(
        facts, key=lambda f: ("postfix", "dovecot").index(f.kind) if f.kind in ("postfix", "dovecot") else 9
    ):
        found.extend(one.names)
    said = (
        system.processes.run(["hostname", "--fqdn"], timeout=15.0)
        if system.processes.which("hostname")
        else None
    )
    if said is not None and said.ok:
        found.append(said.stdout.strip())
    return list(dict.fromkeys(name.lower().rstrip(".") for name in found if name))


def _mail_domains(system: System, facts: tuple[Facts, ...]) -> list[str]:
    """The domains that Postfix takes mail for, as far as its own settings list them (maps are not read)."""
    postfix = next((one for one in facts if one.kind == "postfix"), None)
    if postfix is None:
        return []
    asked = system.processes.run(
        ["postconf", "-c", postfix.config_dir, "-x", "-h", "mydestination", "virtual_mailbox_domains"],
        timeout=15.0,
    )
    words = re.split(r"[,\s]+", asked.stdout) if asked.ok else []
    return list(
        dict.fromkeys(w.lower() for w in words if "." in w and ":" not in w and "/" not in w and "$" not in w)
    )


async def _checked(dns: Dns, own: list[str], domains: list[str]) -> Proposal:
    names: list[Identifier] = []
    left_out: list[str] = []
    exchangers = await asyncio.gather(*(look_up(dns, domain, "MX") for domain in domains))
    hosts = [
        data.split()[-1].rstrip(".").lower() for found in exchangers for data in found.data if data.split()
    ]
    for name in dict.fromkeys((*own, *(host for host in hosts if host in own))):
        try:
            identifier = Identifier.parse(name)
        except ValueError as error:
            left_out.append(f"{name}: {error}")
            continue
        if identifier.kind != "dns" or name.endswith(_PRIVATE):
            left_out.append(f"{name}: not a name of the public DNS")
            continue
        found = await addresses(dns, identifier.value)
        if found.all:
            names.append(identifier)
        else:
            left_out.append(f"{name}: DNS has no address for it")
    return Proposal(tuple(dict.fromkeys(names)), tuple(domains), tuple(left_out))

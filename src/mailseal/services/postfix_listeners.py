"""Where a Postfix instance listens for SMTP clients, by master.cf and the inet_ parameters.

master(5): an inet service is named `port` or `host:port`, the port a number or
a name of services(5), an IPv6 address in brackets. Without a host it listens
on `inet_interfaces` (postconf(5)): `all`, `loopback-only`, or a list of names
and addresses. `inet_protocols` says which of IPv4 and IPv6 are on. smtpd(8)
and postscreen(8) speak SMTP; what else is there (qmqpd, policy servers) is
left out.

A wildcard is proven at 127.0.0.1 and ::1, ::1 only where the kernel has it. A
service that is bound to loopback by name and offers no TLS (the way back from
a content filter) is no endpoint: no client reaches it, and nothing is to prove.
Names are looked up in hosts(5) alone, as far as it has them.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Protocol

from mailseal.errors import SystemFault
from mailseal.model import AppProtocol, Endpoint, TlsMode
from mailseal.services import postfix_conf as conf
from mailseal.services.postfix_conf import MasterService
from mailseal.system import Files

_WELL_KNOWN = {"smtp": 25, "mail": 25, "submission": 587, "submissions": 465, "smtps": 465, "ssmtp": 465}
_SPEAK_SMTP = ("smtpd", "postscreen")
LOOPBACK = ("127.0.0.1", "::1")


@dataclass(frozen=True, slots=True)
class Listener:
    """A TCP service that speaks SMTP: its port, the addresses to reach it at, and how TLS starts.

    `unresolved` are the hosts of its name or of inet_interfaces that are no address and not in hosts(5).
    """

    service: MasterService
    port: int
    addresses: tuple[str, ...]
    tls: TlsMode
    protocol: AppProtocol
    unresolved: tuple[str, ...] = ()

    @property
    def loopback_only(self) -> bool:
        """Whether the service's own name binds it to loopback."""
        host, _ = split_name(self.service.name)
        return bool(host) and all(ipaddress.ip_address(a).is_loopback for a in self.addresses)


class Values(Protocol):
    """The effective values (`PostfixFacts`)."""

    def value(self, name: str, service: MasterService | None = None) -> str: ...

    def flag(self, name: str, service: MasterService | None = None) -> bool: ...

    def level(self, service: MasterService | None = None) -> str: ...


def listeners(files: Files, services: Iterable[MasterService], values: Values) -> tuple[Listener, ...]:
    """The services that speak SMTP over TCP, in the order of master.cf."""
    ports = _Table(files)
    found = []
    for service in services:
        command = service.command.rpartition("/")[2]
        if service.type != "inet" or command not in _SPEAK_SMTP:
            continue
        host, port_name = split_name(service.name)
        port = ports.port(port_name)
        if port is None:
            continue
        addresses, unresolved = ports.addresses(host, values)
        tls = _tls(service, values)
        protocol = _protocol(service, port, tls, values)
        found.append(Listener(service, port, addresses, tls, protocol, unresolved))
    return tuple(found)


def endpoints(heard: Iterable[Listener]) -> tuple[Endpoint, ...]:
    """Where clients reach them."""
    found = []
    for one in heard:
        if one.tls is TlsMode.NONE and one.loopback_only:
            continue
        found += [Endpoint("postfix", a, one.port, one.protocol, one.tls) for a in one.addresses]
    return tuple(dict.fromkeys(found))


def split_name(name: str) -> tuple[str, str]:
    """Host (empty: none) and port of an inet service's name: `[::1]:465` → `::1`, `465`."""
    host, _, port = name.rpartition(":")
    return host.strip("[]"), port


def _tls(service: MasterService, values: Values) -> TlsMode:
    if values.flag("smtpd_tls_wrappermode", service):
        return TlsMode.IMPLICIT
    return TlsMode.NONE if values.level(service) == "none" else TlsMode.STARTTLS


def _protocol(service: MasterService, port: int, tls: TlsMode, values: Values) -> AppProtocol:
    """Port 25 is for servers, 465 and 587 for clients; another port is what its settings make of it."""
    if port == 25:
        return AppProtocol.SMTP
    if port in (465, 587) or tls is TlsMode.IMPLICIT or values.level(service) == "encrypt":
        return AppProtocol.SUBMISSION
    own_auth = (service.override("smtpd_sasl_auth_enable") or "").lower() == "yes"
    return AppProtocol.SUBMISSION if own_auth else AppProtocol.SMTP


class _Table:
    """services(5), hosts(5) and the kernel's IPv6, each read when it is needed."""

    def __init__(self, files: Files) -> None:
        self._files = files

    def port(self, name: str) -> int | None:
        if name.isdigit():
            return int(name) if 0 < int(name) < 65536 else None
        for words in self._lines("/etc/services"):
            number, _, protocol = (words[1] if len(words) > 1 else "").partition("/")
            if protocol == "tcp" and name in (words[0], *words[2:]) and number.isdigit():
                return int(number)
        return _WELL_KNOWN.get(name)

    def addresses(self, host: str, values: Values) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """The addresses to reach a service at, and the hosts that could not be looked up."""
        families = self._families(values.value("inet_protocols"))
        wanted = (host,) if host else conf.items(values.value("inet_interfaces")) or ("all",)
        found, unresolved = [], []
        for name in wanted:
            told = tuple(self._one(name))
            if not told:
                unresolved.append(name)
            found += [a for a in told if ipaddress.ip_address(a).version in families]
        return tuple(dict.fromkeys(found)), tuple(unresolved)

    def _one(self, host: str) -> Iterator[str]:
        if host in ("all", "loopback-only", "localhost", "*"):
            yield from LOOPBACK
            return
        try:
            address = ipaddress.ip_address(host.strip("[]"))
        except ValueError:
            for words in self._lines("/etc/hosts"):
                if host in words[1:]:
                    yield words[0]
            return
        yield LOOPBACK[address.version == 6] if address.is_unspecified else str(address)

    def _families(self, protocols: str) -> tuple[int, ...]:
        wanted = conf.items(protocols.lower()) or ("all",)
        families = [4] if {"all", "ipv4"}.intersection(wanted) else []
        if {"all", "ipv6"}.intersection(wanted) and self._has_ipv6():
            families.append(6)
        return tuple(families)

    def _has_ipv6(self) -> bool:
        # proc(5): the addresses of all interfaces, in hex, ::1 among them where IPv6 is on.
        return any(words[0] == f"{1:032x}" for words in self._lines("/proc/net/if_inet6"))

    def _lines(self, path: str) -> Iterator[list[str]]:
        try:
            text = conf.decode(self._files.read(path))
        except SystemFault:
            return
        for line in text.split("\n"):
            words = line.partition("#")[0].split()
            if words:
                yield words

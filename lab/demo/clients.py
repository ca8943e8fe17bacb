"""What clients that know nothing of mailseal see: openssl s_client(1) and curl(1).

`openssl s_client` speaks STARTTLS for every protocol of a mail server and
verifies chain and name; it prints what it saw whether that is good or not.
Only what it printed is read here, the certificate with `cryptography`.
"""

from __future__ import annotations

import re
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.x509.oid import NameOID

from lab.box import Result
from lab.demo.stage import Port, Stage

_PEM = re.compile(r"-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----", re.DOTALL)
_PROTOCOL = re.compile(r"^New, (TLSv[\d.]+),", re.MULTILINE)
_VERIFIED = re.compile(r"^Verification(?: error)?: (.+)$", re.MULTILINE)


@dataclass(frozen=True)
class Seen:
    """One handshake. `sha256` is the leaf's fingerprint in hex; `verdict` openssl's own word on chain and name."""

    port: Port
    tls: str = ""
    names: tuple[str, ...] = ()
    subject: str = ""
    issuer: str = ""
    expires: str = ""
    serial: str = ""
    sha256: str = ""
    verdict: str = ""

    @property
    def served(self) -> bool:
        return bool(self.sha256)

    @property
    def verified(self) -> bool:
        return self.served and self.verdict == "OK"


def look(stage: Stage, name: str, *, ipv6: bool = False) -> list[Seen]:
    """Every port that speaks TLS, asked for `name` by openssl, over IPv4 or IPv6."""
    ports = [port for port in stage.ports if port.tls]
    with ThreadPoolExecutor(4) as pool:
        return list(pool.map(lambda port: _handshake(stage, port, name, ipv6), ports))


def fetch(stage: Stage, url: str) -> Result:
    """What curl gets: status, redirect and whether the chain was trusted, in one line; its exit status."""
    told = ("-o", "/dev/null", "-w", "%{http_code} %{redirect_url} %{ssl_verify_result}")
    trust = ("--cacert", stage.client_roots)
    return stage.client(["curl", "-sS", "--max-time", "20", *trust, *told, *stage.resolving(), url])


def _handshake(stage: Stage, port: Port, name: str, ipv6: bool) -> Seen:
    address = stage.address6 if ipv6 else stage.address
    where = f"[{address}]:{port.number}" if ipv6 else f"{address}:{port.number}"
    argv = ["openssl", "s_client", "-connect", where, "-servername", name, "-verify_hostname", name]
    argv += ["-CAfile", stage.client_roots, *(["-starttls", port.starttls] if port.starttls else [])]
    told = stage.client(argv)
    pem, protocol = _PEM.search(told.stdout), _PROTOCOL.search(told.stdout)
    if pem is None or protocol is None:
        return Seen(port, verdict=_complaint(told))
    leaf = x509.load_pem_x509_certificate(pem.group().encode())
    verified = _VERIFIED.search(told.stdout)
    return Seen(
        port,
        tls=protocol.group(1).removeprefix("TLSv"),
        names=_names(leaf),
        subject=_common(leaf.subject),
        issuer=_common(leaf.issuer),
        expires=f"{leaf.not_valid_after_utc:%Y-%m-%d}",
        serial=f"{leaf.serial_number:x}",
        sha256=leaf.fingerprint(SHA256()).hex(),
        verdict=verified.group(1).strip() if verified else "not verified",
    )


def _complaint(told: Result) -> str:
    if "Connection refused" in told.stderr or "errno=111" in told.stderr:
        return "connection refused"
    lines = [line for line in told.stderr.splitlines() if ":error:" in line or "errno" in line]
    return lines[-1].split(":")[-1].strip() if lines else "no handshake"


def _names(leaf: x509.Certificate) -> tuple[str, ...]:
    try:
        found = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    except x509.ExtensionNotFound:
        return ()
    return tuple(found.value.get_values_for_type(x509.DNSName))


def _common(name: x509.Name) -> str:
    found = name.get_attributes_for_oid(NameOID.COMMON_NAME)
    return str(found[0].value) if found else name.rfc4514_string()

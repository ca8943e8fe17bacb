"""Other ACME clients on the machine: which of them keeps which names. Looks, and judges nothing.

certbot keeps `/etc/letsencrypt/renewal/<lineage>.conf` beside
`live/<lineage>/cert.pem`; acme.sh, dehydrated, lego and getssl a folder a
name. What a client's certificate names is read from the certificate itself;
where that cannot be read, the folder's name has to do.
"""

from __future__ import annotations

from dataclasses import dataclass

from mailseal.certificates import certificate_facts, read_pem
from mailseal.errors import MailsealError
from mailseal.system import Files


@dataclass(frozen=True, slots=True)
class Managed:
    """One certificate that another client renews: the client, where it keeps it, the names."""

    client: str
    place: str
    names: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Layout:
    client: str
    folder: str
    suffix: str  # what an entry of the folder ends in, and loses
    cert: str  # where the leaf is, `{name}` being the entry


_LAYOUTS = (
    _Layout("certbot", "/etc/letsencrypt/renewal", ".conf", "/etc/letsencrypt/live/{name}/cert.pem"),
    _Layout("acme.sh", "/root/.acme.sh", "", "/root/.acme.sh/{name}/{host}.cer"),
    _Layout("dehydrated", "/var/lib/dehydrated/certs", "", "/var/lib/dehydrated/certs/{name}/cert.pem"),
    _Layout("lego", "/var/lib/lego/certificates", ".crt", "/var/lib/lego/certificates/{name}.crt"),
    _Layout("lego", "/root/.lego/certificates", ".crt", "/root/.lego/certificates/{name}.crt"),
    _Layout("getssl", "/root/.getssl", "", "/root/.getssl/{name}/{host}.crt"),
)


def managed(files: Files) -> tuple[Managed, ...]:
    """Every certificate that another client keeps here."""
    found = []
    for layout in _LAYOUTS:
        for entry in files.listdir(layout.folder):
            if not entry.endswith(layout.suffix) or "." not in entry or entry.endswith(".issuer.crt"):
                continue
            name = entry.removesuffix(layout.suffix)
            path = layout.cert.format(name=name, host=name.removesuffix("_ecc"))
            if files.stat(path, follow=True) is not None or layout.client == "certbot":
                found.append(Managed(layout.client, f"{layout.folder}/{entry}", _names(files, path, name)))
    return tuple(found)


def _names(files: Files, path: str, fallback: str) -> tuple[str, ...]:
    try:
        leaf = read_pem(files.read(path, 1_048_576))[0]
        return tuple(identifier.value for identifier in certificate_facts(leaf).identifiers)
    except (MailsealError, IndexError):
        return (fallback,)

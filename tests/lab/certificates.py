"""A lineage on a lab host without an ACME order: certificates of a test authority, where daemons are told to look."""

from __future__ import annotations

from lab.host import Host
from mailseal.model import KeyType
from tests.support.certs import Issued

NAME = "mail.example.test"
CURRENT = "/var/lib/mailseal/lineages/mail/current"
KEY_TYPES = (KeyType.ECDSA_P256, KeyType.RSA_2048)


def deploy(host: Host, issued: dict[KeyType, Issued], current: str = CURRENT) -> None:
    """Writes every file of each key type, as a generation has them."""
    for key_type, leaf in issued.items():
        folder = f"{current}/{key_type.value}"
        host.sh(f"umask 077; mkdir -p {folder}; chmod 711 /var/lib/mailseal")
        for name, content in (
            ("privkey", leaf.key_pem),
            ("cert", leaf.cert_pem),
            ("chain", leaf.chain_pem),
            ("fullchain", leaf.fullchain_pem),
            ("combined", leaf.combined_pem),
        ):
            host.write(f"{folder}/{name}.pem", content.decode(), 0o600)

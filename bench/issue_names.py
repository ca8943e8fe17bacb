"""What both sides of `script/bench issue` know: the outside, and the jobs inside the lab's hosts."""

from __future__ import annotations

from collections.abc import Iterable

WEBROOT = "/var/www/html"  # the DocumentRoot of Debian's apache2 as it is installed
ROOTS = "/etc/ssl/bench-roots.pem"  # the CA's roots, by which mailseal judges what it was given
TRUST = "/opt/lab/acme-api.pem"  # the root of the CA's own https, as lab.world puts it there
PEERS = ("certbot", "lego", "dehydrated")
ACCOUNT_NAME = "account.peer.example.test"  # for a peer whose account comes with its first certificate


def name_of(number: int, suffix: str) -> str:
    """The one name of the certificate with this number."""
    return f"b{number}-0{suffix}"


def configuration(directory: str, state: str, names: Iterable[str], *, at_once: int = 8) -> str:
    """mailseal.toml as an admin would write it where the web root is served already and no daemon is to be touched."""
    tables = [
        f"""\
[acme]
directory = "{directory}"
contact = ["postmaster@example.test"]
agree_to_terms = true
ca_file = "{TRUST}"
orders_at_once = {at_once}
[http01]
method = "webroot"
webroot = "{WEBROOT}"
[services]
postfix.enabled = false
dovecot.enabled = false
apache.enabled = false
[state]
directory = "{state}"
[proof]
trust = "{ROOTS}"
"""
    ]
    tables += [f'[[certificate]]\nname = "{name}"\nidentifiers = ["{name}"]\n' for name in names]
    return "".join(tables)

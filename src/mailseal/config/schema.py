"""The configuration's structs. What a key means is written on its field, and nowhere else.

`key(…)` carries a field's documentation: the description, the shape that its
texts must have (`mailseal.config.shapes`), and an example. From these come
the reader's messages, docs/reference/configuration.md and the annotated
sample, so the three cannot drift apart. A struct's docstring documents its
table.
"""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

from mailseal.config.acme import Acme
from mailseal.config.keys import Port, Seconds, key
from mailseal.config.notify import Notify
from mailseal.config.telling import Hooks, Metrics
from mailseal.config.timer import Timer
from mailseal.model import CertificateSpec, Identifier, KeyType


class Certificate(msgspec.Struct, frozen=True, kw_only=True):
    """One certificate that should be there and served. Write the table as often as there are certificates."""

    name: Annotated[
        str,
        key(
            "Its name on this machine, also that of its folder. It stays when the identifiers change.",
            shape="filename",
            example="mail",
        ),
    ]
    identifiers: Annotated[
        tuple[str, ...],
        msgspec.Meta(min_length=1, max_length=100),
        key(
            "1 to 100 host names (any case, Unicode allowed) or IP addresses that it is for. "
            "The names in the MX records must be among them. Their order means nothing.",
            expects="a list of 1 to 100 host names or IP addresses",
            shape="identifier",
            example=("mail.example.org", "webmail.example.org"),
        ),
    ]
    key_types: Annotated[
        tuple[KeyType, ...],
        msgspec.Meta(min_length=1, max_length=2),
        key(
            "The kinds of key, the preferred one first; each is a certificate of its own, served to whoever asks for "
            "it. At most one ECDSA and one RSA kind: a client can tell only these two apart.",
            expects="a list of one or two of ecdsa-p256, ecdsa-p384, rsa-2048, rsa-3072, rsa-4096",
            example=(KeyType.ECDSA_P256, KeyType.RSA_2048),
        ),
    ] = (KeyType.ECDSA_P256,)
    issuer: Annotated[Literal["acme"], key("Where it comes from. acme: the CA of [acme].")] = "acme"
    profile: Annotated[
        str | None,
        key("As in [acme], for this certificate alone.", shape="word", example="classic"),
    ] = None
    preferred_chain: Annotated[
        str | None,
        key("As in [acme], for this certificate alone.", shape="text", example="ISRG Root X2"),
    ] = None


class Http01(msgspec.Struct, frozen=True, kw_only=True):
    """Who answers the CA on port 80 (RFC 8555 section 8.3). Left out, mailseal finds the way that fits the machine."""

    method: Annotated[
        Literal["auto", "apache", "webroot", "listener"],
        key(
            "apache: this machine's Apache answers, for every site at once, from a directory that root owns. "
            "webroot: a file in the web root of a site that is there already. "
            "listener: mailseal itself listens while it obtains a certificate. "
            "auto: apache where Apache runs, else the listener."
        ),
    ] = "auto"
    webroot: Annotated[
        str | None,
        key(
            "For webroot: the directory of the site that every name is served from.",
            shape="path",
            example="/var/www/html",
        ),
    ] = None
    webroots: Annotated[
        dict[str, str],
        key(
            "For webroot: a directory for single names, where they differ; the others use `webroot`.",
            expects='a table of names and absolute paths, as in { "mail.example.org" = "/var/www/mail" }',
            shape="path",
            example={"mail.example.org": "/var/www/mail.example.org"},
        ),
    ] = {}
    listen: Annotated[
        str | None,
        key(
            "For the listener: the IP address to listen on; left out, every address. Behind a proxy on another host, "
            "the address that the proxy forwards to.",
            shape="address",
            example="192.0.2.7",
        ),
    ] = None
    port: Annotated[
        Port,
        key(
            "For the listener: the port. The CA always asks at port 80, so another needs a proxy that forwards to it.",
            expects="a port from 1 to 65535",
        ),
    ] = 80


class Service(msgspec.Struct, frozen=True, kw_only=True):
    """One instance of a daemon. Services are found on the machine; a table is needed only for what differs."""

    enabled: Annotated[bool, key("Whether mailseal gives it certificates. false: it is left alone.")] = True
    config_dir: Annotated[
        str | None,
        key(
            "The instance's configuration directory; left out, the one of the Debian package.",
            shape="path",
            example="/etc/mail-second",
        ),
    ] = None
    binary: Annotated[
        str | None,
        key(
            "The program that controls or runs it; left out, the one of the Debian package.",
            shape="path",
            example="/usr/local/sbin/mail-second",
        ),
    ] = None
    systemd_unit: Annotated[
        str | None,
        key(
            "The systemd unit that runs it; left out, the one of the Debian package.",
            shape="word",
            example="mail@second.service",
        ),
    ] = None


class WebService(Service, frozen=True, kw_only=True):
    """One instance of a web server. Found on the machine; a table is needed only for what differs."""

    web_root: Annotated[
        str | None,
        key(
            "The DocumentRoot of the https site that mailseal makes; left out, one of its own.",
            shape="path",
            example="/var/www/html",
        ),
    ] = None
    http_port: Annotated[Port, key("The port in place of 80.", expects="a port from 1 to 65535")] = 80
    https_port: Annotated[Port, key("The port in place of 443.", expects="a port from 1 to 65535")] = 443


class PostfixService(Service, frozen=True, kw_only=True):
    """One instance of Postfix."""

    submission: Annotated[
        bool,
        key(
            "Whether the ports 587 and 465 are added to master.cf where they are missing and SASL works there "
            "(only who has logged in may send). What master.cf has already is never changed."
        ),
    ] = False


class Services(msgspec.Struct, frozen=True, kw_only=True):
    """The daemons."""

    postfix: PostfixService = PostfixService()
    dovecot: Service = Service()
    apache: WebService = WebService()


class State(msgspec.Struct, frozen=True, kw_only=True):
    """Where mailseal keeps what it knows."""

    directory: Annotated[
        str,
        key(
            "Accounts, certificates and keys, the journal. To move it: mailseal detach, move it, mailseal apply.",
            shape="path",
        ),
    ] = "/var/lib/mailseal"
    keep_generations: Annotated[
        int,
        msgspec.Meta(ge=2, le=1000),
        key(
            "How many generations of each certificate are kept, the live one among them. Older ones are removed at the "
            "end of a run, when it is proven that nothing serves them and no configuration names them.",
            expects="a number from 2 to 1000",
        ),
    ] = 3
    lock: Annotated[str, key("The file that keeps two mailseals from working at once.", shape="path")] = (
        "/run/lock/mailseal.lock"
    )


class Proof(msgspec.Struct, frozen=True, kw_only=True):
    """How it is proven that every port serves the right certificate."""

    trust: Annotated[
        str,
        key(
            "By which roots a served chain is judged: `system`, or a PEM file of roots (for a CA of your own).",
            shape="trust",
            example="/etc/mailseal/lab-root.pem",
        ),
    ] = "system"
    deadline: Annotated[
        Seconds,
        key(
            "Seconds after a reload within which every endpoint must serve the new certificate; then it is taken back.",
            expects="seconds, more than 0 and at most 3600",
        ),
    ] = 60.0
    timeout: Annotated[
        Seconds,
        key(
            "Seconds that one connection may take. Without DNS a mail server's greeting can take more than 8.",
            expects="seconds, more than 0 and at most 3600",
        ),
    ] = 20.0


class Dns(msgspec.Struct, frozen=True, kw_only=True):
    """Where names are looked up. Left out, as the machine does it (/etc/resolv.conf)."""

    nameservers: Annotated[
        tuple[str, ...],
        key(
            "IP addresses of the name servers to ask in place of the system's; with a port as 127.0.0.1:5353 or "
            "[::1]:5353.",
            expects="a list of IP addresses, each with a port or without",
            shape="server",
            example=("192.0.2.53",),
        ),
    ] = ()


class Config(msgspec.Struct, frozen=True, kw_only=True):
    """The whole file."""

    acme: Acme = Acme()
    certificate: tuple[Certificate, ...] = ()
    http01: Http01 = Http01()
    services: Services = Services()
    state: State = State()
    proof: Proof = Proof()
    dns: Dns = Dns()
    hooks: Hooks = Hooks()
    metrics: Metrics = Metrics()
    timer: Timer = Timer()
    notify: Notify = Notify()

    def specs(self) -> tuple[CertificateSpec, ...]:
        """The wishes, in the order of the file; what a certificate leaves open is taken from [acme]."""
        return tuple(
            CertificateSpec(
                name=one.name,
                identifiers=frozenset(Identifier.parse(text) for text in one.identifiers),
                key_types=one.key_types,
                issuer=one.issuer,
                profile=one.profile or self.acme.profile,
                preferred_chain=one.preferred_chain or self.acme.preferred_chain,
            )
            for one in self.certificate
        )

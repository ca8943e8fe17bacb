"""What should hold at an endpoint, and the questions that find out.

Every endpoint is asked under each name that it should carry, and once
without SNI where mail comes in: a sender on port 25 gives no name unless DANE
tells it to (RFC 7672 section 8.1), so the default certificate must do. Where
two key families should be served each is asked for by itself, and once, under
the first name, whatever a client of today would get.

AUTH before TLS is only seen by a stranger: Dovecot counts a client with the
server's own address as secured. So an IPv4 endpoint of this machine is asked
from 127.0.0.2; over IPv6 there is no such second address, and AUTH is then
not judged (`asked_as_stranger`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from mailseal.certificates import key_family
from mailseal.model import AppProtocol, Endpoint, Identifier, KeyFamily, TlsMode
from mailseal.probes.base import Question
from mailseal.probes.http import HttpQuestion

STRANGER = "127.0.0.2"
MANY = 8


@dataclass(frozen=True, slots=True)
class ExpectedLeaf:
    """A certificate as it was issued: the leaf and what vouches for it, DER, in order."""

    chain: tuple[bytes, ...] = field(repr=False)

    @property
    def fingerprint(self) -> str:
        return hashlib.sha256(self.chain[0]).hexdigest()

    @property
    def family(self) -> KeyFamily:
        return key_family(self.chain[0])


@dataclass(frozen=True, slots=True)
class PublicFile:
    """A file that GET must answer with 200 and this content, under every name."""

    path: str
    content: bytes


@dataclass(frozen=True, slots=True)
class Expectation:
    """What should hold at one endpoint.

    `names` are asked with SNI (as Host on port 80), each answered with a
    certificate good for it; `default_name` is the one that the certificate
    served without SNI must be good for (empty: that is not asked). `leaves`
    holds the certificates expected, one a key family; empty: whatever comes
    is judged by itself. `redirect` asks for a 301 to https. `guessed`: the
    names were inferred, so a mismatch is a warning. `unnamed`: what is served
    without SNI counts although there is no `default_name`.
    """

    endpoint: Endpoint
    names: tuple[str, ...] = ()
    default_name: str = ""
    leaves: tuple[ExpectedLeaf, ...] = ()
    redirect: bool = False
    public_file: PublicFile | None = None
    guessed: bool = False
    unnamed: bool = False

    def leaf(self, family: KeyFamily | None) -> ExpectedLeaf | None:
        """The certificate expected for a question of this family; where it asks for none, the only one."""
        fitting = [leaf for leaf in self.leaves if family is None or leaf.family == family]
        return fitting[0] if len(fitting) == 1 else None

    def questions(self, own_addresses: Iterable[str] = ()) -> tuple[Question, ...]:
        """All that must be asked to know whether it holds, the most telling first."""
        source = source_for(self.endpoint.address, own_addresses)
        if self.endpoint.tls is TlsMode.NONE:
            return tuple(self._plain(source))
        families: tuple[KeyFamily | None, ...] = (None,)
        if len(self.leaves) > 1:
            families = tuple(leaf.family for leaf in self.leaves)
        names: list[str | None] = [*self.names]
        if self.default_name or self.unnamed or not names:
            names.insert(0, None)
        wanted = [(name, family) for name in names for family in families]
        if len(families) > 1:
            wanted.insert(0, (names[0], None))
        return tuple(Question(self.endpoint, name, family, source) for name, family in wanted)

    def essential(self, own_addresses: Iterable[str] = ()) -> tuple[Question, ...]:
        """The few that are asked again and again, to see that no old process answers any more."""
        asked = self.questions(own_addresses)
        return tuple(question for question in asked if question.server_name == asked[0].server_name)

    def _plain(self, source: str | None) -> Iterable[Question]:
        for name in self.names or (None,):
            if self.endpoint.protocol is not AppProtocol.HTTP:
                yield Question(self.endpoint, name, None, source)
                continue
            if self.redirect or self.public_file is None:
                yield HttpQuestion(self.endpoint, name, None, source, path="/")
            if self.public_file is not None:
                yield HttpQuestion(self.endpoint, name, None, source, path=self.public_file.path)


def expectations(
    endpoints: Iterable[Endpoint],
    identifiers: Iterable[Identifier],
    *,
    primary: str = "",
    leaves: Sequence[ExpectedLeaf] = (),
    public_file: PublicFile | None = None,
    redirect: bool = False,
) -> tuple[Expectation, ...]:
    """The same for every endpoint: these names, these leaves; the web's part for web endpoints only.

    Of more than `MANY` names each is asked at every service, but not on each of its ports and addresses:
    a hundred names on twenty ports would keep the daemons busy for minutes.
    """
    names = tuple(dict.fromkeys(askable(identifier.value) for identifier in identifiers))
    groups: dict[tuple[str, bool], list[Endpoint]] = {}
    for endpoint in dict.fromkeys(endpoints):
        clear = endpoint.tls is TlsMode.NONE
        if not clear or endpoint.protocol is AppProtocol.HTTP:
            groups.setdefault((endpoint.service, clear), []).append(endpoint)
    return tuple(
        Expectation(
            endpoint,
            names[:MANY] + names[MANY + place :: len(group)],
            default_name="" if endpoint.protocol is AppProtocol.HTTP else primary,
            leaves=() if clear else tuple(leaves),
            redirect=redirect and clear,
            public_file=public_file if clear else None,
        )
        for (_, clear), group in groups.items()
        for place, endpoint in enumerate(group)
    )


def askable(name: str) -> str:
    """A name that a client could ask for: below a wildcard, in both ways of writing it; any other as it is."""
    if name.startswith("*."):
        return f"mailseal{name[1:]}"
    return f"mailseal{name}" if name.startswith(".") else name


def source_for(address: str, own_addresses: Iterable[str] = ()) -> str | None:
    """The address to ask from, so that the daemon sees a stranger; None: whichever the kernel takes."""
    if ":" not in address and (address.startswith("127.") or address in set(own_addresses)):
        return STRANGER if address != STRANGER else "127.0.0.3"
    return None


def asked_as_stranger(question: Question, own_addresses: Iterable[str] = ()) -> bool:
    """Whether the daemon saw another address than its own."""
    address = question.endpoint.address
    return question.source is not None or not (address == "::1" or address in set(own_addresses))

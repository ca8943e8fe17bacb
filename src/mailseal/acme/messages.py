"""What travels: the objects of RFC 8555 section 7.1, RFC 8738 and RFC 9773, as structs.

Everything that comes in is decoded into these, so a field of another type, a
list without end or a text without end is refused before anybody looks at it.
Fields that are not known are skipped (RFC 8555 section 7.1 asks for it).
`Authorization` and `Order` carry the URL they came from; the server does not
send it inside, we add it.
"""

from __future__ import annotations

from datetime import datetime
from ipaddress import ip_address
from typing import Annotated, Literal, TypeVar

import msgspec

from mailseal.acme.problems import AcmeProtocolError, Problem
from mailseal.model import Identifier
from mailseal.unreadable import UNREADABLE

Short = Annotated[str, msgspec.Meta(max_length=256)]
Url = Annotated[str, msgspec.Meta(max_length=2048)]
Text = Annotated[str, msgspec.Meta(max_length=8192)]
Moment = Annotated[datetime, msgspec.Meta(tz=True)]
MOST_IDENTIFIERS = 1000

T = TypeVar("T")


class Meta(msgspec.Struct, frozen=True, rename="camel"):
    """The directory's meta (RFC 8555 section 7.1.1); profiles: name to description."""

    terms_of_service: Url | None = None
    website: Url | None = None
    caa_identities: Annotated[tuple[Short, ...], msgspec.Meta(max_length=64)] = ()
    external_account_required: bool = False
    profiles: Annotated[dict[Short, Text], msgspec.Meta(max_length=64)] = {}


class Directory(msgspec.Struct, frozen=True, rename="camel"):
    """Where to ask for what (RFC 8555 section 7.1.1; renewalInfo: RFC 9773 section 4.1)."""

    new_nonce: Url
    new_account: Url
    new_order: Url
    revoke_cert: Url | None = None
    key_change: Url | None = None
    renewal_info: Url | None = None
    meta: Meta = Meta()


class WireIdentifier(msgspec.Struct, frozen=True):
    """An identifier as sent; `plain` is the project's own."""

    type: Short
    value: Short

    @property
    def plain(self) -> Identifier:
        if self.type != "ip":
            return Identifier("dns", self.value.lower())
        try:
            return Identifier("ip", str(ip_address(self.value)))
        except ValueError:
            return Identifier("ip", self.value)  # equals nothing that was asked for


class AccountBody(msgspec.Struct, frozen=True, rename="camel"):
    """RFC 8555 section 7.1.2."""

    status: Literal["valid", "deactivated", "revoked"]
    contact: Annotated[tuple[Url, ...], msgspec.Meta(max_length=32)] | None = None
    terms_of_service_agreed: bool | None = None
    orders: Url | None = None


class Challenge(msgspec.Struct, frozen=True):
    """RFC 8555 section 8. `token` is checked by `solving.key_authorization` before it is used."""

    type: Short
    url: Url
    status: Short = "pending"
    token: Text | None = None
    error: Problem | None = None


class Authorization(msgspec.Struct, frozen=True):
    """RFC 8555 section 7.1.4."""

    status: Literal["pending", "valid", "invalid", "deactivated", "expired", "revoked"]
    identifier: WireIdentifier
    challenges: Annotated[tuple[Challenge, ...], msgspec.Meta(max_length=64)] = ()
    expires: Moment | None = None
    wildcard: bool = False
    url: str = ""

    @property
    def name(self) -> Identifier:
        """The identifier as it was asked for, with its `*.` where it is a wildcard."""
        plain = self.identifier.plain
        return Identifier("dns", f"*.{plain.value}") if self.wildcard else plain

    def challenge(self, kind: str) -> Challenge | None:
        """The challenge of that type, such as `http-01`."""
        return next((challenge for challenge in self.challenges if challenge.type == kind), None)


class Order(msgspec.Struct, frozen=True):
    """RFC 8555 section 7.1.3."""

    status: Literal["pending", "ready", "processing", "valid", "invalid"]
    identifiers: Annotated[
        tuple[WireIdentifier, ...], msgspec.Meta(min_length=1, max_length=MOST_IDENTIFIERS)
    ]
    authorizations: Annotated[tuple[Url, ...], msgspec.Meta(max_length=MOST_IDENTIFIERS)]
    finalize: Url
    expires: Moment | None = None
    error: Problem | None = None
    certificate: Url | None = None
    profile: Short | None = None
    replaces: Short | None = None
    url: str = ""

    @property
    def names(self) -> frozenset[Identifier]:
        return frozenset(identifier.plain for identifier in self.identifiers)


class Window(msgspec.Struct, frozen=True):
    """RFC 9773 section 4.2."""

    start: Moment
    end: Moment


class RenewalInfoBody(
    msgspec.Struct,
    frozen=True,
    rename={"suggested_window": "suggestedWindow", "explanation_url": "explanationURL"},
):
    """RFC 9773 section 4.2."""

    suggested_window: Window
    explanation_url: Url | None = None


def decode(body: bytes, kind: type[T], *, what: str) -> T:
    """JSON into a struct. Raises `AcmeProtocolError` that names `what` and the field at fault."""
    try:
        return msgspec.json.decode(body, type=kind)
    except UNREADABLE as error:
        raise AcmeProtocolError(
            f"The CA's answer for {what} is not what RFC 8555 allows", reason=str(error)[:300]
        ) from error

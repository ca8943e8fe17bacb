"""The certificate authorities: `[acme]`, and `[[acme.fallback]]` for those that are asked when it fails for long."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

from mailseal.config.keys import key

LETSENCRYPT = "https://acme-v02.api.letsencrypt.org/directory"
LETSENCRYPT_STAGING = "https://acme-staging-v02.api.letsencrypt.org/directory"
DIRECTORIES = {"letsencrypt": LETSENCRYPT, "letsencrypt-staging": LETSENCRYPT_STAGING}
STAGING = {LETSENCRYPT: LETSENCRYPT_STAGING}

AccountKeyType = Literal["ecdsa-p256", "rsa-2048", "rsa-3072", "rsa-4096"]


class Authority(msgspec.Struct, frozen=True, kw_only=True):
    """A certificate authority, and the account that mailseal keeps there (RFC 8555)."""

    directory: Annotated[
        str,
        key(
            "The CA's directory: an https URL, or one of the names `letsencrypt` and `letsencrypt-staging` "
            "(whose certificates nobody trusts: for trying out).",
            shape="directory",
            example="letsencrypt-staging",
        ),
    ] = "letsencrypt"
    contact: Annotated[
        tuple[str, ...],
        key(
            "Mail addresses that the CA may write to about the account. Let's Encrypt sends no reminders of expiry.",
            shape="mail",
            example=("postmaster@example.org",),
        ),
    ] = ()
    agree_to_terms: Annotated[
        bool,
        key("Whether you agree to the CA's terms of service. An account is made only then.", example=True),
    ] = False
    ca_file: Annotated[
        str | None,
        key(
            "A PEM file of the roots by which the CA's own https is trusted, in place of the system's: "
            "for a CA of your own or a laboratory.",
            shape="path",
            example="/etc/mailseal/lab-root.pem",
        ),
    ] = None
    eab_key_id: Annotated[
        str | None,
        key(
            "The key identifier of an external account binding, where the CA asks for one (RFC 8555 section 7.3.4).",
            shape="text",
            example="kid-1",
        ),
    ] = None
    eab_hmac_file: Annotated[
        str | None,
        key(
            "The file with the binding's HMAC key as the CA gave it (base64url). Give it to root, mode 0600.",
            shape="path",
            example="/etc/mailseal/eab.key",
        ),
    ] = None
    account_key_type: Annotated[
        AccountKeyType,
        key("The kind of the account's own key. It signs requests and is never in a certificate."),
    ] = "ecdsa-p256"
    profile: Annotated[
        str | None,
        key(
            "The certificate profile to ask for, where the CA offers several "
            "(Let's Encrypt: classic, tlsserver, shortlived).",
            shape="word",
            example="tlsserver",
        ),
    ] = None
    preferred_chain: Annotated[
        str | None,
        key(
            "The common name of the root that the chain should end at, where the CA offers several chains.",
            shape="text",
            example="ISRG Root X1",
        ),
    ] = None
    staging_directory: Annotated[
        str | None,
        key(
            "The directory of the CA's staging server: after the CA could not confirm control of a name, the next try "
            "is made there first, so that the CA's limit on failures is not used up. Let's Encrypt's is known.",
            expects="an https URL",
            shape="directory",
            example="https://staging.ca.example.net/acme/directory",
        ),
    ] = None

    @property
    def directory_url(self) -> str:
        """The directory's URL, a short name resolved."""
        return DIRECTORIES.get(self.directory, self.directory)

    @property
    def staging(self) -> Authority | None:
        """The CA's staging server as a CA of its own; None where there is none."""
        url = self.staging_directory or STAGING.get(self.directory_url)
        if url is None:
            return None
        return Authority(
            directory=url,
            contact=self.contact,
            agree_to_terms=self.agree_to_terms,
            ca_file=self.ca_file,
            account_key_type=self.account_key_type,
        )


class AcmeKeys(Authority, frozen=True, kw_only=True):
    """The certificate authority, and the account that mailseal keeps there (RFC 8555)."""

    orders_at_once: Annotated[
        int,
        msgspec.Meta(ge=1, le=64),
        key(
            "How many orders may be under way at the same time. More than the default gains nothing at any CA "
            "that we know; 1 obtains one certificate after another.",
            expects="a number from 1 to 64",
        ),
    ] = 8
    challenge: Annotated[
        Literal["http-01"],
        key(
            "How control of the names is shown. http-01: a file fetched by the CA from port 80 of every name."
        ),
    ] = "http-01"


class Fallback(Authority, frozen=True, kw_only=True):
    """Another CA, asked for a certificate when the one of [acme] has failed for half of the life that was left to the
    one that it should replace; at the next renewal [acme] is asked first again. The account is one of its own. Write
    the table as often as there are such CAs; they are asked in that order. A CAA record must allow each."""

    directory: Annotated[
        str,
        key(
            "As in [acme]: an https URL, or `letsencrypt`.",
            shape="directory",
            example="https://acme.ca.example.net/directory",
        ),
    ]


class Acme(AcmeKeys, frozen=True, kw_only=True):
    """All of [acme]."""

    fallback: tuple[Fallback, ...] = ()

    @property
    def authorities(self) -> tuple[Authority, ...]:
        """Every CA, the first first; who has no contact of its own gives that of [acme]."""
        others = (
            one if one.contact else msgspec.structs.replace(one, contact=self.contact)
            for one in self.fallback
        )
        return (self, *others)

    @property
    def issuers(self) -> tuple[str, ...]:
        """The directory URLs of all CAs, the first first."""
        return tuple(one.directory_url for one in self.authorities)

    def authority(self, directory_url: str) -> Authority | None:
        """The CA with this directory; the one of [acme] for an empty URL, None for a CA that is not configured."""
        if not directory_url:
            return self
        return next((one for one in self.authorities if one.directory_url == directory_url), None)

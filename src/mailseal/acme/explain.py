"""What a CA's problem means and what to do about it, in sentences for an admin.

One row for each error type of RFC 8555 section 6.7, RFC 9773 section 7.4, the
profiles draft and Boulder's own. A row says what it means and what mends it;
`{name}` stands for the identifier at fault. The CA's own words are always kept
beside ours, since they often name the address and port that it tried.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mailseal.acme.problems import Problem


@dataclass(frozen=True, slots=True)
class Advice:
    """What a type of problem means, and the next thing to do."""

    means: str
    mend: str


@dataclass(frozen=True, slots=True)
class Told:
    """The parts of an error's message; `sentences` holds one for each problem, identifier first."""

    message: str
    reason: str
    next_command: str
    sentences: tuple[str, ...]


_LOOK = "mailseal check"

ADVICE = {
    "accountDoesNotExist": Advice(
        "the CA knows no account with this key",
        "Run mailseal apply: it registers the key again. The key on disk may belong to another CA.",
    ),
    "alreadyReplaced": Advice(
        "the certificate to be replaced was replaced by another order already",
        "Run mailseal apply: it looks again at what is due.",
    ),
    "alreadyRevoked": Advice("the certificate is revoked already", "Nothing is left to do."),
    "badCSR": Advice(
        "the CA does not accept the certificate request",
        "Compare key type and names of the certificate with what the CA allows.",
    ),
    "badNonce": Advice(
        "the CA refused every nonce that it had handed out", "Run the same command again later."
    ),
    "badPublicKey": Advice(
        "the CA does not accept this public key", "Choose another key type in the certificate's key_types."
    ),
    "badRevocationReason": Advice("the CA does not allow this reason", "Revoke with --reason unspecified."),
    "badSignatureAlgorithm": Advice(
        "the CA does not accept the account key's algorithm", "Use an account key of another type."
    ),
    "caa": Advice(
        "a CAA record forbids this CA to issue for {name}",
        "Add the CA to the CAA records of {name} or of a parent domain, or take them away.",
    ),
    "compound": Advice("several identifiers are at fault", "Mend each, then type the same command again."),
    "conflict": Advice(
        "the request contradicts what the CA holds", "Run mailseal apply: it looks again at what is due."
    ),
    "connection": Advice(
        "the CA could not connect to {name}",
        "Let port 80 through firewall and router, over IPv4 and, where {name} has an AAAA, over IPv6.",
    ),
    "dns": Advice(
        "the CA's resolver gets no good answer for {name}",
        "Look at the A, AAAA and CAA records of {name}, and at its DNSSEC: a broken zone stops issuance.",
    ),
    "externalAccountRequired": Advice(
        "this CA takes new accounts only with an external account binding",
        "Get key ID and HMAC key from the CA and name them in [acme] (eab_key_id, eab_hmac_file).",
    ),
    "incorrectResponse": Advice(
        "another answer than ours was served for {name}",
        "Another server, proxy or redirect answers at {name}: mailseal check shows which.",
    ),
    "invalidContact": Advice("the CA does not accept a contact", "Look at contact in [acme]."),
    "invalidProfile": Advice(
        "the CA does not offer this profile", "Choose a profile that the CA's directory lists, or none."
    ),
    "malformed": Advice(
        "the CA could not make sense of the request", "If it happens again, report it with this text."
    ),
    "orderNotReady": Advice("the order is not ready to be finalized", "Run the same command again."),
    "rateLimited": Advice(
        "a rate limit of the CA is reached",
        "Wait; more tries only make it longer. The certificate in use stays where it is.",
    ),
    "paused": Advice(
        "the CA has paused issuance for {name} after many failures in a row",
        "Follow the link that the CA gives to take the pause away, after mending the cause.",
    ),
    "rejectedIdentifier": Advice(
        "the CA does not issue for {name}",
        "Take {name} out of the certificate, or ask a CA that issues for it.",
    ),
    "serverInternal": Advice("the CA has a fault of its own", "Run the same command again later."),
    "tls": Advice(
        "the CA met a TLS error while it asked {name}",
        "Serve the challenge on port 80 without a redirect to https.",
    ),
    "unauthorized": Advice(
        "the CA was not shown control of {name}",
        "Look at what {name} serves under /.well-known/acme-challenge/: mailseal check shows it.",
    ),
    "unsupportedContact": Advice(
        "the CA does not take this kind of contact", "Use a mail address as contact."
    ),
    "unsupportedIdentifier": Advice(
        "the CA issues no certificates for this kind of identifier", "Take {name} out of the certificate."
    ),
    "userActionRequired": Advice(
        "the CA wants something done first, often agreement to new terms",
        "Read what it names, then run mailseal setup --agree-tos.",
    ),
}

_UNKNOWN = Advice("the CA refused", "Look at what it says; run the same command again later.")
_BUSY = Advice("the CA has a fault of its own, or no time", "Run the same command again later.")
_NOBODY = "the identifier"


def advice(problem: Problem) -> Advice:
    """The row for a problem's type; a neutral one for a type that is not known, by the HTTP status if there is one."""
    known = ADVICE.get(problem.kind)
    if known is None and isinstance(problem.status, int) and not problem.kind:
        known = ADVICE["rateLimited"] if problem.status == 429 else _BUSY if problem.status >= 500 else None
    return known or _UNKNOWN


def explain(message: str, problem: Problem, retry_after: float | None) -> Told:
    """A whole diagnosis under `message`, such as "The CA refused the order for mail.example.org"."""
    leaves = list(problem.leaves())
    sentences = tuple(_sentence(name, leaf) for name, leaf in leaves)
    mends = list(dict.fromkeys(advice(leaf).mend.replace("{name}", name or _NOBODY) for name, leaf in leaves))
    if retry_after is not None and retry_after > 0:
        mends.insert(0, f"Try again in {duration(retry_after)}, not before.")
    names = list(dict.fromkeys(name for name, _ in leaves if name and name not in message))
    about = f" ({listed(names)})" if names else ""
    reason = sentences[0] if len(sentences) == 1 else f"{len(sentences)} problems. {sentences[0]} …"
    return Told(message + about, reason, " ".join(mends[:3]), sentences)


def listed(names: Sequence[str], most: int = 5) -> str:
    """Some names on one line: "a, b and 3 more"."""
    rest = len(names) - most
    return ", ".join(names[:most]) + (f" and {rest} more" if rest > 0 else "")


def _sentence(name: str, problem: Problem) -> str:
    means = advice(problem).means.replace("{name}", name or _NOBODY)
    if name and name not in means:
        means = f"{name}: {means}"
    else:
        means = means[0].upper() + means[1:]
    return f"{means}. It says: {problem.said}"


def duration(seconds: float) -> str:
    """Seconds as a person says them: 45 seconds, 12 minutes, 5 hours, 3 days (rounded up)."""
    for unit, length in (("day", 86400), ("hour", 3600), ("minute", 60)):
        if seconds >= 2 * length:
            return f"{-int(-seconds // length)} {unit}s"
    whole = max(1, -int(-seconds // 1))
    return f"{whole} second{'' if whole == 1 else 's'}"

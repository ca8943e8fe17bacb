"""What tests of the ACME core share: keys, requests, a solver that shows what it is told, a client at work."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from mailseal.acme import account
from mailseal.acme.client import AcmeClient
from mailseal.acme.jws import SigningKey
from mailseal.acme.messages import Authorization, Challenge
from mailseal.acme.obtain import IssuedChain, obtain
from mailseal.acme.solving import dns01_value
from mailseal.errors import ChallengeError
from mailseal.model import Identifier
from tests.support.certs import PrivateKey, new_key
from tests.support.fake_ca import FakeCa, Question, Refused, Rules
from tests.support.fake_clock import FakeClock


@cache
def account_key(slot: int = 0) -> SigningKey:
    """An ES256 account key; one for each slot."""
    return SigningKey.from_key(ec.generate_private_key(ec.SECP256R1()))


def names(*texts: str) -> tuple[Identifier, ...]:
    """Identifiers from their texts."""
    return tuple(Identifier.parse(text) for text in texts)


def request_for(identifiers: Sequence[Identifier], key: PrivateKey | None = None) -> bytes:
    """A certificate request (DER) for exactly these identifiers."""
    from ipaddress import ip_address

    sans: list[x509.GeneralName] = [
        x509.IPAddress(ip_address(one.value)) if one.kind == "ip" else x509.DNSName(one.value)
        for one in identifiers
    ]
    builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([]))
    builder = builder.add_extension(x509.SubjectAlternativeName(sans), critical=False)
    return builder.sign(key or new_key(), hashes.SHA256()).public_bytes(serialization.Encoding.DER)


class Shown:
    """A solver, and the world that the CA looks at: what is shown where, now."""

    def __init__(self, *kinds: str) -> None:
        self.kinds = kinds or ("http-01", "dns-01")
        self.shown: dict[tuple[str, str], set[str]] = {}
        self.log: list[tuple[str, str]] = []
        self.broken: set[str] = set()

    def choose(self, authorization: Authorization) -> Challenge | None:
        """The first kind that is offered."""
        found = (authorization.challenge(kind) for kind in self.kinds)
        return next((challenge for challenge in found if challenge is not None), None)

    async def present(
        self, authorization: Authorization, challenge: Challenge, key_authorization: str
    ) -> None:
        """Shows it, unless the name is in `broken`."""
        self.log.append(("present", str(authorization.name)))
        if str(authorization.name) in self.broken:
            raise ChallengeError(f"{authorization.name} cannot be shown")
        self.shown.setdefault(self._place(authorization, challenge), set()).add(key_authorization)

    async def clean_up(
        self, authorization: Authorization, challenge: Challenge, key_authorization: str
    ) -> None:
        """Takes it away."""
        self.log.append(("clean_up", str(authorization.name)))
        self.shown.get(self._place(authorization, challenge), set()).discard(key_authorization)

    async def look(self, question: Question) -> Refused | None:
        """What the CA finds."""
        self.log.append(("look", str(question.name)))
        place = (question.kind, question.name.value.removeprefix("*."))
        there = self.shown.get(place, set())
        if question.kind == "dns-01":
            good = dns01_value(question.expected) in {dns01_value(one) for one in there}
        else:
            good = question.expected in there
        return None if good else Refused("unauthorized", f"{question.name} shows something else", 403)

    @property
    def left(self) -> int:
        """How much is still shown."""
        return sum(len(there) for there in self.shown.values())

    @staticmethod
    def _place(authorization: Authorization, challenge: Challenge) -> tuple[str, str]:
        return (challenge.type, authorization.identifier.plain.value)


class Desk:
    """A fake CA, its clock, a solver and a client: what most tests begin with."""

    def __init__(self, rules: Rules | None = None, *, kinds: Sequence[str] = (), seed: int = 0) -> None:
        self.clock = FakeClock()
        self.solver = Shown(*kinds)
        self.ca = FakeCa(self.clock, rules, self.solver.look, seed=seed)
        self.client = AcmeClient(self.ca, self.clock, account_key(), self.ca.directory_url)

    async def register(self) -> AcmeClient:
        """The client with an account."""
        await account.register(self.client, contact=["postmaster@example.org"], agree_to_terms=True)
        return self.client

    async def obtain(self, *texts: str, **options: object) -> IssuedChain:
        """A certificate for these names."""
        wanted = names(*texts)
        csr = options.pop("csr_der", None) or request_for(wanted)
        return await obtain(
            self.client,
            identifiers=wanted,
            csr_der=csr,  # type: ignore[arg-type]
            solver=self.solver,
            **options,  # type: ignore[arg-type]
        )

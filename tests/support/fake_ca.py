"""An ACME server in memory, behind the HTTP port: RFC 8555, 8738, 9773 and profiles, at its own clock.

It is as strict as the standard lets a server be: every nonce works once, every
signature is verified, URLs in signed headers must be those asked, CSRs must
name what was ordered, orders and authorizations expire, limits hold. `Rules`
says what kind of CA it is; `outages` makes it fail on purpose; `asked` tells
what was asked of it; `state` holds its accounts, orders and certificates. What
it issues are real certificates (fake_pki).

It opens no sockets: `validate` is called with what a CA would look up, and
answers None (shown) or a `Refused`.

    ca = FakeCa(clock, Rules(profiles={"shortlived": timedelta(hours=160)}))
    client = AcmeClient(ca, clock, key, ca.directory_url)
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from email.utils import format_datetime
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import serialization

from mailseal.acme.ari import certificate_id
from mailseal.acme.ports import AcmeClock
from mailseal.errors import NetworkFault
from mailseal.system.http import HttpResponse
from tests.support import fake_jws
from tests.support.fake_ca_orders import OrderDesk
from tests.support.fake_ca_state import (
    BASE,
    Account,
    Question,
    Rules,
    State,
    Validate,
    believe,
    lets_encrypt,
    respond,
    stamp,
)
from tests.support.fake_jws import Refused, Signed

__all__ = ["FakeCa", "Question", "Refused", "Rules", "Validate", "believe", "lets_encrypt", "respond"]

_SPKI = (serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)


class FakeCa:
    """The server; hand it out as `Http`. `directory_url` is where a client begins."""

    directory_url = f"{BASE}/dir"

    def __init__(
        self,
        clock: AcmeClock,
        rules: Rules | None = None,
        validate: Validate = believe,
        *,
        seed: int = 0,
        base: str = BASE,
    ) -> None:
        self.clock = clock
        self.directory_url = f"{base}/dir"
        self.rules = rules or Rules()
        self.state = State(clock, self.rules, seed, base)
        self.desk = OrderDesk(self.state, validate)
        self.asked: list[tuple[str, str]] = []
        self.outages: deque[tuple[str, HttpResponse | NetworkFault]] = deque()
        self._nonces: set[str] = set()

    # The port.

    async def request(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        body: bytes | None = None,
        timeout: float = 30.0,
        limit: int = 1_048_576,
    ) -> HttpResponse:
        """One exchange, as `mailseal.system.http.Http` promises it."""
        path = url.removeprefix(self.state.base)
        self.asked.append((method, path))
        if self.outages and path.startswith(self.outages[0][0]):
            _, outage = self.outages.popleft()
            if isinstance(outage, NetworkFault):
                raise outage
            return outage
        try:
            answer = await self._route(method, path, headers or {}, body or b"")
        except Refused as refused:
            answer = respond(refused.status, refused.document(), refused.headers, "application/problem+json")
        if method == "POST" or path == "/nonce":
            answer = HttpResponse(
                answer.status, {**answer.headers, "replay-nonce": self._nonce()}, answer.body, answer.links
            )
        date = format_datetime(self.clock.now(), usegmt=True)
        answer = HttpResponse(answer.status, {"date": date, **answer.headers}, answer.body, answer.links)
        if len(answer.body) > limit:
            raise NetworkFault(f"The answer of {url} is longer than {limit} bytes")
        return answer

    async def close(self) -> None:
        """Nothing is open."""

    # Routing.

    async def _route(self, method: str, path: str, headers: Mapping[str, str], body: bytes) -> HttpResponse:
        if method == "GET" and path == "/dir":
            return respond(200, self._directory())
        if method in ("GET", "HEAD") and path == "/nonce":
            return respond(200 if method == "HEAD" else 204)
        if method == "GET" and path.startswith("/ari/"):
            return self._renewal_information(path.removeprefix("/ari/"))
        if method != "POST":
            raise Refused("malformed", "Method not allowed", 405)
        if headers.get("content-type") != "application/jose+json":
            raise Refused("malformed", "the content type must be application/jose+json", 415)
        signed = fake_jws.read_body(body)
        self._check_header(signed, path)
        if path == "/new-account":
            return self._new_account(signed)
        if path == "/revoke" and "jwk" in signed.header:
            return self._revoke(None, signed)
        account = self._signer(signed)
        head, _, rest = path[1:].partition("/")
        handlers: dict[str, Callable[[], HttpResponse | Awaitable[HttpResponse]]] = {
            "acct": lambda: self._account(account, signed, path),
            "key-change": lambda: self._key_change(account, signed),
            "revoke": lambda: self._revoke(account, signed),
            "new-order": lambda: self.desk.new_order(account, signed),
            "order": lambda: self.desk.order(account, signed, path),
            "authz": lambda: self.desk.authorization(account, signed, path),
            "chall": lambda: self.desk.challenge(account, signed, rest),
            "cert": lambda: self._certificate(account, path),
        }
        if head not in handlers:
            raise Refused("malformed", "Page not found", 404)
        answer = handlers[head]()
        return answer if isinstance(answer, HttpResponse) else await answer

    def _check_header(self, signed: Signed, path: str) -> None:
        if signed.header.get("url") != f"{self.state.base}{path}":
            raise Refused("unauthorized", "the signed URL is not the one asked", 401)
        nonce = signed.header.get("nonce")
        if nonce not in self._nonces:
            raise Refused("badNonce", "the nonce is not known")
        self._nonces.discard(nonce)
        if self.rules.nonces_refused and self.state.random.random() < self.rules.nonces_refused:
            raise Refused("badNonce", "refused on purpose")
        if ("jwk" in signed.header) == ("kid" in signed.header):
            raise Refused("malformed", "exactly one of jwk and kid is needed")

    def _signer(self, signed: Signed) -> Account:
        account = self.state.accounts.get(signed.header.get("kid", ""))
        if account is None:
            raise Refused("accountDoesNotExist", "no such account")
        signed.verify(account.key)
        if account.status != "valid":
            raise Refused("unauthorized", f"the account is {account.status}", 403)
        return account

    def _directory(self) -> dict[str, Any]:
        names = {"newNonce": "nonce", "newAccount": "new-account", "newOrder": "new-order"}
        names |= {"revokeCert": "revoke", "keyChange": "key-change"}
        made: dict[str, Any] = {name: f"{self.state.base}/{path}" for name, path in names.items()}
        if self.rules.renewal_information:
            made["renewalInfo"] = f"{self.state.base}/ari"
        meta: dict[str, Any] = {"externalAccountRequired": bool(self.rules.external_keys)}
        if self.rules.terms:
            meta["termsOfService"] = self.rules.terms
        if self.rules.profiles:
            meta["profiles"] = {name: f"{self.state.base}/profiles/{name}" for name in self.rules.profiles}
        return made | {"meta": meta, "unknownField": [1, {"a": None}]}

    def _nonce(self) -> str:
        nonce = self.state.token()
        self._nonces.add(nonce)
        return nonce

    # Accounts.

    def _new_account(self, signed: Signed) -> HttpResponse:
        key = fake_jws.read_jwk(signed.header.get("jwk"))
        signed.verify(key)
        wish = json.loads(signed.payload)
        for account in self.state.accounts.values():
            if account.key == key:
                return self._show_account(account, 200)
        if wish.get("onlyReturnExisting"):
            raise Refused("accountDoesNotExist", "no account with this key")
        if self.rules.terms and not wish.get("termsOfServiceAgreed"):
            raise Refused("userActionRequired", "the terms must be agreed to", 403)
        if self.rules.external_keys:
            self._check_binding(wish.get("externalAccountBinding"), signed)
        account = Account(f"{self.state.base}/acct/{next(self.state.number)}", key, _contacts(wish))
        self.state.accounts[account.url] = account
        return self._show_account(account, 201)

    def _check_binding(self, binding: Any, outer: Signed) -> None:
        if binding is None:
            raise Refused("externalAccountRequired", "an external account is needed", 403)
        inner = fake_jws.read(binding)
        secret = self.rules.external_keys.get(inner.header.get("kid", ""))
        good = secret is not None and inner.header.get("alg") == "HS256" and inner.verify_hmac(secret)
        if not good or inner.header.get("url") != f"{self.state.base}/new-account" or "nonce" in inner.header:
            raise Refused("unauthorized", "the external account binding does not hold", 403)
        if json.loads(inner.payload) != outer.header["jwk"]:
            raise Refused("malformed", "the binding is for another key")

    def _account(self, account: Account, signed: Signed, path: str) -> HttpResponse:
        if path.endswith("/orders"):
            mine = [order.url for order in self.state.orders.values() if order.account is account]
            return respond(200, {"orders": mine})
        if f"{self.state.base}{path}" != account.url:
            raise Refused("unauthorized", "another account", 403)
        wish = json.loads(signed.payload) if signed.payload else {}
        if "contact" in wish:
            account.contact = _contacts(wish)
        if wish.get("status") == "deactivated":
            account.status = "deactivated"
        return self._show_account(account, 200)

    def _show_account(self, account: Account, status: int) -> HttpResponse:
        shown: dict[str, Any] = {"status": account.status, "contact": account.contact}
        if self.rules.lists_orders:
            shown["orders"] = f"{account.url}/orders"
        return respond(status, shown, {"location": account.url})

    def _key_change(self, account: Account, signed: Signed) -> HttpResponse:
        inner = fake_jws.read_body(signed.payload)
        key = fake_jws.read_jwk(inner.header.get("jwk"))
        inner.verify(key)
        wish = json.loads(inner.payload)
        if inner.header.get("url") != signed.header["url"] or "nonce" in inner.header:
            raise Refused("malformed", "the inner header is wrong")
        if wish.get("account") != account.url or fake_jws.read_jwk(wish.get("oldKey")) != account.key:
            raise Refused("malformed", "another account or old key")
        if any(other.key == key for other in self.state.accounts.values()):
            raise Refused("conflict", "the key is in use", 409)
        account.key = key
        return self._show_account(account, 200)

    # Certificates.

    def _certificate(self, account: Account, path: str) -> HttpResponse:
        base, _, alternate = f"{self.state.base}{path}".partition("/alternate/")
        issued = self.state.urls.get(base)
        if issued is None or issued.account is not account or alternate not in ("", "1"):
            raise Refused("malformed", "no such certificate", 404)
        body = issued.chains[int(alternate or 0)].encode()
        other = base if alternate else f"{base}/alternate/1"
        links = (f'<{self.state.base}/dir>;rel="index"', f'<{other}>;rel="alternate"')
        return HttpResponse(200, {"content-type": "application/pem-certificate-chain"}, body, links)

    def _renewal_information(self, key: str) -> HttpResponse:
        issued = self.state.issued.get(key)
        if not self.rules.renewal_information or issued is None:
            raise Refused("malformed", "no such certificate", 404)
        start, end = self.state.window(key, issued)
        shown: dict[str, Any] = {"suggestedWindow": {"start": stamp(start), "end": stamp(end)}}
        if key in self.state.windows:
            shown["explanationURL"] = f"{self.state.base}/why"
        return respond(200, shown, {"retry-after": str(self.rules.ask_again)})

    def _revoke(self, account: Account | None, signed: Signed) -> HttpResponse:
        wish = json.loads(signed.payload)
        leaf = x509.load_der_x509_certificate(fake_jws.unpad(wish["certificate"]))
        issued = self.state.issued.get(certificate_id(leaf) or "")
        if issued is None:
            raise Refused("malformed", "not issued here", 404)
        if account is None:
            signed.verify(fake_jws.read_jwk(signed.header["jwk"]))
            shown = fake_jws.read_jwk(signed.header["jwk"]).key.public_bytes(*_SPKI)
            if shown != leaf.public_key().public_bytes(*_SPKI):
                raise Refused("unauthorized", "not the certificate's key", 403)
        elif issued.account is not account:
            raise Refused("unauthorized", "another account's certificate", 403)
        if wish.get("reason", 0) not in (0, 1, 3, 4, 5):
            raise Refused("badRevocationReason", "not a reason for subscribers")
        if issued.revoked is not None:
            raise Refused("alreadyRevoked", "it is revoked")
        issued.revoked = wish.get("reason", 0)
        return respond(200)


def _contacts(wish: dict[str, Any]) -> list[str]:
    contacts = wish.get("contact", [])
    for contact in contacts:
        if not contact.startswith("mailto:"):
            raise Refused("unsupportedContact", f"{contact}: only mailto")
        if "@" not in contact:
            raise Refused("invalidContact", f"{contact} is no address")
    return list(contacts)

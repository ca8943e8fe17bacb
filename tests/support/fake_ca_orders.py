"""The fake CA's desk for orders: limits, authorizations, challenges, finalize (RFC 8555 section 7.4 and 7.5)."""

from __future__ import annotations

import json
from collections.abc import Iterable
from datetime import timedelta
from typing import Any

from cryptography import x509

from mailseal.acme.ari import certificate_id
from mailseal.model import Identifier
from mailseal.system.http import HttpResponse
from tests.support import fake_jws
from tests.support.fake_ca_state import (
    DAY,
    Account,
    Authz,
    Issued,
    Order,
    Question,
    Rules,
    State,
    Validate,
    respond,
    stamp,
)
from tests.support.fake_jws import Refused, Signed


class OrderDesk:
    """Takes orders into the state."""

    def __init__(self, state: State, validate: Validate) -> None:
        self.state = state
        self.validate = validate

    @property
    def rules(self) -> Rules:
        return self.state.rules

    def new_order(self, account: Account, signed: Signed) -> HttpResponse:
        wish = json.loads(signed.payload)
        names = tuple(Identifier(item["type"], item["value"]) for item in wish["identifiers"])
        self._check_names(names)
        profile, replaces = wish.get("profile"), wish.get("replaces")
        if profile is not None and profile not in self.rules.profiles:
            raise Refused("invalidProfile", f"no profile {profile}")
        if not self._check_replaces(account, replaces, names):
            self._check_limits(account, names)
        now = self.state.clock.now()
        authz = [self._authz_for(account, name) for name in names]
        order = Order(
            f"{self.state.base}/order/{next(self.state.number)}",
            account,
            names,
            authz,
            now + self.rules.order_lifetime,
        )
        order.profile, order.replaces = profile, replaces
        self.state.orders[order.url] = order
        return respond(201, self._show_order(order), {"location": order.url})

    def _check_names(self, names: tuple[Identifier, ...]) -> None:
        if not 1 <= len(names) <= self.rules.most_identifiers or len(set(names)) != len(names):
            raise Refused("malformed", "too few, too many or repeated identifiers")
        bad = [name for name in names if name.value in self.rules.forbidden]
        if bad:
            below = [
                Refused("rejectedIdentifier", f"{name} is forbidden by policy").document()
                | {"identifier": {"type": name.kind, "value": name.value}}
                for name in bad
            ]
            raise Refused("rejectedIdentifier", "some identifiers are rejected", 400, subproblems=below)

    def _check_replaces(self, account: Account, replaces: str | None, names: tuple[Identifier, ...]) -> bool:
        """Whether the order is a renewal in its window, which no limit touches (Let's Encrypt's rule)."""
        if replaces is None:
            return False
        old = self.state.issued.get(replaces)
        if not self.rules.renewal_information or old is None:
            raise Refused("malformed", "the certificate to be replaced is not known", 404)
        if old.account is not account:
            raise Refused("unauthorized", "another account's certificate", 403)
        if not old.names & set(names):
            raise Refused("malformed", "no identifier in common with the certificate to be replaced")
        if old.replaced:
            raise Refused("alreadyReplaced", "an order replaced it already", 409)
        start, _ = self.state.window(replaces, old)
        return self.state.clock.now() >= start

    def _check_limits(self, account: Account, names: tuple[Identifier, ...]) -> None:
        self.state.limit("orders", account.url, most=self.rules.orders_per_3_hours, span=timedelta(hours=3))
        self.state.limit(*_exact_set(names), most=self.rules.same_set_per_week, span=7 * DAY)
        weekly = self.rules.certificates_per_domain_per_week
        for domain in _domains(names):
            self.state.limit("domain", domain, most=weekly, span=7 * DAY)
        for name in names:
            self.state.limit("failed", name.value, most=self.rules.failures_per_hour, span=timedelta(hours=1))
        self.state.count("orders", account.url)

    def _authz_for(self, account: Account, name: Identifier) -> Authz:
        now = self.state.clock.now()
        for known in self.state.authz.values():
            states = ("valid", "pending") if self.rules.reuse_pending else ("valid",)
            if (known.account, known.name) != (account, name) or known.expires <= now:
                continue
            if self._settled(known).status in states:
                return known
        kinds = ["dns-01"] if name.is_wildcard else ["http-01", "tls-alpn-01"]
        kinds += ["dns-01"] if name.kind == "dns" and not name.is_wildcard else []
        authz = Authz(
            f"{self.state.base}/authz/{next(self.state.number)}",
            account,
            name,
            now + self.rules.order_lifetime,
            {kind: self.state.token() for kind in kinds},
        )
        self.state.authz[authz.url] = authz
        return authz

    def _status(self, order: Order) -> str:
        if order.certificate is not None:
            return "valid" if order.due is None or self.state.clock.monotonic() >= order.due else "processing"
        states = {self._settled(authz).status for authz in order.authz}
        if states - {"pending", "valid"} or order.expires <= self.state.clock.now():
            return "invalid"
        return "pending" if "pending" in states else "ready"

    def _show_order(self, order: Order) -> dict[str, Any]:
        status = self._status(order)
        shown: dict[str, Any] = {
            "status": status,
            "expires": stamp(order.expires),
            "identifiers": [{"type": name.kind, "value": name.value} for name in order.names],
            "authorizations": [authz.url for authz in order.authz],
            "finalize": f"{order.url}/finalize",
        }
        if status == "valid":
            shown["certificate"] = order.certificate
        if order.replaces:
            shown["replaces"] = order.replaces
        if order.profile:
            shown["profile"] = order.profile
        return shown

    def order(self, account: Account, signed: Signed, path: str) -> HttpResponse:
        order = self.state.orders.get(f"{self.state.base}{path}".removesuffix("/finalize"))
        if order is None or order.account is not account:
            raise Refused("malformed", "no such order", 404)
        if path.endswith("/finalize"):
            self._finalize(order, signed)
        shown = self._show_order(order)
        return respond(200, shown, self.state.wait(shown["status"] == "processing") | {"location": order.url})

    def _finalize(self, order: Order, signed: Signed) -> None:
        if self._status(order) != "ready":
            raise Refused("orderNotReady", f"the order is {self._status(order)}", 403)
        try:
            csr = x509.load_der_x509_csr(fake_jws.unpad(json.loads(signed.payload)["csr"]))
            sans = csr.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        except (ValueError, KeyError, x509.ExtensionNotFound) as error:
            raise Refused("badCSR", str(error)) from error
        named = {Identifier("dns", name.lower()) for name in sans.get_values_for_type(x509.DNSName)}
        named |= {Identifier("ip", str(address)) for address in sans.get_values_for_type(x509.IPAddress)}
        if named != set(order.names) or not csr.is_signature_valid:
            raise Refused("badCSR", "the request names something else than the order, or is not signed")
        now = self.state.clock.now()
        lifetime = self.rules.profiles.get(order.profile or "", self.rules.lifetime)
        leaf, chains = self.state.pki.issue(csr, order.names, now, lifetime)
        issued = Issued(order.account, leaf, chains, frozenset(order.names))
        order.certificate = f"{self.state.base}/cert/{next(self.state.number)}"
        self.state.urls[order.certificate] = issued
        self.state.issued[certificate_id(leaf) or ""] = issued
        if order.replaces:
            self.state.issued[order.replaces].replaced = True
        self.state.count(*_exact_set(order.names))
        for domain in _domains(order.names):
            self.state.count("domain", domain)
        if self.rules.issuance_takes:
            order.due = self.state.clock.monotonic() + self.rules.issuance_takes

    def _is_due(self, authz: Authz) -> bool:
        return bool(authz.answered) and self.state.clock.monotonic() >= authz.due

    def _settled(self, authz: Authz) -> Authz:
        now = self.state.clock.now()
        failed = authz.outcome is not None
        if authz.status == "pending" and self._is_due(authz) and not (failed and self.rules.leaves_pending):
            authz.status = "valid" if authz.outcome is None else "invalid"
            if authz.status == "valid":
                authz.expires = now + self.rules.reuse_authorizations
            else:
                self.state.count("failed", authz.name.value)
        if authz.expires <= now and authz.status in ("pending", "valid"):
            authz.status = "expired"
        return authz

    def authorization(self, account: Account, signed: Signed, path: str) -> HttpResponse:
        authz = self.state.authz.get(f"{self.state.base}{path}")
        if authz is None or authz.account is not account:
            raise Refused("malformed", "no such authorization", 404)
        if signed.payload and json.loads(signed.payload).get("status") == "deactivated":
            authz.status = "deactivated"
        self._settled(authz)
        value = authz.name.value.removeprefix("*.")
        shown: dict[str, Any] = {
            "status": authz.status,
            "identifier": {"type": authz.name.kind, "value": value},
            "expires": stamp(authz.expires),
            "challenges": [self._show_challenge(authz, kind) for kind in authz.tokens],
        }
        if authz.name.is_wildcard:
            shown["wildcard"] = True
        return respond(200, shown, self.state.wait(authz.status == "pending" and bool(authz.answered)))

    def _show_challenge(self, authz: Authz, kind: str) -> dict[str, Any]:
        url = f"{self.state.base}/chall/{authz.url.rsplit('/', 1)[1]}/{kind}"
        shown: dict[str, Any] = {"type": kind, "url": url, "status": "pending", "token": authz.tokens[kind]}
        if kind == authz.answered:
            shown["status"] = "processing" if authz.status == "pending" else authz.status
            if self.rules.leaves_pending and authz.outcome is not None and self._is_due(authz):
                shown["status"] = "invalid"
            if shown["status"] == "invalid" and authz.outcome is not None:
                shown["error"] = authz.outcome.document()
        return shown

    async def challenge(self, account: Account, signed: Signed, rest: str) -> HttpResponse:
        number, _, kind = rest.partition("/")
        authz = self.state.authz.get(f"{self.state.base}/authz/{number}")
        if authz is None or authz.account is not account or kind not in authz.tokens:
            raise Refused("malformed", "no such challenge", 404)
        if signed.payload and json.loads(signed.payload) != {}:
            raise Refused("malformed", "a challenge is answered with an empty object")
        if signed.payload and self.rules.answers_once and authz.answered:
            raise Refused("malformed", "the challenge cannot be answered again")
        if signed.payload and not authz.answered and self._settled(authz).status == "pending":
            token = authz.tokens[kind]
            expected = f"{token}.{fake_jws.thumbprint(account.key)}"
            authz.outcome = await self.validate(Question(authz.name, kind, token, expected))
            authz.answered, authz.due = kind, self.state.clock.monotonic() + self.rules.validation_takes
        return respond(200, self._show_challenge(authz, kind), {}, links=(f'<{authz.url}>;rel="up"',))


def _exact_set(names: Iterable[Identifier]) -> tuple[str, ...]:
    return ("set", *sorted(name.value for name in names))


def _domains(names: Iterable[Identifier]) -> set[str]:
    return {".".join(name.value.split(".")[-2:]) for name in names if name.kind == "dns"}

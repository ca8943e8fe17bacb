"""Run inside a lab host: one scenario of the ACME core alone, against a real CA that asks port 80 of this host.

`acme_job.py SCENARIO JSON`: the wish as JSON ({"directory": URL, "names": […], …}).
Prints one JSON object; the test outside judges it. Chains are left in /root.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import Mapping
from dataclasses import asdict
from datetime import timedelta
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from lab.world import API_TRUST
from mailseal.acme import account, ari, orders, revocation
from mailseal.acme.client import AcmeClient
from mailseal.acme.jws import ExternalAccount, SigningKey
from mailseal.acme.messages import Authorization, Challenge
from mailseal.acme.obtain import obtain
from mailseal.acme.problems import AcmeProblem
from mailseal.errors import MailsealError, NetworkFault
from mailseal.model import KeyType
from mailseal.system.aiohttp_client import AiohttpClient
from mailseal.system.clock import LocalClock
from mailseal.system.http import HttpResponse
from tests.support.acme import names, request_for
from tests.support.acme_promises import PROMISES, Customer
from tests.support.certs import PrivateKey, new_key

Said = dict[str, Any]


class Port80:
    """A solver for http-01 that answers on this host's port 80, over IPv4 and IPv6."""

    def __init__(self) -> None:
        self.shown: dict[str, str] = {}
        self.wrong: set[str] = set()

    def choose(self, authorization: Authorization) -> Challenge | None:
        return authorization.challenge("http-01")

    async def present(
        self, authorization: Authorization, challenge: Challenge, key_authorization: str
    ) -> None:
        wrong = str(authorization.name) in self.wrong
        self.shown[challenge.token or ""] = "something else" if wrong else key_authorization

    async def clean_up(
        self, authorization: Authorization, challenge: Challenge, key_authorization: str
    ) -> None:
        self.shown.pop(challenge.token or "", None)

    async def serve(self) -> asyncio.Server:
        return await asyncio.start_server(self._talk, ["0.0.0.0", "::"], 80)

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 10)
            path = head.split(b" ", 2)[1].decode("ascii", "replace")
            text = self.shown.get(path.removeprefix("/.well-known/acme-challenge/"))
            line = "200 OK" if text is not None else "404 Not Found"
            body = (text or "").encode()
            writer.write(
                f"HTTP/1.1 {line}\r\nConnection: close\r\nContent-Length: {len(body)}\r\n\r\n".encode()
            )
            writer.write(body)
            await writer.drain()
        except (asyncio.IncompleteReadError, TimeoutError, ConnectionError):
            pass
        finally:
            writer.close()


class CountingHttp:
    """Counts what is asked and refused; breaks a connection on the answer of a path that holds `cut`."""

    def __init__(self, trust: str) -> None:
        self.inner = AiohttpClient(ca_file=trust)
        self.asked: list[str] = []
        self.refused = 0
        self.cut: str | None = None

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
        self.asked.append(f"{method} {url}")
        answer = await self.inner.request(
            method, url, headers=headers, body=body, timeout=timeout, limit=limit
        )
        self.refused += b"badNonce" in answer.body
        if self.cut is not None and self.cut in url and b"badNonce" not in answer.body:
            raise NetworkFault("the machine lost its power")
        return answer

    async def close(self) -> None:
        await self.inner.close()


class Bench:
    """A client with a fresh account, and what a scenario needs around it."""

    def __init__(self, told: Said) -> None:
        self.told = told
        self.http = CountingHttp(API_TRUST)
        self.solver = Port80()
        self.solver.wrong = set(told.get("wrong", []))
        self.client = self.client_with(
            SigningKey.from_key(new_key(KeyType(told.get("account_key", "ecdsa-p256"))))
        )

    def client_with(self, key: SigningKey) -> AcmeClient:
        return AcmeClient(self.http, LocalClock(), key, self.told["directory"])

    async def register(self) -> account.Account:
        eab = self.told.get("eab")
        return await account.register(
            self.client,
            contact=["postmaster@example.test"],
            agree_to_terms=True,
            external=ExternalAccount.from_text(*eab) if eab else None,
        )

    async def issue(
        self, *texts: str, key: PrivateKey | None = None, file: str = "chain", **options: Any
    ) -> Said:
        wanted = names(*texts)
        csr = options.pop("csr", None) or request_for(wanted, key)
        began = time.monotonic()
        issued = await obtain(
            self.client, identifiers=wanted, csr_der=csr, solver=self.solver, timeout=120, **options
        )
        path = f"/root/{file}.pem"
        Path(path).write_text(issued.fullchain)
        certificates = [x509.load_pem_x509_certificate(text.encode()) for text in issued.pem]
        leaf = certificates[0]
        sans = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        ips = [str(address) for address in sans.get_values_for_type(x509.IPAddress)]
        return {
            "names": sorted([*sans.get_values_for_type(x509.DNSName), *ips]),
            "length": len(certificates),
            "top": certificates[-1].issuer.rfc4514_string(),
            "serial": leaf.serial_number,
            "seconds": time.monotonic() - began,
            "validity": (leaf.not_valid_after_utc - leaf.not_valid_before_utc).total_seconds(),
            "order": issued.order_url,
            "file": path,
        }


async def issue(bench: Bench) -> Said:
    """Certificates for `names`, `times` after one another."""
    await bench.register()
    told = bench.told
    options = {name: told[name] for name in ("profile", "preferred_chain") if name in told}
    issued = [await bench.issue(*told["names"], **options) for _ in range(told.get("times", 1))]
    return {"issued": issued}


async def series(bench: Bench) -> Said:
    """A certificate for each of `names`, one after the other."""
    await bench.register()
    return {"issued": [await bench.issue(name) for name in bench.told["names"]]}


async def crowd(bench: Bench) -> Said:
    """A certificate for each of `names`, all at the same time."""
    await bench.register()
    jobs = (bench.issue(name, file=f"chain-{number}") for number, name in enumerate(bench.told["names"]))
    return {"issued": await asyncio.gather(*jobs)}


async def fail(bench: Bench) -> Said:
    """What is told when the order fails."""
    await bench.register()
    try:
        await bench.issue(*bench.told["names"])
    except AcmeProblem as problem:
        return {"lines": problem.lines(), "identifiers": problem.identifiers, "kind": problem.kind}
    return {"lines": []}


async def accounts(bench: Bench) -> Said:
    """An account's life: made, found by key, other contacts, another key, the end."""
    first = await bench.register()
    found = await account.find(bench.client_with(bench.client.key))
    none = await account.find(bench.client_with(SigningKey.from_key(new_key())))
    changed = await account.change_contact(bench.client, ["other@example.test"])
    said: Said = {
        "first": asdict(first),
        "found": found and found.url,
        "none": none,
        "changed": changed.contact,
    }
    if bench.told.get("rollover"):
        new = SigningKey.from_key(new_key())
        bench.client = await account.change_key(bench.client, new)
        again = await account.find(bench.client_with(new))
        said["rolled"] = again and again.url
    said["issued"] = await bench.issue(*bench.told["names"])
    said["ended"] = (await account.deactivate(bench.client)).status
    return said


async def interrupted(bench: Bench) -> Said:
    """The power goes at each of the `cuts`; the next run goes on with the order it finds."""
    await bench.register()
    said: Said = {"rounds": []}
    for number, cut in enumerate(bench.told["cuts"]):
        name = f"cut{number}.{bench.told['names'][0]}"
        csr = request_for(names(name))
        kept: list[str] = []
        bench.http.cut = cut
        try:
            await bench.issue(name, csr=csr, on_order=kept.append)
            broke = False
        except MailsealError:
            broke = True
        bench.http.cut = None
        bench.http.asked.clear()
        issued = await bench.issue(name, csr=csr, on_order=kept.append, resume_url=kept[0] if kept else None)
        said["rounds"].append({"cut": cut, "broke": broke, "kept": kept, "order": issued["order"]})
    return said


async def renewal(bench: Bench) -> Said:
    """Renewal information, and a renewal that names its predecessor, twice."""
    await bench.register()
    first = await bench.issue(*bench.told["names"])
    serials = [first["serial"]]
    leaf = x509.load_pem_x509_certificate(Path(first["file"]).read_bytes())
    key = ari.certificate_id(leaf)
    assert key is not None
    info = await ari.renewal_info(bench.client, key)
    replaced = []
    for _ in range(2):
        issued = await bench.issue(*bench.told["names"], replaces=key)
        replaced.append((await orders.resume(bench.client, issued["order"])).replaces)
        serials.append(issued["serial"])
    return {
        "info": info and [info.start.isoformat(), info.end.isoformat(), info.ask_again_at.isoformat()],
        "not_after": leaf.not_valid_after_utc.isoformat(),
        "serials": serials,
        "replaced": [one == key for one in replaced],
    }


async def revoke(bench: Bench) -> Said:
    """One revoked by the account, one by its own key, one by nobody's."""
    await bench.register()
    serials = []
    again = []
    for by in ("account", "certificate"):
        key = new_key()
        issued = await bench.issue(*bench.told["names"], key=key)
        der = x509.load_pem_x509_certificate(Path(issued["file"]).read_bytes()).public_bytes(Encoding.DER)
        signer = SigningKey.from_key(key) if by == "certificate" else None
        reason = revocation.Reason.KEY_COMPROMISE if signer else revocation.Reason.SUPERSEDED
        serials.append(issued["serial"])
        again.append(
            [await revocation.revoke(bench.client, der, reason=reason, key=signer) for _ in range(2)]
        )
    kept = await bench.issue(*bench.told["names"])
    der = x509.load_pem_x509_certificate(Path(kept["file"]).read_bytes()).public_bytes(Encoding.DER)
    try:
        await revocation.revoke(bench.client, der, key=SigningKey.from_key(new_key()))
        refused = ""
    except AcmeProblem as problem:
        refused = problem.message
    return {"revoked": serials, "again": again, "kept": kept["serial"], "refused": refused}


async def promise(bench: Bench) -> Said:
    """One of the promises that the CA in memory keeps too."""
    await bench.register()
    told = bench.told
    customer = Customer(
        bench.http,
        bench.client,
        bench.solver,
        told["names"],
        told["blocked"],
        backdated=timedelta(seconds=told["backdated"]),
        renewal_information=told["renewal_information"],
    )
    await PROMISES[told["promise"]](customer)
    return {"kept": told["promise"]}


SCENARIOS = {
    job.__name__: job for job in (issue, series, crowd, fail, accounts, interrupted, renewal, revoke, promise)
}


async def main() -> None:
    bench = Bench(json.loads(sys.argv[2]))
    server = await bench.solver.serve()
    try:
        said = await SCENARIOS[sys.argv[1]](bench)
        said |= {
            "asked": bench.http.asked,
            "refused_nonces": bench.http.refused,
            "left": len(bench.solver.shown),
        }
    except MailsealError as error:
        said = {"error": error.lines(), "kind": type(error).__name__}
    finally:
        await bench.http.close()
        server.close()
    print(json.dumps(said))


if __name__ == "__main__":
    asyncio.run(main())

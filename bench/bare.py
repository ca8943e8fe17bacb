"""A bare ACME client, for comparison: as little as gets a certificate, as fast as it goes, no line of mailseal's.

It checks nothing, keeps nothing, journals nothing, and stops at the first
surprise: what is left is the protocol (RFC 8555), signing and HTTP. Orders run
`--in-flight` at a time over as many connections; each is newOrder,
authorization, challenge, poll, finalize, poll, certificate. Between polls it
waits 3 ms, then half as long again each time.

    bench/bare.py --directory https://ca:14000/dir --trust ca.pem --count 200 --in-flight 8 --port 80 \
        --suffix .example.test

Prints one JSON object: count, seconds, cpu (seconds of this process), rate (certificates a second), requests.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import hashlib
import json
import ssl
import time
from collections.abc import Iterator
from typing import Any

import aiohttp
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature


def b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


class Bare:
    """One account, some connections."""

    def __init__(self, session: aiohttp.ClientSession) -> None:
        self.session = session
        self.key = ec.generate_private_key(ec.SECP256R1())
        numbers = self.key.public_key().public_numbers()
        x, y = (b64(number.to_bytes(32, "big")) for number in (numbers.x, numbers.y))
        self.jwk = {"crv": "P-256", "kty": "EC", "x": x, "y": y}
        self.thumbprint = b64(hashlib.sha256(json.dumps(self.jwk, separators=(",", ":")).encode()).digest())
        self.kid = ""
        self.directory: dict[str, Any] = {}
        self.nonces: list[str] = []
        self.shown: dict[str, str] = {}
        self.requests = 0

    async def start(self, url: str) -> None:
        async with self.session.get(url) as answer:
            self.directory = await answer.json()
        _, self.kid = await self.post(self.directory["newAccount"], {"termsOfServiceAgreed": True})

    async def post(self, url: str, payload: Any = None) -> tuple[Any, str]:
        body = b64(json.dumps(payload).encode()) if payload is not None else ""
        while True:
            if not self.nonces:
                async with self.session.head(self.directory["newNonce"]) as answer:
                    self.nonces.append(answer.headers["Replay-Nonce"])
            who = {"kid": self.kid} if self.kid else {"jwk": self.jwk}
            header = {"alg": "ES256", "nonce": self.nonces.pop(), "url": url, **who}
            protected = b64(json.dumps(header).encode())
            der = self.key.sign(f"{protected}.{body}".encode(), ec.ECDSA(hashes.SHA256()))
            r, s = decode_dss_signature(der)
            signature = b64(r.to_bytes(32, "big") + s.to_bytes(32, "big"))
            data = json.dumps({"protected": protected, "payload": body, "signature": signature})
            self.requests += 1
            async with self.session.post(
                url, data=data, headers={"Content-Type": "application/jose+json"}
            ) as answer:
                self.nonces.append(answer.headers["Replay-Nonce"])
                content = await answer.read()
                if answer.status == 400 and b"badNonce" in content:
                    continue
                if answer.status >= 400:
                    raise SystemExit(f"{url}: {content.decode(errors='replace')}")
                found = content if content.startswith(b"-----") else json.loads(content)
                return found, answer.headers.get("Location", "")

    async def until(self, url: str, *states: str) -> Any:
        wait = 0.003
        while True:
            await asyncio.sleep(wait)
            seen, _ = await self.post(url)
            if seen["status"] in states:
                return seen
            if seen["status"] == "invalid":
                raise SystemExit(json.dumps(seen))
            wait *= 1.5

    async def certificate(self, name: str) -> bytes:
        order, url = await self.post(
            self.directory["newOrder"], {"identifiers": [{"type": "dns", "value": name}]}
        )
        authorization, _ = await self.post(order["authorizations"][0])
        if authorization["status"] != "valid":
            challenge = next(one for one in authorization["challenges"] if one["type"] == "http-01")
            self.shown[challenge["token"]] = f"{challenge['token']}.{self.thumbprint}"
            await self.post(challenge["url"], {})
            await self.until(order["authorizations"][0], "valid")
            del self.shown[challenge["token"]]
        key = ec.generate_private_key(ec.SECP256R1())
        request = (
            x509.CertificateSigningRequestBuilder()
            .subject_name(x509.Name([]))
            .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
            .sign(key, hashes.SHA256())
        )
        csr = b64(request.public_bytes(serialization.Encoding.DER))
        order, _ = await self.post(order["finalize"], {"csr": csr})
        if order["status"] != "valid":
            order = await self.until(url, "valid")
        chain, _ = await self.post(order["certificate"])
        return bytes(chain)

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            body = self.shown.get(head.split(b" ", 2)[1].rsplit(b"/", 1)[-1].decode(), "").encode()
            head = b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % len(body)
            writer.write(head + body)
            await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()


async def run(told: argparse.Namespace) -> dict[str, Any]:
    trust = ssl.create_default_context(cafile=told.trust)
    connector = aiohttp.TCPConnector(ssl=trust, limit=max(told.in_flight, 1))
    async with aiohttp.ClientSession(connector=connector) as session:
        bare = Bare(session)
        listener = await asyncio.start_server(bare.answer, told.address, told.port)
        await bare.start(told.directory)
        todo: Iterator[int] = iter(range(told.count))
        bare.requests = 0
        began, cpu = time.perf_counter(), time.process_time()

        async def worker() -> None:
            for number in todo:
                await bare.certificate(f"b{number}-{told.mark}{told.suffix}")

        await asyncio.gather(*(worker() for _ in range(told.in_flight)))
        seconds, cpu = time.perf_counter() - began, time.process_time() - cpu
        listener.close()
    return {
        "count": told.count,
        "in_flight": told.in_flight,
        "seconds": round(seconds, 3),
        "cpu": round(cpu, 3),
        "rate": round(told.count / seconds, 2),
        "requests": bare.requests,
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--directory", required=True)
    parser.add_argument("--trust", help="PEM file with the root of the CA's https")
    parser.add_argument("--count", type=int, default=100)
    parser.add_argument("--in-flight", type=int, default=1)
    parser.add_argument("--address", default="0.0.0.0", help="where to answer http-01")
    parser.add_argument("--port", type=int, default=80)
    parser.add_argument("--suffix", default=".example.test", help="what every name ends in")
    parser.add_argument("--mark", default="0", help="makes the names of one run differ from another's")
    print(json.dumps(asyncio.run(run(parser.parse_args()))))


if __name__ == "__main__":
    main()

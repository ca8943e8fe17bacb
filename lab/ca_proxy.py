"""The program behind `lab.ca_faults`: `python -m lab.ca_proxy PORT UPSTREAM_PORT FOLDER`, on the CA host.

FOLDER holds `faults.json`, what to do next, and `seen`, a line of JSON for each
request that came.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import ssl
import sys
import time
from dataclasses import asdict
from typing import Any

from aiohttp import ClientSession, DummyCookieJar, TCPConnector, web

from lab.ca import DIRECTORY
from lab.ca_faults import Seen

Answer = tuple[int, list[tuple[str, str]], bytes]


class Proxy:
    """Passes requests on, but for those that a fault takes; faults are read anew when their file was replaced."""

    def __init__(self, upstream: int, folder: str) -> None:
        self._upstream = f"https://127.0.0.1:{upstream}"
        self._folder = folder
        self._faults: list[dict[str, Any]] = []
        self._read_at = 0
        self._session: ClientSession

    async def serve(self, port: int) -> None:
        trust = ssl.create_default_context(cafile=f"{DIRECTORY}/ca.pem")
        connector = TCPConnector(ssl=trust, limit=0)
        own = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        own.load_cert_chain(f"{DIRECTORY}/api.pem", f"{DIRECTORY}/api.key")
        async with ClientSession(
            connector=connector, cookie_jar=DummyCookieJar(), auto_decompress=False
        ) as session:
            self._session = session
            app = web.Application(client_max_size=1 << 26)
            app.router.add_route("*", "/{any:.*}", self._handle)
            runner = web.AppRunner(app, access_log=None)
            await runner.setup()
            await web.TCPSite(runner, None, port, ssl_context=own).start()
            await asyncio.Event().wait()

    async def _handle(self, request: web.Request) -> web.Response:
        body = await request.read()
        fault = self._match(request.method, request.path_qs)
        answer = None
        if fault is None or fault["after"]:
            answer = await self._pass_on(request, body)
        if fault is not None:
            await asyncio.sleep(fault["delay"])
            if fault["drop"]:
                self._note(request, 0, True)
                if request.transport is not None:
                    request.transport.abort()
                return web.Response()
            if fault["status"]:
                answer = await self._refuse(fault, request.headers.get("Host", ""))
            elif answer is None:
                answer = await self._pass_on(request, body)
        assert answer is not None
        status, headers, content = answer
        self._note(request, status, fault is not None)
        return web.Response(status=status, headers=headers, body=content)

    def _match(self, method: str, path: str) -> dict[str, Any] | None:
        changed = os.stat(f"{self._folder}/faults.json").st_mtime_ns
        if changed != self._read_at:
            with open(f"{self._folder}/faults.json", encoding="utf-8") as told:
                self._faults, self._read_at = json.load(told), changed
        for fault in self._faults:
            if fault["times"] > 0 and fault["method"] == method and re.search(fault["path"], path):
                fault["times"] -= 1
                return dict(fault)
        return None

    async def _pass_on(self, request: web.Request, body: bytes) -> Answer:
        kept = ("Host", "Content-Type", "User-Agent", "Accept", "Accept-Language", "If-None-Match")
        headers = {name: request.headers[name] for name in kept if name in request.headers}
        url = self._upstream + request.path_qs
        async with self._session.request(
            request.method,
            url,
            data=body,
            headers=headers,
            allow_redirects=False,
            server_hostname="localhost",
        ) as answer:
            hop = {"connection", "transfer-encoding", "content-length", "keep-alive", "date"}
            passed = [(name, value) for name, value in answer.headers.items() if name.lower() not in hop]
            return answer.status, passed, await answer.read()

    async def _refuse(self, fault: dict[str, Any], host: str) -> Answer:
        headers = dict(fault["headers"])
        nonce = await self._nonce(host)
        if nonce:
            headers.setdefault("Replay-Nonce", nonce)
        if fault["problem"] is not None:
            headers.setdefault("Content-Type", "application/problem+json")
            return fault["status"], list(headers.items()), json.dumps(fault["problem"]).encode()
        return fault["status"], list(headers.items()), (fault["body"] or "").encode()

    async def _nonce(self, host: str) -> str:
        for path in ("/dir", "/acme/local/directory"):
            url = self._upstream + path
            async with self._session.get(url, headers={"Host": host}, server_hostname="localhost") as told:
                if told.status == 200:
                    new_nonce = json.loads(await told.read())["newNonce"]
                    break
        else:
            return ""
        url = self._upstream + re.sub(r"^https://[^/]*", "", new_nonce)
        async with self._session.head(url, headers={"Host": host}, server_hostname="localhost") as fresh:
            return str(fresh.headers.get("Replay-Nonce", ""))

    def _note(self, request: web.Request, status: int, fault: bool) -> None:
        line = asdict(Seen(time.time(), request.method, request.path_qs, status, fault))
        with open(f"{self._folder}/seen", "a", encoding="utf-8") as log:
            log.write(json.dumps(line) + "\n")


if __name__ == "__main__":
    asyncio.run(Proxy(int(sys.argv[2]), sys.argv[3]).serve(int(sys.argv[1])))

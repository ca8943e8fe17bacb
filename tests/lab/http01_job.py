"""Run inside a lab host: show control of names as [http01] says, look first, then order from a real CA.

`http01_job.py JSON`: {"names": […], "http01": {"method", "webroot", "listen", "port"},
"ca": directory URL or null, "trust": its CA file}. Prints one JSON object: the way that was
chosen and why, what each address said, the names in the leaf or the error's lines.
"""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Any

from cryptography import x509

from mailseal.acme.obtain import obtain
from mailseal.challenges.base import Solver
from mailseal.challenges.choosing import Way, Wished, choose, solver_of
from mailseal.challenges.directory import CHALLENGE_DIRECTORY, STATE_DIRECTORY
from mailseal.challenges.preflight import preflight, require
from mailseal.config.acme import Acme
from mailseal.errors import MailsealError
from mailseal.issuers.accounts import open_client
from mailseal.issuers.acme import SolverBridge
from mailseal.issuers.keys import new_key, request
from mailseal.model import Identifier, KeyType
from mailseal.services.apache import Apache
from mailseal.services.base import ChallengeWish, ServiceSettings, ServiceWish
from mailseal.system.listeners import listeners
from mailseal.system.local import LocalSystem
from tests.lab.service_job import fulfil, run


def main() -> None:
    told = json.loads(sys.argv[1])
    said: dict[str, Any] = {}
    try:
        asyncio.run(_job(told, said))
    except MailsealError as error:
        said["error"] = error.lines()
    print(json.dumps(said))


async def _job(told: dict[str, Any], said: dict[str, Any]) -> None:
    system = LocalSystem()
    names = [Identifier.parse(name) for name in told["names"]]
    wished = Wished(**told.get("http01", {}))
    choice = choose(wished, listeners(system))
    said["way"], said["reason"] = str(choice.way), choice.reason
    if choice.way is Way.APACHE:
        _serve_by_apache(system)
    solver = solver_of(choice, wished, system)
    looked = await preflight(system, solver, names, timeout=5.0)
    said["looked"] = [
        [str(each.identifier), each.address, str(each.reach), each.code, each.seen] for each in looked.results
    ]
    require(looked)
    if told.get("ca"):
        said["leaf"] = await _order(system, solver, names, Acme(**told["ca"]))


def _serve_by_apache(system: LocalSystem) -> None:
    adapter = Apache()
    facts = adapter.observe(system, ServiceSettings("apache"))
    assert facts is not None
    system.files.mkdir(STATE_DIRECTORY, mode=0o711, exist_ok=True)
    rendering = adapter.render(ServiceWish(challenge=ChallengeWish(CHALLENGE_DIRECTORY)), facts)
    if [wish for wish in rendering.wishes if fulfil(system, wish)]:
        for command in adapter.reload(facts):
            run(system, command)


async def _order(system: LocalSystem, solver: Solver, names: list[Identifier], acme: Acme) -> list[str]:
    for folder, mode in ((STATE_DIRECTORY, 0o711), (f"{STATE_DIRECTORY}/accounts", 0o700)):
        system.files.mkdir(folder, mode=mode, exist_ok=True)
    http = system.http(ca_file=acme.ca_file)
    try:
        client = await open_client(system, http, STATE_DIRECTORY, acme)
        key = new_key(KeyType.ECDSA_P256)
        chain = await obtain(
            client, identifiers=names, csr_der=request(key, names), solver=SolverBridge(solver)
        )
    finally:
        await http.close()
    leaf = x509.load_pem_x509_certificate(chain.fullchain.encode())
    san = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    return sorted(san.get_values_for_type(x509.DNSName))


main()

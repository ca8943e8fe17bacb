"""A machine in memory that holds many lineages, issued and live, and no daemon: nothing of them is due."""

from __future__ import annotations

import io
from datetime import datetime, timedelta

from mailseal.certificates import certificate_facts
from mailseal.cli.main import main
from mailseal.cli.output import Output
from mailseal.config import DEFAULT_PATH
from mailseal.model import KeyType, Secret
from mailseal.stores.filesystem import LineageStore, Material
from mailseal.stores.state import LineageState, StateStore, Suggestion
from tests.support.certs import Ca
from tests.support.memory import Machine, MemorySystem

ISSUER = "https://ca.example.test/directory"
ROOT = "/var/lib/mailseal"
HEAD = f"""
[acme]
directory = "{ISSUER}"
contact = ["postmaster@example.org"]
agree_to_terms = true
[http01]
method = "webroot"
webroot = "/var/www/html"
[services]
postfix.enabled = false
dovecot.enabled = false
apache.enabled = false
[proof]
trust = "/etc/mailseal/roots.pem"
[timer]
install = false
"""
TABLE = '[[certificate]]\nname = "{name}"\nidentifiers = [{names}]\n'


class Many:
    """The lineages are called a0, a1, …; each is for a host of that name, was issued an hour ago and lives `days`."""

    def __init__(self, count: int, *, days: dict[str, int] | None = None, ask_after: int = 6) -> None:
        self.ask_after = timedelta(hours=ask_after)  # the CA's word on when to ask again
        self.machine = Machine()
        self.names = [f"a{number}" for number in range(count)]
        self.tables = {name: [f"{name}.example.org"] for name in self.names}
        root = Ca.root()
        self.ca = root.intermediate()
        self.machine.put_directory("/etc/mailseal")
        self.machine.put_directory("/var/www/html")
        self.machine.put("/etc/mailseal/roots.pem", root.pem)
        self.head = HEAD
        self.configure()
        system = MemorySystem(self.machine)
        LineageStore(system, ROOT).prepare()
        for name in self.names:
            self._issue(system, name, (days or {}).get(name, 90))

    def configure(self) -> None:
        """Writes the configuration as `head` and `tables` have it."""
        told = {name: ", ".join(f'"{one}"' for one in names) for name, names in self.tables.items()}
        text = self.head + "".join(TABLE.format(name=name, names=names) for name, names in told.items())
        self.machine.put(DEFAULT_PATH, text)

    def renew(self, *arguments: str) -> tuple[int, str]:
        """`mailseal renew`: its exit status and all that it says."""
        said = io.StringIO()
        status = main(["renew", *arguments], system=MemorySystem(self.machine), out=Output(said, said))
        return status, said.getvalue()

    def _issue(self, system: MemorySystem, name: str, days: int) -> None:
        began = system.clock.now() - timedelta(hours=1)
        made = self.ca.issue(*self.tables[name], not_before=began, not_after=began + timedelta(days=days))
        facts = certificate_facts(made.der)
        store, kind = LineageStore(system, ROOT), KeyType.ECDSA_P256
        material = Material(kind, Secret(made.key_pem), made.cert_pem, made.chain_pem, facts)
        generation = store.write(name, (material,), issuer=ISSUER, issued_at=began)
        system.files.symlink(store.current_path(name), generation.label)
        folder = f"{ROOT}/live/{name}"
        system.files.mkdir(folder, mode=0o700)
        for file in ("privkey", "cert", "chain", "fullchain"):
            system.files.symlink(f"{folder}/{file}.pem", f"../../lineages/{name}/current/{kind}/{file}.pem")
        self._suggest(system, name, began, days, facts.fingerprint)

    def _suggest(self, system: MemorySystem, name: str, began: datetime, days: int, fingerprint: str) -> None:
        """The CA named a window around two thirds of the life, and wants not to be asked for some time."""
        middle = began + timedelta(days=days * 2 / 3)
        known = Suggestion(
            f"{name}.id",
            fingerprint,
            middle - timedelta(days=days / 100),
            middle + timedelta(days=days / 100),
            middle,
            system.clock.now() + self.ask_after,
        )
        StateStore(system, ROOT).save(name, LineageState(suggestions={KeyType.ECDSA_P256: known}))

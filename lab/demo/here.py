"""The stage without namespaces: private instances on this machine, on high ports of 127.0.0.1.

For containers that allow no namespaces. Everything lies in one folder under
/var/tmp and goes with the demo; the daemons that this machine may run, their
files and their ports are not touched, and `changes` shows it.
"""

from __future__ import annotations

import atexit
import fcntl
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from lab.box import ENVIRONMENT, Result
from lab.demo.machine_state import MachineState, machine_state, taken_ports, tree
from lab.demo.packages import install_missing
from lab.demo.private import DidNotStart, Instances, Place
from lab.demo.private_ca import ADDRESS, PrivateCa
from lab.demo.stage import PORTS, Background, Port, Stage, read_again
from lab.guard import CHECKOUT, Unavailable

TEMPORARY = Path("/var/tmp")
PREFIX = "mailseal-demo-"
OFFSETS = (10000, 16000, 22000, 27000)  # whole blocks below the kernel's ephemeral ports
CA_PORTS = (5000, 5001, 5002, 5003)  # of the directory, Pebble's management, the DNS, its management

_TOML = """\
[acme]
directory = "{directory}"
contact = ["postmaster@example.test"]
agree_to_terms = true
ca_file = "{trust}"

[[certificate]]
name = "mail"
identifiers = ["{name}"]

[services.postfix]
config_dir = "{etc}/postfix"

[services.dovecot]
config_dir = "{etc}/dovecot"

[services.apache]
config_dir = "{etc}/apache2"
web_root = "{root}/www"
http_port = {http}
https_port = {https}

[state]
directory = "{root}/state"
lock = "{root}/mailseal.lock"

[proof]
trust = "{root}/roots.pem"

[dns]
nameservers = ["{nameserver}"]

[notify]
enabled = false

[hooks]
directory = "{root}/hooks"
"""


class Here(Stage):
    """Installs what is missing, starts everything; raises Unavailable where that cannot be."""

    address = ADDRESS
    address6 = ""
    watched = "the three configuration folders"
    client_python = sys.executable
    watcher = str(CHECKOUT / "lab/demo/watch.py")

    def __init__(self) -> None:
        if os.geteuid() != 0:
            raise Unavailable("--here needs root, as the daemons do. Next: sudo script/demo --here")
        new = install_missing()
        _end_abandoned()
        self._before = machine_state()
        self._lock, root = _own_folder()
        self._place = Place(root, _offset(), self.name)
        self._instances = Instances(self._place)
        atexit.register(self._close)  # whatever line the demo is ended at
        ca_ports = tuple(self._place.port(number) for number in CA_PORTS)
        port = self._place.port
        try:
            self._instances.write()
            self._ca = PrivateCa(root / "ca", ca_ports, port(80), port(443))  # type: ignore[arg-type]
            self._instances.start()
            self._ca.start()
            roots = self._ca.root()
        except (DidNotStart, OSError) as error:
            self._close()
            raise Unavailable(f"--here cannot play here: {error}") from error
        except BaseException:
            self._close()
            raise
        self.ports = tuple(Port(port(p.number), p.protocol, p.starttls, p.tls) for p in PORTS)
        self.config, self.state = str(root / "mailseal.toml"), str(root / "state")
        self.client_roots = str(root / "roots.pem")
        self.write(self.client_roots, roots)
        self._configure()
        self.before_command = "mailseal.toml names the folders and the ports of these instances, and the CA."
        beside = (
            f" {len(new)} packages were installed for it, and nothing of them was started." if new else ""
        )
        self.told = (
            "Private instances of Postfix, Dovecot and Apache, and Pebble, on this machine: all files in "
            f"{root}, all ports on {ADDRESS} and {self._place.offset} higher than usual.{beside}"
        )

    def _configure(self) -> None:
        place = self._place
        text = _TOML.format(
            directory=self._ca.directory_url,
            trust=self._ca.trust,
            nameserver=self._ca.nameserver,
            name=self.name,
            root=place.root,
            etc=place.etc,
            http=place.port(80),
            https=place.port(443),
        )
        self.write(self.config, text)

    def command(self, *args: str) -> tuple[list[str], Mapping[str, str]]:
        env = {**ENVIRONMENT, "PYTHONPATH": f"{CHECKOUT}/src"}
        tied = ["setpriv", "--pdeathsig=KILL", "--"]  # a demo that is killed leaves no mailseal at work
        return [*tied, sys.executable, "-m", "mailseal", *args, "--config", self.config], env

    def set_up(self) -> list[str]:
        return ["apply"]

    def run(self, argv: Sequence[str], *, check: bool = True) -> Result:
        return subprocess.run(
            argv, stdin=subprocess.DEVNULL, capture_output=True, text=True, env=ENVIRONMENT, check=check
        )

    def client(self, argv: Sequence[str]) -> Result:
        return self.run(argv, check=False)

    def resolving(self) -> list[str]:
        places = [self._place.port(80), self._place.port(443)]
        return [word for port in places for word in ("--resolve", f"{self.name}:{port}:{ADDRESS}")]

    def read(self, path: str) -> str:
        return Path(path).read_text(encoding="utf-8")

    def write(self, path: str, text: str) -> None:
        Path(path).write_text(text, encoding="utf-8")

    def start(self, argv: Sequence[str], *, as_client: bool = False) -> Background:
        return _Process(argv)

    def shown(self, text: str) -> str:
        return text.replace(f"{self._place.root}/", "")

    def listening(self) -> set[int] | None:
        return None  # other services of this machine are none of the demo's business

    def snapshot(self) -> dict[str, str]:
        return tree(str(self._place.etc), str(self._place.root / "www"))

    def url(self, name: str, *, https: bool = False) -> str:
        return f"http{'s' if https else ''}://{name}:{self._place.port(443 if https else 80)}/"

    def changes(self) -> Iterator[str]:
        """Ends everything; then what of this machine is not as it was before the daemons started."""
        self._close()
        yield from self._before.changes(machine_state())

    @property
    def machine(self) -> MachineState:
        """The machine before the daemons started."""
        return self._before

    def _close(self) -> None:
        self._instances.stop()
        if hasattr(self, "_ca"):
            self._ca.stop()
        _remove(self._place.root)

    def __exit__(self, *_: object) -> None:
        self._close()


class _Process(Background):
    def __init__(self, argv: Sequence[str]) -> None:
        self._output = tempfile.TemporaryFile()  # noqa: SIM115 - told() reads it
        self._running = subprocess.Popen(
            argv, stdin=subprocess.DEVNULL, stdout=self._output, stderr=self._output, env=ENVIRONMENT
        )

    def stop(self) -> None:
        self._running.terminate()
        self._running.wait()

    def told(self) -> str:
        return read_again(self._output).read()


def _own_folder() -> tuple[int, Path]:
    """A new folder and the lock on it, which says that this demo is alive; it gets its name once it is locked."""
    made = Path(tempfile.mkdtemp(prefix=f".{PREFIX}", dir=TEMPORARY))
    made.chmod(0o755)
    lock = os.open(made, os.O_RDONLY)
    fcntl.flock(lock, fcntl.LOCK_EX)
    return lock, made.rename(made.with_name(made.name.removeprefix(".")))


def _end_abandoned() -> None:
    """What a demo that was killed left behind: a folder that nobody holds the lock of, and its daemons."""
    for root in TEMPORARY.glob(f"{PREFIX}*"):
        if not root.is_dir() or root.is_symlink() or root.stat().st_uid != 0:
            continue
        folder = os.open(root, os.O_RDONLY | os.O_NOFOLLOW)
        try:
            fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:  # another demo is playing
            continue
        finally:
            os.close(folder)
        Instances(Place(root, 0, Here.name)).stop()
        _remove(root)


def _remove(root: Path) -> None:
    """Removes the folder; for ten seconds again and again, as a process that is ending may still write there."""
    deadline = time.monotonic() + 10
    while root.exists() and time.monotonic() < deadline:
        shutil.rmtree(root, ignore_errors=True)
        if root.exists():
            time.sleep(0.1)


def _offset() -> int:
    """What to add to the ports, so that nobody has any of them."""
    taken = taken_ports()
    wanted = (*CA_PORTS, *(port.number for port in PORTS))
    for offset in OFFSETS:
        if not taken & {offset + number for number in wanted}:
            return offset
    raise Unavailable(
        f"No free block of ports was found among those that begin at {', '.join(map(str, OFFSETS))}."
    )

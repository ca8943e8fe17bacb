"""Where the demo plays: a mail server whose daemons run, a CA, and clients that look at it.

A stage starts with the daemons as their packages (or a fresh private
configuration) leave them, knowing nothing of mailseal. The story speaks only
to this interface.
"""

from __future__ import annotations

import subprocess
import tempfile
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import IO, Self

from lab.box import Result


@dataclass(frozen=True)
class Port:
    """One TCP port. `starttls` is openssl's word for the protocol that TLS starts in; `tls`: it speaks TLS at all."""

    number: int
    protocol: str
    starttls: str = ""
    tls: bool = True


PORTS = (
    Port(25, "smtp", "smtp"),
    Port(80, "http", tls=False),
    Port(110, "pop3", "pop3"),
    Port(143, "imap", "imap"),
    Port(443, "https"),
    Port(993, "imaps"),
    Port(995, "pop3s"),
    Port(4190, "sieve", "sieve"),
)


class Stage(ABC):
    """A server and who looks at it. Use as a context manager: everything that was started ends with it."""

    name = "mail.example.test"
    second_name = "webmail.example.test"
    ports: tuple[Port, ...] = PORTS
    address: str  # where clients connect
    address6: str  # the same over IPv6; empty: there is none
    client_roots: str  # the test CA's roots, as the clients see them
    config: str  # mailseal's configuration on the server
    state: str  # mailseal's directory on the server
    told: str  # what this stage is, in a sentence
    before_command: str = ""  # what the one command reads, where somebody else wrote it
    watched: str  # what `snapshot` looks at, in words
    client_python: str  # an interpreter where the clients are
    watcher: str  # lab/demo/watch.py there

    def __enter__(self) -> Self:
        return self

    @abstractmethod
    def __exit__(self, *_: object) -> None:
        """Ends everything."""

    @abstractmethod
    def command(self, *args: str) -> tuple[list[str], Mapping[str, str]]:
        """mailseal on the server: argv as started from here, and its environment."""

    @abstractmethod
    def set_up(self) -> list[str]:
        """mailseal's arguments that bring the server from nothing to proven."""

    @abstractmethod
    def run(self, argv: Sequence[str], *, check: bool = True) -> Result:
        """A command on the server."""

    @abstractmethod
    def client(self, argv: Sequence[str]) -> Result:
        """A command where the clients are."""

    @abstractmethod
    def resolving(self) -> list[str]:
        """curl's options that make the names lead to the server."""

    @abstractmethod
    def read(self, path: str) -> str:
        """A file of the server."""

    @abstractmethod
    def write(self, path: str, text: str) -> None:
        """Writes a file of the server."""

    @abstractmethod
    def start(self, argv: Sequence[str], *, as_client: bool = False) -> Background:
        """Leaves a command running, on the server or where the clients are."""

    @abstractmethod
    def listening(self) -> set[int] | None:
        """The TCP ports of the server that clients elsewhere can reach; None where others' are among them."""

    def shown(self, text: str) -> str:
        """What a program printed, with what is long and only this run's cut out."""
        return text

    @abstractmethod
    def snapshot(self) -> dict[str, str]:
        """Every file of the daemons' configuration: type, mode, owner, hash."""

    @abstractmethod
    def url(self, name: str, *, https: bool = False) -> str:
        """The root page under that name."""

    def watch(self) -> Background:
        """A client that asks every port for TLS, over and over, until it is ended; prints JSON then (`watch`)."""
        places = [f"{port.number}/{port.starttls}" for port in self.ports if port.tls]
        argv = [self.client_python, self.watcher, self.address, self.name, self.client_roots, *places]
        return self.start(argv, as_client=True)

    def mailseal(self, args: Sequence[str], progress: Callable[[str], None]) -> Result:
        """Runs it to the end; `progress` gets each line of its stderr as it comes."""
        argv, env = self.command(*args)
        with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
            process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=out, stderr=err, env=dict(env))
            try:
                _follow(process, err, progress)
            except BaseException:  # it would go on writing where the demo tidies up
                _end(process)
                raise
            texts = [read_again(one).read() for one in (out, err)]
        return Result(["mailseal", *args], process.returncode, *texts)


class Background(ABC):
    """A command that was left running; ends, at the latest, with the `with` block."""

    @abstractmethod
    def stop(self) -> None:
        """Asks it to end (SIGTERM), and waits."""

    @abstractmethod
    def told(self) -> str:
        """Everything that it printed; to be asked once it has ended."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


def read_again(file: IO[bytes]) -> IO[str]:
    """The same file from its beginning, apart from where its writers are; it needs no name (proc(5), fd)."""
    return open(f"/proc/self/fd/{file.fileno()}", encoding="utf-8", errors="replace")


def _follow(process: subprocess.Popen[bytes], file: IO[bytes], progress: Callable[[str], None]) -> None:
    """Gives each line that comes to the file to `progress`, until the process has ended."""
    ended = False
    with read_again(file) as reading:
        while not ended:
            ended = process.poll() is not None
            for line in reading.readlines():
                progress(line.rstrip())
            if not ended:
                time.sleep(0.05)


def _end(process: subprocess.Popen[bytes]) -> None:
    """Asks it to end, and waits; kills it after half a minute."""
    process.terminate()
    try:
        process.wait(30)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()

"""The one door: everything that touches the machine goes through a `System`.

Files, processes, the network, the clock and randomness are ports; adapters
and rules receive a `System` and never open anything themselves, so that tests
can hand them one in memory in which fourteen months pass in a second.
`mailseal.system.local` is the real one.

Promises of the file port: writes are durable when the call returns (the data
and the directory entry are synced), a file is replaced whole or not at all, a
file that is created is born with the mode asked for and never wider, and the
last component of a path is never followed when it is a symbolic link (`read`
and `stat(follow=True)` excepted, and they say so).

A path that is written to is walked from the root, directory by directory. A
symbolic link on the way is followed only when root (or the user we run as)
owns it, and a directory on the way that somebody else owns, or may write
without the sticky bit, is refused: whoever can rename what we write could put
another thing in its place. Removing is held to the rule for links alone, and
`plant` has rules of its own for web roots. `..` in a path that is written to
is refused.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Protocol, TypeVar

from mailseal.model import FileState
from mailseal.system.dns import Dns
from mailseal.system.http import Http
from mailseal.system.smtp import MailServer

if TYPE_CHECKING:  # asyncio takes a tenth of a second to load; commands that wait for no network do without
    import asyncio

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Stat:
    """A path's metadata: `kind` as in FileState, permission bits, owner, size in octets, times in UTC."""

    kind: str
    mode: int
    uid: int
    gid: int
    size: int
    mtime: datetime
    inode: int


@dataclass(frozen=True, slots=True)
class Completed:
    """A process that ended: its status (negative: the signal that ended it) and all it printed."""

    argv: tuple[str, ...]
    status: int
    stdout: str
    stderr: str

    @property
    def ok(self) -> bool:
        return self.status == 0

    @property
    def said(self) -> str:
        """The last lines of what it printed, for an error message."""
        text = (self.stderr.strip() or self.stdout.strip()).splitlines()
        return "\n".join(text[-12:])


class Files(Protocol):
    """Files by absolute path. Every method raises `SystemFault` that names the path and the errno."""

    def read(self, path: str, limit: int = 16_777_216) -> bytes:
        """The whole content, symbolic links followed; a longer file than `limit` is a fault."""
        ...

    def state(self, path: str, limit: int = 16_777_216) -> FileState:
        """What stands at the path, a link not followed; absent is an answer, not a fault."""
        ...

    def stat(self, path: str, *, follow: bool = False) -> Stat | None:
        """Metadata, or None where nothing is."""
        ...

    def stamp(self, paths: Iterable[str]) -> int:
        """One number over all that stands at these paths, links not followed: it differs when any of it was changed.

        Content, owner, mode, the names in a directory: whatever inode(7) counts as a change. 0 where it cannot be
        told, since something changed so lately that a further change might not show.
        """
        ...

    def listdir(self, path: str) -> tuple[str, ...]:
        """The names in a directory, sorted; empty where there is no such directory."""
        ...

    def resolve(self, path: str) -> str:
        """The path with every symbolic link followed."""
        ...

    def create(self, path: str, content: bytes, *, mode: int, owner: tuple[int, int] | None = None) -> None:
        """A new file (O_CREAT|O_EXCL|O_NOFOLLOW, born 0600, then fchown, fchmod, fsync, directory synced).

        `owner` None: whoever we run as. A failure leaves nothing behind.
        """
        ...

    def replace(self, path: str, content: bytes, *, mode: int, owner: tuple[int, int] | None = None) -> None:
        """The file anew, in one rename from a temporary neighbour made as by `create`.

        A symbolic link that stood there is replaced, not followed.
        """
        ...

    def append(self, path: str, content: bytes, *, mode: int = 0o600) -> None:
        """Adds to a file (made with `mode` when new) and syncs it."""
        ...

    def symlink(self, path: str, target: str, *, durable: bool = True) -> None:
        """A symbolic link at the path, in one rename, in place of a link or file that stood there.

        Without `durable` a power loss may still take it, until its directory is given to `sync`.
        """
        ...

    def mkdir(
        self,
        path: str,
        *,
        mode: int,
        owner: tuple[int, int] | None = None,
        exist_ok: bool = False,
        durable: bool = True,
    ) -> None:
        """One directory, born 0700; its parent must be there. With `exist_ok`, one that stands is left as it is.

        Without `durable` a power loss may still take it, until it and its parent are given to `sync`.
        """
        ...

    def sync(self, directories: Iterable[str]) -> None:
        """Makes durable what was made in these directories without `durable`: many cost little more than one."""
        ...

    def create_tree(self, path: str, contents: Mapping[str, bytes], *, mode: int) -> None:
        """A new directory (0700) with these files in it, there whole or not at all, in one rename.

        The keys are paths below it, in directories (0700) that are made as well; `mode` is the files'. All is
        synced together, which costs little more than one file does. A failure leaves nothing behind.
        """
        ...

    async def aside(self, work: Callable[[], T]) -> T:
        """What `work` returns: file work done while other tasks go on. Cancelled, it waits for the work's end first."""
        ...

    def rename(self, source: str, destination: str) -> None:
        """One rename, both directories synced; replaces what stood at the destination."""
        ...

    def remove(self, path: str, *, durable: bool = True) -> None:
        """A file or link away; nothing there is no fault. Without `durable` a power loss may bring it back."""
        ...

    def rmdir(self, path: str) -> None:
        """An empty directory away."""
        ...

    def remove_tree(self, path: str, *, durable: bool = True) -> None:
        """A directory and all below it away, links not followed; nothing there is no fault.

        Without `durable` a power loss may bring some of it back.
        """
        ...

    def plant(self, root: str, below: Sequence[str], content: bytes, *, whole: bool = False) -> int:
        """A new public file (0644) below a directory that may belong to somebody else, such as a web root.

        `below` are the components from `root` to the file. Each is opened from its parent's descriptor,
        no symbolic link is followed where anybody but root could have made it, and whatever is created
        is created with the rights of the owner of the directory it goes into. A file or link that
        stood there is unlinked first, never opened; with `whole` it is replaced in one rename, so that a
        reader meets the old or the new. Returns how many directories (the innermost ones) had to be made
        for it.
        """
        ...

    def uproot(self, root: str, below: Sequence[str], *, directories: int = 0) -> None:
        """Takes away what `plant` made, and the innermost `directories` if they are empty; gone already is no fault."""
        ...

    def free_bytes(self, path: str) -> int:
        """What an unprivileged write could still take on the path's file system."""
        ...


class Process(Protocol):
    """A process that runs."""

    pid: int

    def poll(self) -> int | None: ...

    def terminate(self, timeout: float = 5.0) -> None:
        """SIGTERM, then after `timeout` seconds SIGKILL; returns when it has ended."""
        ...


class Processes(Protocol):
    """Processes by argv; no shell, a small clean environment (PATH, LANG=C.UTF-8, what `env` adds)."""

    def run(
        self,
        argv: Sequence[str],
        *,
        timeout: float = 60.0,
        stdin: bytes = b"",
        env: Mapping[str, str] | None = None,
    ) -> Completed:
        """Runs to the end. Raises `SystemFault` if it cannot be started, `CommandTimeout` after `timeout` seconds.

        At the end of the time its whole group is ended. A daemon that the
        process leaves behind is not waited for, also when it holds the output
        open. More than 16 MiB of output is a `SystemFault`.
        """
        ...

    def spawn(self, argv: Sequence[str], *, env: Mapping[str, str] | None = None) -> Process:
        """Starts a process in a group of its own, its output thrown away, and does not wait."""
        ...

    def which(self, program: str) -> str | None:
        """Where the program is, looked for in PATH and the sbin directories."""
        ...


Handler = Callable[["asyncio.StreamReader", "asyncio.StreamWriter"], Awaitable[None]]


class Server(Protocol):
    """A listening socket and the connections that it accepted."""

    @property
    def address(self) -> str: ...

    @property
    def port(self) -> int:
        """The port that it listens on; the one given by the kernel where 0 was asked for."""
        ...

    async def close(self) -> None:
        """Stops listening, breaks off what is still connected, and returns when both are done."""
        ...


class Network(Protocol):
    """Connections for probes, sockets that listen for challenges, mails handed in."""

    async def connect(
        self, address: str, port: int, *, timeout: float, source: str | None = None
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """A TCP connection to an IP address, from `source` if given. Raises `NetworkFault`."""
        ...

    async def serve(self, address: str, port: int, handler: Handler) -> Server:
        """Listens on one IP address (IPv6 only where it is one) and runs the handler for each connection.

        The connection is closed when the handler returns or fails. Raises `NetworkFault`, whose
        `errno` is EADDRINUSE where another process listens there.
        """
        ...

    def submit(
        self, server: MailServer, sender: str, recipients: Sequence[str], message: bytes
    ) -> tuple[str, ...]:
        """Hands a whole mail (RFC 5322, CRLF) to a mail server, over TLS or not at all (`mailseal.system.smtp`).

        Returns when the server has taken it: which recipients it refused, a sentence each. Raises
        `NetworkFault` where it took it for nobody.
        """
        ...

    def own_addresses(self) -> tuple[str, ...]:
        """The machine's own IP addresses, IPv4 first, loopback and link-local left out."""
        ...


class Clock(Protocol):
    """Time and waiting."""

    def now(self) -> datetime:
        """Aware UTC."""
        ...

    def monotonic(self) -> float: ...

    def sleep(self, seconds: float) -> None: ...

    async def sleep_async(self, seconds: float) -> None: ...


class Random(Protocol):
    """Randomness for names, jitter and tokens (keys are drawn by the cryptography library)."""

    def token(self, octets: int) -> str:
        """Lower-case hex of that many random octets."""
        ...

    def uniform(self, low: float, high: float) -> float: ...


class System(Protocol):
    """The machine, as far as mailseal touches it."""

    @property
    def files(self) -> Files: ...

    @property
    def processes(self) -> Processes: ...

    @property
    def network(self) -> Network: ...

    @property
    def clock(self) -> Clock: ...

    @property
    def random(self) -> Random: ...

    def http(self, *, ca_file: str | None = None) -> Http:
        """An HTTP client that trusts the system's store (SSL_CERT_FILE is not read), or only `ca_file`."""
        ...

    def dns(self, nameservers: Sequence[str] = ()) -> Dns:
        """Look-ups through the resolvers of /etc/resolv.conf, or these (`192.0.2.1`, `[2001:db8::1]:5353`)."""
        ...

    def lock(self, path: str, *, wait: float = 0.0) -> AbstractContextManager[None]:
        """An exclusive lock on a file, gone when its holder dies.

        Waits up to `wait` seconds, then raises `Locked` that names the holder.
        Whoever gets it must look again whether the work is still needed.
        """
        ...

    def uninterrupted(self) -> AbstractContextManager[None]:
        """Within, Ctrl-C, SIGTERM and SIGHUP wait; what came is delivered at the end (for us a KeyboardInterrupt).

        For what must not be left half done: keep it short.
        """
        ...

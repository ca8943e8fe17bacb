"""A client for every port, once and again, for as long as it is left running: who was turned away, and how long?

Knows nothing of mailseal and needs only Python's standard library. Each port
has a thread that connects, starts TLS, verifies chain and name, and hangs up,
four times a second at most. On SIGTERM it prints what it saw, as JSON:
{"25": {"asked": 90, "turned_away": 3, "longest": 0.6}, …}, `longest` being the
seconds from the last good answer before a failure to the first good one after.

Runs as `watch.py ADDRESS NAME ROOTS PORT/STARTTLS…`, where STARTTLS is smtp,
imap, pop3, sieve or nothing.
"""

from __future__ import annotations

import json
import signal
import socket
import ssl
import sys
import threading
import time
from types import FrameType

PAUSE = 0.25
PATIENCE = 10.0

# Per protocol: what ends the greeting, the command, what its answer begins with.
DIALOGUES = {
    "smtp": ((b"220 ", b"EHLO watch.example.test\r\n", b"250 "), (b"", b"STARTTLS\r\n", b"220")),
    "imap": ((b"* OK", b"a STARTTLS\r\n", b"a OK"),),
    "pop3": ((b"+OK", b"STLS\r\n", b"+OK"),),
    "sieve": ((b"OK", b"STARTTLS\r\n", b"OK"),),
}


class Refused(Exception):
    """The server answered, and not as it should."""


def start_tls(connection: socket.socket, protocol: str) -> None:
    """The dialogue up to where TLS begins; reads a byte at a time, so that nothing of TLS is swallowed."""
    for greeting, command, answer in DIALOGUES.get(protocol, ()):
        if greeting:
            until(connection, greeting)
        connection.sendall(command)
        until(connection, answer)


def until(connection: socket.socket, wanted: bytes) -> None:
    """Reads lines up to one that begins as wanted."""
    while True:
        line = b""
        while not line.endswith(b"\n"):
            byte = connection.recv(1)
            if not byte:
                raise Refused("hung up")
            line += byte
        if line.startswith(wanted):
            return
        if line[:1] in b"45" or line.startswith((b"-ERR", b"NO", b"a NO", b"a BAD", b"BYE")):
            raise Refused(line.decode("ascii", "replace").strip())


class Watch(threading.Thread):
    """One port."""

    def __init__(self, address: str, name: str, context: ssl.SSLContext, port: int, protocol: str) -> None:
        super().__init__(daemon=True)
        self.where = (address, port)
        self.name_asked = name
        self.context = context
        self.protocol = protocol
        self.asked = self.turned_away = 0
        self.longest = 0.0
        self.last_good = time.monotonic()

    def run(self) -> None:
        while True:
            began = time.monotonic()
            try:
                self.ask()
                good = True
            except (OSError, Refused):
                good = False
            now = time.monotonic()
            self.asked += 1
            if good:
                if self.failing:
                    self.longest = max(self.longest, now - self.last_good)
                self.failing, self.last_good = False, now
            else:
                self.turned_away += 1
                self.failing = True
            time.sleep(max(0.02, PAUSE - (now - began)))

    failing = False

    def ask(self) -> None:
        with socket.create_connection(self.where, PATIENCE) as connection:
            start_tls(connection, self.protocol)
            with self.context.wrap_socket(connection, server_hostname=self.name_asked):
                pass

    def told(self) -> dict[str, float]:
        longest = max(self.longest, time.monotonic() - self.last_good) if self.failing else self.longest
        return {"asked": self.asked, "turned_away": self.turned_away, "longest": round(longest, 2)}


def main() -> None:
    """Until SIGTERM."""
    address, name, roots, *places = sys.argv[1:]
    context = ssl.create_default_context(cafile=roots)
    pairs = [place.partition("/") for place in places]
    watches = [Watch(address, name, context, int(port), protocol) for port, _, protocol in pairs]

    def end(_: int, __: FrameType | None) -> None:
        print(json.dumps({str(watch.where[1]): watch.told() for watch in watches}), flush=True)
        sys.exit(0)

    signal.signal(signal.SIGTERM, end)
    for watch in watches:
        watch.start()
    while True:
        signal.pause()


if __name__ == "__main__":
    main()

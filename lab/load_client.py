"""A steady load of new connections, as a program: each a client that shakes hands once and never tries again.

    load_client.py ADDRESS NAME ROOTS PAUSE PORT[,PROTOCOL[,WORKERS]]…

PROTOCOL is what is spoken before TLS starts (smtp, imap, pop3, sieve; none:
TLS from the first octet). Every worker starts a connection each PAUSE seconds,
or when its last one has ended, whichever is later. For each a line is printed:
port, beginning and end (CLOCK_MONOTONIC, which all hosts of the lab share),
what came of it, and the SHA-256 of the leaf or what was said.

good        the handshake was completed: the server has signed with the key of the certificate that it sent
            (RFC 8446 section 4.4.3), and chain and name are trusted
wrong       TLS was spoken and went wrong (a key that does not fit, no certificate, a chain nobody trusts)
failed      no connection, or it ended before the handshake did, or the server said that it has no TLS now

Runs until SIGTERM.
"""

from __future__ import annotations

import signal
import socket
import ssl
import sys
import threading
import time
from hashlib import sha256
from types import FrameType

from lab.demo.watch import Refused, start_tls

PATIENCE = 60.0  # seconds; on a busy machine slow is no failure
_ENDED = (ssl.SSLEOFError, ssl.SSLZeroReturnError, ssl.SSLSyscallError)


def ask(address: str, port: int, protocol: str, name: str, context: ssl.SSLContext) -> tuple[str, str]:
    """One client: what came of it, and the leaf's digest or what was said."""
    try:
        with socket.create_connection((address, port), PATIENCE) as connection:
            start_tls(connection, protocol)
            with context.wrap_socket(connection, server_hostname=name) as tls:
                return "good", sha256(tls.getpeercert(True) or b"").hexdigest()
    except (Refused, *_ENDED) as error:
        return "failed", str(error)
    except ssl.SSLError as error:
        return "wrong", str(error)
    except OSError as error:
        return "failed", str(error)


def work(address: str, port: int, protocol: str, name: str, context: ssl.SSLContext, pause: float) -> None:
    """One worker, for good."""
    while True:
        began = time.monotonic()
        what, detail = ask(address, port, protocol, name, context)
        ended = time.monotonic()
        line = f"{port} {began:.6f} {ended:.6f} {what} {' '.join(detail.split())}\n"
        sys.stdout.write(line)
        sys.stdout.flush()
        time.sleep(max(0.0, began + pause - time.monotonic()))


def main() -> None:
    """Until SIGTERM."""
    address, name, roots, pause, *ports = sys.argv[1:]
    context = ssl.create_default_context(cafile=roots)

    def end(_: int, __: FrameType | None) -> None:
        sys.exit(0)

    signal.signal(signal.SIGTERM, end)
    for told in ports:
        port, protocol, workers = (*told.split(","), "", "")[:3]
        for _ in range(int(workers or 1)):
            how = (address, int(port), protocol, name, context, float(pause))
            threading.Thread(target=work, args=how, daemon=True).start()
    while True:
        signal.pause()


if __name__ == "__main__":
    main()

"""A client for every port of a mail server that sees a key which does not fit: Python's own ssl, nothing of mailseal.

In a handshake the server signs with its key, and OpenSSL holds that against
the key in the certificate (RFC 8446, 4.4.3): whoever completes it has proven
that the two fit. What else may come of an ask is told apart:

`turned away`   no connection, or it ended before or amid the handshake, also with a word of farewell
`no TLS`        the server speaks, and says that it has no TLS now
`broken`        TLS was spoken, and went wrong: as with a key that does not fit
`distrusted`    the chain or the name is not to be trusted

As a program, `asking.py ADDRESS NAME ROOTS PORT…` asks every port again and
again until SIGTERM; then it prints, as JSON, how often each came of it, by port,
and the longest time in seconds that a port gave no good answer.
"""

from __future__ import annotations

import json
import signal
import socket
import ssl
import sys
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from pathlib import Path
from types import FrameType

from lab.demo.watch import Refused, start_tls

PROTOCOLS = {25: "smtp", 143: "imap", 110: "pop3", 4190: "sieve", 993: "", 995: "", 443: ""}
PATIENCE = 20.0  # seconds for one ask, on a machine that is busy with other things
PAUSE = 0.5
GOOD = "good"
FAREWELLS = (
    "BYE",
    "* BYE",
    "421",
    "-ERR Auth process broken",
)  # the last: Dovecot's, whose parts are restarting


def ask(address: str, name: str, context: ssl.SSLContext, port: int) -> tuple[str, str]:
    """What came of one ask, and the leaf's SHA-256 or what was said."""
    try:
        with socket.create_connection((address, port), PATIENCE) as connection:
            start_tls(connection, PROTOCOLS[port])
            with context.wrap_socket(connection, server_hostname=name) as tls:
                return GOOD, sha256(tls.getpeercert(True) or b"").hexdigest()
    except Refused as error:
        ended = str(error) == "hung up" or str(error).startswith(FAREWELLS)
        return ("turned away" if ended else "no TLS"), str(error)
    except ssl.SSLCertVerificationError as error:
        return "distrusted", str(error)
    except (ssl.SSLEOFError, ssl.SSLZeroReturnError, ssl.SSLSyscallError) as error:
        return "turned away", str(error)
    except ssl.SSLError as error:
        return "broken", str(error)
    except OSError as error:
        return "turned away", str(error)


def served(
    name: str, *, host: str = "mail.example.test", roots: str = "/etc/ssl/lab-roots.pem"
) -> dict[int, str]:
    """Ports that do not serve the live generation of a lineage, each with what it did instead; empty where all do."""
    folder = next(Path(f"/var/lib/mailseal/lineages/{name}/current").glob("*/cert.pem"))
    live = sha256(ssl.PEM_cert_to_DER_cert(folder.read_text())).hexdigest()
    context = ssl.create_default_context(cafile=roots)
    with ThreadPoolExecutor(len(PROTOCOLS)) as pool:
        answers = dict(
            zip(PROTOCOLS, pool.map(lambda port: ask(host, host, context, port), PROTOCOLS), strict=True)
        )
    return {
        port: f"{what}: {detail}"
        for port, (what, detail) in answers.items()
        if (what, detail) != (GOOD, live)
    }


class Client(threading.Thread):
    """Asks one port for as long as it is left running."""

    def __init__(self, address: str, name: str, context: ssl.SSLContext, port: int) -> None:
        super().__init__(daemon=True)
        self.port = port
        self._where = (address, name, context, port)
        self.counts: Counter[str] = Counter()
        self.said: Counter[str] = Counter()
        self.longest = 0.0
        self._last_good = time.monotonic()

    def run(self) -> None:
        while True:
            began = time.monotonic()
            what, detail = ask(*self._where)
            now = time.monotonic()
            self.counts[what] += 1
            if what == GOOD:
                self.longest = max(self.longest, now - self._last_good)
                self._last_good = now
            else:
                self.said[f"{what}: {detail}"] += 1
            time.sleep(max(0.05, PAUSE - (now - began)))

    def told(self) -> dict[str, object]:
        longest = max(self.longest, time.monotonic() - self._last_good)
        return {"counts": dict(self.counts), "said": dict(self.said), "longest": round(longest, 2)}


def main() -> None:
    """Until SIGTERM."""
    address, name, roots, *ports = sys.argv[1:]
    context = ssl.create_default_context(cafile=roots)
    clients = [Client(address, name, context, int(port)) for port in ports]

    def end(_: int, __: FrameType | None) -> None:
        print(json.dumps({client.port: client.told() for client in clients}), flush=True)
        sys.exit(0)

    signal.signal(signal.SIGTERM, end)
    for client in clients:
        client.start()
    while True:
        signal.pause()


if __name__ == "__main__":
    main()

"""A web server that writes down what it is asked: one line of JSON a request. Run inside a host of the lab.

receiver.py PORT COMBINED_PEM LOG
"""

from __future__ import annotations

import json
import ssl
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path


class Receiver(BaseHTTPRequestHandler):
    log = Path("/dev/null")

    def answer(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0))).decode()
        seen = {"method": self.command, "path": self.path, "headers": dict(self.headers), "body": body}
        with self.log.open("a") as log:
            log.write(json.dumps(seen) + "\n")
        self.send_response(204)
        self.end_headers()

    do_GET = do_POST = answer  # noqa: N815 - the names that http.server looks for


def main() -> None:
    port, combined, log = sys.argv[1:]
    Receiver.log = Path(log)
    server = ThreadingHTTPServer(("0.0.0.0", int(port)), Receiver)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(combined)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    server.serve_forever()


if __name__ == "__main__":
    main()

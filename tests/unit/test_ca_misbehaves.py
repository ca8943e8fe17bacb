"""Whole runs against a CA on a socket that breaks, stalls, floods, lies and turns in circles.

Whatever it does, a run ends: after few requests, few octets, and little of its own time. It says in one sentence what
the CA did; nothing goes live, the daemon is not even reloaded, and what it serves is served on. The next run that
finds a good CA has the renewal done.
"""

from __future__ import annotations

import gzip
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from email.utils import format_datetime
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from mailseal import services
from mailseal.errors import ExitCode
from mailseal.model import Identifier
from mailseal.system.http import HttpResponse
from tests.support.certs import new_key
from tests.support.fake_pki import FakePki
from tests.support.hostile_ca import (
    Misdeed,
    Raw,
    SocketCa,
    Way,
    drips,
    floods,
    octets,
    refuses,
    says,
    with_body,
    with_headers,
)
from tests.unit.test_reconcile import MAIL, ROOT, Adapter, Stand

MOST_REQUESTS = 420  # an order that is polled until its ten minutes are over
MOST_OCTETS = 64 << 20  # what fits into the kernel's buffers on the way counts too
LONGEST = timedelta(minutes=25)


@dataclass
class Case:
    """One way to misbehave, and what is told of it."""

    name: str
    told: str
    script: Callable[[Site], list[Misdeed]]
    status: set[ExitCode] = field(default_factory=lambda: {ExitCode.FAILED, ExitCode.WAITING})


class Site(Stand):
    """A machine whose certificate is due, and its CA on a socket."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.server = SocketCa(self.ca)
        trusted = folder / "root.pem"
        trusted.write_text(self.ca.state.pki.root_pem())
        self.machine.world.web = Way(self.server, trusted)

    def chain(self, **how: object) -> Callable[[HttpResponse], HttpResponse]:
        """A certificate in place of the honest one; see `_issued`."""

        def change(answer: HttpResponse) -> HttpResponse:
            return replace(answer, body=_issued(self, answer.body, **how).encode())  # type: ignore[arg-type]

        return change

    def picture(self) -> object:
        """What stands, is served, and was done to the daemon."""
        kept = {path: state for path, state in self.machine.tree(ROOT).items() if "/state/" not in path}
        aside = (f"{ROOT}/pending", f"{ROOT}/accounts", f"{ROOT}/history", f"{ROOT}/last")
        lasting = {path: state for path, state in kept.items() if not path.startswith(aside)}
        return self.machine.tree("/etc"), lasting, self.daemon.serves, self.daemon.reloads


def _issued(
    site: Site,
    honest: bytes,
    *,
    names: str = "mail.example.org",
    other_key: bool = False,
    days: float = 0.0,
    pki: FakePki | None = None,
) -> str:
    """A chain of the CA's (or another's) for a key and names, as of so many days from now."""
    leaf = x509.load_pem_x509_certificate(honest)

    class Request:
        def public_key(self) -> object:
            return new_key().public_key() if other_key else leaf.public_key()

    asked = [Identifier.parse(name) for name in names.split()]
    now = site.machine.now + timedelta(days=days)
    _, chains = (pki or site.ca.state.pki).issue(Request(), asked, now, timedelta(days=90))  # type: ignore[arg-type]
    return chains[0]


def everywhere(does: Raw) -> Callable[[Site], list[Misdeed]]:
    return lambda site: [Misdeed("/", does)]


def at(path: str, *does: Raw | Callable[[HttpResponse], HttpResponse]) -> Callable[[Site], list[Misdeed]]:
    return lambda site: [Misdeed(path, one) for one in does]


def certificate(
    how: Callable[[Site], Callable[[HttpResponse], HttpResponse]],
) -> Callable[[Site], list[Misdeed]]:
    return lambda site: [Misdeed("/cert", how(site))]


def _body(make: Callable[[bytes], bytes]) -> Callable[[HttpResponse], HttpResponse]:
    return lambda answer: replace(answer, body=make(answer.body))


def _later(site: Site, **by: float) -> str:
    return format_datetime(site.machine.now + timedelta(**by), usegmt=True)


def _limited(retry_after: Callable[[Site], str]) -> Callable[[Site], list[Misdeed]]:
    detail = "too many certificates (5) already issued for this exact set of identifiers in the last 168h"
    return lambda site: [
        Misdeed("/new-order", refuses("429 Too Many", "rateLimited", detail, Retry_After=retry_after(site)))
    ]


def _upside_down(body: bytes) -> bytes:
    chain = x509.load_pem_x509_certificates(body)
    return b"".join(one.public_bytes(Encoding.PEM) for one in reversed(chain))


KEY = b"-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEIA\n-----END PRIVATE KEY-----\n"
BROKEN = b"-----BEGIN CERTIFICATE-----\nMIIBAAAA\n-----END CERTIFICATE-----\n"
HTML = "<!DOCTYPE html><html><body><h1>Sign in to the hotel's network</h1></body></html>"
NO_END = octets("200 OK", Content_Length="")
CASES = [
    Case("hangs up at once", "closed the connection without an answer", everywhere(Raw(tuple))),
    Case("says nothing", "No answer|seconds are over", everywhere(Raw(tuple, stays=True))),
    Case("drips a header", "No answer|seconds are over", everywhere(drips(b"HTTP/1.1 200 OK\r\nX: "))),
    Case(
        "drips a body",
        "No answer|seconds are over",
        everywhere(drips(octets("200 OK", Content_Length="9999"))),
    ),
    Case("drips an order", "No answer|seconds are over", at("/new-order", drips(NO_END, b" "))),
    Case(
        "continues for ever",
        "seconds are over",
        everywhere(drips(b"", b"HTTP/1.1 100 Continue\r\n\r\n", pause=0.001)),
    ),
    Case("speaks SMTP", "not HTTP", everywhere(Raw(lambda: (b"220 mx.example.org ESMTP\r\n",)))),
    Case("floods a body", "longer than 1048576 bytes", everywhere(floods(NO_END))),
    Case("floods a header", "not HTTP", everywhere(floods(b"HTTP/1.1 200 OK\r\nX: "))),
    Case(
        "floods headers",
        "not HTTP|Too many headers",
        everywhere(floods(b"HTTP/1.1 200 OK\r\n", b"X-A: b\r\n" * 1000)),
    ),
    Case("promises a terabyte", "longer than", everywhere(says("200 OK", Content_Length=str(1 << 40)))),
    Case(
        "unfolds without end",
        "longer than 1048576 bytes",
        everywhere(says("200 OK", gzip.compress(b" " * (64 << 20), 9), Content_Encoding="gzip")),
    ),
    Case("cuts a body short", "breaks off", everywhere(says("200 OK", b"{", Content_Length="500"))),
    Case(
        "cuts the certificate short",
        "something other than a certificate|no end|base64",
        at("/cert", _body(lambda body: body[: len(body) // 2])),
    ),
    Case("is a captive portal", "directory", everywhere(says("200 OK", HTML, Content_Type="text/html"))),
    Case(
        "sends HTML for an order",
        "order",
        at("/new-order", says("201 Created", HTML, Content_Type="text/html")),
    ),
    Case("sends HTML for a certificate", "certificate", at("/cert", _body(lambda body: HTML.encode()))),
    Case("is broken", "HTTP status 500", everywhere(says("500 Internal Server Error", HTML))),
    Case("has no gateway", "HTTP status 502", everywhere(says("502 Bad Gateway"))),
    Case(
        "takes no orders", "the order for mail", at("/new-order", refuses("500 x", "serverInternal", "down"))
    ),
    Case("is busy, seconds", "HTTP status 503", everywhere(says("503 Busy", Retry_After="7200"))),
    Case(
        "is busy, a date",
        "HTTP status 503",
        lambda site: [Misdeed("/", says("503 Busy", Retry_After=_later(site, hours=2), Date=_later(site)))],
    ),
    Case("is busy for ever", "HTTP status 503", everywhere(says("503 Busy", Retry_After="9" * 15))),
    Case("is busy, nonsense", "HTTP status 503", everywhere(says("503 Busy", Retry_After="soon, -1, 1e9"))),
    Case("is busy, not at all", "HTTP status 503", everywhere(says("503 Busy", Retry_After="0"))),
    Case("limits, seconds", "limit", _limited(lambda site: "7200")),
    Case("limits, a date", "limit", _limited(lambda site: _later(site, hours=2))),
    Case("limits, no time", "limit", _limited(lambda site: "")),
    Case("redirects to itself", "redirects", everywhere(says("302 Found", Location="https://ca.test/dir"))),
    Case("redirects elsewhere", "redirects", everywhere(says("307 x", Location="http://169.254.169.254/"))),
    Case(
        "refuses every nonce",
        "nonce",
        at("/new-order", refuses("400 Bad", "badNonce", "no", Replay_Nonce="abc")),
    ),
    Case("gives no nonce", "nonce", lambda site: [Misdeed("/", with_headers(replay_nonce=""))]),
    Case(
        "gives a nonce of two lines",
        "gave no nonce",
        lambda site: [Misdeed("/nonce", with_headers(replay_nonce="a b/../"))],
    ),
    Case("forgets where the order is", "Location", at("/new-order", with_headers(location=""))),
    Case(
        "has its order elsewhere",
        "not one to ask",
        at("/new-order", with_headers(location="file:///etc/shadow")),
    ),
    Case(
        "takes another order",
        "other names",
        at("/new-order", with_body(identifiers=[{"type": "dns", "value": "x"}])),
    ),
    Case("orders a number", "order", at("/new-order", with_body(identifiers=5))),
    Case(
        "nests without end",
        "directory is not what RFC 8555 allows",
        everywhere(says("200 OK", "[" * 500_000)),
    ),
    Case(
        "makes the order invalid, with a reason",
        "CAA record",
        at(
            "/order",
            with_body(
                status="invalid", error={"type": "urn:ietf:params:acme:error:caa", "detail": "CAA record"}
            ),
        ),
    ),
    Case("makes the order invalid, without one", "invalid", at("/order", with_body(status="invalid"))),
    Case(
        "never finishes",
        "No end in time|longer",
        at("/order", with_body(status="processing", certificate=None)),
    ),
    Case("never validates", "No end in time|longer", at("/authz", with_body(status="pending"))),
    Case(
        "asks to poll again at once",
        "No end",
        lambda site: [
            Misdeed(
                "/order", lambda answer: with_headers(retry_after="0")(with_body(status="processing")(answer))
            )
        ],
    ),
    Case(
        "asks to poll again next year",
        "asks to wait 31536000 seconds",
        lambda site: [
            Misdeed(
                "/order",
                lambda answer: with_headers(retry_after="31536000")(with_body(status="processing")(answer)),
            )
        ],
    ),
    Case(
        "wants endless authorizations",
        "length <= 1000",
        at("/new-order", with_body(authorizations=["https://ca.test/authz/2"] * 5000)),
    ),
    Case(
        "offers no challenge", "offers no challenge", at("/authz", with_body(status="pending", challenges=[]))
    ),
    Case(
        "has a certificate nowhere",
        "hand out the certificate",
        at("/cert", refuses("404 Not Found", "malformed", "no such certificate")),
    ),
    Case("for another key", "another key", certificate(lambda site: site.chain(other_key=True))),
    Case("for other names", "lacks names", certificate(lambda site: site.chain(names="other.example.org"))),
    Case("expired", "expired", certificate(lambda site: site.chain(days=-200))),
    Case("not yet valid", "valid only from", certificate(lambda site: site.chain(days=10))),
    Case(
        "from nobody known",
        "vouch",
        certificate(
            lambda site: site.chain(pki=FakePki(datetime(2026, 1, 1, tzinfo=site.machine.now.tzinfo), seed=9))
        ),
    ),
    Case(
        "sends no chain",
        "chain is incomplete",
        at("/cert", _body(lambda body: body[: body.index(b"-----END") + 26])),
    ),
    Case("sends an endless chain", "more than|longer than", at("/cert", _body(lambda body: body * 500))),
    Case("sends the chain upside down", "did not issue", at("/cert", _body(_upside_down))),
    Case("sends a key in the chain", "something other", at("/cert", _body(lambda body: body + KEY))),
    Case("sends a broken certificate", "does not load", at("/cert", _body(lambda body: BROKEN))),
]


@pytest.fixture
def site(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Site]:
    monkeypatch.setitem(services.ADAPTERS, "daemon", "tests.unit.test_reconcile:Adapter")
    monkeypatch.setattr(Adapter, "running", True)
    monkeypatch.setattr(Adapter, "extra", b"")
    made = Site(tmp_path)
    with made.server:
        assert made.apply().exit_code is ExitCode.OK
        made.later(days=61)
        yield made


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_it(site: Site, case: Case) -> None:
    before, began = site.picture(), site.machine.now
    site.server.script, asked = case.script(site), len(site.server.requests)
    report = site.renew()
    assert report.exit_code in case.status and len(report.errors) == 1
    lines = report.errors[0].lines()
    assert re.search(case.told, "\n".join(lines)), lines
    assert len("\n".join(lines)) < 1500 and all(line.isprintable() for line in lines), lines
    assert site.picture() == before
    assert len(site.server.requests) - asked <= MOST_REQUESTS
    assert site.server.sent <= MOST_OCTETS
    assert site.machine.now - began <= LONGEST
    site.server.script = []
    site.later(days=2)
    assert site.renew().exit_code is ExitCode.OK
    assert site.serves == 2 and f"{MAIL}/0003" not in site.machine.tree(MAIL)


def test_good_answers_of_a_wrong_type_do_no_harm(site: Site) -> None:
    site.server.script = [Misdeed("/", with_headers(content_type="text/html; charset=klingon"))]
    assert site.renew().exit_code is ExitCode.OK and site.serves == 2


def test_nobody_is_there(site: Site) -> None:
    before = site.picture()
    port, site.server.port = site.server.port, 1
    report = site.renew()
    assert "No connection to" in report.errors[0].message
    assert site.picture() == before
    site.server.port = port
    site.later(days=2)
    assert site.renew().exit_code is ExitCode.OK and site.serves == 2


@pytest.mark.parametrize("form", ["seconds", "a date"])
def test_the_time_that_it_names_is_kept(site: Site, form: str) -> None:
    again = "7200" if form == "seconds" else _later(site, hours=2)
    site.server.script = _limited(lambda site: again)(site)
    assert site.renew().exit_code is ExitCode.WAITING
    for _ in range(3):
        asked = len(site.server.requests)
        site.later(minutes=35)
        assert site.renew().exit_code is ExitCode.WAITING and site.apply().exit_code is ExitCode.WAITING
        assert "POST /new-order" not in site.server.requests[asked:]
    site.server.script = []
    site.later(minutes=40)
    assert site.renew().exit_code is ExitCode.OK and site.serves == 2

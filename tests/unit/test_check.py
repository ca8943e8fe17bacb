"""What a check infers and says, by tables; the daemons themselves are in tests/lab/test_check.py."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace
from typing import Any, cast

import pytest

from mailseal import check
from mailseal.chains import TrustAnchors
from mailseal.judge.expect import Expectation
from mailseal.judge.files import Pair, PemFile, judge_pair
from mailseal.judge.infer import NAMES_ASKED, Seen, infer, mail_name, names_asked, unasked
from mailseal.model import AppProtocol, Endpoint, KeyType, Severity, TlsMode
from mailseal.services.base import ConfiguredCertificate, Facts
from mailseal.system.local import LocalSystem
from tests.support.certs import Ca, Issued, self_signed
from tests.support.servers import scripted, server_context

ROOT = Ca.root("Lab Root")
CA = ROOT.intermediate("Lab Intermediate")
ANCHORS = TrustAnchors("the lab's root", ROOT.pem)
NAME = "mail.example.org"
LEAF, OTHER = CA.issue(NAME), CA.issue(NAME)
RSA = CA.issue(NAME, key_type=KeyType.RSA_2048)
SMTP = Endpoint("postfix", "127.0.0.1", 25, AppProtocol.SMTP, TlsMode.STARTTLS)
SMTPS = Endpoint("postfix", "127.0.0.1", 465, AppProtocol.SUBMISSION, TlsMode.IMPLICIT)
HTTPS = Endpoint("apache", "127.0.0.1", 443, AppProtocol.HTTP, TlsMode.IMPLICIT)
HTTP = Endpoint("apache", "127.0.0.1", 80, AppProtocol.HTTP, TlsMode.NONE)


@dataclass(frozen=True)
class Instance:
    kind: str
    endpoints: tuple[Endpoint, ...] = ()
    names: tuple[str, ...] = ()


def pem(path: str, content: bytes, mode: int = 0o600, **more: Any) -> PemFile:
    return PemFile(path, content, mode=mode, **more)


def pair(
    issued: Issued = LEAF,
    *,
    names: tuple[str, ...] = (),
    ports: tuple[int, ...] = (),
    cert: PemFile | None = None,
    key: PemFile | None = None,
) -> Pair:
    cert_file = cert or pem("/live/fullchain.pem", issued.fullchain_pem, 0o644)
    key_file = key or pem("/live/privkey.pem", issued.key_pem)
    setting = ConfiguredCertificate("ssl_cert", "10-ssl.conf:3", cert_file.path, key_file.path, names, ports)
    return Pair("dovecot", setting, cert_file, key_file)


def seen(kind: str, endpoints: tuple[Endpoint, ...], *pairs: Pair, names: tuple[str, ...] = ()) -> Seen:
    return Seen(cast(Facts, Instance(kind, endpoints, names)), pairs)


COMBINED = pem("/live/combined.pem", LEAF.combined_pem)
FILES = [
    pytest.param(pair(), [], id="good"),
    pytest.param(pair(cert=COMBINED, key=COMBINED), [], id="combined"),
    pytest.param(pair(self_signed(NAME)), [], id="self-signed"),
    pytest.param(
        pair(cert=PemFile("/live/x.pem", problem="there is no such file", leads_to="../archive/x1.pem")),
        ["file-missing"],
        id="dangling",
    ),
    pytest.param(
        pair(key=PemFile("/live/k", problem="Permission denied")), ["file-unreadable"], id="unreadable"
    ),
    pytest.param(pair(cert=pem("/live/x.pem", b"")), ["file-not-a-certificate"], id="empty"),
    pytest.param(
        pair(cert=pem("/live/x.pem", LEAF.cert_pem[:300])), ["file-not-a-certificate"], id="cut-off"
    ),
    pytest.param(
        pair(cert=pem("/live/cert.pem", LEAF.cert_pem, full_chain="/live/fullchain.pem")),
        ["file-leaf-only"],
        id="cert-in-place-of-fullchain",
    ),
    pytest.param(
        pair(cert=pem("/live/x.pem", LEAF.chain_pem + LEAF.cert_pem)),
        ["file-key-mismatch"],
        id="chain-alone-first",
    ),
    pytest.param(
        pair(cert=pem("/live/x.pem", CA.pem + ROOT.pem + LEAF.cert_pem)),
        ["file-out-of-order", "file-key-mismatch"],
        id="out-of-order",
    ),
    pytest.param(pair(key=pem("/live/k", OTHER.key_pem)), ["file-key-mismatch"], id="key-of-another"),
    pytest.param(pair(key=pem("/live/k", b"none")), ["file-key-unreadable"], id="no-key"),
    pytest.param(pair(key=pem("/live/k", LEAF.key_pem, 0o644)), ["file-key-readable"], id="open-key"),
    pytest.param(pair(key=pem("/live/k", LEAF.key_pem, 0o640)), [], id="key-for-a-group"),
    pytest.param(pair(key=PemFile("")), [], id="no-key-named"),
]


@pytest.mark.parametrize(("one", "codes"), FILES)
def test_files(one: Pair, codes: list[str]) -> None:
    found = judge_pair(one)
    assert [finding.code for finding in found if finding.code != "file-out-of-order"] == [
        code for code in codes if code != "file-out-of-order"
    ]
    assert all("PRIVATE" not in f.seen + f.expected + f.mend for f in found)


def test_the_full_chain_is_named_where_it_lies() -> None:
    [finding] = judge_pair(pair(cert=pem("/live/cert.pem", LEAF.cert_pem, full_chain="/live/fullchain.pem")))
    assert finding.expected == "/live/fullchain.pem"
    assert finding.mend == "name /live/fullchain.pem in ssl_cert (10-ssl.conf:3), then doveadm reload"


def wanted(*ones: Seen, name: str = NAME, certain: bool = True) -> list[tuple[Any, ...]]:
    return [
        (one.endpoint.port, one.names, one.default_name, [leaf.chain[0] for leaf in one.leaves], one.unnamed)
        for one in infer(ones, name, certain=certain)
    ]


def test_an_endpoint_should_serve_what_its_service_is_configured_with() -> None:
    assert wanted(seen("postfix", (SMTP, SMTPS), pair(), pair(RSA))) == [
        (25, (NAME,), NAME, [LEAF.der, RSA.der], True),
        (465, (NAME,), "", [LEAF.der, RSA.der], True),
    ]


def test_a_port_with_files_of_its_own_should_serve_those() -> None:
    ones = seen("postfix", (SMTP, SMTPS), pair(ports=(25,)), pair(OTHER, ports=(465,)))
    assert [leaves for _, _, _, leaves, _ in wanted(ones)] == [[LEAF.der], [OTHER.der]]
    general = seen("postfix", (SMTP, SMTPS), pair(), pair(OTHER, ports=(465,)))
    assert wanted(general) == wanted(ones)


def test_a_name_with_files_of_its_own_should_be_served_those() -> None:
    a = CA.issue("a.example.org", "*.w.example.org")
    named = seen("postfix", (SMTPS,), pair(), pair(a, names=("a.example.org", ".w.example.org")))
    assert wanted(named) == [
        (465, ("a.example.org", "mailseal.w.example.org"), "", [a.der], False),
        (465, (NAME,), "", [LEAF.der], True),
    ]


def test_the_mail_name_with_files_of_its_own_is_asked_once() -> None:
    named = seen("dovecot", (SMTPS,), pair(OTHER), pair(names=(NAME,)))
    assert wanted(named) == [
        (465, (NAME,), "", [LEAF.der], False),
        (465, (), "", [OTHER.der], True),
    ]


def test_web_endpoints_by_their_sites_and_the_first_answers_without_a_name() -> None:
    www, shop = CA.issue("www.example.org"), CA.issue("shop.example.org")
    sites = (
        pair(www, names=("www.example.org",), ports=(443,)),
        pair(shop, names=("shop.example.org",), ports=(443,)),
    )
    assert wanted(seen("apache", (HTTP, HTTPS), *sites)) == [
        (443, ("www.example.org",), "", [www.der], False),
        (443, ("shop.example.org",), "", [shop.der], False),
        (443, (), "", [www.der], True),
    ]


def test_files_that_cannot_be_read_leave_the_endpoint_to_be_judged_by_itself() -> None:
    gone = pair(cert=PemFile("/x", problem="gone"))
    assert wanted(seen("dovecot", (SMTPS,), gone)) == [(465, (NAME,), "", [], True)]


def test_very_many_names_are_not_all_asked() -> None:
    many = [pair(names=(f"n{number}.example.org",)) for number in range(NAMES_ASKED + 5)]
    one = seen("postfix", (SMTPS,), *many)
    assert len(wanted(one)) == NAMES_ASKED + 1
    assert len(names_asked(many)) == NAMES_ASKED
    assert unasked([one]) == 5


@pytest.mark.parametrize(
    ("service_names", "candidates", "issued", "expected"),
    [
        ((NAME,), (), LEAF, (NAME, True)),
        (("vps1.hoster.example",), (NAME,), LEAF, (NAME, True)),
        (("vps1.hoster.example",), (), LEAF, ("vps1.hoster.example", False)),
        ((), ("host",), LEAF, ("", False)),
        ((NAME,), (), self_signed(NAME), (NAME, False)),
    ],
)
def test_the_name_that_mail_goes_by(
    service_names: tuple[str, ...], candidates: tuple[str, ...], issued: Issued, expected: tuple[str, bool]
) -> None:
    assert mail_name([seen("postfix", (SMTP,), pair(issued), names=service_names)], candidates) == expected


def test_a_guessed_name_is_a_warning() -> None:
    from mailseal.judge.answer import judge
    from mailseal.judge.surroundings import Surroundings
    from mailseal.probes.base import Answer, Question, Stage
    from tests.support.certs import utc_now

    answer = Answer(Question(SMTP, "vps1.hoster.example"), Stage.DONE, chain=LEAF.served)
    for guessed, severity in ((True, Severity.WARNING), (False, Severity.ERROR)):
        [finding] = judge(
            answer,
            Expectation(SMTP, ("vps1.hoster.example",), guessed=guessed),
            Surroundings(utc_now(), ANCHORS),
        )
        assert (finding.code, finding.severity) == ("name-mismatch", severity)


def test_from_outside_closed_ports_are_told_and_are_no_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    leaf = CA.issue("127.0.0.1")

    async def run() -> tuple[check.Report, int]:
        async with scripted([], server_context([leaf]), implicit=True) as server:
            closed = server.port + 1 if server.port < 65_000 else 1024
            outside = (
                (server.port, AppProtocol.IMAP, TlsMode.IMPLICIT),
                (closed, AppProtocol.POP3, TlsMode.STARTTLS),
            )
            monkeypatch.setattr(check, "OUTSIDE", outside)
            looking = asyncio.to_thread(
                check.check_host, LocalSystem(), "127.0.0.1", anchors=ANCHORS, timeout=5.0
            )
            return await looking, closed

    report, closed = asyncio.run(run())
    told = [(finding.code, finding.severity) for finding in report.findings]
    assert told == [("port-closed", Severity.INFO), ("endpoint-good", Severity.OK)]
    assert str(closed) in report.findings[0].seen
    assert report.served[0][1].startswith("TLSv1.3, the certificate of ")


def test_from_outside_a_machine_that_is_not_there_is_a_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(check, "OUTSIDE", ((1, AppProtocol.IMAP, TlsMode.IMPLICIT),))
    report = check.check_host(LocalSystem(), "127.0.0.1", anchors=ANCHORS, timeout=5.0)
    assert [finding.code for finding in report.findings] == ["endpoint-unreachable"]


def test_an_empty_store_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(check, "OUTSIDE", ((1, AppProtocol.IMAP, TlsMode.IMPLICIT),))
    empty = replace(ANCHORS, pem=b"")
    report = check.check_host(LocalSystem(), "127.0.0.1", anchors=empty, timeout=5.0)
    assert "no-trust-anchors" in [finding.code for finding in report.findings]


def test_what_is_no_host_is_refused() -> None:
    with pytest.raises(ValueError, match="no dot"):
        check.check_host(LocalSystem(), "mail", anchors=ANCHORS)


def test_a_file_and_where_it_leads(tmp_path: Any) -> None:
    (tmp_path / "fullchain.pem").write_bytes(LEAF.fullchain_pem)
    (tmp_path / "cert.pem").symlink_to("fullchain.pem")
    (tmp_path / "gone.pem").symlink_to("../archive/gone1.pem")
    files = LocalSystem().files
    good = check.read_file(files, f"{tmp_path}/cert.pem")
    assert good.certificates() == LEAF.served
    assert (good.leads_to, good.full_chain) == ("fullchain.pem", f"{tmp_path}/fullchain.pem")
    gone = check.read_file(files, f"{tmp_path}/gone.pem")
    assert (gone.content, gone.problem, gone.leads_to) == (
        None,
        "there is no such file",
        "../archive/gone1.pem",
    )

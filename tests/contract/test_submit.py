"""A mail handed in: TLS or nothing, a certificate that is trusted or nothing, and never longer than it may take.

Against servers on loopback that play each case; tests/lab hands mails to a real Postfix.
"""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import pytest

from mailseal.errors import NetworkFault
from mailseal.model import Secret
from mailseal.system.local import LocalSystem
from mailseal.system.smtp import MailServer
from tests.support.certs import Ca, Issued
from tests.support.servers import START_TLS, Act, Expect, Running, scripted, server_context

ROOT = Ca.root("Submission Root")
MAIL = b"From: a@example.org\r\nTo: b@example.org\r\nSubject: x\r\n\r\n.a line\r\n"
EHLO = Expect(b"ehlo mail.example.org")
HELLO = (b"220 there ESMTP\r\n", EHLO, b"250-there\r\n250-STARTTLS\r\n250 AUTH PLAIN\r\n")
TLS = (Expect(b"STARTTLS"), b"220 go\r\n", START_TLS, EHLO, b"250-there\r\n250 AUTH PLAIN\r\n")
LOGIN = (Expect(b"AUTH PLAIN AG1haWxzZWFsAGdlaGVpbQ=="), b"235 welcome\r\n")
FROM = (Expect(b"mail FROM:<a@example.org>"), b"250 ok\r\n")
TO = (Expect(b"rcpt TO:<b@example.org>"), b"250 ok\r\n")
LINES = tuple(Expect(line) for line in (b"From:", b"To:", b"Subject:", b"\r\n", b"..a line", b".\r\n"))
DATA = (Expect(b"data"), b"354 go on\r\n", *LINES, b"250 queued\r\n")
BYE = (Expect(b"quit"), b"221 bye\r\n")


@pytest.fixture
def ca_file(tmp_path: Path) -> str:
    path = tmp_path / "root.pem"
    path.write_bytes(ROOT.pem)
    return str(path)


def submitted(
    ca_file: str,
    acts: Sequence[Act],
    *,
    implicit: bool = False,
    leaf: Issued | None = None,
    recipients: tuple[str, ...] = ("b@example.org",),
    login: bool = True,
    timeout: float = 60.0,
) -> tuple[Running, tuple[str, ...] | NetworkFault]:
    """What came of it."""

    async def run() -> tuple[Running, tuple[str, ...] | NetworkFault]:
        context = server_context([leaf or ROOT.issue("127.0.0.1")])
        async with scripted(acts, context, implicit=implicit) as running:
            server = MailServer(
                "127.0.0.1",
                running.port,
                implicit,
                "mail.example.org",
                ca_file,
                "mailseal" if login else None,
                Secret(b"geheim") if login else None,
                timeout,
            )
            network = LocalSystem().network
            try:
                refused = await asyncio.to_thread(network.submit, server, "a@example.org", recipients, MAIL)
            except NetworkFault as fault:
                return running, fault
            return running, refused

    return asyncio.run(run())


@pytest.mark.parametrize("implicit", [False, True], ids=["starttls", "implicit"])
@pytest.mark.parametrize("login", [False, True], ids=["open", "login"])
def test_a_mail_is_handed_in(ca_file: str, implicit: bool, login: bool) -> None:
    begin = HELLO if implicit else (*HELLO, *TLS)
    acts = (*begin, *(LOGIN if login else ()), *FROM, *TO, *DATA, *BYE)
    running, outcome = submitted(ca_file, acts, implicit=implicit, login=login)
    assert outcome == () and running.faults == []


def fault(outcome: object) -> NetworkFault:
    assert isinstance(outcome, NetworkFault)
    assert "geheim" not in str(outcome)
    return outcome


def test_without_starttls_nothing_is_said(ca_file: str) -> None:
    acts = (b"220 there\r\n", EHLO, b"250-there\r\n250 AUTH PLAIN\r\n")
    running, outcome = submitted(ca_file, (*acts, *BYE))
    assert "offers no STARTTLS" in fault(outcome).reason
    assert not any(line.startswith((b"AUTH", b"mail")) for line in running.heard)


@pytest.mark.parametrize("implicit", [False, True], ids=["starttls", "implicit"])
@pytest.mark.parametrize(
    "leaf",
    [ROOT.issue("other.example.org"), Ca.root("Stranger").issue("127.0.0.1")],
    ids=["another name", "another root"],
)
def test_a_stranger_gets_nothing(ca_file: str, implicit: bool, leaf: Issued) -> None:
    begin = HELLO if implicit else (*HELLO, *TLS)
    running, outcome = submitted(ca_file, (*begin, *LOGIN, *FROM), implicit=implicit, leaf=leaf)
    assert "certificate cannot be trusted" in fault(outcome).reason
    assert not any(line.startswith((b"AUTH", b"mail")) for line in running.heard)


def test_what_was_put_behind_the_reply_to_starttls_is_not_believed(ca_file: str) -> None:
    injected = (
        b"220 there\r\n",
        EHLO,
        b"250 STARTTLS\r\n",
        Expect(b"STARTTLS"),
        b"220 go\r\n250 injected\r\n",
    )
    running, outcome = submitted(ca_file, (*injected, START_TLS))
    fault(outcome)
    assert not any(line.startswith((b"AUTH", b"mail")) for line in running.heard)


@pytest.mark.parametrize(
    ("acts", "reason"),
    [
        ((Expect(b"AUTH"), b"535 wrong password\r\n"), "535 wrong password"),
        (
            (*LOGIN, Expect(b"mail"), b"550 you may not\r\n", Expect(b"rset"), b"250 ok\r\n"),
            "550 you may not",
        ),
        (
            (*LOGIN, *FROM, Expect(b"rcpt"), b"550 5.1.1 nobody here\r\n", Expect(b"rset"), b"250 ok\r\n"),
            "b@example.org: it answered 550 5.1.1 nobody here",
        ),
        (
            (*LOGIN, *FROM, *TO, *DATA[:-1], b"452 no room\r\n", Expect(b"rset"), b"250 ok\r\n"),
            "452 no room",
        ),
    ],
    ids=["login", "sender", "recipient", "content"],
)
def test_a_refusal_is_told_as_it_was_said(ca_file: str, acts: tuple[Act, ...], reason: str) -> None:
    _, outcome = submitted(ca_file, (*HELLO, *acts, *BYE), implicit=True)
    assert reason in fault(outcome).reason


def test_one_of_several_recipients_refused(ca_file: str) -> None:
    second = (Expect(b"rcpt TO:<c@example.org>"), b"550 nobody\r\n")
    acts = (*HELLO, *LOGIN, *FROM, *TO, *second, *DATA, *BYE)
    _, outcome = submitted(ca_file, acts, implicit=True, recipients=("b@example.org", "c@example.org"))
    assert outcome == ("c@example.org: it answered 550 nobody",)


def test_a_server_that_is_silent_is_left(ca_file: str) -> None:
    _, outcome = submitted(ca_file, (b"220-", Expect(b"nothing that we say")), login=False, timeout=0.3)
    assert "0.3 s" in fault(outcome).reason


def test_a_server_that_never_comes_to_an_end_is_left(ca_file: str) -> None:
    """Each of its lines comes in time; only their sum is too long."""
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def endless() -> None:
            client, _ = listening.accept()
            with client, suppress(OSError):
                while True:
                    client.sendall(b"220-there is more\r\n")
                    time.sleep(0.02)

        thread = threading.Thread(target=endless)
        thread.start()
        port = listening.getsockname()[1]
        server = MailServer("127.0.0.1", port, False, "mail.example.org", ca_file, timeout=0.5)
        with pytest.raises(NetworkFault, match=r"0\.5 s"):
            LocalSystem().network.submit(server, "a@example.org", ("b@example.org",), MAIL)
        thread.join()


def test_nobody_listens(ca_file: str) -> None:
    server = MailServer("127.0.0.1", 1, True, "mail.example.org", ca_file)
    with pytest.raises(NetworkFault, match=r"127\.0\.0\.1:1"):
        LocalSystem().network.submit(server, "a@example.org", ("b@example.org",), MAIL)

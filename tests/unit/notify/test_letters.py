"""What a message says: plain words at 72 columns, no key, no header that somebody else wrote."""

from __future__ import annotations

from datetime import timedelta
from email import message_from_bytes
from email.policy import default

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailseal.errors import IssueError
from mailseal.notify.book import Book
from mailseal.notify.letters import WIDTH, distance, letter, plain
from mailseal.notify.mail import rendered
from mailseal.notify.messages import Kind, Message
from mailseal.notify.news import News, news
from mailseal.notify.troubles import of_report
from tests.support.troubled import DAY, START, failed, generation, lineage, report

PEM = "-----BEGIN PRIVATE KEY-----\nMIGHAgEAMBMG\n-----END PRIVATE KEY-----"


def written(error: IssueError, name: str = "mail") -> Message:
    ended = report(lineage(generation(1, START - 60 * DAY, name=name)), issued=[failed(error, name)])
    _, told = news(Book(), of_report(ended, "error", START, None), ended, START, summary=False)
    return letter(told[0], name="1", host="mail.example.org", machine="mx1", command="renew", now=START)


def test_a_whole_letter() -> None:
    error = IssueError(
        "The CA could not confirm control of mail.example.org",
        reason="it asked http://mail.example.org/.well-known/acme-challenge/ and nobody answered at 192.0.2.7",
        state="What is served stays as it is.",
        next_command="mailseal check",
    )
    text = written(error).text.replace("\n-- \n", "\n--\n")
    assert (
        text
        == """\
Certificate mail: mail.example.org

Failed:    The CA could not confirm control of mail.example.org
Why:       it asked http://mail.example.org/.well-known/acme-challenge/
           and nobody answered at 192.0.2.7
Since:     2026-11-23 12:00 UTC
Mail:      Safe until 2026-12-23 12:00 UTC (for 30 days): so long what
           is served is valid.
Machine:   What is served stays as it is.
Type:      mailseal check

mailseal status shows every certificate, mailseal check looks at every
port. You are told again ever more rarely; at once when little of a
certificate's life is left; and when it is mended.

--
mailseal renew on mail.example.org (mx1), 2026-11-23 12:00 UTC
"""
    )


@given(st.text(max_size=400), st.text(max_size=2000), st.text(max_size=200))
def test_whatever_is_told_the_letter_is_well_formed(what: str, why: str, mend: str) -> None:
    message = written(IssueError(what or "x", reason=why, next_command=mend))
    for line in message.text.splitlines():
        assert len(line) <= WIDTH or len(line.split()) <= 2  # a word that is longer stays whole
    mail = rendered(message, "mailseal@example.org", ("a@example.org",), START)
    read = message_from_bytes(mail, policy=default)
    assert read.keys() == [
        "From", "To", "Subject", "Date", "Message-ID", "Auto-Submitted", "Content-Type",
        "Content-Transfer-Encoding", "MIME-Version",
    ]  # fmt: skip
    assert read["To"] == "a@example.org"
    assert all(len(line) < 999 for line in mail.split(b"\r\n"))
    assert b"\n" not in mail.replace(b"\r\n", b"")
    assert read.get_content().replace("\r\n", "\n").splitlines() == message.text.splitlines()


@pytest.mark.parametrize(
    "injected", ["x\r\nBcc: everybody@example.net", "x\nTo: a@b.example", "x\x00\x1b[31m"]
)
def test_nobody_writes_a_header(injected: str) -> None:
    mail = rendered(written(IssueError(injected)), None, ("a@example.org",), START)
    read = message_from_bytes(mail, policy=default)
    assert read["Bcc"] is None and read["To"] == "a@example.org"
    assert b"\x00" not in mail and b"\x1b" not in mail


def test_a_subject_in_any_language() -> None:
    mail = rendered(written(IssueError("x"), "mail"), None, ("a@example.org",), START)
    assert b"Subject: [mailseal] mail.example.org: certificate mail could not be renewed\r\n" in mail
    assert b"From: mailseal <root>\r\n" in mail
    from msgspec.structs import replace

    foreign = replace(written(IssueError("x")), subject="[mailseal] пошта.укр: " + "довго " * 20)
    read = message_from_bytes(rendered(foreign, None, ("a@example.org",), START), policy=default)
    assert str(read["Subject"]).startswith("[mailseal] пошта.укр: довго")


def test_no_key_is_shown() -> None:
    for text in (PEM, f"it said {PEM} and more", PEM[:50]):
        message = written(IssueError("Refused", reason=text))
        assert "MIGH" not in message.text and "not shown" in message.text
        assert "MIGH" not in str(message.items)
    assert plain("a" * 5000).endswith("…")


def test_a_test_says_that_nothing_is_wrong() -> None:
    told = letter(
        News(Kind.TEST, ()), name="1", host="mail.example.org", machine="", command="notify --test", now=START
    )
    assert told.subject == "[mailseal] mail.example.org: a test of notification"
    assert "Nothing is wrong" in told.text


@pytest.mark.parametrize(
    ("span", "said"),
    [
        (timedelta(days=30), "30 days"),
        (timedelta(hours=47), "47 hours"),
        (timedelta(minutes=90), "90 minutes"),
        (timedelta(minutes=1), "1 minute"),
        (timedelta(seconds=3), "less than a minute"),
        (-timedelta(days=2), "2 days"),
    ],
)
def test_a_distance(span: timedelta, said: str) -> None:
    assert distance(span) == said

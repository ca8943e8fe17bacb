"""main.cf and master.cf as text: what a table shows, and what must hold for any text."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from mailseal.services import postfix_conf as conf
from mailseal.services.postfix_conf import Override, Setting

MAIN = """\
# a comment
 # indented, and no continuation
myhostname = mail.example.org

mynetworks = 127.0.0.0/8
# in the midst of it
  [::1]/128

\t192.0.2.0/24
smtpd_tls_cert_file=/etc/old.pem
no setting here
smtpd_tls_cert_file =   /etc/new.pem
empty =
"""


def values(text: str) -> dict[str, str]:
    return {setting.name: setting.value for setting in conf.settings(text)}


def test_logical_lines_are_joined_and_the_last_definition_counts() -> None:
    assert [(s.name, s.value, s.line) for s in conf.settings(MAIN)] == [
        ("myhostname", "mail.example.org", 3),
        ("mynetworks", "127.0.0.0/8 [::1]/128 192.0.2.0/24", 5),
        ("smtpd_tls_cert_file", "/etc/old.pem", 10),
        ("smtpd_tls_cert_file", "/etc/new.pem", 12),
        ("empty", "", 13),
    ]
    assert conf.find(MAIN, "smtpd_tls_cert_file") == Setting("smtpd_tls_cert_file", "/etc/new.pem", (11,))
    assert conf.find(MAIN, "absent") is None


@pytest.mark.parametrize(
    ("before", "change", "after"),
    [
        ("a=1\nb = 2\n", ("a", "3"), "a=3\nb = 2\n"),
        ("a = 1\n", ("a", ""), "a =\n"),
        ("a =\n", ("a", "1"), "a = 1\n"),
        ("a\t=\t1\n", ("a", "2"), "a\t=\t2\n"),
        ("a = 1\na = 2\n# end\n", ("a", "3"), "a = 1\na = 3\n# end\n"),
        ("a = 1\n# why\n  2\n\n  3\nb = 4\n", ("a", "5"), "a = 5\n# why\n\nb = 4\n"),
        ("a\n = 1\nb = 2\n", ("a", "3"), "a = 3\nb = 2\n"),
        ("a =\n  1\n", ("a", "2"), "a = 2\n"),
        ("b = 1\n", ("a", "2"), "b = 1\n# why\na = 2\n"),
        ("b = 1", ("a", "2"), "b = 1\n# why\na = 2\n"),
        ("b = 1\r\nc = 2\r\n", ("a", "3"), "b = 1\r\nc = 2\r\n# why\r\na = 3\r\n"),
        ("a = 1\r\nb = 2\r\n", ("a", "3"), "a = 3\r\nb = 2\r\n"),
        ("a = 1", ("a", "3"), "a = 3"),
        ("a = 1\n", ("a", "1"), "a = 1\n"),
        ("a = 1,\n  2\n", ("a", "1, 2"), "a = 1,\n  2\n"),
        ("", ("a", "1"), "# why\na = 1\n"),
    ],
)
def test_an_edit_changes_the_lines_of_the_value_and_nothing_else(
    before: str, change: tuple[str, str], after: str
) -> None:
    assert conf.with_settings(before, [Setting(*change)], "why") == after
    assert conf.with_settings(after, [Setting(*change)], "why") == after


def test_several_additions_stand_below_one_comment() -> None:
    edited = conf.with_settings("x = 1\n", [Setting("a", "1"), Setting("b", "2")], "ours")
    assert edited == "x = 1\n# ours\na = 1\nb = 2\n"


NAMES = ("alpha", "beta", "gamma", "smtpd_tls_chain_files", "smtpd_tls_cert_file")
WORD = st.text("abc/.,$={}:é\udcff", min_size=1, max_size=6)
BLANK = st.sampled_from(["", " ", "  ", "\t", "\v"])
ENDING = st.sampled_from(["\n", "\n", "\n", "\r\n", " \n"])
LINE = st.one_of(
    st.builds(
        "".join,
        st.tuples(
            st.sampled_from(NAMES), BLANK, st.just("="), BLANK, WORD | st.just(""), BLANK, WORD, ENDING
        ),
    ),
    st.builds("".join, st.tuples(st.sampled_from([" ", "\t"]), BLANK, WORD, ENDING)),
    st.builds("".join, st.tuples(BLANK, st.just("#"), WORD, ENDING)),
    st.builds("".join, st.tuples(BLANK, ENDING)),
    st.builds("".join, st.tuples(st.sampled_from(NAMES), ENDING)),
    st.builds("".join, st.tuples(WORD, ENDING)),
)
TEXT = st.builds(
    lambda lines, last: "".join(lines) + last, st.lists(LINE, max_size=12), st.sampled_from(["", "alpha = 1"])
)
CHANGES = st.lists(
    st.builds(Setting, st.sampled_from(NAMES), st.text("ab/. ", max_size=6).map(conf.squeeze)), max_size=4
)


@given(TEXT, CHANGES)
@example("alpha\n# c\n = 1\nbeta = 2\n", [Setting("alpha", "3")])
def test_only_what_was_asked_for_changes(text: str, changes: list[Setting]) -> None:
    edited = conf.with_settings(text, changes, "ours")

    wanted = values(text) | {change.name: change.value for change in changes}
    assert values(edited) == wanted
    assert conf.with_settings(edited, _last(changes), "ours") == edited
    for line in text.split("\n"):
        if line.strip().startswith("#"):
            assert edited.split("\n").count(line) >= text.split("\n").count(line)


@given(TEXT, CHANGES)
def test_lines_of_other_settings_stay_byte_for_byte(text: str, changes: list[Setting]) -> None:
    changed = {change.name for change in changes}
    edited = conf.with_settings(text, changes, "ours").split("\n")

    at = 0
    lines = text.split("\n")
    touched = {line for s in conf.settings(text) if s.name in changed for line in s.lines}
    for number, line in enumerate(lines):
        if number not in touched and line:
            # A last line without an end gets the file's own, so that what follows is a line of its own.
            unended = number == len(lines) - 1 and f"{line}\r" in edited[at:]
            at = edited.index(f"{line}\r" if unended else line, at) + 1


@given(st.binary(max_size=200))
def test_any_bytes_come_back(content: bytes) -> None:
    assert conf.encode(conf.with_settings(conf.decode(content), [])) == content


def _last(changes: list[Setting]) -> list[Setting]:
    return list({change.name: change for change in changes}.values())


MASTER = """\
# service type  private unpriv  chroot  wakeup  maxproc command + args
smtp      inet  n       -       y       -       -       smtpd
#smtps inet n - y - - smtpd
submission inet n - n - 5 smtpd -v
  -o syslog_name=postfix/submission -osmtpd_tls_security_level=encrypt
# between
  -o { smtpd_banner = x  y }

  -o smtpd_banner=last
[::1]:465 inet n - n - - smtpd
maildrop  unix  -       n       n       -       -       pipe
  flags=DRXhu user=vmail argv=/usr/bin/maildrop -d ${recipient}
short inet n -
"""


def test_services_are_read_with_their_overrides() -> None:
    smtp, submission, submissions, maildrop = conf.services(MASTER)

    assert (smtp.key, smtp.chroot, smtp.command, smtp.overrides, smtp.line) == (
        "smtp/inet",
        "y",
        "smtpd",
        (),
        2,
    )
    assert submission.overrides == (
        Override("syslog_name", "postfix/submission"),
        Override("smtpd_tls_security_level", "encrypt"),
        Override("smtpd_banner", "x y"),
        Override("smtpd_banner", "last"),
    )
    assert submission.override("smtpd_banner") == "last"
    assert submission.override("smtpd_tls_auth_only") is None
    assert (submission.maxproc, submission.line) == ("5", 4)
    assert submissions.name == "[::1]:465"
    assert (maildrop.command, maildrop.overrides) == ("pipe", ())


def test_overrides_are_resolved_as_postconf_told() -> None:
    found = conf.services("465 inet n - n - - smtpd -o a=$b -o c=d\n")
    (service,) = conf.expanded(found, "465/inet/a = resolved\n25/inet/c = other\n")
    assert service.overrides == (Override("a", "resolved"), Override("c", "d"))


def test_a_service_more_keeps_what_stands_and_its_line_ends() -> None:
    assert conf.with_service("a b\r\nc d\r\n", "x y\n  z\n") == "a b\r\nc d\r\nx y\r\n  z\r\n"
    assert conf.with_service("a b", "x y\n") == "a b\nx y\n"

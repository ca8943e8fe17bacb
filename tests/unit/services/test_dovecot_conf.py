"""Dovecot's configuration language: what is read, in which order, and the one line that is added."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailseal.services.dovecot_conf import HERE, SECTION, effective, parse, read, with_include
from tests.support.memory import MemorySystem

LINES = [
    ("ssl = yes", [((), "ssl", "yes")]),
    ("  ssl=yes  ", [((), "ssl", "yes")]),
    ("ssl_key =", [((), "ssl_key", "")]),
    ("ssl_cert = </a b/c.pem", [((), "ssl_cert", "</a b/c.pem")]),
    ("# ssl = yes", []),
    ("ssl = yes # as it should be", [((), "ssl", "yes")]),
    ("login_greeting = a#b", [((), "login_greeting", "a#b")]),
    ('login_greeting = "a # b"', [((), "login_greeting", "a # b")]),
    (r'login_greeting = "say \"hi\""', [((), "login_greeting", 'say "hi"')]),
    ("protocols = imap \\\n  pop3", [((), "protocols", "imap pop3")]),
    ("protocol imap {\n ssl = no\n}\nssl = yes", [(("protocol imap",), "ssl", "no"), ((), "ssl", "yes")]),
    ('local_name "a b" {\nssl = no\n}', [(("local_name a b",), "ssl", "no")]),
    ("service x {\n inet_listener y {\n port = 1\n }\n}", [(("service x", "inet_listener y"), "port", "1")]),
    ("ssl_server {\n cert_file = /a\n}", [((), "ssl_server_cert_file", "/a")]),
    ("ssl_server {\n ssl_server_cert_file = /a\n}", [((), "ssl_server_cert_file", "/a")]),
    ("}\nssl = yes", [((), "ssl", "yes")]),
    ("nonsense\nssl = yes", [((), "ssl", "yes")]),
]


@pytest.mark.parametrize(("text", "settings"), LINES, ids=lambda value: repr(value)[:40])
def test_a_line_is_read(text: str, settings: list[tuple[tuple[str, ...], str, str]]) -> None:
    assert [(s.scope, s.name, s.value) for s in parse(text) if s.name != SECTION] == settings


def test_lines_are_counted() -> None:
    assert [(s.name, s.line) for s in parse("# one\n\na = 1 \\\n + 2\nb = 2\n", "/x")] == [("a", 3), ("b", 5)]


@given(st.text())
def test_any_text_can_be_read(text: str) -> None:
    list(parse(text))


@pytest.fixture
def system() -> MemorySystem:
    made = MemorySystem()
    for path, text in {
        "/d/dovecot.conf": "a = main\n!include conf.d/*.conf\n!include_try local.conf\n!include_try none.conf\n",
        "/d/conf.d/90-z.conf": "a = 90\n",
        "/d/conf.d/10-a.conf": "a = 10\n!include deeper.inc\n",
        "/d/conf.d/deeper.inc": "b = deep\n",
        "/d/conf.d/.hidden.conf": "a = hidden\n",
        "/d/conf.d/readme": "a = readme\n",
        "/d/local.conf": "c = local\n!include dovecot.conf\n",
    }.items():
        made.machine.put(path, text)
    return made


def test_includes_are_read_in_order(system: MemorySystem) -> None:
    settings = read(system.files, "/d/dovecot.conf")
    assert [s.value for s in settings if not s.name.startswith("!")] == ["main", "10", "deep", "90", "local"]
    found = effective(settings, "a")
    assert found is not None
    assert found.place == "/d/conf.d/90-z.conf:1"


@pytest.mark.parametrize(
    ("planned", "before"),
    [
        ("/d/conf.d/50-m.conf", ["main", "10", "deep"]),
        ("/d/conf.d/99-m.conf", ["main", "10", "deep", "90"]),
        ("/d/none.conf", ["main", "10", "deep", "90", "local"]),
        ("/d/conf.d/m.txt", None),
        ("/elsewhere.conf", None),
    ],
)
def test_a_planned_file_has_its_place(system: MemorySystem, planned: str, before: list[str] | None) -> None:
    settings = [
        s for s in read(system.files, "/d/dovecot.conf", planned) if s.name == HERE or s.name[0] != "!"
    ]
    at = next((i for i, s in enumerate(settings) if s.name == HERE), None)
    assert (None if at is None else [s.value for s in settings[:at]]) == before


contents = st.lists(
    st.sampled_from(["a = 1", "", "# é", "p {", "}", "!include_try mailseal.conf.old"])
).flatmap(
    lambda lines: st.sampled_from(["\n", "\r\n"]).flatmap(
        lambda end: st.sampled_from([end.join(lines), end.join([*lines, ""])])
    )
)


@given(contents)
def test_the_include_is_added_once_at_the_end(text: str) -> None:
    content = text.encode()
    once = with_include(content, "mailseal.conf", "why")
    assert once.startswith(content)
    assert with_include(once, "mailseal.conf", "why") == once
    lines = once.decode().split("\r\n" if "\r\n" in text else "\n")
    assert lines[-3:] == ["# why", "!include_try mailseal.conf", ""]
    assert once.count(b"\r") in (0, once.count(b"\n"))


def test_bytes_that_are_no_utf8_survive() -> None:
    assert with_include(b"# \xff\xfe\n", "m.conf", "why").startswith(b"# \xff\xfe\n")

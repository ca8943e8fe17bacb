"""Apache's configuration language: what is read, under which conditions, in which order."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailseal.services.apache_conf import environment, logical_lines, port_of, read, split_args
from tests.support.memory import MemorySystem

PORTS = [
    ("*:443", 443),
    ("_default_:443", 443),
    ("[::1]:8443", 8443),
    ("192.0.2.1:80", 80),
    ("mail.example.org:80", 80),
    ("*", 0),
    ("*:*", 0),
    ("192.0.2.1", 0),
    ("[2001:db8::1]", 0),
    ("80", 80),
]


@pytest.mark.parametrize(("address", "port"), PORTS)
def test_ports(address: str, port: int) -> None:
    assert port_of(address) == port


ARGS = [
    ("a  b\tc", ("a", "b", "c")),
    ('"a b" c', ("a b", "c")),
    (r'"say \"hi\""', ('say "hi"',)),
    ("'a \"b'", ('a "b',)),
    (r'"^/\.well-known/"', (r"^/\.well-known/",)),
    ("", ()),
]


@pytest.mark.parametrize(("text", "args"), ARGS)
def test_arguments(text: str, args: tuple[str, ...]) -> None:
    assert split_args(text) == args


LINES = [
    ("a\n# b\n\n c ", [(1, "a"), (4, "c")]),
    ("a \\\n b\nc", [(1, "a  b"), (3, "c")]),
    ("# a \\\nb", [(2, "b")]),
    ("a\\\r\nb\r\n", [(1, "ab")]),
    ("a \\", [(1, "a")]),
]


@pytest.mark.parametrize(("text", "lines"), LINES)
def test_lines_are_joined_and_counted(text: str, lines: list[tuple[int, str]]) -> None:
    assert list(logical_lines(text)) == lines


def configured(text: str, **more: str) -> MemorySystem:
    system = MemorySystem()
    system.machine.put("/etc/apache2/apache2.conf", text)
    for name, content in more.items():
        system.machine.put(f"/etc/apache2/{name.replace('__', '/')}.conf", content)
    return system


def names(system: MemorySystem, *assumed: str) -> list[str]:
    found = read(system.files, "/etc/apache2", {}, assumed=assumed)
    return [d.args[0] for d in found.directives if d.name == "servername"]


CONDITIONS = [
    ("<IfModule ssl_module>\nServerName a\n</IfModule>", []),
    ("<IfModule mod_ssl.c>\nServerName a\n</IfModule>\nServerName b", ["b"]),
    ("<IfModule !mod_ssl.c>\nServerName a\n</IfModule>", ["a"]),
    ("LoadModule ssl_module x.so\n<IfModule mod_ssl.c>\nServerName a\n</IfModule>", ["a"]),
    (
        (
            "<IfModule mod_ssl.c>\nLoadModule ssl_module x.so\n</IfModule>\n"
            "<IfModule ssl_module>\nServerName a\n</IfModule>"
        ),
        [],
    ),
    (
        "<IfModule no>\n<IfModule http_core>\nServerName a\n</IfModule>\nServerName b\n</IfModule>\nServerName c",
        ["c"],
    ),
    ("Define X y\n<IfDefine X>\nServerName ${X}\n</IfDefine>", ["y"]),
    ("<IfDefine !X>\nServerName a\n</IfDefine>", ["a"]),
    ("<IfFile ports.conf>\nServerName a\n</IfFile>", ["a"]),
    ("<IfFile /no/where>\nServerName a\n</IfFile>", []),
    ("Include ports.conf", ["ports"]),
    ("Include ./p*.conf", ["ports"]),
    ("Include sites", ["one", "two"]),
    ("IncludeOptional s*s/*.conf", ["one", "two"]),
    ("Include apache2.conf\nServerName a", ["a"] * 13),
    ("SERVERNAME a", ["a"]),
]


@pytest.mark.parametrize(("text", "found"), CONDITIONS)
def test_conditions_and_includes(text: str, found: list[str]) -> None:
    system = configured(text, ports="ServerName ports", sites__a="ServerName one", sites__b="ServerName two")
    assert names(system) == found


def test_assumed_modules_count() -> None:
    assert names(configured("<IfModule ssl_module>\nServerName a\n</IfModule>"), "ssl") == ["a"]


def test_a_virtual_host_knows_its_own() -> None:
    system = configured(
        "ServerName global\nInclude site.conf",
        site="# x\n<VirtualHost *:443 192.0.2.1:443>\n<IfModule http_core>\nServerName https://A.example.org:443\n"
        "</IfModule>\nServerAlias b.example.org *.C.example.org\n<Location />\nRedirect / https://x/\n</Location>\n"
        "SSLEngine on\n</VirtualHost>\nServerName later",
    )
    found = read(system.files, "/etc/apache2", {})
    [host] = found.vhosts
    assert (host.path, host.line) == ("/etc/apache2/site.conf", 2)
    assert host.addresses == ("*:443", "192.0.2.1:443")
    assert host.ports == (443,)
    assert host.names == ("a.example.org", "b.example.org", "*.c.example.org")
    assert (host.all("redirect"), len(host.anywhere("redirect"))) == ((), 1)
    assert [d.args for d in found.server("servername")] == [("global",), ("later",)]


@given(st.text(st.sampled_from("<>/VirtualHostIfModule\\\n\"' #${}ab"), max_size=200))
def test_any_text_can_be_read(text: str) -> None:
    read(configured(text).files, "/etc/apache2", {})


def test_the_environment_of_an_instance() -> None:
    text = "unset HOME\nexport A=/run/apache2$SUFFIX/x\nB='b c'\nexport B\n"
    text += "if x ; then\n SUFFIX=no\nfi\nexport C=${A}/c\n"
    assert environment(text, "/etc/apache2-two") == {
        "APACHE_CONFDIR": "/etc/apache2-two",
        "A": "/run/apache2-two/x",
        "B": "b c",
        "C": "/run/apache2-two/x/c",
    }
    assert environment(text, "/etc/apache2")["A"] == "/run/apache2/x"

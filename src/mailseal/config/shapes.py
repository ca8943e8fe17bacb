"""What a text in the configuration must look like, beyond being a text.

A shape is a word that a field of the schema names, what is expected in a
phrase, and a check that says what is wrong (or nothing). Checks are pure: that
a path is absolute is looked at here, that something is there is not.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import urlsplit

from mailseal.config.acme import DIRECTORIES
from mailseal.model import Identifier

_FILENAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_WORD = re.compile(r"[A-Za-z0-9][A-Za-z0-9@._:-]{0,127}")
_MAILBOX = re.compile(r"[^\s@<>\"(),;:\\\[\]]{1,64}@(?P<domain>[^\s@]+)")
_UNSAFE = frozenset(" \"'$%,;#{}\\<>*?|&`()[]")  # what some daemon's configuration gives a meaning to
_HEADER = re.compile(r"[A-Za-z][A-Za-z0-9-]{0,63}")
_SUFFIX = re.compile(r"[A-Za-z0-9/._~-]{1,64}")
_SERVER = re.compile(r"(?:\[(?P<six>[^\]]+)\]|(?P<four>[^:\[\]]+)):(?P<port>[0-9]{1,5})")


@dataclass(frozen=True, slots=True)
class Shape:
    """`expects` completes "expected …"; `wrong` is what is wrong with a text, empty when it is well."""

    expects: str
    wrong: Callable[[str], str]


def _directory(text: str) -> str:
    return "" if text in DIRECTORIES else _url(text, "nor one of " + ", ".join(sorted(DIRECTORIES)))


def _url(text: str, or_else: str = "") -> str:
    try:
        parts = urlsplit(text)
        host, _ = parts.hostname, parts.port
    except ValueError:
        return "is not a URL"
    if parts.scheme == "http":
        return "is not https: nothing is sent in the clear"
    if parts.scheme != "https" or not host:
        return f"is neither an https URL {or_else}" if or_else else "is no https URL"
    if parts.username or parts.password:
        return "holds a login: secrets are never in this file"
    return (
        ""
        if text.isascii() and text.isprintable() and " " not in text
        else "has characters that no URL holds"
    )


def _mail(text: str) -> str:
    if text.lower().startswith("mailto:"):
        return "needs no mailto: before it"
    match = _MAILBOX.fullmatch(text)
    if not match:
        return "is not a mail address"
    try:
        domain = Identifier.parse(match["domain"])
    except ValueError as error:
        return f"is not a mail address: {error}"
    return "is not a mail address" if domain.is_wildcard or domain.kind == "ip" else ""


def _path(text: str) -> str:
    if not text.startswith("/"):
        return "is not an absolute path: begin it with /"
    unsafe = sorted(_UNSAFE & set(text))
    if unsafe:
        return f"holds {unsafe[0]!r}, which means something else in a daemon's configuration"
    if not text.isprintable():
        return "has characters that cannot be printed"
    if ".." in text.split("/"):
        return "goes up by ..: write the path straight"
    return ""


def _identifier(text: str) -> str:
    try:
        identifier = Identifier.parse(text)
    except ValueError as error:
        return f"is no host name: {error}"
    if identifier.is_wildcard:
        return "is a wildcard, which needs dns-01; this version has http-01 only. Name each host instead"
    return ""


def _filename(text: str) -> str:
    if _FILENAME.fullmatch(text) and ".." not in text:
        return ""
    return "is not good as a folder's name: letters, digits, '.', '_' and '-', at most 64, the first a letter or digit"


def _word(text: str) -> str:
    return "" if _WORD.fullmatch(text) else "is not one word of letters, digits, '.', '_', '-', ':' and '@'"


def _text(text: str) -> str:
    if not text.strip():
        return "is empty"
    return "" if text.isprintable() else "has characters that cannot be printed"


def _address(text: str) -> str:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return "is not an IP address"
    return ""


def _server(text: str) -> str:
    match = _SERVER.fullmatch(text)
    if match is None:
        return _address(text)
    if not 1 <= int(match["port"]) <= 65535:
        return "has no port from 1 to 65535"
    return _address(match["six"] or match["four"])


def _header(text: str) -> str:
    return "" if _HEADER.fullmatch(text) else "is not the name of a header"


def _suffix(text: str) -> str:
    return "" if _SUFFIX.fullmatch(text) else "is not what can be added to a URL's path, such as /fail"


def _trust(text: str) -> str:
    return "" if text == "system" else _path(text) and 'is neither "system" nor an absolute path'


SHAPES = {
    "address": Shape("an IP address", _address),
    "directory": Shape("an https URL, or letsencrypt, or letsencrypt-staging", _directory),
    "filename": Shape("a name that is good as a folder's name", _filename),
    "header": Shape("the name of a header", _header),
    "identifier": Shape("a host name or an IP address", _identifier),
    "mail": Shape("a mail address", _mail),
    "path": Shape("an absolute path", _path),
    "suffix": Shape("the end of a URL's path", _suffix),
    "server": Shape("an IP address, with a port or without", _server),
    "text": Shape("a text", _text),
    "trust": Shape('"system" or the absolute path of a PEM file', _trust),
    "url": Shape("an https URL", _url),
    "word": Shape("a word", _word),
}

"""The certificate lines of an existing virtual host, changed in place as text.

mod_ssl reads `SSLCertificateFile` with leaf and chain in one file since 2.4.8,
and takes one pair of `SSLCertificateFile` and `SSLCertificateKeyFile` for each
key type; `SSLCertificateChainFile` is obsolete since and would be sent in
place of the chain in the file. So: the first pair becomes the first wished
one, further pairs follow it, chain files go.

Promises: only these lines change; comments, blanks, order, indentation and
line endings stay; a second edit changes nothing.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from mailseal.services.apache_conf import logical_lines

Pair = tuple[str, str]  # certificate with chain, key

_DIRECTIVE = re.compile(r"^(\s*)(SSLCertificate(?:File|KeyFile|ChainFile))(\s+)(.*)$", re.IGNORECASE)
_OPEN = re.compile(r"^\s*<VirtualHost[\s>]", re.IGNORECASE)
_CLOSE = re.compile(r"^\s*</VirtualHost\s*>", re.IGNORECASE)


def with_certificates(content: bytes, host_line: int, pairs: Sequence[Pair]) -> bytes:
    """The file with the virtual host that starts at `host_line` (counted from 1) serving these pairs.

    A host that names no certificate file itself is left as it is.
    """
    text = content.decode("utf-8", "surrogateescape")
    lines = text.splitlines(keepends=True) if "\n" not in text else _split(text)
    end = _end_of_host(lines, host_line)
    block = lines[host_line - 1 : end]
    edited = _edited(block, pairs)
    return "".join([*lines[: host_line - 1], *edited, *lines[end:]]).encode("utf-8", "surrogateescape")


def _split(text: str) -> list[str]:
    parts = text.split("\n")
    lines = [part + "\n" for part in parts[:-1]]
    return [*lines, parts[-1]] if parts[-1] else lines


def _end_of_host(lines: Sequence[str], host_line: int) -> int:
    if not (0 < host_line <= len(lines)) or not _OPEN.match(lines[host_line - 1]):
        raise ValueError(f"line {host_line} opens no virtual host")
    for index in range(host_line, len(lines)):
        if _CLOSE.match(lines[index]):
            return index + 1
    return len(lines)


def _edited(block: Sequence[str], pairs: Sequence[Pair]) -> list[str]:
    owned = _directive_lines(block)
    first = next((index for index, kind in owned.items() if kind == "sslcertificatefile"), None)
    if first is None or not pairs:
        return list(block)
    style = _Style(block[first])
    written = style.lines(pairs, [block[i] for i, kind in owned.items() if kind != "sslcertificatechainfile"])
    wanted_at = first if min(owned) >= first else min(owned)
    edited: list[str] = []
    for index, line in enumerate(block):
        if index == wanted_at:
            edited += written
        if index not in owned:
            edited.append(line)
    return edited


def _directive_lines(block: Sequence[str]) -> dict[int, str]:
    """The lines (joined ones all) that hold certificate directives, by index, with the directive's name."""
    text = "".join(block)
    found: dict[int, str] = {}
    for number, line in logical_lines(text):
        match = _DIRECTIVE.match(line)
        if match is None:
            continue
        index = number - 1
        while True:
            found[index] = match[2].lower()
            if not block[index].rstrip("\r\n").endswith("\\") or index + 1 >= len(block):
                break
            index += 1
    return found


class _Style:
    """How the first certificate line is written: its indentation and its end."""

    def __init__(self, line: str) -> None:
        self.indent = line[: len(line) - len(line.lstrip())]
        self.end = "\r\n" if line.endswith("\r\n") else "\n"

    def lines(self, pairs: Sequence[Pair], known: Sequence[str]) -> list[str]:
        """The wished lines; one that says the same already is kept letter by letter."""
        same: dict[tuple[str, str], str] = {}
        for line in known:
            match = _DIRECTIVE.match(line.rstrip("\r\n"))
            if match is not None:
                same.setdefault((match[2].lower(), match[4].strip().strip("\"'")), line)
        found = []
        for cert, key in pairs:
            for name, path in (("SSLCertificateFile", cert), ("SSLCertificateKeyFile", key)):
                fresh = f"{self.indent}{name} {path}{self.end}"
                found.append(same.get((name.lower(), path), fresh))
        return found

"""Apache's configuration language, read as a list of directives (httpd.apache.org/docs/2.4/configuring.html).

One directive a line, its name in any case, arguments parted by blanks and
quoted where they hold some; a backslash at the end of a line joins it with
the next; `#` starts a comment only at the start of a line. `<Section args>` …
`</Section>` nest. `Include` and `IncludeOptional` name files, folders or shell
patterns, relative to ServerRoot, read in the order of the alphabet. `${NAME}`
stands for what `Define` or the environment (/etc/apache2/envvars) says.

Of the conditions, `<IfModule>`, `<IfDefine>` and `<IfFile>` are decided here,
as Apache does when it reads: by the LoadModule and Define lines that came
before. Everything else is kept as it stands.

Promises: each directive keeps the file (links resolved) and line it stands in.
Does not evaluate expressions, macros (mod_macro) or per-directory files.
"""

from __future__ import annotations

import fnmatch
import posixpath
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from mailseal.errors import SystemFault
from mailseal.system import Files

# What Debian compiles in (apache2 -l); everything else is loaded.
STATIC_MODULES = frozenset(
    {"core", "so", "http_core", "http", "log_config", "logio", "version", "watchdog", "unixd"}
)

_MAX_DEPTH = 12
_MAX_FILES = 2000
_CONDITIONS = ("ifmodule", "ifdefine", "iffile")
_VARIABLE = re.compile(r"\$\{([^}]+)\}")


@dataclass(frozen=True, slots=True)
class Directive:
    """One directive: its name in lower case, its arguments, where it stands, in which sections."""

    name: str
    args: tuple[str, ...]
    path: str
    line: int
    sections: tuple[str, ...] = ()
    vhost: int | None = None  # the index of the virtual host that it is in

    @property
    def place(self) -> str:
        return f"{self.path}:{self.line}"


@dataclass(frozen=True, slots=True)
class VirtualHost:
    """One `<VirtualHost>`: its addresses as written, the file and line it starts in, and its directives."""

    addresses: tuple[str, ...]
    path: str
    line: int
    directives: tuple[Directive, ...] = ()

    @property
    def place(self) -> str:
        return f"{self.path}:{self.line}"

    @property
    def ports(self) -> tuple[int, ...]:
        """The ports of its addresses; 0 stands for any."""
        found = (port_of(address) for address in self.addresses)
        return tuple(dict.fromkeys(found))

    def all(self, name: str) -> tuple[Directive, ...]:
        """The directives of this name that hold for the whole host, in order."""
        return tuple(d for d in self.directives if d.name == name and not _narrowed(d.sections))

    def anywhere(self, name: str) -> tuple[Directive, ...]:
        """The directives of this name, those in `<Location>` and the like too."""
        return tuple(d for d in self.directives if d.name == name)

    def last(self, name: str) -> str:
        """The first argument of the last directive of this name; empty where there is none."""
        found = self.all(name)
        return found[-1].args[0] if found and found[-1].args else ""

    @property
    def names(self) -> tuple[str, ...]:
        """ServerName, then the aliases; lower case, wildcards as written."""
        server_name = re.sub(r"^\w+://", "", self.last("servername")).rsplit(":", 1)[0]
        aliases = [arg for directive in self.all("serveralias") for arg in directive.args]
        return tuple(dict.fromkeys(name.lower().rstrip(".") for name in (server_name, *aliases) if name))


@dataclass(frozen=True, slots=True)
class Configuration:
    """All that Apache would read, in order."""

    directives: tuple[Directive, ...]
    vhosts: tuple[VirtualHost, ...]
    modules: frozenset[str]  # without `_module`
    includes: tuple[str, ...]  # the patterns of all Include lines, absolute

    def server(self, name: str) -> tuple[Directive, ...]:
        """The directives of this name outside of any virtual host or other section."""
        return tuple(
            d for d in self.directives if d.name == name and d.vhost is None and not _narrowed(d.sections)
        )


def _narrowed(sections: Iterable[str]) -> bool:
    return any(not section.startswith("virtualhost") for section in sections)


def port_of(address: str) -> int:
    """The port of `*:443`, `[::1]:443`, `443` or `192.0.2.1`; 0 where none is named or it is `*`."""
    tail = address.rsplit(":", 1)[-1] if ":" in address.rsplit("]", 1)[-1] else address
    return int(tail) if tail.isdigit() and (tail != address or "." not in address) else 0


def split_args(text: str) -> tuple[str, ...]:
    """The arguments of a directive, quotes taken off."""
    found: list[str] = []
    for match in re.finditer(r'"((?:[^"\\]|\\.)*)"|\'((?:[^\'\\]|\\.)*)\'|(\S+)', text):
        double, single, bare = match.groups()
        if bare is not None:
            found.append(bare)
        else:
            found.append(re.sub(r"\\([\"'\\])", r"\1", double if double is not None else single))
    return tuple(found)


def logical_lines(text: str) -> Iterator[tuple[int, str]]:
    """Joined lines without comments and blanks, each with the number of its first."""
    pending, start = "", 0
    for number, raw in enumerate(text.split("\n"), 1):
        line = raw.rstrip("\r")
        start = start or number
        if line.endswith("\\") and not (not pending and line.lstrip().startswith("#")):
            pending += line[:-1]
            continue
        whole = (pending + line).strip()
        if whole and not whole.startswith("#"):
            yield start, whole
        pending, start = "", 0
    if pending.strip() and not pending.lstrip().startswith("#"):
        yield start, pending.strip()


@dataclass(slots=True)
class _Reader:
    files: Files
    root: str
    variables: dict[str, str]
    modules: set[str]
    assumed: frozenset[str]
    directives: list[Directive] = field(default_factory=list)
    hosts: list[tuple[tuple[str, ...], str, int]] = field(default_factory=list)
    includes: list[str] = field(default_factory=list)
    read_files: int = 0
    sections: list[str] = field(default_factory=list)
    host: int | None = None
    false_depth: int = 0  # how many sections deep inside a condition that does not hold

    def file(self, path: str, depth: int) -> None:
        self.read_files += 1
        if depth > _MAX_DEPTH or self.read_files > _MAX_FILES:
            return
        try:
            real = self.files.resolve(path)
            text = self.files.read(real).decode("utf-8", "surrogateescape")
        except SystemFault:
            return
        for number, line in logical_lines(text):
            self.line(line, real, number, depth)

    def line(self, line: str, path: str, number: int, depth: int) -> None:
        if line.startswith("</"):
            self._close()
        elif line.startswith("<"):
            head, _, rest = line[1:].rstrip().removesuffix(">").partition(" ")
            self._open(head.lower(), split_args(self._expand(rest)), path, number)
        elif not self.false_depth:
            name, _, rest = line.replace("\t", " ", 1).partition(" ")
            args = split_args(self._expand(rest))
            self._directive(
                Directive(name.lower(), args, path, number, tuple(self.sections), self.host), depth
            )

    def _directive(self, directive: Directive, depth: int) -> None:
        args = directive.args
        self.directives.append(directive)
        match directive.name:
            case "loadmodule" if args:
                self.modules.add(args[0].removesuffix("_module"))
            case "define" if args:
                self.variables[args[0]] = args[1] if len(args) > 1 else ""
            case "undefine" if args:
                self.variables.pop(args[0], None)
            case "include" | "includeoptional" if args:
                pattern = posixpath.join(self.root, args[0])
                self.includes.append(pattern)
                for path in matching(self.files, pattern):
                    self.file(path, depth + 1)

    def _open(self, kind: str, args: tuple[str, ...], path: str, number: int) -> None:
        if self.false_depth:
            self.false_depth += 1
        elif kind in _CONDITIONS:
            if self._holds(kind, args[0] if args else ""):
                self.sections.append("")  # a condition that holds leaves no trace but its end
            else:
                self.false_depth = 1
        else:
            self.sections.append(" ".join((kind, *args)))
            if kind == "virtualhost":
                self.hosts.append((args, path, number))
                self.host = len(self.hosts) - 1

    def _close(self) -> None:
        if self.false_depth:
            self.false_depth -= 1
        elif self.sections and self.sections.pop().startswith("virtualhost"):
            self.host = None

    def _holds(self, kind: str, what: str) -> bool:
        wanted = not what.startswith("!")
        what = what.lstrip("!")
        if kind == "ifmodule":
            name = what.removeprefix("mod_").removesuffix(".c").removesuffix("_module")
            return (name in self.modules or name in self.assumed or name in STATIC_MODULES) is wanted
        if kind == "ifdefine":
            return (what in self.variables) is wanted
        return (self.files.stat(posixpath.join(self.root, what), follow=True) is not None) is wanted

    def _expand(self, text: str) -> str:
        return _VARIABLE.sub(lambda match: self.variables.get(match[1], match[0]), text)


def read(
    files: Files, config_dir: str, variables: Mapping[str, str], assumed: Iterable[str] = ()
) -> Configuration:
    """The whole configuration from apache2.conf on; `assumed` modules count as loaded."""
    reader = _Reader(files, config_dir, dict(variables), set(), frozenset(assumed))
    reader.file(posixpath.join(config_dir, "apache2.conf"), 0)
    directives = tuple(
        Directive(d.name, d.args, d.path, d.line, tuple(s for s in d.sections if s), d.vhost)
        for d in reader.directives
    )
    inside: list[list[Directive]] = [[] for _ in reader.hosts]
    for directive in directives:
        if directive.vhost is not None:
            inside[directive.vhost].append(directive)
    vhosts = tuple(
        VirtualHost(addresses, path, line, tuple(inside[index]))
        for index, (addresses, path, line) in enumerate(reader.hosts)
    )
    return Configuration(directives, vhosts, frozenset(reader.modules), tuple(reader.includes))


def matching(files: Files, pattern: str) -> list[str]:
    """The files that an Include names: one, all of a folder, or those that match; in order."""
    found = [""] if pattern.startswith("/") else []
    for part in posixpath.normpath(pattern).strip("/").split("/"):
        if any(sign in part for sign in "*?["):
            found = [
                posixpath.join(folder + "/", name)
                for folder in found
                for name in files.listdir(folder or "/")
                if fnmatch.fnmatchcase(name, part) and (part.startswith(".") or not name.startswith("."))
            ]
        else:
            found = [f"{folder}/{part}" for folder in found]
    paths: list[str] = []
    for path in sorted(found):
        stat = files.stat(path, follow=True)
        if stat is not None and stat.kind == "directory":
            paths += matching(files, path + "/*")
        elif stat is not None:
            paths.append(path)
    return paths


def environment(text: str, config_dir: str) -> dict[str, str]:
    """What an envvars file exports: plain assignments only, with the instance's SUFFIX as Debian computes it."""
    suffix = config_dir.removeprefix("/etc/apache2") if config_dir.startswith("/etc/apache2-") else ""
    known = {"SUFFIX": suffix, "APACHE_CONFDIR": config_dir}
    for _, line in logical_lines(text):
        match = re.fullmatch(r"(?:export\s+)?([A-Za-z_]\w*)=(\S*|'[^']*'|\"[^\"]*\")", line)
        if match and match[1] != "SUFFIX":
            value = match[2].strip("'\"")
            known[match[1]] = re.sub(r"\$\{?(\w+)\}?", lambda m: known.get(m[1], ""), value)
    del known["SUFFIX"]
    return known

"""The ways by which a message goes out, from the configuration.

A channel has an `id` (by which what it could not send is remembered; it holds
no secret), a `label` for people, and `send`. A new way is a class with these
three and a line in `channels`.

A command runs as root, so only root may have written it, and it runs beside the
sandbox of mailseal's own unit, as a hook does (`mailseal.hooks`).

What a webhook's URL or header holds may be a secret: faults name its host
only. A redirect is not followed, since it could lead the secret elsewhere.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from hashlib import sha256
from shlex import join
from typing import Protocol
from urllib.parse import urlsplit

import msgspec

from mailseal import transient
from mailseal.config.notify import Notify, Smtp
from mailseal.config.schema import Config
from mailseal.errors import ConfigError, MailsealError, NetworkFault, SystemFault
from mailseal.hooks import distrust
from mailseal.model import Identifier, Secret
from mailseal.notify.letters import plain
from mailseal.notify.mail import Sendmail, Submission
from mailseal.notify.messages import Message
from mailseal.system import Completed, System
from mailseal.system.smtp import MailServer

_MOST_SECRET = 4096  # octets of a file that holds one
_MOST_ANSWER = 65_536  # octets of an answer that nobody reads


class Channel(Protocol):
    """One way out."""

    @property
    def id(self) -> str: ...

    @property
    def label(self) -> str: ...

    def send(self, system: System, message: Message) -> tuple[str, ...]:
        """Sends it within a bounded time. Raises `MailsealError`; returns what is doubtful, a sentence each."""
        ...


def channels(system: System, config: Config) -> tuple[Channel, ...]:
    """Every way that the configuration names; without one, a mail to the contact, where this machine can send one.

    Raises nothing: what cannot be read is told when it is used.
    """
    notify = config.notify
    if not notify.enabled:
        return ()
    found: list[Channel] = list(_mails(system, config))
    found += [
        _Webhook(one.url, one.url_file, one.secret_file, one.secret_header, one.ca_file, one.timeout)
        for one in notify.webhook
    ]
    found += [_Command(one.argv, one.timeout) for one in notify.command]
    unique: dict[str, Channel] = {}
    for channel in found:
        unique.setdefault(channel.id, channel)
    return tuple(unique.values())


def _mails(system: System, config: Config) -> Iterator[Channel]:
    notify, mail = config.notify, config.notify.mail
    recipients = mail.to or config.acme.contact
    if not recipients:
        return
    via = mail.via if mail.via != "auto" else "smtp" if notify.smtp.host else "sendmail"
    asked_for = mail != type(mail)() or not (notify.webhook or notify.command)
    if via in ("sendmail", "both") and asked_for:
        named = mail.to or mail.via != "auto"
        if named or system.files.stat(mail.sendmail, follow=True) is not None:
            yield Sendmail(mail.sendmail, mail.sender, recipients)
    if via in ("smtp", "both") and notify.smtp.host:
        yield _Smtp(notify, _helo(config), recipients)


def _helo(config: Config) -> str:
    """What we call ourselves to a mail server: a name, or an address as a literal (RFC 5321 section 4.1.3)."""
    if not config.certificate:
        return "localhost"
    first = Identifier.parse(config.certificate[0].identifiers[0])
    if first.kind == "dns":
        return first.value
    return f"[IPv6:{first.value}]" if ":" in first.value else f"[{first.value}]"


def sentence(system: System, config: Config) -> str:
    """Who is told of trouble, for a person who has just set the machine up."""
    found = channels(system, config)
    if not found:
        return "Nobody would be told of a renewal that fails: mailseal notify says what to do about it."
    return f"Trouble is told by {', '.join(one.label for one in found)}; try it: mailseal notify --test"


def secret(system: System, path: str, key: str) -> Secret:
    """The one line that a file holds. Raises `ConfigError` where others can read it, or it is no such file."""
    stat = system.files.stat(path, follow=True)
    wrong = ""
    if stat is None:
        wrong = "there is no such file"
    elif stat.uid != 0 or stat.mode & 0o077:
        wrong = f"others than root can read or change it (owner {stat.uid}, mode {stat.mode:04o})"
    else:
        wrong = distrust(system.files, path)
    content = b"" if wrong else system.files.read(path, _MOST_SECRET).strip()
    if not wrong and (not content or not content.isascii() or not content.decode("ascii").isprintable()):
        wrong = "it does not hold one line of printable ASCII"
    if wrong:
        raise ConfigError(
            f"The secret in {path} cannot be used",
            faults=(f"{key}: {wrong}",),
            next_command=f"chown root:root {path} && chmod 0600 {path}" if stat else f"write it to {path}",
        )
    return Secret(content)


def whole(fault: Exception) -> str:
    """All that a fault says, in one line."""
    if not isinstance(fault, MailsealError):
        return f"{type(fault).__name__}: {fault}"
    return "; ".join([str(fault), *getattr(fault, "faults", ())])


@dataclass(frozen=True, slots=True)
class _Smtp:
    """[notify.smtp]; the password is read when it is used."""

    notify: Notify
    helo: str
    recipients: tuple[str, ...]

    @property
    def _table(self) -> Smtp:
        return self.notify.smtp

    @property
    def _server(self) -> MailServer:
        smtp = self.notify.smtp
        return MailServer(
            smtp.host or "",
            smtp.port or (465 if smtp.tls == "implicit" else 587),
            smtp.tls == "implicit",
            self.helo,
            smtp.ca_file,
            smtp.user,
            timeout=smtp.timeout,
        )

    @property
    def _submission(self) -> Submission:
        return Submission(self._server, self.notify.mail.sender or "", self.recipients)

    @property
    def id(self) -> str:
        return self._submission.id

    @property
    def label(self) -> str:
        return self._submission.label

    def send(self, system: System, message: Message) -> tuple[str, ...]:
        smtp, server = self.notify.smtp, self._server
        if smtp.password_file is not None:
            password = secret(system, smtp.password_file, "[notify.smtp] password_file")
            server = replace(server, password=password)
        return replace(self._submission, server=server).send(system, message)


@dataclass(frozen=True, slots=True)
class _Webhook:
    """One [[notify.webhook]]."""

    url: str | None
    url_file: str | None
    secret_file: str | None
    secret_header: str
    ca_file: str | None
    timeout: float

    @property
    def id(self) -> str:
        if self.url_file:
            return f"webhook:{self.url_file}"
        told_apart = sha256((self.url or "").encode()).hexdigest()[:12]
        return f"webhook:{urlsplit(self.url or '').hostname}:{told_apart}"

    @property
    def label(self) -> str:
        named = f"of {self.url_file}" if self.url_file else f"at {urlsplit(self.url or '').hostname}"
        return f"webhook {named}"

    def send(self, system: System, message: Message) -> tuple[str, ...]:
        url = address(system, self.url, self.url_file, "[[notify.webhook]] url_file")
        headers = {"Content-Type": "application/json; charset=utf-8"}
        if self.secret_file is not None:
            held = secret(system, self.secret_file, "[[notify.webhook]] secret_file")
            headers[self.secret_header] = held.reveal().decode("ascii")
        body = msgspec.json.encode(message)
        asked(system, Asking("POST", url, headers, body, self.ca_file, self.timeout), self.label)
        return ()


@dataclass(frozen=True, slots=True)
class _Command:
    """One [[notify.command]]."""

    argv: tuple[str, ...]
    timeout: float

    @property
    def id(self) -> str:
        return f"command:{join(self.argv)}"

    @property
    def label(self) -> str:
        return f"command {join(self.argv)}"

    def send(self, system: System, message: Message) -> tuple[str, ...]:
        if reason := distrust(system.files, self.argv[0]):
            raise SystemFault(
                f"{self.argv[0]} was not run", reason=reason, next_command=f"ls -l {self.argv[0]}"
            )
        env = {"MAILSEAL_KIND": message.kind.value, "MAILSEAL_URGENCY": message.urgency}
        run = transient.run if transient.in_own_unit(system) else _as_child
        done = run(
            system, self.argv, timeout=self.timeout, stdin=msgspec.json.encode(message) + b"\n", env=env
        )
        if not done.ok:
            raise SystemFault(f"{self.argv[0]} ended with status {done.status}", reason=plain(done.said))
        return ()


def _as_child(
    system: System, argv: Sequence[str], *, timeout: float, stdin: bytes, env: Mapping[str, str]
) -> Completed:
    return system.processes.run(argv, timeout=timeout, stdin=stdin, env=env)


@dataclass(frozen=True, slots=True)
class Asking:
    """One HTTP request whose URL and headers may be secret."""

    method: str
    url: str = field(repr=False)
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    body: bytes | None = field(default=None, repr=False)
    ca_file: str | None = None
    timeout: float = 15.0


def address(system: System, url: str | None, url_file: str | None, key: str) -> str:
    """The URL to ask: the file's, else the one given. Raises `ConfigError`."""
    if url_file is None:
        return url or ""
    found = secret(system, url_file, key).reveal().decode("ascii")
    if not found.startswith("https://") or " " in found:
        raise ConfigError(f"What {url_file} holds is no https URL", next_command=f"write one to {url_file}")
    return found


def asked(system: System, asking: Asking, label: str) -> None:
    """Asks, and takes nothing but a status of 2xx for an answer. Raises `NetworkFault` without URL or headers."""

    async def ask() -> int:
        http = system.http(ca_file=asking.ca_file)
        try:
            answer = await http.request(
                asking.method,
                asking.url,
                headers=asking.headers,
                body=asking.body,
                timeout=asking.timeout,
                limit=_MOST_ANSWER,
            )
            return answer.status
        finally:
            await http.close()

    host = urlsplit(asking.url).hostname or "the server"
    try:
        status = asyncio.run(ask())
    except NetworkFault as fault:
        reason = fault.reason or "it could not be reached"
        for hidden in (asking.url, urlsplit(asking.url).path, *asking.headers.values()):
            if len(hidden) > 1:
                reason = reason.replace(hidden, "…")
        raise NetworkFault(f"{label} failed: no answer from {host}", reason=plain(reason)) from None
    if not 200 <= status < 300:
        raise NetworkFault(f"{label} failed", reason=f"{host} answered with status {status}")

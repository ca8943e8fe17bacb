"""The tables below `[notify]`: who is told what, and by which ways.

What a key means is written on its field (`mailseal.config.keys`). Texts that
are secret, also URLs that are, stand in files that only root can read.
"""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

from mailseal.config.keys import Port, Seconds, key

_LIMIT = "seconds, more than 0 and at most 3600"


class NotifyKeys(msgspec.Struct, frozen=True, kw_only=True):
    """Who is told of trouble: at its first appearance, then rarer, urgently as a certificate nears its expiry,
    and once when it is mended. Left out, the addresses of [acme] contact get a mail by this machine's own mail
    server. `mailseal notify --test` tries every way.
    """

    enabled: Annotated[
        bool,
        key(
            "Whether anybody is told. false: trouble stands in the journal, the status and the history only."
        ),
    ] = True
    summary: Annotated[
        bool, key("Whether a run that renewed something is told of as well, and not only trouble.")
    ] = False
    findings: Annotated[
        Literal["error", "warning", "none"],
        key(
            "Which findings of a run are trouble to be told of: errors (a client is turned away, or soon will be), "
            "warnings too, or none. What failed is told in any case."
        ),
    ] = "error"


class Mail(msgspec.Struct, frozen=True, kw_only=True):
    """Notification by mail."""

    to: Annotated[
        tuple[str, ...],
        key(
            "Who gets it; left out, the addresses of [acme] contact. An address on another server is read also "
            "while this one is down.",
            shape="mail",
            example=("admin@example.net",),
        ),
    ] = ()
    sender: Annotated[
        str | None,
        key(
            "Whom it comes from. Left out, root of this machine, as its mail server writes that; "
            "[notify.smtp] needs it.",
            shape="mail",
            example="mailseal@example.org",
        ),
    ] = None
    via: Annotated[
        Literal["auto", "sendmail", "smtp", "both"],
        key(
            "sendmail: this machine's own mail server. smtp: the server of [notify.smtp], which is reached also while "
            "the own one is broken. both: two mails, by either. auto: smtp where [notify.smtp] names a host, "
            "else sendmail."
        ),
    ] = "auto"
    sendmail: Annotated[str, key("The program that takes a mail on its input.", shape="path")] = (
        "/usr/sbin/sendmail"
    )


class Smtp(msgspec.Struct, frozen=True, kw_only=True):
    """A mail server that takes our mails (RFC 6409), always over TLS and with a certificate that is verified."""

    host: Annotated[str | None, key("Its host name.", shape="identifier", example="smtp.example.net")] = None
    tls: Annotated[
        Literal["implicit", "starttls"],
        key(
            "How TLS starts: with the first octet (RFC 8314), or by STARTTLS, without which nothing is sent."
        ),
    ] = "implicit"
    port: Annotated[
        Port | None,
        key(
            "The port; left out, 465 for implicit and 587 for starttls.",
            expects="a port from 1 to 65535",
            example=465,
        ),
    ] = None
    user: Annotated[
        str | None, key("The login, where it asks for one.", shape="text", example="mailseal")
    ] = None
    password_file: Annotated[
        str | None,
        key(
            "The file that holds the password, readable by root alone.",
            shape="path",
            example="/etc/mailseal/smtp.password",
        ),
    ] = None
    ca_file: Annotated[
        str | None,
        key(
            "A PEM file of the roots by which its certificate is trusted, in place of the system's.",
            shape="path",
            example="/etc/mailseal/lab-root.pem",
        ),
    ] = None
    timeout: Annotated[Seconds, key("Seconds that one mail may take.", expects=_LIMIT)] = 30.0


class Webhook(msgspec.Struct, frozen=True, kw_only=True):
    """An address that gets each message as JSON, by an HTTP POST. Write the table as often as there are such."""

    url: Annotated[
        str | None,
        key(
            "Where to, by https. Where the URL itself is a secret, as chat services have it, use `url_file`.",
            shape="url",
            example="https://hooks.example.net/mail",
        ),
    ] = None
    url_file: Annotated[
        str | None,
        key(
            "A file that holds the URL, readable by root alone; it goes before `url`.",
            shape="path",
            example="/etc/mailseal/webhook.url",
        ),
    ] = None
    secret_file: Annotated[
        str | None,
        key(
            "A file that holds what is sent in `secret_header`, readable by root alone.",
            shape="path",
            example="/etc/mailseal/webhook.secret",
        ),
    ] = None
    secret_header: Annotated[
        str,
        key("The header that carries the content of `secret_file`, such as `Bearer …`.", shape="header"),
    ] = "Authorization"
    ca_file: Annotated[
        str | None,
        key("As in [notify.smtp].", shape="path", example="/etc/mailseal/lab-root.pem"),
    ] = None
    timeout: Annotated[Seconds, key("Seconds that it may take.", expects=_LIMIT)] = 15.0


class NotifyCommand(msgspec.Struct, frozen=True, kw_only=True):
    """A program that gets each message as JSON on its input. Write the table as often as there are such."""

    argv: Annotated[
        tuple[str, ...],
        msgspec.Meta(min_length=1),
        key(
            "The program by its absolute path, and its arguments; no shell reads them. Another status than 0 says "
            "that the message could not be handed on.",
            expects="a list that begins with an absolute path",
            shape="text",
            example=("/usr/local/bin/tell-the-team", "--urgent"),
        ),
    ]
    timeout: Annotated[Seconds, key("Seconds until it is stopped.", expects=_LIMIT)] = 60.0


class Heartbeat(msgspec.Struct, frozen=True, kw_only=True):
    """A URL that is asked for after every run, for a watchman who calls when it is not: he notices also that this
    machine, its timer or its network is gone.
    """

    url: Annotated[
        str | None,
        key(
            "Where to, by https, after a run that left no trouble.",
            shape="url",
            example="https://hc.example.net/ping/mail",
        ),
    ] = None
    url_file: Annotated[
        str | None,
        key(
            "A file that holds the URL, where it is itself a secret; it goes before `url`.",
            shape="path",
            example="/etc/mailseal/heartbeat.url",
        ),
    ] = None
    failure_suffix: Annotated[
        str | None,
        key(
            "What is added to the URL's path after a run that left trouble: /fail at healthchecks.io. Left out, "
            "nothing is sent then, and the silence tells it.",
            shape="suffix",
            example="/fail",
        ),
    ] = None
    method: Annotated[
        Literal["GET", "POST"], key("How it is asked; a POST carries a line that says what the run came to.")
    ] = "GET"
    ca_file: Annotated[
        str | None,
        key("As in [notify.smtp].", shape="path", example="/etc/mailseal/lab-root.pem"),
    ] = None
    timeout: Annotated[Seconds, key("Seconds that it may take.", expects=_LIMIT)] = 10.0


class Notify(NotifyKeys, frozen=True, kw_only=True):
    """All of [notify]."""

    mail: Mail = Mail()
    smtp: Smtp = Smtp()
    heartbeat: Heartbeat = Heartbeat()
    webhook: tuple[Webhook, ...] = ()
    command: tuple[NotifyCommand, ...] = ()


SINGLE: dict[str, type[msgspec.Struct]] = {"mail": Mail, "smtp": Smtp, "heartbeat": Heartbeat}
SEVERAL: dict[str, type[msgspec.Struct]] = {"webhook": Webhook, "command": NotifyCommand}

"""A mail handed to a mail server: message submission (RFC 6409) over TLS, by implicit TLS (RFC 8314) or STARTTLS.

The port (`Network.submit`) promises: nothing but EHLO and STARTTLS is ever
said in the clear, so neither the login nor the mail; the server's certificate
is verified for its host name (RFC 9525); where it does not offer STARTTLS,
nothing is sent; and the whole exchange ends within the server's `timeout`
(the look-up of its address apart, which the resolver bounds). A mail that no
recipient was accepted for is a fault; single ones that were refused are told.

smtplib drops what it had read when TLS starts, so a command that somebody put
behind the reply to STARTTLS is never taken for the server's.
"""

from __future__ import annotations

import errno
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mailseal.errors import NetworkFault
from mailseal.model import Secret

if TYPE_CHECKING:
    import smtplib
    import ssl


_PARTING = 2.0  # seconds that the answer to QUIT may take; nothing depends on it


@dataclass(frozen=True, slots=True)
class MailServer:
    """Where mails are handed in, and how. `helo` is the name that we give ourselves; `timeout` seconds for a mail.

    `implicit`: TLS with the first octet, else STARTTLS. `ca_file` None: the system's roots.
    """

    host: str
    port: int
    implicit: bool
    helo: str
    ca_file: str | None = None
    user: str | None = None
    password: Secret | None = None
    timeout: float = 30.0

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"


def submit(server: MailServer, sender: str, recipients: Sequence[str], message: bytes) -> tuple[str, ...]:
    """As `Network.submit` promises."""
    import smtplib
    import ssl
    from threading import Timer

    from mailseal.system.aiohttp_client import trust

    context = trust(server.ca_file)
    client = _client(server, context)
    watch = Timer(server.timeout, _hang_up, (client,))
    watch.daemon = True
    watch.start()
    try:
        client.connect(server.host, server.port)
        _talk(client, server, context)
        refused = client.sendmail(sender, list(recipients), message)
        return _refusals(refused)
    except smtplib.SMTPRecipientsRefused as error:
        raise NetworkFault(_failed(server), reason="; ".join(_refusals(error.recipients))) from error
    except smtplib.SMTPResponseException as error:
        raise NetworkFault(_failed(server), reason=_reply(error.smtp_code, error.smtp_error)) from error
    except ssl.SSLCertVerificationError as error:
        raise NetworkFault(
            _failed(server),
            reason=f"its certificate cannot be trusted: {error.verify_message}",
            next_command=f"openssl s_client -connect {server} -servername {server.host}",
        ) from error
    except (smtplib.SMTPException, OSError, ValueError) as error:
        raise NetworkFault(_failed(server), reason=_plainly(error, server), errno=_number(error)) from error
    finally:
        _good_bye(client)
        watch.cancel()


def _client(server: MailServer, context: ssl.SSLContext) -> smtplib.SMTP:
    """Not connected yet, so that its time can be watched from the first octet."""
    import smtplib

    client = (
        smtplib.SMTP_SSL(local_hostname=server.helo, timeout=server.timeout, context=context)
        if server.implicit
        else smtplib.SMTP(local_hostname=server.helo, timeout=server.timeout)
    )
    # What the certificate is verified for; smtplib sets it only where its constructor connects.
    client._host = server.host  # type: ignore[attr-defined]
    return client


def _good_bye(client: smtplib.SMTP) -> None:
    import smtplib

    try:
        if client.sock is not None:
            client.sock.settimeout(_PARTING)
            client.quit()
    except (smtplib.SMTPException, OSError, ValueError):
        return  # what was to be said was said, or the failure that led here is the one to tell
    finally:
        client.close()


def _talk(client: smtplib.SMTP, server: MailServer, context: ssl.SSLContext) -> None:
    """As far as the mail itself."""
    client.ehlo_or_helo_if_needed()
    if not server.implicit:
        if not client.has_extn("starttls"):
            raise NetworkFault(
                _failed(server), reason="it offers no STARTTLS, and nothing is sent in the clear"
            )
        client.starttls(context=context)
        client.ehlo_or_helo_if_needed()
    if server.user is not None and server.password is not None:
        client.login(server.user, server.password.reveal().decode("utf-8"))


def _hang_up(client: smtplib.SMTP) -> None:
    """Ends a conversation whose time is up: each read may take its own time, so their sum must be watched."""
    import socket

    if client.sock is not None:
        try:
            socket.socket.shutdown(client.sock, socket.SHUT_RDWR)
        except OSError:
            return  # it has ended by itself


def _failed(server: MailServer) -> str:
    return f"The mail could not be handed to {server}"


def _refusals(refused: dict[str, tuple[int, bytes]]) -> tuple[str, ...]:
    return tuple(f"{address}: {_reply(code, text)}" for address, (code, text) in refused.items())


def _reply(code: int, text: bytes | str) -> str:
    told = text.decode("utf-8", "replace") if isinstance(text, bytes) else text
    return f"it answered {code} {' '.join(told.split())[:300]}"


def _number(error: Exception) -> int | None:
    if isinstance(error, TimeoutError):
        return errno.ETIMEDOUT
    return error.errno if isinstance(error, OSError) else None


def _plainly(error: Exception, server: MailServer) -> str:
    import smtplib

    if isinstance(error, TimeoutError):
        return f"no answer within {server.timeout:g} s"
    if isinstance(error, smtplib.SMTPServerDisconnected):
        return f"it broke off, or took longer than {server.timeout:g} s"
    if isinstance(error, smtplib.SMTPNotSupportedError):
        return "it takes no login that we know, or not this mail"
    return (error.strerror if isinstance(error, OSError) else "") or str(error)

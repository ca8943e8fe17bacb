"""A message as a mail (RFC 5322), handed to sendmail(1) or to a mail server.

The mail says that no person wrote it (Auto-Submitted, RFC 3834), so that no
vacation message answers. A sender that nobody configured is `root`, which this
machine's mail server completes as it does for every local mail. Header fields
are made by Python's email library from texts without control characters, so
that nothing told by a CA or a daemon becomes a header or a recipient.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from shlex import join

from mailseal.errors import NetworkFault, SystemFault
from mailseal.hooks import distrust
from mailseal.model import Identifier
from mailseal.notify.letters import plain, when
from mailseal.notify.messages import Message
from mailseal.notify.schedule import Urgency
from mailseal.system import System
from mailseal.system.smtp import MailServer

SENDMAIL_TIMEOUT = 60.0  # seconds
_UNFOLDED = 900  # of the 998 characters that a line may have
_NAME = "mailseal"


def rendered(message: Message, sender: str | None, recipients: tuple[str, ...], now: datetime) -> bytes:
    """The whole mail, lines ended by CRLF. One that is late says so.

    Raises `SystemFault` for an address that only SMTPUTF8 (RFC 6531) could carry.
    """
    from email.headerregistry import Address
    from email.message import EmailMessage
    from email.policy import SMTP
    from email.utils import format_datetime

    sender, recipients = ascii_address(sender) if sender else None, tuple(map(ascii_address, recipients))
    # A header is folded where it must be only: some readers show an early fold as a gap (RFC 5322 section 2.1.1).
    mail = EmailMessage(policy=SMTP.clone(max_line_length=_UNFOLDED) if message.subject.isascii() else SMTP)
    mail["From"] = Address(_NAME, addr_spec=sender) if sender else Address(_NAME, username="root")
    mail["To"] = ", ".join(recipients)
    mail["Subject"] = plain(message.subject)
    mail["Date"] = format_datetime(message.at)
    mail["Message-ID"] = f"<{message.id}@{message.host}>"
    mail["Auto-Submitted"] = "auto-generated"
    if message.urgency != Urgency.NORMAL.name.lower():
        mail["Importance"] = "high"
    text = message.text
    if (now - message.at).total_seconds() > 600:
        text = f"(Written {when(message.at)}; it could not be sent before.)\n\n{text}"
    mail.set_content(text, cte="7bit" if text.isascii() else "quoted-printable")
    return mail.as_bytes()


def ascii_address(address: str) -> str:
    """The address with its domain as DNS has it. Raises `SystemFault` where that is not enough."""
    local, _, domain = address.rpartition("@")
    if not local.isascii():
        raise SystemFault(
            f"No mail can be sent to or from {address}",
            reason="what stands before its @ is not ASCII",
            next_command="name another address below [notify.mail]",
        )
    return f"{local}@{Identifier.parse(domain).value}"


@dataclass(frozen=True, slots=True)
class Sendmail:
    """This machine's own mail server, by the program that every one of them has."""

    program: str
    sender: str | None
    recipients: tuple[str, ...]

    @property
    def id(self) -> str:
        return "mail:sendmail"

    @property
    def label(self) -> str:
        return f"mail to {', '.join(self.recipients)} by {self.program}"

    def send(self, system: System, message: Message) -> tuple[str, ...]:
        """Hands it over. Raises `SystemFault`; what it returns are doubts, a sentence each."""
        if reason := distrust(system.files, self.program):
            raise SystemFault(
                f"{self.program} was not run",
                reason=reason,
                next_command="mailseal notify --test, when it is mended",
            )
        argv = [self.program, "-t", "-i"]
        if self.sender:
            argv += ["-f", ascii_address(self.sender)]
        content = rendered(message, self.sender, self.recipients, system.clock.now())
        done = system.processes.run(argv, stdin=content.replace(b"\r\n", b"\n"), timeout=SENDMAIL_TIMEOUT)
        if not done.ok:
            raise SystemFault(
                f"{join(argv)} ended with status {done.status}",
                reason=plain(done.said),
                next_command="look into the mail server's log, or name another way below [notify]",
            )
        return self._doubts(system)

    def _doubts(self, system: System) -> tuple[str, ...]:
        """Postfix's sendmail takes mails also while Postfix is down; they lie there until it runs again."""
        postfix = system.processes.which("postfix")
        if postfix is None or system.files.stat("/etc/postfix/main.cf") is None:
            return ()
        if system.processes.run([postfix, "status"], timeout=20.0).ok:
            return ()
        return ("Postfix took the mail and does not run: it lies in its queue until it is started again",)


@dataclass(frozen=True, slots=True)
class Submission:
    """The mail server of [notify.smtp]."""

    server: MailServer
    sender: str
    recipients: tuple[str, ...]

    @property
    def id(self) -> str:
        return f"mail:smtp:{self.server}"

    @property
    def label(self) -> str:
        return f"mail to {', '.join(self.recipients)} by {self.server}"

    def send(self, system: System, message: Message) -> tuple[str, ...]:
        """Hands it over. Raises `NetworkFault`; what it returns are the recipients that were refused."""
        content = rendered(message, self.sender, self.recipients, system.clock.now())
        try:
            sender, recipients = ascii_address(self.sender), tuple(map(ascii_address, self.recipients))
            return system.network.submit(self.server, sender, recipients, content)
        except NetworkFault as fault:
            raise NetworkFault(
                fault.message,
                reason=plain(fault.reason),
                errno=fault.errno,
                next_command=fault.next_command or "mailseal notify --test, when [notify.smtp] is mended",
            ) from fault

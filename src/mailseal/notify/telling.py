"""The teller: what is news goes out, and what could not go out before.

What is to be sent is written down before it is sent, so that a crash between
the two costs a message that comes twice and never one that is lost. A book
that cannot be written (a full disk may be the very trouble) keeps nothing from
being sent.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from msgspec.structs import replace

from mailseal.config.schema import Config
from mailseal.errors import MailsealError, SystemFault
from mailseal.model import Finding, Identifier, Severity
from mailseal.notify.book import MOST_UNSENT, Book, Bookcase, Unsent
from mailseal.notify.messages import Kind, Message
from mailseal.notify.news import News, news
from mailseal.notify.troubles import Life, of_report
from mailseal.stores.filesystem import LineageStore
from mailseal.system import System

if TYPE_CHECKING:  # a run without news, which is nearly every run, loads no ways and writes no letters
    from mailseal.notify.channels import Channel
    from mailseal.runs import Run

LOOKING = frozenset({"renew", "apply"})  # a person sits before every other command, and sees what it says
_HOSTNAME = "/proc/sys/kernel/hostname"
_PATIENCE = 60.0  # seconds that another run may take to send


def tell(system: System, config: Config, run: Run) -> tuple[Finding, ...]:
    """The teller of `mailseal.runs`: one finding for each channel that failed."""
    if run.interrupted or not config.notify.enabled:
        return ()
    case = Bookcase(system, config.state.directory)
    before = case.load()
    after, told = _planned(system, config, run, before)
    if not told and after == before and not after.unsent:
        return ()
    from mailseal.notify.channels import channels

    ways = channels(system, config)
    if not ways:
        return ()
    store = LineageStore(system, config.state.directory)
    if system.files.stat(store.root) is None:
        store.prepare()
    with system.lock(case.lock, wait=_PATIENCE):
        after, told = _planned(system, config, run, case.load())
        messages = [_written(system, config, one, run.command) for one in told]
        return deliver(system, case, _with(after, ways, messages), ways)


def deliver(system: System, case: Bookcase, book: Book, ways: Sequence[Channel]) -> tuple[Finding, ...]:
    """Writes the book, sends what is unsent, and writes what is left. Needs the book's lock."""
    from mailseal.notify.channels import whole

    findings: list[Finding] = []
    kept = _saved(case, book, findings)
    left, silent = list(book.unsent), set()
    for unsent in book.unsent:
        channel = next((way for way in ways if way.id == unsent.channel), None)
        if channel is None:  # the configuration names it no more
            left.remove(unsent)
            continue
        if channel.id in silent:
            continue
        try:
            doubts = channel.send(system, unsent.message)
        except Exception as fault:  # whatever it is, the other ways are still to be used
            silent.add(channel.id)
            left[left.index(unsent)] = replace(unsent, tries=unsent.tries + 1)
            findings.append(_unsent(channel, fault, whole(fault)))
            continue
        left.remove(unsent)
        findings.extend(_doubtful(channel, doubt) for doubt in doubts)
    after = replace(book, unsent=tuple(left))
    if kept and after != book:
        _saved(case, after, findings)
    return tuple(findings)


def host(config: Config, machine: str) -> str:
    """What the machine is called: its own full name, else the first name of its first certificate."""
    return machine if "." in machine else first_name(config) or machine or "localhost"


def first_name(config: Config) -> str:
    """The first name of the first certificate, as DNS has it; empty where there is none."""
    return Identifier.parse(config.certificate[0].identifiers[0]).value if config.certificate else ""


def machine_name(system: System) -> str:
    """The kernel's host name; empty where it is not told."""
    if system.files.stat(_HOSTNAME) is None:
        return ""
    return system.files.read(_HOSTNAME, 4096).decode("ascii", "replace").strip()


def test_message(system: System, config: Config) -> Message:
    """What `mailseal notify --test` sends."""
    return _written(system, config, News(Kind.TEST, ()), "notify --test")


def _planned(system: System, config: Config, run: Run, book: Book) -> tuple[Book, tuple[News, ...]]:
    if run.command not in LOOKING:
        return book, ()
    now, report = system.clock.now(), run.report
    least = None if report.lineages or not report.errors else first_to_expire(system, config)
    troubles = of_report(report, config.notify.findings, now, least)
    return news(book, troubles, report, now, summary=config.notify.summary)


def first_to_expire(system: System, config: Config) -> Life | None:
    """The life of the certificate that expires first, from disk: for a run that failed before it looked."""
    store, lives = LineageStore(system, config.state.directory), []
    for one in config.certificate:
        try:
            number = store.current_number(one.name)
            life = Life.of(store.find(one.name, f"{number:04d}")) if number else None
        except SystemFault:
            continue
        if life is not None:
            lives.append(life)
    return min(lives, key=lambda life: life.expires, default=None)


def _written(system: System, config: Config, one: News, command: str) -> Message:
    from mailseal.notify.letters import letter

    machine = machine_name(system)
    now = system.clock.now().replace(microsecond=0)
    return letter(
        one,
        name=f"{now:%Y%m%d%H%M%S}.{system.random.token(8)}",
        host=host(config, machine),
        machine=machine,
        command=command,
        now=now,
    )


def _with(book: Book, ways: Sequence[Channel], messages: Sequence[Message]) -> Book:
    """The book with these messages to be sent by every channel; of a channel long broken the oldest give way."""
    kept = []
    for way in ways:
        mine = [unsent for unsent in book.unsent if unsent.channel == way.id]
        mine += [Unsent(way.id, message) for message in messages]
        kept += mine[-MOST_UNSENT:]
    return replace(book, unsent=tuple(kept))


def _saved(case: Bookcase, book: Book, findings: list[Finding]) -> bool:
    try:
        if book != case.load():
            case.save(book)
    except MailsealError as fault:
        findings.append(
            Finding(
                "notify-not-remembered",
                Severity.WARNING,
                case.path,
                seen=str(fault),
                expected="a file in which it is written down who was told what",
                why="The next run tells the same again.",
                mend="make room on the disk, and see that root may write there",
            )
        )
        return False
    return True


def _unsent(channel: Channel, fault: Exception, seen: str) -> Finding:
    return Finding(
        "notify-unsent",
        Severity.WARNING,
        channel.label,
        seen=seen,
        expected="a message that arrives",
        why="Whoever reads there does not hear of trouble. A later run sends it; other ways are used all the same.",
        mend=getattr(fault, "next_command", "") or "mailseal notify --test",
    )


def _doubtful(channel: Channel, doubt: str) -> Finding:
    return Finding(
        "notify-doubtful",
        Severity.WARNING,
        channel.label,
        seen=doubt,
        expected="a message that arrives with everybody",
        why="A way that needs the very mail server that is broken tells nobody of it.",
        mend="name a second way below [notify]: [notify.smtp] with a server elsewhere, or a webhook",
    )

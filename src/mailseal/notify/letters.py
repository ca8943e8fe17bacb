"""The words of a message: plain text, 72 columns, no key and no control character. Pure.

It says what failed, why, since when, until when mail is safe, in what state
the machine is, and what to type. What failed alike for many certificates is
told once, with their names.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime, timedelta

from mailseal.notify.messages import Item, Kind, Message
from mailseal.notify.news import News
from mailseal.notify.schedule import Urgency
from mailseal.notify.troubles import EXPECTED

WIDTH = 72
MOST = 20  # paragraphs; what is more is counted
MOST_NAMES = 12
MOST_ITEMS = 200  # in a message's data
_LABEL = 11
_LONGEST = 1500  # characters of one field: a daemon may have said a lot
_WORD = 400  # characters of one word: a line of a mail ends before the thousandth
_PEM = re.compile(r"-----BEGIN [^-]*-----.*?(-----END [^-]*-----|\Z)", re.DOTALL)
_HEADS = {
    Urgency.NORMAL: "",
    Urgency.URGENT: "URGENT: ",
    Urgency.LAST: "VERY URGENT: ",
    Urgency.EXPIRED: "EXPIRED: ",
}


def letter(news: News, *, name: str, host: str, machine: str, command: str, now: datetime) -> Message:
    """A message called `name`. `host` is what the machine is called in a subject, `machine` how it calls itself."""
    items = tuple(_clean(item) for item in news.items)
    subject = plain(f"[mailseal] {_HEADS[news.urgency]}{host}: {_subject(news, items, now)}")[:200]
    groups = _groups(items)
    parts = [_head(news, len(items), now)]
    parts += [_paragraph(group, news.kind, now) for group in groups[:MOST]]
    if len(groups) > MOST:
        parts.append(_fold(f"And {len(groups) - MOST} more: mailseal status shows all of it."))
    parts += _foot(news, host, machine, command, now)
    text = "\n\n".join(part for part in parts if part) + "\n"
    return Message(
        name, news.kind, news.urgency.name.lower(), host, now, command, subject, text, items[:MOST_ITEMS]
    )


def plain(text: str) -> str:
    """One line that can stand in a header or a paragraph: no key, no control character, no line break."""
    shown = _PEM.sub("(key or certificate, not shown)", text)
    shown = "".join(c if c.isprintable() else " " for c in shown)
    shown = " ".join(word if len(word) <= _WORD else f"{word[:_WORD]}…" for word in shown.split())
    return shown if len(shown) <= _LONGEST else f"{shown[: _LONGEST - 1]}…"


def when(moment: datetime) -> str:
    """An instant as a person reads it."""
    return f"{moment:%Y-%m-%d %H:%M} UTC"


def distance(span: timedelta) -> str:
    """A span in its largest fitting unit."""
    minutes = int(abs(span).total_seconds() // 60)
    for count, unit in ((minutes // 1440, "day"), (minutes // 60, "hour"), (minutes, "minute")):
        if count >= 2 or (count and unit == "minute"):
            return f"{count} {unit}{'s' if count > 1 else ''}"
    return "less than a minute"


def _clean(item: Item) -> Item:
    return Item(
        plain(item.certificate),
        plain(item.kind),
        plain(item.what),
        plain(item.why),
        plain(item.state),
        plain(item.next),
        tuple(plain(name) for name in item.names),
        item.since,
        item.expires,
        item.again,
        item.told,
    )


def _subject(news: News, items: Sequence[Item], now: datetime) -> str:
    names = list(dict.fromkeys(item.certificate for item in items if item.certificate))
    who = f"certificate {names[0]}" if len(names) == 1 else f"{len(names)} certificates"
    if news.kind is Kind.TEST:
        return "a test of notification"
    if news.kind is Kind.MENDED:
        return f"mended: {who if names else items[0].what}"
    if news.kind is Kind.RENEWED:
        return f"renewed: {who}"
    if not names:
        return items[0].what if len(items) == 1 else f"{len(items)} troubles"
    said = _fails(items)
    ends = min((item.expires for item in items if item.expires), default=None)
    if ends is None or news.urgency is Urgency.NORMAL:
        return f"{who} {said}"
    left = f"expires in {distance(ends - now)}" if ends > now else f"expired {distance(ends - now)} ago"
    return f"{who} {left} and {said}"


def _fails(items: Sequence[Item]) -> str:
    kinds = {item.kind for item in items if item.certificate}
    if kinds == {"order"} and not any(item.expires for item in items if item.certificate):
        return "could not be obtained"
    if kinds == {"deployment"}:
        return "could not be deployed"
    return "was not renewed" if kinds == {"expiring"} else "could not be renewed"


def _head(news: News, count: int, now: datetime) -> str:
    match news.kind:
        case Kind.TEST:
            return _fold(
                "This is a test: notification works by this way. Nothing is wrong, and there is nothing to do."
            )
        case Kind.MENDED:
            return _fold("What was told before is mended:" if count == 1 else f"{count} troubles are mended:")
        case Kind.RENEWED:
            return _fold("Renewed, deployed, and served now:")
    if news.urgency is Urgency.EXPIRED:
        return _fold("A certificate that clients are shown has EXPIRED: they refuse it, or warn.")
    if news.urgency > Urgency.NORMAL:
        return _fold("A certificate nears its expiry, and could not be renewed so far. Please act now.")
    return ""


def _groups(items: Sequence[Item]) -> list[list[Item]]:
    """Items that say the same of different certificates, together."""
    found: dict[tuple[str, ...], list[Item]] = {}
    for item in items:
        key = (
            (item.kind, _unnamed(item.what, item), _unnamed(item.why, item), item.next)
            if item.certificate
            else (item.kind, item.what)
        )
        found.setdefault(key, []).append(item)
    return list(found.values())


def _unnamed(text: str, item: Item) -> str:
    return text.replace(item.certificate, "*") if item.certificate else text


def _paragraph(group: list[Item], kind: Kind, now: datetime) -> str:
    first = group[0]
    ends = min((item.expires for item in group if item.expires), default=None)
    since = min((item.since for item in group if item.since), default=None)
    rows: list[tuple[str, str]] = [
        ("What" if kind is Kind.RENEWED else "Was" if kind is Kind.MENDED else "Failed", first.what)
    ]
    if first.why:
        rows.append(("Why", first.why))
    if since is not None:
        rows.append(("Since", f"{when(since)}{_ago(since, now)}"))
    if kind is not Kind.TROUBLE:
        rows += [("Expires", f"{when(ends)} (in {distance(ends - now)})")] if ends else []
    elif first.certificate or ends:
        rows.append(("Mail", _safe(first, ends, now)))
    if first.state:
        expected = first.state.removeprefix(EXPECTED)
        rows.append(("Machine" if expected == first.state else EXPECTED.strip(": "), expected))
    if first.again is not None and first.again > now:
        rows.append(("Next try", f"{when(first.again)} or soon after, by itself."))
    if first.next and kind is Kind.TROUBLE:
        rows.append(("Type", first.next))
    head = _names(group)
    return "\n".join([*([head, ""] if head else []), *(_row(label, text) for label, text in rows)])


def _ago(since: datetime, now: datetime) -> str:
    return f" ({distance(now - since)} ago)" if now - since >= timedelta(minutes=1) else ""


def _safe(item: Item, ends: datetime | None, now: datetime) -> str:
    if ends is None:
        return "No certificate of mailseal's is served yet; what the daemons had before is unchanged."
    if ends <= now:
        return f"The certificate that is served expired {when(ends)}, {distance(now - ends)} ago."
    return f"Safe until {when(ends)} (for {distance(ends - now)}): so long what is served is valid."


def _names(group: list[Item]) -> str:
    if not group[0].certificate:
        return ""
    if len(group) == 1:
        return _fold(f"Certificate {group[0].certificate}{_listed(group[0].names)}")
    return _fold(f"{len(group)} certificates{_listed([item.certificate for item in group])}")


def _listed(names: Sequence[str]) -> str:
    if not names:
        return ""
    more = f" and {len(names) - MOST_NAMES} more" if len(names) > MOST_NAMES else ""
    return f": {', '.join(names[:MOST_NAMES])}{more}"


def _foot(news: News, host: str, machine: str, command: str, now: datetime) -> Iterator[str]:
    if news.open:
        count = "One trouble" if news.open == 1 else f"{news.open} troubles"
        last = "lasts" if news.open == 1 else "last"
        yield _fold(f"{count} told before {last}: mailseal notify shows what is open.")
    if news.kind is Kind.TROUBLE:
        again = "every day, and when it is mended"
        if news.urgency is Urgency.NORMAL:
            again = (
                "ever more rarely; at once when little of a certificate's life is left; and when it is mended"
            )
        looks = "mailseal status shows every certificate, mailseal check looks at every port."
        yield _fold(f"{looks} You are told again {again}.")
    where = f"{host} ({machine})" if machine and machine != host else host
    yield "-- \n" + _fold(f"mailseal {command} on {where}, {when(now)}")


def _row(label: str, text: str) -> str:
    indent = " " * _LABEL
    return "\n".join(_lines(text, f"{label + ':':<{_LABEL}}", indent)) or f"{label}:"


def _fold(text: str) -> str:
    return "\n".join(_lines(text, "", ""))


def _lines(text: str, first: str, others: str) -> Iterable[str]:
    return textwrap.wrap(
        text,
        WIDTH,
        initial_indent=first,
        subsequent_indent=others,
        break_long_words=False,
        break_on_hyphens=False,
    )

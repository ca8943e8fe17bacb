"""`[notify]` and the tables below it, read key by key like every other; and what must hold between their keys."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import msgspec

from mailseal.config.faults import Fault, close, shown
from mailseal.config.lines import Place
from mailseal.config.notify import SEVERAL, SINGLE, Notify, NotifyKeys
from mailseal.config.rules import Reading

ReadTable = Callable[[object, Place, str, type[msgspec.Struct]], Reading]


@dataclass(slots=True)
class NotifyReading:
    """What was read of [notify]: its own keys, the tables that stand once, those that may stand often."""

    keys: Reading
    single: dict[str, Reading] = field(default_factory=dict)
    several: dict[str, list[Reading]] = field(default_factory=dict)
    faults: list[Fault] = field(default_factory=list)

    def build(self) -> Notify:
        """The struct; only when nothing was found wrong."""
        parts: dict[str, Any] = {name: SINGLE[name](**one.values) for name, one in self.single.items()}
        for name, many in self.several.items():
            parts[name] = tuple(SEVERAL[name](**one.values) for one in many)
        return Notify(**self.keys.values, **parts)


def notify(raw: object, read: ReadTable, lines: dict[Place, int]) -> NotifyReading:
    """Reads the whole of [notify]; `read` reads one table, and tells its faults itself."""
    place, label = ("notify",), "[notify]"
    if not isinstance(raw, dict):
        return NotifyReading(read(raw, place, label, NotifyKeys))
    own = {name: value for name, value in raw.items() if name not in (*SINGLE, *SEVERAL)}
    found, known = NotifyReading(Reading(label, place, {}, {}, lines)), NotifyKeys.__struct_fields__
    for name, value in list(own.items()):
        guess = close(name, (*SINGLE, *SEVERAL))
        if name not in known and guess and isinstance(value, dict | list):
            del own[name]
            head = f"[[notify.{guess}]]" if guess in SEVERAL else f"[notify.{guess}]"
            found.faults.append(
                _fault(lines, (*place, name), f"[notify.{name}]", "is no table here", f"Did you mean {head}?")
            )
    found.keys = read(own, place, label, NotifyKeys)
    for name, struct in SINGLE.items():
        if name in raw:
            found.single[name] = read(raw[name], (*place, name), f"[notify.{name}]", struct)
    for name, struct in SEVERAL.items():
        head, entries = f"[[notify.{name}]]", raw.get(name, [])
        if not isinstance(entries, list):
            found.faults.append(
                _fault(
                    lines,
                    (*place, name),
                    head,
                    f"expected tables, found {shown(entries)}",
                    f"Write {head}, in double brackets",
                )
            )
            continue
        found.several[name] = [
            read(one, (*place, name, index), head, struct) for index, one in enumerate(entries)
        ]
    return found


def check(found: NotifyReading, contact: bool) -> Iterator[Fault]:
    """The rules between keys; `contact`: [acme] contact names somebody."""
    yield from found.faults
    mail, smtp = found.single.get("mail"), found.single.get("smtp")
    if smtp is not None:
        for one, other in (("user", "password_file"), ("password_file", "user")):
            if smtp.values.get(one) and not smtp.values.get(other):
                yield smtp.fault(one, f"stands without {other}; a login needs both")
        if smtp.values and not _given(smtp, "host"):
            yield smtp.fault("host", "is missing: where should mails be sent?")
        if smtp.values.get("host") and not _given(mail, "sender"):
            yield smtp.fault(
                "host",
                "needs a sender of the mails",
                'For example: [notify.mail] with sender = "mailseal@example.org"',
            )
    if mail is not None and mail.values:
        if not (contact or _given(mail, "to")):
            yield mail.fault("to", "is missing, and [acme] contact names nobody either")
        if mail.values.get("via") in ("smtp", "both") and not _given(smtp, "host"):
            yield mail.fault("via", "needs [notify.smtp] with a host")
    heartbeat = found.single.get("heartbeat")
    wanted = [heartbeat] if heartbeat is not None and heartbeat.values else []
    for table in (*found.several.get("webhook", []), *wanted):
        if not (_given(table, "url") or _given(table, "url_file")):
            yield table.fault("url", "is missing, and there is no url_file either")
    for table in found.several.get("command", []):
        argv = table.values.get("argv", ("/",))
        if argv and not argv[0].startswith("/"):
            yield table.fault("argv", f"{shown(argv[0])} is not an absolute path: begin it with /", entry=0)


def _given(table: Reading | None, key: str) -> bool:
    """Whether the key stands there, be it with a fault of its own."""
    return table is not None and (bool(table.values.get(key)) or (*table.place, key) in table.lines)


def _fault(lines: dict[Place, int], place: Place, label: str, wrong: str, advice: str) -> Fault:
    return Fault(lines.get(place, 0), label, "", wrong, advice)

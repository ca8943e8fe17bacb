"""What of a run is news: the book before, the troubles now → the book after, and what is to be told. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

from msgspec.structs import replace

from mailseal.notify.book import Book, Entry
from mailseal.notify.messages import Item, Kind
from mailseal.notify.schedule import RETURNS, Urgency, due, urgency
from mailseal.notify.troubles import PASSING, Life, Trouble, live
from mailseal.report import Report


@dataclass(frozen=True, slots=True)
class News:
    """One message in the making; `open` counts the troubles that last and are not told of now."""

    kind: Kind
    items: tuple[Item, ...]
    urgency: Urgency = Urgency.NORMAL
    open: int = 0


def news(
    book: Book, troubles: Sequence[Trouble], report: Report, now: datetime, *, summary: bool
) -> tuple[Book, tuple[News, ...]]:
    """The book after this run, and what is to be told of it.

    A trouble is mended when a run that looked at every lineage does not find it any more; a run that failed
    before it could look says nothing about what it did not see.
    """
    entries: dict[tuple[str, str], Entry] = {}
    told: list[tuple[Trouble, Entry]] = []
    for trouble in troubles:
        before = book.entry(trouble.key)
        entry, tell = _standing(trouble, before, now)
        entries[trouble.key] = entry
        if tell:
            told.append((trouble, entry))
    mended: list[Entry] = []
    for before in book.entries:
        if before.key not in entries:
            after, tell = _gone(before, report, frozenset(about for about, _ in entries), now)
            if after is not None:
                entries[before.key] = after
            if tell:
                mended.append(before)
    found = [*_trouble(told, len(troubles) - len(told)), *_mended(mended, report, len(troubles))]
    if summary:
        found += _renewed(report)
    return Book(tuple(entries.values()), book.unsent), tuple(found)


def _standing(trouble: Trouble, before: Entry | None, now: datetime) -> tuple[Entry, bool]:
    """The entry of a trouble that there is, and whether it is told."""
    urgent = urgency(trouble.life, now)
    if before is None or (before.mended is not None and not before.mended <= now < before.mended + RETURNS):
        first = Entry(
            trouble.about,
            trouble.kind,
            since=now,
            told=now,
            urgency=urgent,
            what=trouble.what,
            of_lineage=trouble.of_lineage,
        )
        return first, True
    if due(before.told, before.times, before.urgency, trouble.life, now):
        times = before.times + 1
        again = replace(
            before,
            told=now,
            times=times,
            urgency=urgent,
            what=trouble.what,
            mended=None,
            closed=False,
        )
        return again, True
    return replace(before, mended=None), False


def _gone(
    before: Entry, report: Report, troubled: frozenset[str], now: datetime
) -> tuple[Entry | None, bool]:
    """The entry of a trouble that this run did not find, if it is kept; and whether it is told as mended."""
    names = {lineage.name for lineage in report.lineages}
    if not names:
        return before, False
    names.update(report.passed_over)  # nothing is remembered against those
    if before.of_lineage and before.about not in names:
        return None, False  # it is asked for no more
    if before.about and not before.of_lineage and report.verdict is None:
        return before, False  # nobody asked the endpoints, so nobody knows
    if before.mended is not None:
        return (before if before.mended <= now < before.mended + RETURNS else None), False
    if before.of_lineage and before.about in troubled:
        return None, False  # one trouble of the lineage gave way to another
    return replace(before, mended=now, closed=True), not before.closed and before.kind not in PASSING


def _trouble(told: list[tuple[Trouble, Entry]], others: int) -> Iterator[News]:
    if told:
        items = tuple(_item(trouble, entry) for trouble, entry in told)
        worst = max(entry.urgency for _, entry in told)
        yield News(Kind.TROUBLE, items, worst, others)


def _item(trouble: Trouble, entry: Entry) -> Item:
    return Item(
        certificate=trouble.about if trouble.of_lineage else "",
        kind=trouble.kind,
        what=trouble.what,
        why=trouble.why,
        state=trouble.state,
        next=trouble.mend,
        names=trouble.names,
        since=entry.since,
        expires=trouble.life.expires if trouble.life else None,
        again=trouble.again,
        told=entry.times,
    )


def _mended(mended: list[Entry], report: Report, others: int) -> Iterator[News]:
    lives = {lineage.name: Life.of(live(lineage)) for lineage in report.lineages} if mended else {}
    items = []
    for entry in mended:
        life = lives.get(entry.about) if entry.of_lineage else None
        items.append(
            Item(
                certificate=entry.about if entry.of_lineage else "",
                kind=entry.kind,
                what=entry.what,
                since=entry.since,
                expires=life.expires if life else None,
                told=entry.times,
            )
        )
    if items:
        yield News(Kind.MENDED, tuple(items), open=others)


def _renewed(report: Report) -> Iterator[News]:
    lineages = {lineage.name: lineage for lineage in report.lineages}
    items = []
    for one in report.issued:
        lineage = lineages.get(one.step.spec.name)
        if one.generation is None or lineage is None or lineage.current != one.generation.number:
            continue
        proven = one.generation.number in lineage.state.proven
        items.append(
            Item(
                certificate=lineage.name,
                kind="renewed",
                what=f"Generation {one.generation.label} is served"
                + (" and proven at every port." if proven else "."),
                why=one.step.why,
                names=tuple(identifier.unicode for identifier in one.step.spec.sorted_identifiers),
                expires=one.generation.not_after,
            )
        )
    if items:
        yield News(Kind.RENEWED, tuple(items))

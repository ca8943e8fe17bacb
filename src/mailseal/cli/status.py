"""`mailseal status`: certificates, when each renews, where each is served, what waits for what.

Reads what is on disk and in the daemons' configuration, and asks nobody: no
endpoint, no CA. What is served on the wire is `mailseal check`'s to say; here
stands whether a run has proven it, and when.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

import click

from mailseal.cli.options import App, common
from mailseal.cli.output import Ink
from mailseal.errors import ExitCode

if TYPE_CHECKING:
    from mailseal.cli.output import Output
    from mailseal.config import Config
    from mailseal.desired import Desired
    from mailseal.model import CertificateSpec, Generation
    from mailseal.observe import Lineage, Observed
    from mailseal.schedule.standing import Standing as Timer
    from mailseal.system import System
    from mailseal.telling.last_run import LastRun

_LABEL = 10


@dataclass(frozen=True, slots=True)
class Standing:
    """One certificate as it stands. Times are UTC; `trouble` and `waits` are sentences, empty when there is none.

    `generation` is the one that is live: its number, 0 while there is none.
    """

    name: str
    identifiers: tuple[str, ...]
    generation: int
    key_types: tuple[str, ...]
    issued: datetime | None
    begins: datetime | None
    expires: datetime | None
    renews: datetime | None
    renews_why: str
    proven: datetime | None
    served_by: tuple[str, ...]
    waits: str
    trouble: str


@click.command(
    "status",
    epilog="Ends with 1 where a certificate is missing, expired, not proven or served by nobody. "
    "To ask the ports themselves: mailseal check",
)
@common
@click.pass_obj
def status(app: App) -> int:
    """Show the certificates, when each renews, where each is served, and what waits for what."""
    from mailseal.telling import last_run

    config = app.config()
    standings = gather(app.system, config)
    left_open = _left_open(app.system, config)
    timer = schedule(app.system, config, app.config_path, standings)
    last = last_run.load(app.system, config)
    now = app.system.clock.now()
    for one in standings:
        _show(one, now, app.out)
    _show_timer(timer, last, app.out)
    for line in left_open:
        app.out.result(line)
    app.out.document({"certificates": standings, "timer": timer, "last_run": last, "interrupted": left_open})
    trouble = timer.trouble or any(one.trouble for one in standings)
    return ExitCode.FINDINGS if left_open or trouble else ExitCode.OK


def schedule(system: System, config: Config, path: str, standings: Sequence[Standing]) -> Timer:
    """Who looks for certificates to renew, and how often; changes nothing."""
    from mailseal.schedule.standing import standing
    from mailseal.schedule.way import way

    lifetimes = (one.expires - one.begins for one in standings if one.expires and one.begins)
    return standing(system, way(config, path), lifetimes)


def gather(system: System, config: Config) -> tuple[Standing, ...]:
    """Every certificate that the configuration asks for, as it stands; changes nothing and asks nobody."""
    from mailseal.desired import desired
    from mailseal.observe import observe
    from mailseal.stores.filesystem import LineageStore
    from mailseal.stores.state import StateStore

    wanted = desired(config, challenges_by_apache=False)
    store = LineageStore(system, config.state.directory)
    seen = observe(system, wanted, store, StateStore(system, config.state.directory))
    issuers, now = config.acme.issuers, system.clock.now()
    return tuple(
        _standing(spec, wanted, seen, store.folder(spec.name), issuers, now) for spec in wanted.specs
    )


def _left_open(system: System, config: Config) -> list[str]:
    """What an interrupted run left in the middle, or one that is at work now."""
    from mailseal.journal import Journal

    return [
        f"In the middle since {record.started}: {record.purpose}. If no mailseal is at work, mailseal apply ends it."
        for record in Journal(system, config.state.directory).open_records()
    ]


def _standing(
    spec: CertificateSpec,
    wanted: Desired,
    seen: Observed,
    folder: str,
    issuers: tuple[str, ...],
    now: datetime,
) -> Standing:
    from mailseal.due import due
    from mailseal.plan import held
    from mailseal.renewal import renewal_time

    lineage = seen.lineage(spec.name)
    live = lineage.generation(lineage.current) if lineage else None
    need = due(spec, lineage, issuers, now, insist=False)
    served = _served(seen, folder)
    instant = lineage.state.renewal_instant(live.fingerprints()) if lineage and live else None
    explained = lineage.state.explained(live.fingerprints()) if lineage and live else ""
    renewal = renewal_time(live, instant, explained) if live else None
    proven = lineage.state.proven.get(live.number) if lineage and live else None
    is_default = wanted.default is not None and wanted.default.name == spec.name
    return Standing(
        name=spec.name,
        identifiers=tuple(identifier.unicode for identifier in spec.sorted_identifiers),
        generation=live.number if live else 0,
        key_types=tuple(key_type.value for key_type, _ in live.leaves) if live else (),
        issued=live.issued_at if live else None,
        begins=live.not_before if live else None,
        expires=live.not_after if live else None,
        renews=renewal.at if renewal else None,
        renews_why=renewal.why if renewal else "",
        proven=proven,
        served_by=served,
        waits=need.wait
        or (held(lineage, now) if is_default else "")
        or (need.why and f"{spec.name}: {need.why}"),
        # No service is asked to serve another than the default certificate, so nothing of it can be proven.
        trouble=_trouble(
            lineage, live, now, proven is not None or not is_default, bool(served) or not is_default
        ),
    )


def _served(seen: Observed, folder: str) -> tuple[str, ...]:
    """The services that run and whose configuration names a file of this lineage, each with its TLS ports."""
    found = []
    for view in seen.services:
        named = (c.cert_file for c in view.facts.configured if not c.shadowed)
        if view.facts.running and any(path.startswith(f"{folder}/") for path in named):
            ports = sorted({endpoint.port for endpoint in view.facts.endpoints if endpoint.tls != "none"})
            found.append(f"{view.adapter.title} {', '.join(map(str, ports))}")
    return tuple(found)


def _trouble(
    lineage: Lineage | None, live: Generation | None, now: datetime, proven: bool, served: bool
) -> str:
    if lineage is None or live is None:
        return "There is no certificate yet."
    if now >= live.not_after:
        return "It has expired."
    if lineage.target is not None and lineage.target.number != live.number:
        return f"Generation {lineage.target.label} is there and not live yet."
    if not served:
        return "No service is configured with it."
    return "" if proven else "That it is served was not proven yet."


def _show(one: Standing, now: datetime, out: Output) -> None:
    out.result(
        out.paint(one.name, Ink.BOLD) + (f"  generation {one.generation:04d}" if one.generation else "")
    )
    rows: list[tuple[str, str]] = [("names", ", ".join(one.identifiers))]
    if one.expires and one.renews:
        rows += [
            ("keys", " and ".join(one.key_types)),
            ("expires", f"{_when(one.expires)} ({_distance(one.expires - now)})"),
            ("renews", f"{_when(one.renews)}: {one.renews_why}"),
            ("served by", "; ".join(one.served_by) or "nobody"),
            ("proven", _when(one.proven) if one.proven else "not yet"),
        ]
    if one.waits:
        rows.append(("waits", one.waits))
    for label, text in rows:
        _row(label, text, out)
    if one.trouble:
        _row("trouble", one.trouble + " Next: mailseal apply", out, Ink.YELLOW)
    out.result()


def _show_timer(timer: Timer, last: LastRun | None, out: Output) -> None:
    """Who looks for certificates to renew, when next, and what came of it last."""
    names = {"systemd": "mailseal.timer of systemd", "cron": "cron (/etc/cron.d/mailseal)"}
    rows: list[tuple[str, str]] = []
    if timer.by:
        rows.append(("looks", f"every {timer.every}, by {names[timer.by]}"))
    elif timer.lacking:
        rows.append(("looks", f"never by itself: {timer.lacking}"))
    if timer.last:
        rows.append(("started", _when(timer.last)))
    if timer.next or timer.at_work:
        rows.append(("next", _when(timer.next) if timer.next else "a run is at work now"))
    if last:
        rows.append(("last run", f"{last.command}, {_when(last.ended)}: {_outcome(last)}"))
    if rows or timer.trouble:
        out.result(out.paint("timer", Ink.BOLD))
    for label, text in rows:
        _row(label, text, out)
    if timer.trouble:
        _row("trouble", timer.trouble + " Next: mailseal apply", out, Ink.YELLOW)
    if rows or timer.trouble:
        out.result()


def _outcome(last: LastRun) -> str:
    """What a run did, in a sentence."""
    if last.interrupted:
        return "interrupted"
    if last.errors:
        return f"failed: {last.errors[0]}"
    return "; ".join(last.done) or (f"waits: {last.waits[0]}" if last.waits else "nothing was due")


def _row(label: str, text: str, out: Output, ink: Ink = Ink.DIM) -> None:
    import textwrap

    folded: Sequence[str] = textwrap.wrap(text, out.width - _LABEL - 2, break_on_hyphens=False) or [""]
    out.result(f"  {out.paint(label.ljust(_LABEL), ink)}{folded[0]}")
    for line in folded[1:]:
        out.result(" " * (_LABEL + 2) + line)


def _when(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M} UTC"


def _distance(span: timedelta) -> str:
    hours = int(span.total_seconds() // 3600)
    if hours < 0:
        return "expired"
    return f"in {hours // 24} days" if hours >= 72 else f"in {hours} hours"

"""Numbers for Prometheus, in its text format (version 0.0.4), by the node exporter's textfile collector.

A file of samples, each `name{label="value"} number`, those of one name together
below their HELP and TYPE lines; in a label's value a backslash, a quote and a
newline are escaped (prometheus.io/docs/instrumenting/exposition_formats).
Instants are seconds since 1970 (UTC), so `name - time()` is what is left.

Written after every run, whole and in one rename, 0644. The exporter's directory
may belong to another user, who gains nothing by what root writes there. What a
run did not come to look at (it failed early) keeps the number of the run
before, so that no alert is lost with its series.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

from mailseal import __version__
from mailseal.certificates import certificate_facts
from mailseal.config.schema import Config
from mailseal.errors import KeyMaterialError
from mailseal.judge.verdict import Judged, Verdict
from mailseal.model import Finding, Severity
from mailseal.observe import Lineage
from mailseal.renewal import renewal_time
from mailseal.runs import Run
from mailseal.system import System
from mailseal.telling.last_run import LastRun, load, of

# What a run may not have come to look at, so that an earlier file's numbers stay.
_LOOKED_AT = {
    "mailseal_certificate_expiry_timestamp_seconds": "When the live certificate of a lineage expires.",
    "mailseal_certificate_renewal_timestamp_seconds": "When it is to be renewed.",
    "mailseal_certificate_proven": "Whether every endpoint was seen to serve it.",
    "mailseal_certificate_failures": "How many orders for it failed in a row.",
    "mailseal_endpoint_certificate_expiry_timestamp_seconds": (
        "When the certificate that is served there under this name expires; of two kinds of key the earlier."
    ),
    "mailseal_endpoint_good": "Whether a client under this name finds there what it should.",
}
_LABEL = r'[a-z_]+="(?:[^"\\\n]|\\[\\"n])*"'
_SAMPLE = re.compile(
    rf"(?P<name>[a-z_]+)\{{(?P<labels>{_LABEL}(?:,{_LABEL})*)\}} [0-9]+(?:\.[0-9]+)?(?:e[+-][0-9]+)?"
)
_LINEAGE = re.compile(r'lineage="([^"\\]+)"')
_READ = 33_554_432


@dataclass(frozen=True, slots=True)
class Metric:
    """A gauge: what it means, and its samples, each with its labels."""

    name: str
    help: str
    samples: tuple[tuple[tuple[tuple[str, str], ...], float], ...]


def tell(system: System, config: Config, run: Run) -> tuple[Finding, ...]:
    """Writes the file that [metrics] names."""
    path = config.metrics.textfile
    if path is None:
        return ()
    metrics = [*of_run(run, of(run, load(system, config)))]
    earlier = _samples(system.files.state(path, _READ).content.decode("utf-8", "replace"))
    text = "".join(_merged(metrics, earlier, frozenset(run.report.passed_over)))
    folder, _, name = path.rpartition("/")
    system.files.plant(folder or "/", [name], text.encode(), whole=True)
    return ()


def forget(system: System, config: Config) -> None:
    """Takes the file away, where it is ours. Raises `SystemFault`."""
    path = config.metrics.textfile
    if path is not None and system.files.state(path, _READ).content.startswith(b"# HELP mailseal_"):
        folder, _, name = path.rpartition("/")
        system.files.uproot(folder or "/", [name])


def of_run(run: Run, record: LastRun) -> Iterator[Metric]:
    """Everything that a run has to tell in numbers."""
    report = run.report
    yield _one("mailseal_info", "The version that ran last.", 1, version=__version__)
    yield _one("mailseal_last_run_timestamp_seconds", "When the last run ended.", _seconds(run.ended))
    took = (run.ended - run.began).total_seconds()
    yield _one("mailseal_last_run_duration_seconds", "How long it took.", max(took, 0))
    yield _one("mailseal_last_run_exit_status", "Its exit status.", record.exit_status)
    if record.succeeded:
        at = _seconds(record.succeeded)
        yield _one("mailseal_last_success_timestamp_seconds", "When a run last succeeded.", at)
    if record.next:
        at = _seconds(record.next)
        yield _one("mailseal_next_due_timestamp_seconds", "When something is due next, as known now.", at)
    counts = {s: sum(finding.severity is s for finding in report.findings) for s in Severity}
    yield Metric(
        "mailseal_findings",
        "Findings of the last run by severity; a failure of the run counts in mailseal_errors.",
        tuple(((("severity", s.word),), count) for s, count in counts.items() if s is not Severity.OK),
    )
    yield _one("mailseal_errors", "What failed in the last run.", len(report.errors))
    yield from _certificates(report.lineages)
    if report.verdict is not None:
        yield from _endpoints(report.verdict)


def render(metric: Metric) -> str:
    """Its lines; none where it has no sample."""
    if not metric.samples:
        return ""
    lines = []
    for labels, value in metric.samples:
        told = ",".join(f'{name}="{_quoted(text)}"' for name, text in labels)
        lines.append(f"{metric.name}{{{told}}} {value:.15g}" if told else f"{metric.name} {value:.15g}")
    return _head(metric.name, metric.help) + "\n".join(lines) + "\n"


def _head(name: str, meaning: str) -> str:
    return f"# HELP {name} {_escaped(meaning)}\n# TYPE {name} gauge\n"


def _certificates(lineages: Sequence[Lineage]) -> Iterator[Metric]:
    lives = [(lineage, live) for lineage in lineages if (live := lineage.generation(lineage.current))]
    yield _looked_at(
        "mailseal_certificate_expiry_timestamp_seconds",
        tuple(
            ((("lineage", lineage.name), ("key_type", kind.value)), _seconds(facts.not_after))
            for lineage, live in lives
            for kind, facts in live.leaves
        ),
    )
    yield _looked_at(
        "mailseal_certificate_renewal_timestamp_seconds",
        tuple((_of(lineage), _seconds(_renewal(lineage))) for lineage, _ in lives),
    )
    yield _looked_at(
        "mailseal_certificate_proven",
        tuple((_of(lineage), float(live.number in lineage.state.proven)) for lineage, live in lives),
    )
    yield _looked_at(
        "mailseal_certificate_failures",
        tuple(
            (_of(lineage), lineage.state.failure.attempts if lineage.state.failure else 0)
            for lineage in lineages
        ),
    )


def _endpoints(verdict: Verdict) -> Iterator[Metric]:
    groups: dict[tuple[tuple[str, str], ...], list[Judged]] = {}
    for one in verdict.judged:
        groups.setdefault(_endpoint(one), []).append(one)
    expiries = []
    for labels, group in groups.items():
        ends = [end for one in group if (end := _expiry(one)) is not None]
        if ends:
            expiries.append((labels, _seconds(min(ends))))
    yield _looked_at(
        "mailseal_endpoint_certificate_expiry_timestamp_seconds",
        tuple(expiries),
    )
    yield _looked_at(
        "mailseal_endpoint_good",
        tuple((labels, float(all(not one.errors for one in group))) for labels, group in groups.items()),
    )


def _endpoint(one: Judged) -> tuple[tuple[str, str], ...]:
    question = one.question
    endpoint = question.endpoint
    return (
        ("service", endpoint.service),
        ("address", endpoint.address),
        ("port", str(endpoint.port)),
        ("protocol", endpoint.protocol.value),
        ("name", question.server_name or ""),
    )


def _expiry(one: Judged) -> datetime | None:
    if not one.answer.chain:
        return None
    try:
        return certificate_facts(one.answer.chain[0]).not_after
    except KeyMaterialError:
        return None


def _renewal(lineage: Lineage) -> datetime:
    live = lineage.generation(lineage.current)
    assert live is not None
    return renewal_time(live, lineage.state.renewal_instant(live.fingerprints())).at


def _merged(
    metrics: Sequence[Metric], earlier: dict[str, dict[str, str]], passed_over: frozenset[str]
) -> Iterator[str]:
    """Everything as text: what is told now, and the earlier samples of what was not looked at."""
    told = {metric.name: metric for metric in metrics if metric.samples}
    for metric in told.values():
        yield render(metric)
        for labels, line in earlier.get(metric.name, {}).items() if passed_over else ():
            lineage = _LINEAGE.match(labels)
            if lineage and lineage[1] in passed_over:
                yield line
    for name, lines in earlier.items():
        if name not in told:
            yield _head(name, _LOOKED_AT[name])
            yield from lines.values()


def _samples(text: str) -> dict[str, dict[str, str]]:
    """The lines of an earlier file that may have to stay, by metric and labels. What is not ours is left out."""
    found: dict[str, dict[str, str]] = {}
    for line in text.split("\n"):
        sample = _SAMPLE.fullmatch(line)
        if sample and sample["name"] in _LOOKED_AT:
            found.setdefault(sample["name"], {})[sample["labels"]] = f"{line}\n"
    return found


def _of(lineage: Lineage) -> tuple[tuple[str, str], ...]:
    return (("lineage", lineage.name),)


def _looked_at(name: str, samples: tuple[tuple[tuple[tuple[str, str], ...], float], ...]) -> Metric:
    return Metric(name, _LOOKED_AT[name], samples)


def _one(name: str, meaning: str, value: float, **labels: str) -> Metric:
    return Metric(name, meaning, ((tuple(labels.items()), value),))


def _seconds(moment: datetime) -> float:
    return int(moment.timestamp())


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace("\n", "\\n")


def _quoted(text: str) -> str:
    return _escaped(text).replace('"', '\\"')

"""Numbers for Prometheus: by the grammar, from the run, and kept where a run did not look."""

from __future__ import annotations

from datetime import datetime

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mailseal.errors import ExitCode
from mailseal.telling.metrics import Metric, _merged, _samples, forget, render
from tests.support.memory import MemorySystem
from tests.unit.telling.exposition import Sample, Wrong, parse
from tests.unit.telling.running import codes, run
from tests.unit.test_reconcile import Stand, one_service

__all__ = ["one_service"]
pytestmark = pytest.mark.usefixtures("one_service")

FOLDER = "/var/lib/prometheus/node-exporter"
PATH = f"{FOLDER}/mailseal.prom"


@pytest.fixture
def stand() -> Stand:
    """Debian's package leaves /var/lib/prometheus to the user prometheus."""
    stand = Stand()
    stand.more = f'[metrics]\ntextfile = "{PATH}"\n'
    stand.machine.put_directory("/var/lib/prometheus", owner=(110, 110))
    stand.machine.put_directory(FOLDER)
    return stand


def samples(stand: Stand) -> dict[str, list[Sample]]:
    found: dict[str, list[Sample]] = {}
    for one in parse(MemorySystem(stand.machine).files.read(PATH).decode()):
        found.setdefault(one.name, []).append(one)
    return found


def value(stand: Stand, name: str, **labels: str) -> float:
    fitting = [one for one in samples(stand)[name] if set(labels.items()) <= one.labels]
    assert len(fitting) == 1, fitting
    return fitting[0].value


def seconds(moment: datetime) -> float:
    return float(int(moment.timestamp()))


def test_a_run_that_went_well(stand: Stand) -> None:
    came = run(stand)
    live = stand.reconciler().store.load("mail", 1)
    expiry = seconds(live.not_after)
    assert value(stand, "mailseal_certificate_expiry_timestamp_seconds", lineage="mail") == expiry
    endpoint = "mailseal_endpoint_certificate_expiry_timestamp_seconds"
    assert value(stand, endpoint, service="daemon") == expiry
    assert value(stand, "mailseal_endpoint_good", service="daemon") == 1
    assert value(stand, "mailseal_last_run_timestamp_seconds") == seconds(came.ended)
    assert value(stand, "mailseal_last_success_timestamp_seconds") == seconds(came.ended)
    assert value(stand, "mailseal_last_run_exit_status") == 0
    assert value(stand, "mailseal_findings", severity="error") == 0
    assert value(stand, "mailseal_certificate_proven", lineage="mail") == 1
    assert came.ended < live.not_after
    assert value(stand, "mailseal_certificate_renewal_timestamp_seconds") < expiry
    assert MemorySystem(stand.machine).files.state(PATH).mode == 0o644


def test_a_run_that_failed_keeps_the_last_success(stand: Stand) -> None:
    first = run(stand)
    stand.later(days=61)
    stand.poisons(2)
    assert run(stand).report.exit_code is ExitCode.FAILED
    assert value(stand, "mailseal_last_success_timestamp_seconds") == seconds(first.ended)
    assert value(stand, "mailseal_last_run_exit_status") == 3
    assert value(stand, "mailseal_errors") == 1


def test_an_endpoint_that_is_down_is_not_good(stand: Stand) -> None:
    run(stand)
    stand.daemon.throttled = True
    run(stand)
    assert value(stand, "mailseal_endpoint_good") == 0
    assert value(stand, "mailseal_findings", severity="error") >= 1


def test_what_a_run_did_not_look_at_keeps_its_number(stand: Stand) -> None:
    run(stand)
    before = samples(stand)
    stand.machine.put("/var/lib/mailseal/journal/20260101T000000Z-00000000.json", "damaged")
    with pytest.raises(Exception, match="damaged"):
        run(stand)
    after = samples(stand)
    for name in ("mailseal_certificate_expiry_timestamp_seconds", "mailseal_endpoint_good"):
        assert after[name] == before[name]
    assert after["mailseal_errors"][0].value == 1


def test_a_directory_that_is_not_there_is_told(stand: Stand) -> None:
    stand.more = '[metrics]\ntextfile = "/var/lib/nowhere/x.prom"\n'
    came = run(stand)
    assert came.report.exit_code is ExitCode.FINDINGS and codes(came) == {"telling-failed"}
    assert stand.serves == 1


def test_a_stranger_in_the_directory_leads_nothing_elsewhere(stand: Stand) -> None:
    stand.machine.put("/etc/shadow", "root:*:", mode=0o600)
    stand.machine.put_link(PATH, "/etc/shadow", owner=(110, 110))
    run(stand)
    assert stand.machine.tree("/etc/shadow")["/etc/shadow"].content == b"root:*:"
    assert "root" not in MemorySystem(stand.machine).files.read(PATH).decode()
    assert value(stand, "mailseal_last_run_exit_status") == 0


EARLIER = """\
# HELP mailseal_endpoint_good x
# TYPE mailseal_endpoint_good gauge
mailseal_endpoint_good{service="gone",address="\u2028"} 1
mailseal_endpoint_good{service="gone",address="\u2028"} 0
mailseal_endpoint_good{service="a\\"b"} 1
mailseal_endpoint_good{broken} 1
mailseal_endpoint_good{service="x"} one
mailseal_endpoint_of_another{service="x"} 1
mailseal_certificate_proven{lineage="passed"} 1
mailseal_certificate_proven{lineage="looked-at"} 1
another{a="b"} 1
"""


def test_of_an_earlier_file_only_what_is_ours_and_whole_stays() -> None:
    proven = Metric("mailseal_certificate_proven", "x", (((("lineage", "mail"),), 0.0),))
    text = "".join(_merged([proven], _samples(EARLIER), frozenset({"passed"})))
    found = {(one.name, one.labels, one.value) for one in parse(text)}
    assert found == {
        ("mailseal_certificate_proven", frozenset({("lineage", "mail")}), 0.0),
        ("mailseal_certificate_proven", frozenset({("lineage", "passed")}), 1.0),
        ("mailseal_endpoint_good", frozenset({("service", "gone"), ("address", "\u2028")}), 0.0),
        ("mailseal_endpoint_good", frozenset({("service", 'a"b')}), 1.0),
    }


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.text(st.sampled_from('mailsen_dpoitgc{}",=\\ 1.e\n\u2028'), max_size=60), st.text(max_size=20))
def test_whatever_stood_there_the_file_can_be_read(rest: str, label: str) -> None:
    good = Metric("mailseal_endpoint_good", "x", (((("name", label),), 1.0),))
    earlier = (
        f"mailseal_certificate_proven{rest}\nmailseal_certificate_proven{{{rest}}} 1\n{rest}\n{render(good)}"
    )
    for metrics in ([], [good]):
        parse("".join(_merged(metrics, _samples(earlier), frozenset({"a"}))))


def test_it_goes_when_the_machine_is_handed_back(stand: Stand) -> None:
    run(stand)
    system = MemorySystem(stand.machine)
    forget(system, stand.config())
    assert system.files.stat(PATH) is None
    stand.machine.put(PATH, "somebody else's\n")
    forget(system, stand.config())
    assert system.files.read(PATH) == b"somebody else's\n"


@pytest.mark.parametrize("text", ["plain", 'a "quoted" one', "back\\slash", "two\nlines", "\\n", "}{=,", ""])
def test_any_text_in_a_label_is_read_back(text: str) -> None:
    metric = Metric("mailseal_x", "Help with \\ and\nmore.", (((("name", text),), 1.5),))
    (sample,) = parse(render(metric))
    assert sample.label("name") == text and sample.value == 1.5


@pytest.mark.parametrize(
    "text",
    [
        "a 1",
        "a{b=1} 1\n",
        'a{b="c} 1\n',
        'a{b="\\x"} 1\n',
        "a one\n",
        'a{b="c",b="d"} 1\n',
        "a 1\na 2\n",
        'a 1\nb 1\na{x="y"} 1\n',
        "# TYPE a number\na 1\n",
        "a 1\n# TYPE a gauge\n",
        "# HELP a b\n# HELP a c\n",
        "1a 1\n",
    ],
)
def test_the_parser_is_strict(text: str) -> None:
    with pytest.raises(Wrong):
        parse(text)

"""The heartbeat: asked for after every run, well or not; bounded, and silent about its own URL."""

from __future__ import annotations

import pytest

from mailseal.errors import IssueError, NetworkFault
from mailseal.report import Report
from tests.support.troubled import DAY, START, Scene, Web, config, failed, generation, lineage, report

URL = "https://hc.example.net/ping/5ec4e7"
WELL = report(lineage(generation(1, START)))
TROUBLE = report(lineage(generation(1, START - 60 * DAY)), issued=[failed(IssueError("refused"))])


def scene(web: Web, *keys: str) -> Scene:
    made = Scene(config("[notify.heartbeat]\n" + "\n".join(keys or (f'url = "{URL}"',))))
    made.system.machine.world.web = web
    return made


@pytest.mark.parametrize("command", ["renew", "apply", "setup", "rollback"])
def test_it_beats_after_every_run(command: str) -> None:
    web = Web(200)
    assert scene(web).beat(WELL, command) == ()
    assert [asked[:2] for asked in web.asked] == [("GET", URL)]


def test_silence_tells_of_trouble() -> None:
    web = Web()
    assert scene(web).beat(TROUBLE) == ()
    assert web.asked == []


def test_or_another_url_does() -> None:
    web = Web()
    made = scene(web, f'url = "{URL}/"', 'failure_suffix = "/fail"', 'method = "POST"')
    made.beat(TROUBLE)
    made.beat(WELL)
    assert [asked[1] for asked in web.asked] == [f"{URL}/fail", f"{URL}/"]
    assert web.asked[0][3] == b"mailseal renew: exit status 3, trouble: 1\n"


def test_a_run_that_failed_before_it_looked_is_trouble() -> None:
    web = Web()
    made = scene(web, f'url = "{URL}"', 'failure_suffix = "/fail"')
    made.beat(Report(errors=(IssueError("no"),)))
    assert web.asked[0][1] == f"{URL}/fail"


def test_a_watchman_who_does_not_answer_is_a_finding() -> None:
    for web in (Web(500), Web(fault=NetworkFault(f"No answer from {URL}", reason=f"{URL} timed out"))):
        (found,) = scene(web).beat(WELL)
        assert found.code == "heartbeat-unsent"
        assert "hc.example.net" in found.seen and "5ec4e7" not in str(found)


def test_a_secret_url_stands_in_a_file() -> None:
    web = Web()
    made = scene(web, 'url_file = "/etc/mailseal/heartbeat.url"')
    assert "there is no such file" in made.beat(WELL)[0].seen
    made.system.machine.put("/etc/mailseal/heartbeat.url", URL, mode=0o600)
    assert made.beat(WELL) == ()
    made.system.machine.put("/etc/mailseal/heartbeat.url", "ftp://x", mode=0o600)
    assert "no https URL" in made.beat(WELL)[0].seen


def test_nobody_watches_where_nobody_is_named() -> None:
    web = Web()
    made = Scene()
    made.system.machine.world.web = web
    assert made.beat(WELL) == () and web.asked == []

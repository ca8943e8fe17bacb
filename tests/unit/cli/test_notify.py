"""`mailseal notify`: what a person sees of who is told, of what is open, and of a test."""

from __future__ import annotations

import io
import json

import pytest

from mailseal.cli.main import main
from mailseal.cli.output import Output
from mailseal.config import DEFAULT_PATH, render
from mailseal.errors import IssueError
from tests.support.troubled import CONFIG, DAY, START, Scene, Web, failed, generation, lineage, report

HOOK = '[[notify.webhook]]\nurl = "https://hooks.example.net/SECRETPATH"\n'
BEAT = '[notify.heartbeat]\nurl = "https://hc.example.net/5ec4e7"\n'


def scene(more: str = "", web: Web | None = None) -> Scene:
    made = Scene()
    made.sendmail()
    made.system.machine.world.web = web
    configured(made, more)
    return made


def configured(made: Scene, more: str) -> None:
    from mailseal.config import load

    made.settings = load(CONFIG + more)
    made.system.machine.put(DEFAULT_PATH, render(made.settings))


def run(made: Scene, *arguments: str) -> tuple[int, str, str]:
    stdout, stderr = io.StringIO(), io.StringIO()
    status = main(["notify", *arguments], system=made.system, out=Output(stdout, stderr))
    return status, stdout.getvalue(), stderr.getvalue()


def test_a_test_goes_out_by_every_way() -> None:
    web = Web()
    made = scene(
        '[notify.mail]\nto = ["a@example.net"]\n' + HOOK + BEAT,
        web,
    )
    status, stdout, _ = run(made, "--test")
    assert status == 0
    assert stdout.splitlines() == [
        "sent      mail to a@example.net by /usr/sbin/sendmail",
        "sent      webhook at hooks.example.net",
        "sent      heartbeat",
    ]
    assert made.subjects == ["[mailseal] mail.example.org: a test of notification"]
    assert [asked[0] for asked in web.asked] == ["POST", "GET"]
    assert json.loads(web.asked[0][3])["kind"] == "test"


def test_a_way_that_fails_is_named_and_shows_no_secret() -> None:
    made = scene('[notify.mail]\nto = ["a@example.net"]\n' + HOOK + BEAT, Web(500))
    status, stdout, stderr = run(made, "--test")
    assert status == 1
    assert "sent      mail to a@example.net" in stdout
    assert "failed    webhook at hooks.example.net: " in stdout and "answered with status 500" in stdout
    assert "failed    heartbeat" in stdout
    assert "SECRETPATH" not in stdout + stderr and "5ec4e7" not in stdout + stderr
    told = json.loads(run(made, "--test", "--json")[1])
    assert [one["outcome"] for one in told["channels"]] == ["sent", "failed", "failed"]
    assert told["exit_status"] == 1


def test_a_test_is_not_remembered() -> None:
    made = scene()
    run(made, "--test")
    assert "No trouble is open." in run(made)[1]
    assert made.system.files.stat("/var/lib/mailseal/notify.json") is None


@pytest.mark.parametrize("arguments", [(), ("--test",)])
def test_nobody_would_be_told(arguments: tuple[str, ...]) -> None:
    made = Scene()  # without a sendmail
    configured(made, "")
    status, stdout, _ = run(made, *arguments)
    assert status == 1 and "Nobody would be told of trouble." in stdout
    configured(made, "[notify]\nenabled = false\n")
    status, stdout, _ = run(made, *arguments)
    assert status == 1 and "[notify] enabled = false" in stdout


def test_it_shows_what_is_open_and_unsent() -> None:
    made = scene(BEAT)
    made.sendmail(status=75)
    old = generation(1, START - 60 * DAY)
    made.run(report(lineage(old), issued=[failed(IssueError("The CA does not answer."))]))
    status, stdout, _ = run(made)
    assert status == 0
    assert stdout.splitlines() == [
        "tells     mail to postmaster@example.org by /usr/sbin/sendmail; 1 to be sent yet",
        "advice    give it a second way below [notify], that does not need this mail server",
        "beats     the URL of [notify.heartbeat], after every run",
        "trouble   mail: The CA does not answer. Since 2026-11-23 12:00 UTC; told once, 2026-11-23 12:00 UTC",
    ]
    shown = json.loads(run(made, "--json")[1])
    assert shown["open"][0]["about"] == "mail" and shown["channels"][0]["unsent"] == 1
    made.later(2 * DAY)
    made.run(report(lineage(old), issued=[failed(IssueError("The CA does not answer."))]))
    assert "told 2 times, last 2026-11-25 12:00 UTC" in run(made)[1]


def test_a_second_way_needs_no_advice() -> None:
    assert "advice" not in run(scene('[notify.mail]\nto = ["a@example.net"]\n' + HOOK))[1]


def test_it_needs_a_configuration() -> None:
    status, _, stderr = run(Scene())
    assert status == 2 and "mailseal setup" in stderr

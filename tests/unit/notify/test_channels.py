"""The ways out: what each is given, what it makes of an answer, and that none shows a secret."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from mailseal.config import load
from mailseal.errors import ConfigError, IssueError, NetworkFault
from mailseal.notify.channels import channels
from tests.support.memory import Hangs
from tests.support.troubled import CONFIG, DAY, START, Scene, Web, config, failed, generation, lineage, report

DOWN = IssueError("The CA does not answer", reason="connection refused", next_command="mailseal apply")
HOOK = "https://hooks.example.net/services/T0/SECRETPATH"
WEBHOOK = f"""
[[notify.webhook]]
url = "{HOOK}"
"""
COMMAND = """
[[notify.command]]
argv = ["/usr/local/bin/tell", "--team"]
timeout = 5
"""
SMTP = """
[notify.mail]
to = ["admin@example.net"]
sender = "mailseal@example.org"
[notify.smtp]
host = "smtp.example.net"
user = "mailseal"
password_file = "/etc/mailseal/smtp.password"
"""


def scene(more: str, web: Web | None = None) -> Scene:
    made = Scene(config(more))
    made.system.machine.put("/usr/local/bin/tell", b"", mode=0o755)
    made.system.machine.world.web = web
    return made


TROUBLE = report(lineage(generation(1, START - 60 * DAY)), issued=[failed(DOWN)])


def test_a_webhook_gets_all_of_it_as_json() -> None:
    web = Web()
    assert scene(WEBHOOK, web).run(TROUBLE) == ()
    ((method, url, headers, body),) = web.asked
    assert (method, url) == ("POST", HOOK)
    assert headers == {"Content-Type": "application/json; charset=utf-8"}
    told = json.loads(body)
    assert told["kind"] == "trouble" and told["urgency"] == "normal" and told["host"] == "mail.example.org"
    assert told["items"] == [
        {
            "certificate": "mail",
            "kind": "order",
            "what": "The CA does not answer",
            "why": "connection refused",
            "next": "mailseal apply",
            "names": ["mail.example.org"],
            "since": "2026-11-23T12:00:00Z",
            "expires": "2026-12-23T12:00:00Z",
            "told": 1,
        }
    ]
    assert "The CA does not answer" in told["text"]


def test_two_webhooks_at_one_host() -> None:
    web = Web()
    scene(WEBHOOK + WEBHOOK.replace("SECRETPATH", "OTHER"), web).run(TROUBLE)
    assert [asked[1].rpartition("/")[2] for asked in web.asked] == ["SECRETPATH", "OTHER"]


def test_names_in_any_script() -> None:
    made = scene(SMTP.replace("admin@example.net", "admin@bücher.example"))
    made.system.machine.put("/etc/mailseal/smtp.password", "geheim", mode=0o600)
    assert made.run(TROUBLE) == ()
    (mail,) = made.system.machine.world.mails
    assert mail.recipients == ("admin@xn--bcher-kva.example",)
    assert b"To: admin@xn--bcher-kva.example\r\n" in mail.message
    made = scene(SMTP.replace("admin@", "адмін@"))
    made.system.machine.put("/etc/mailseal/smtp.password", "geheim", mode=0o600)
    assert "not ASCII" in made.run(TROUBLE)[0].seen


def test_a_sender_of_ones_own_gets_what_comes_back() -> None:
    made = scene('[notify.mail]\nsender = "mailseal@example.org"\n')
    made.system.machine.put("/usr/sbin/sendmail", b"", mode=0o755)
    made.system.machine.programs.says("/usr/sbin/sendmail")
    made.run(TROUBLE)
    (ran,) = made.system.machine.programs.ran
    assert ran.argv == ("/usr/sbin/sendmail", "-t", "-i", "-f", "mailseal@example.org")


def test_a_secret_header_and_a_secret_url_come_from_files() -> None:
    web = Web()
    made = scene(
        '[[notify.webhook]]\nurl_file = "/etc/mailseal/hook.url"\nsecret_file = "/etc/mailseal/hook.secret"\n',
        web,
    )
    made.system.machine.put("/etc/mailseal/hook.url", f"{HOOK}\n", mode=0o600)
    made.system.machine.put("/etc/mailseal/hook.secret", "Bearer t0ken\n", mode=0o600)
    assert made.run(TROUBLE) == ()
    assert web.asked[0][1] == HOOK
    assert web.asked[0][2]["Authorization"] == "Bearer t0ken"


@pytest.mark.parametrize(
    ("content", "mode", "owner", "wrong"),
    [
        (None, 0, (0, 0), "no such file"),
        ("Bearer x", 0o644, (0, 0), "others than root"),
        ("Bearer x", 0o600, (33, 33), "others than root"),
        ("one\ntwo: injected", 0o600, (0, 0), "one line"),
        ("", 0o600, (0, 0), "one line"),
        ("schlüssel", 0o600, (0, 0), "one line"),
    ],
)
def test_a_secret_that_others_can_read_is_not_used(
    content: str | None, mode: int, owner: tuple[int, int], wrong: str
) -> None:
    web = Web()
    made = scene(f'{WEBHOOK}secret_file = "/etc/mailseal/hook.secret"\n', web)
    if content is not None:
        made.system.machine.put("/etc/mailseal/hook.secret", content, mode=mode, owner=owner)
    (found,) = made.run(TROUBLE)
    assert found.code == "notify-unsent" and wrong in found.seen
    assert web.asked == []


@pytest.mark.parametrize("status", [301, 307, 400, 404, 500])
def test_what_is_no_success_is_told(status: int) -> None:
    (found,) = scene(WEBHOOK, Web(status)).run(TROUBLE)
    assert found.code == "notify-unsent"
    assert f"hooks.example.net answered with status {status}" in found.seen
    assert "SECRETPATH" not in str(found)


def test_a_webhook_out_of_reach_shows_no_secret() -> None:
    fault = NetworkFault(f"No answer from {HOOK}", reason=f"InvalidURL: {HOOK} with Bearer t0ken")
    made = scene(f'{WEBHOOK}secret_file = "/etc/mailseal/s"\n', Web(fault=fault))
    made.system.machine.put("/etc/mailseal/s", "Bearer t0ken", mode=0o600)
    (found,) = made.run(TROUBLE)
    assert "SECRETPATH" not in str(found) and "t0ken" not in str(found)
    assert "hooks.example.net" in found.seen


def test_a_command_gets_it_on_its_input() -> None:
    made = scene(COMMAND)
    made.system.machine.programs.says("/usr/local/bin/tell")
    assert made.run(TROUBLE) == ()
    (ran,) = made.system.machine.programs.ran
    assert ran.argv == ("/usr/local/bin/tell", "--team")
    assert dict(ran.env) == {"MAILSEAL_KIND": "trouble", "MAILSEAL_URGENCY": "normal"}
    assert json.loads(ran.stdin)["items"][0]["certificate"] == "mail"


def test_a_command_that_fails_or_hangs_is_told() -> None:
    made = scene(COMMAND)
    made.system.machine.programs.says("/usr/local/bin/tell", status=3, stderr="no credit")
    assert "status 3: no credit" in made.run(TROUBLE)[0].seen

    def hangs(*_: object) -> None:
        raise Hangs

    made.system.machine.programs.table["/usr/local/bin/tell",] = hangs
    assert "did not end within 5 s" in made.run(TROUBLE)[0].seen


@pytest.mark.parametrize(("mode", "owner"), [(0o777, (0, 0)), (0o755, (33, 33)), (None, (0, 0))])
def test_a_command_that_others_can_write_is_not_run(mode: int | None, owner: tuple[int, int]) -> None:
    made = scene(COMMAND.replace("bin/tell", "bin/other"))
    if mode is not None:
        made.system.machine.put("/usr/local/bin/other", b"", mode=mode, owner=owner)
    (found,) = made.run(TROUBLE)
    assert found.code == "notify-unsent" and "was not run" in found.seen
    assert made.system.machine.programs.ran == []


def test_nor_is_a_sendmail() -> None:
    made = scene("")
    made.sendmail()
    made.system.machine.put("/usr/sbin/sendmail", b"", mode=0o777)
    (found,) = made.run(TROUBLE)
    assert "was not run" in found.seen and made.mails == []


def test_a_secret_in_a_directory_of_somebody_elses_is_not_used() -> None:
    web = Web()
    made = scene('[[notify.webhook]]\nurl_file = "/srv/web/hook.url"\n', web)
    made.system.machine.put_directory("/srv/web", mode=0o755, owner=(33, 33))
    made.system.machine.put("/srv/web/hook.url", HOOK, mode=0o600)
    (found,) = made.run(TROUBLE)
    assert "belongs to user 33" in found.seen and web.asked == []


def test_a_mail_server_elsewhere_gets_it() -> None:
    made = scene(SMTP)
    made.system.machine.put("/etc/mailseal/smtp.password", "geheim\n", mode=0o600)
    assert made.run(TROUBLE) == ()
    (mail,) = made.system.machine.world.mails
    assert str(mail.server) == "smtp.example.net:465" and mail.server.implicit
    assert mail.server.helo == "mail.example.org"
    assert mail.server.password is not None and mail.server.password.reveal() == b"geheim"
    assert (mail.sender, mail.recipients) == ("mailseal@example.org", ("admin@example.net",))
    assert b"From: mailseal <mailseal@example.org>\r\n" in mail.message
    assert b"geheim" not in made.system.files.read("/var/lib/mailseal/notify.json")


def test_one_way_that_fails_stops_no_other() -> None:
    web = Web()
    made = scene(SMTP.replace("[notify.smtp]", 'via = "both"\n[notify.smtp]') + WEBHOOK + COMMAND, web)
    made.sendmail()
    made.system.machine.put("/etc/mailseal/smtp.password", "geheim\n", mode=0o600)
    made.system.machine.world.mail_refused["smtp.example.net"] = "it answered 451 later"
    made.system.machine.programs.says("/usr/local/bin/tell", status=1)
    found = made.run(TROUBLE)
    assert len(made.mails) == 1 and len(web.asked) == 1
    assert [(f.code, f.subject.partition(" ")[0]) for f in found] == [
        ("notify-unsent", "mail"),
        ("notify-unsent", "command"),
    ]
    made.system.machine.world.mail_refused.clear()
    made.system.machine.programs.says("/usr/local/bin/tell")
    assert made.run(TROUBLE) == ()
    assert len(made.mails) == 1 and len(web.asked) == 1  # what was sent is not sent again
    assert len(made.system.machine.world.mails) == 1


def test_nor_does_one_that_has_a_fault_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    web = Web()
    made = scene(SMTP.replace("[notify.smtp]", 'via = "both"\n[notify.smtp]') + WEBHOOK, web)
    made.sendmail()
    made.system.machine.put("/etc/mailseal/smtp.password", "geheim\n", mode=0o600)

    def breaks(*_: object) -> None:
        raise UnicodeError("a fault of a library's")

    monkeypatch.setattr(made.system.network, "submit", breaks)
    (found,) = made.run(TROUBLE)
    assert found.code == "notify-unsent" and "UnicodeError: a fault of a library's" in found.seen
    assert len(made.mails) == 1 and len(web.asked) == 1


def test_a_channel_that_is_named_no_more_is_forgotten() -> None:
    made = scene(WEBHOOK, Web(500))
    made.run(TROUBLE)
    made.settings, web = config(COMMAND), Web()
    made.system.machine.world.web = web
    made.system.machine.programs.says("/usr/local/bin/tell")
    assert made.run(TROUBLE) == ()
    assert web.asked == []


@pytest.mark.parametrize(
    ("more", "ids"),
    [
        ("", ["mail:sendmail"]),
        (WEBHOOK, ["webhook:hooks.example.net"]),
        ('[notify.mail]\nto = ["a@example.net"]\n' + WEBHOOK, ["mail:sendmail", "webhook:hooks.example.net"]),
        (SMTP, ["mail:smtp:smtp.example.net:465"]),
        (f'{SMTP}tls = "starttls"\n', ["mail:smtp:smtp.example.net:587"]),
        ("[notify]\nenabled = false\n" + WEBHOOK, []),
    ],
)
def test_who_is_told(more: str, ids: list[str]) -> None:
    made = scene(more)
    made.sendmail()
    found = [channel.id for channel in channels(made.system, made.settings)]
    assert [re.sub(r"(webhook:.*):[0-9a-f]{12}", r"\1", one) for one in found] == ids


@pytest.mark.parametrize(
    ("more", "told"),
    [
        ("[notify.smtp]\nhost = 'smtp.example.net'\n", "needs a sender"),
        ("[notify.smtp]\ntls = 'starttls'\n", "host: is missing"),
        (SMTP.replace("password_file", "#"), "stands without password_file"),
        ("[notify.smtp]\npassword = 'geheim'\n", "secrets are never in this file"),
        ("[notify.mail]\nvia = 'smtp'\n", "needs [notify.smtp] with a host"),
        ("[[notify.webhook]]\ntimeout = 3\n", "url: is missing"),
        ("[[notify.webhook]]\nurl = 'http://x.example'\n", "is not https"),
        ("[[notify.webhook]]\nurl = 'https://user:pw@x.example'\n", "secrets are never in this file"),
        ("[notify.heartbeat]\nmethod = 'POST'\n", "url: is missing"),
        ("[[notify.command]]\nargv = ['tell']\n", "is not an absolute path"),
        ("[[notify.command]]\nargv = []\n", "argv: expected a list"),
        ("[notify.webhook]\nurl = 'https://x.example'\n", "in double brackets"),
        ("[[notify.webhooks]]\nurl = 'https://x.example'\n", "Did you mean [[notify.webhook]]?"),
        ("[notify]\nsumary = true\n", "Did you mean summary?"),
        ("notify = 3\n", "expected a table"),
    ],
)
def test_every_fault_of_the_tables_is_told(more: str, told: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load(more + CONFIG if more.startswith("notify") else CONFIG + more)
    assert any(told in fault for fault in caught.value.faults), caught.value.faults
    assert "geheim" not in str(caught.value.faults)


def test_the_documented_configuration_is_good() -> None:
    text = (Path(__file__).parents[3] / "docs" / "notification.md").read_text(encoding="utf-8")
    (shown,) = re.findall(r"```toml\n(.*?)```", text, re.DOTALL)
    made = scene(shown)
    made.sendmail()
    assert len(channels(made.system, made.settings)) == 4

"""Who hears what when: runs that fail, wait and succeed on a machine in memory, and the mails that come of them."""

from __future__ import annotations

import errno
from datetime import timedelta

import msgspec
import pytest

from mailseal.errors import (
    ApplyFailed,
    BrokenBefore,
    ChallengeError,
    ExitCode,
    IssueError,
    MailsealError,
    SystemFault,
    Waiting,
)
from mailseal.model import Finding, Severity
from mailseal.notify.book import MOST_UNSENT, Book
from mailseal.report import Report
from mailseal.runs import Run, carry_out
from mailseal.stores.state import Failure, LineageState, Rejection
from tests.support.memory import Killed, MemorySystem
from tests.support.troubled import (
    BOOK,
    DAY,
    HOUR,
    SENDMAIL,
    START,
    Scene,
    config,
    failed,
    generation,
    lineage,
    report,
)

OLD = generation(1, START - 60 * DAY)
DOWN = IssueError(
    "The CA does not answer",
    reason="connection refused",
    state="What is served stays as it is.",
    next_command="curl -v https://ca.example.org/directory",
)


@pytest.fixture
def scene() -> Scene:
    made = Scene()
    made.sendmail()
    return made


def failing(scene: Scene, name: str = "mail") -> None:
    scene.run(report(lineage(generation(1, START - 60 * DAY, name=name)), issued=[failed(DOWN, name)]))


def test_the_first_failure_is_told_whole(scene: Scene) -> None:
    failing(scene)
    assert scene.subjects == ["[mailseal] mail.example.org: certificate mail could not be renewed"]
    text = scene.mails[0]
    assert "To: postmaster@example.org" in text
    for said in (
        "The CA does not answer",
        "connection refused",
        "Safe until 2026-12-23 12:00 UTC (for 30 days)",
        "What is served stays as it is.",
        "Type:      curl -v https://ca.example.org/directory",
    ):
        assert said in text


def test_it_is_told_once_and_then_rarer(scene: Scene) -> None:
    told = []
    for hour in range(15 * 24):
        before = len(scene.mails)
        failing(scene)
        told += [hour] * (len(scene.mails) - before)
        scene.later(HOUR)
    assert told == [0, 24, 24 + 168]


def test_it_is_told_at_once_as_expiry_nears(scene: Scene) -> None:
    told: list[tuple[int, str]] = []
    for hour in range(31 * 24):
        before = len(scene.mails)
        failing(scene)
        told += [(hour, subject) for subject in scene.subjects[before:]]
        scene.later(HOUR)
    days = [hour / 24 for hour, _ in told]
    assert days[:5] == [0, 1, 8, 15, 16]  # a sixth of ninety days is left on the fifteenth
    assert 22.5 in days and 30 in days
    urgent = dict(told)
    assert urgent[15 * 24] == (
        "[mailseal] URGENT: mail.example.org: certificate mail expires in 15 days and could not be renewed"
    )
    assert urgent[int(22.5 * 24)].startswith("[mailseal] VERY URGENT: ")
    assert urgent[30 * 24].startswith("[mailseal] EXPIRED: mail.example.org: certificate mail expired")


def test_six_days_are_told_faster(scene: Scene) -> None:
    short = generation(1, START - 80 * HOUR, life=160 * HOUR)
    told = []
    for hour in range(80):
        before = len(scene.mails)
        scene.run(report(lineage(short), issued=[failed(DOWN)]))
        told += [hour] * (len(scene.mails) - before)
        scene.later(HOUR)
    assert told[:2] == [0, 6]
    assert 54 in told and 67 in told  # a sixth and a twelfth of 160 hours
    assert len(told) < 16


def test_what_is_urgent_from_the_beginning_is_told_once(scene: Scene) -> None:
    late = generation(1, START - 80 * DAY)
    for _ in range(3):
        scene.run(report(lineage(late), issued=[failed(DOWN)]))
        scene.later(HOUR)
    assert len(scene.mails) == 1
    assert "URGENT" in scene.subjects[0]
    assert "Importance: high" in scene.mails[0]


def test_a_run_that_only_waits_mends_nothing(scene: Scene) -> None:
    failing(scene)
    scene.later(timedelta(minutes=5))
    failure = Failure(1, START, "connection refused", START + HOUR)
    scene.run(report(lineage(OLD, state=LineageState(failures={"https://ca": failure})), waits=["mail: …"]))
    assert len(scene.mails) == 1


def test_mended_is_told_once(scene: Scene) -> None:
    failing(scene)
    scene.later(DAY / 2)
    new = generation(2, scene.now)
    for _ in range(3):
        scene.run(report(lineage(OLD, new)))
        scene.later(HOUR)
    assert scene.subjects[1:] == ["[mailseal] mail.example.org: mended: certificate mail"]
    assert "Since:     2026-11-23 12:00 UTC (12 hours ago)" in scene.mails[1]
    assert "Expires:   2027-02-22" in scene.mails[1]


def test_a_second_certificate_is_told_too(scene: Scene) -> None:
    failing(scene)
    other = generation(1, START - 60 * DAY, name="web")
    scene.run(report(lineage(OLD), lineage(other), issued=[failed(DOWN), failed(DOWN, "web")]))
    assert [s.rpartition(": ")[2] for s in scene.subjects] == [
        "certificate mail could not be renewed",
        "certificate web could not be renewed",
    ]
    assert "One trouble told before lasts" in scene.mails[1]


def test_another_kind_of_trouble_is_told_too(scene: Scene) -> None:
    failing(scene)
    new = generation(2, START)
    error = ApplyFailed("Generation 0002 was taken back", reason="port 25 turned clients away")
    state = LineageState(rejected=[Rejection(2, START, "port 25 turned clients away", 1, START + HOUR)])
    scene.run(report(lineage(OLD, new, current=1, state=state), errors=[error]))
    assert scene.subjects[1].endswith("certificate mail could not be deployed")
    assert "port 25 turned clients away" in scene.mails[1]
    assert len(scene.mails) == 2  # no word of a mended order: the certificate's trouble goes on
    scene.run(report(lineage(OLD, new, current=1, state=state), waits=["mail: …"]))
    assert len(scene.mails) == 2


def test_what_failed_alike_for_many_is_one_mail(scene: Scene) -> None:
    many = [f"m{number}" for number in range(300)]
    scene.run(
        report(
            *(lineage(generation(1, START - 60 * DAY, name=name)) for name in many),
            issued=[failed(DOWN, name) for name in many],
        )
    )
    assert scene.subjects == ["[mailseal] mail.example.org: 300 certificates could not be renewed"]
    assert scene.mails[0].count("The CA does not answer") == 1
    assert "and 288 more" in " ".join(scene.mails[0].split())


def test_trouble_of_the_machine_is_told_and_mended(scene: Scene) -> None:
    broken = BrokenBefore("Postfix refuses its configuration", reason="main.cf line 3")
    scene.run(report(lineage(OLD), errors=[broken]))
    assert scene.subjects == ["[mailseal] mail.example.org: Postfix refuses its configuration"]
    scene.run(report(lineage(generation(1, START))))
    assert scene.subjects[1] == "[mailseal] mail.example.org: mended: Postfix refuses its configuration"


def test_a_run_that_saw_nothing_mends_nothing(scene: Scene) -> None:
    failing(scene)
    scene.run(Report(errors=(SystemFault("No room on the disk"),)))
    assert len(scene.mails) == 2
    assert all("mended" not in subject for subject in scene.subjects)


def test_findings_of_errors_are_told_and_warnings_where_asked(scene: Scene) -> None:
    error = Finding("handshake-failed", Severity.ERROR, "127.0.0.1:993", "no handshake", mend="ss -ltn")
    warning = Finding("auth-before-tls", Severity.WARNING, "127.0.0.1:143", "AUTH is offered")
    scene.run(report(lineage(OLD), findings=[error, warning]))
    assert len(scene.mails) == 1 and "AUTH is offered" not in scene.mails[0]
    scene.run(report(lineage(OLD)))
    assert scene.subjects[1].startswith("[mailseal] mail.example.org: mended: 127.0.0.1:993")
    scene.settings = config('[notify]\nfindings = "warning"\n')
    scene.run(report(lineage(OLD), findings=[warning]))
    assert "AUTH is offered" in scene.mails[2]
    scene.settings = config('[notify]\nfindings = "none"\n')
    scene.later(2 * DAY)
    scene.run(report(lineage(OLD), findings=[error, warning]))
    assert len(scene.mails) == 4 and "mended" in scene.subjects[3]


def test_a_hook_that_failed_once_is_told_and_not_mended(scene: Scene) -> None:
    hook = Finding("hook-failed", Severity.WARNING, "/etc/mailseal/hooks/after.d/x", "status 1")
    scene.run(report(lineage(OLD), findings=[hook]))
    scene.run(report(lineage(OLD)))
    assert len(scene.mails) == 1


def test_a_certificate_that_nobody_renews_is_told(scene: Scene) -> None:
    late = generation(1, START - 77 * DAY)
    scene.run(report(lineage(late), waits=["mail: the CA's limit is reached"]))
    assert "was not renewed" in scene.subjects[0]
    assert "the CA's limit is reached" in scene.mails[0]


def test_waiting_is_no_trouble(scene: Scene) -> None:
    scene.run(report(lineage(OLD), errors=[Waiting("A rate limit")]))
    assert scene.mails == []


def test_what_comes_and_goes_is_no_news_each_time(scene: Scene) -> None:
    finding = Finding("handshake-failed", Severity.ERROR, "127.0.0.1:993", "no handshake")
    for hour in range(7 * 24):
        scene.run(report(lineage(generation(1, START)), findings=[finding] if hour % 2 else []))
        scene.later(HOUR)
    assert 2 <= len(scene.mails) <= 6


def test_a_certificate_that_is_asked_for_no_more_is_forgotten(scene: Scene) -> None:
    failing(scene, "web")
    scene.run(report(lineage(generation(1, START))))
    assert len(scene.mails) == 1
    assert msgspec.json.decode(scene.system.files.read(BOOK), type=Book).entries == ()


@pytest.mark.parametrize("command", ["setup", "rollback", "revoke"])
def test_who_sits_before_it_needs_no_mail(scene: Scene, command: str) -> None:
    scene.run(report(lineage(OLD), issued=[failed(DOWN)]), command)
    assert scene.mails == []


def test_a_summary_where_it_is_wanted(scene: Scene) -> None:
    from dataclasses import replace

    new = generation(2, START)
    done = replace(failed(DOWN), error=None, generation=new)
    ended = report(lineage(OLD, new, state=LineageState(proven={2: START})), issued=[done])
    scene.run(ended)
    assert scene.mails == []
    scene.settings = config("[notify]\nsummary = true\n")
    scene.run(ended)
    assert scene.subjects == ["[mailseal] mail.example.org: renewed: certificate mail"]
    assert "proven at every port" in scene.mails[0]


def test_nothing_to_tell_touches_nothing(scene: Scene) -> None:
    before = list(scene.system.machine.effects)
    scene.run(report(lineage(generation(1, START))))
    assert scene.system.machine.effects == before


def test_nobody_is_told_where_nobody_can_be() -> None:
    scene = Scene()  # no sendmail, and none was asked for
    assert scene.run(report(lineage(OLD), issued=[failed(DOWN)])) == ()
    scene.sendmail()
    scene.settings = config("[notify]\nenabled = false\n")
    assert scene.run(report(lineage(OLD), issued=[failed(DOWN)])) == ()
    assert scene.mails == []


def test_what_could_not_be_sent_is_sent_later(scene: Scene) -> None:
    scene.sendmail(status=75, stderr="sendmail: fatal: no room in the queue")
    found = scene.run(report(lineage(OLD), issued=[failed(DOWN)]))
    assert [f.code for f in found] == ["notify-unsent"]
    assert "no room in the queue" in found[0].seen
    scene.later(HOUR)
    scene.sendmail()
    assert scene.run(report(lineage(OLD), issued=[failed(DOWN)])) == ()
    assert len(scene.mails) == 2  # the try that failed, and the one that went out
    assert "(Written 2026-11-23 12:00 UTC; it could not be sent before.)" in scene.mails[1]
    scene.later(HOUR)
    failing(scene)
    assert len(scene.mails) == 2


def test_a_run_of_any_command_sends_what_is_left(scene: Scene) -> None:
    scene.sendmail(status=75)
    failing(scene)
    scene.sendmail()
    scene.run(report(lineage(OLD)), "rollback")
    assert len(scene.mails) == 2


def test_what_is_left_does_not_grow_without_end(scene: Scene) -> None:
    scene.sendmail(status=75)
    for number in range(MOST_UNSENT + 10):
        failing(scene, f"m{number}")
    book = msgspec.json.decode(scene.system.files.read(BOOK), type=Book)
    assert len(book.unsent) == MOST_UNSENT
    assert "certificate m29" in book.unsent[-1].message.subject


def test_killed_between_the_book_and_the_mail_it_is_sent_by_the_next_run(scene: Scene) -> None:
    machine = scene.system.machine
    machine.goes_wrong(Killed(), when=lambda effect: effect.kind == "run" and SENDMAIL in effect.subject)
    with machine.death():
        failing(scene)
    machine.all_well()
    assert scene.mails == []
    scene.system = MemorySystem(machine)
    failing(scene)
    assert len(scene.mails) == 1


def test_a_full_disk_keeps_nobody_from_being_told(scene: Scene) -> None:
    scene.system.machine.goes_wrong(
        errno.ENOSPC, when=lambda effect: effect.kind in ("create", "write"), lasting=True
    )
    found = scene.run(report(lineage(OLD), issued=[failed(DOWN)]))
    assert len(scene.mails) == 1
    assert "notify-not-remembered" in [f.code for f in found]


def test_a_damaged_book_counts_as_empty(scene: Scene) -> None:
    scene.system.machine.put(BOOK, b"{ damaged", mode=0o600)
    failing(scene)
    assert len(scene.mails) == 1


def test_a_clock_that_went_back_silences_nobody(scene: Scene) -> None:
    scene.later(400 * DAY)
    failing(scene)
    scene.later(-400 * DAY)
    failing(scene)
    failing(scene)
    assert len(scene.mails) == 2


def test_postfix_that_does_not_run_is_doubted(scene: Scene) -> None:
    machine = scene.system.machine
    machine.put("/etc/postfix/main.cf", b"")
    machine.put("/usr/sbin/postfix", b"", mode=0o755)
    machine.programs.says("/usr/sbin/postfix", "status", status=1)
    found = scene.run(report(lineage(OLD), issued=[failed(DOWN)]))
    assert [f.code for f in found] == ["notify-doubtful"]
    assert "second way" in found[0].mend


@pytest.mark.parametrize(
    "error",
    [ChallengeError("Port 80 is closed"), IssueError("refused"), MailsealError("anything")],
    ids=["challenge", "issue", "other"],
)
def test_every_error_of_an_order_is_told(scene: Scene, error: MailsealError) -> None:
    scene.run(report(lineage(OLD), issued=[failed(error)]))
    assert error.message in scene.mails[0]


def test_through_a_whole_run(scene: Scene) -> None:
    def renew(ended: Report) -> Run:
        return carry_out(scene.system, scene.settings, "renew", lambda: ended, lambda line: None)

    assert renew(report(lineage(OLD), issued=[failed(DOWN)])).report.exit_code is ExitCode.FAILED
    assert len(scene.mails) == 1
    scene.sendmail(status=75)
    mended = renew(report(lineage(generation(2, START))))
    assert mended.report.exit_code is ExitCode.FINDINGS  # nobody heard that it is mended
    scene.sendmail()
    assert renew(report(lineage(generation(2, START)))).report.exit_code is ExitCode.OK
    assert "mended" in scene.subjects[-1]


def test_a_run_that_raises_is_told(scene: Scene) -> None:
    def work() -> Report:
        raise SystemFault("The state directory cannot be written", reason="no space left on the device")

    with pytest.raises(SystemFault):
        carry_out(scene.system, scene.settings, "renew", work, lambda line: None)
    assert "no space left on the device" in scene.mails[0]


def test_ctrl_c_is_nobodys_trouble(scene: Scene) -> None:
    def work() -> Report:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        carry_out(scene.system, scene.settings, "renew", work, lambda line: None)
    assert scene.mails == []


def test_where_there_is_no_certificate_yet(scene: Scene) -> None:
    from mailseal.observe import Lineage

    scene.run(report(Lineage("mail", (), None, LineageState()), issued=[failed(DOWN)]))
    assert scene.subjects == ["[mailseal] mail.example.org: certificate mail could not be obtained"]
    assert "No certificate of mailseal's is served yet" in scene.mails[0]

"""Hooks: which run, when, what they are told, and what their failure means."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from mailseal.config.telling import Hooks
from mailseal.errors import ExitCode, HookFailed
from mailseal.history import Deed, History
from mailseal.hooks import MOST_VARIABLE, Lineage, Told, distrust, run_all
from mailseal.model import Severity
from tests.support.memory import START, Hangs, Machine, MemorySystem, Ran
from tests.support.memory_processes import Script, said
from tests.unit.telling.running import ROOT, codes, run
from tests.unit.test_reconcile import Stand, one_service

__all__ = ["one_service"]
pytestmark = pytest.mark.usefixtures("one_service")

HOOKS = "/etc/mailseal/hooks"
TOLD = Told("after", "renew", "1", START)


def hook(machine: Machine, name: str, play: Script = lambda system, argv, stdin: 0) -> str:
    path = f"{HOOKS}/{name}"
    machine.put(path, "#!/bin/sh\n", mode=0o755)
    machine.programs.on(path)(play)
    return path


def ran(machine: Machine) -> list[str]:
    return [one.argv[0] for one in machine.programs.ran if one.argv[0].startswith(HOOKS)]


def the(machine: Machine, path: str) -> Ran:
    return next(one for one in machine.programs.ran if one.argv == (path,))


@pytest.fixture
def stand() -> Stand:
    return Stand()


# Which files are hooks.


@pytest.mark.parametrize(
    ("name", "mode", "expected"),
    [
        ("10-open", 0o755, None),
        ("open_port", 0o700, None),
        ("open.sh", 0o755, "hook-skipped"),
        ("README", 0o644, "hook-skipped"),
        (".hidden", 0o755, ""),
        ("open~", 0o755, ""),
        ("open.dpkg-old", 0o755, ""),
        ("others", 0o777, "hook-refused"),
        ("group", 0o770, None),  # group root
    ],
)
def test_a_file_is_a_hook_by_name_mode_and_owner(name: str, mode: int, expected: str | None) -> None:
    system = MemorySystem()
    hook(system.machine, f"after.d/{name}")
    system.machine.put(f"{HOOKS}/after.d/{name}", "#!/bin/sh\n", mode=mode)
    came = run_all(system, Hooks(), lambda: TOLD, "after")
    assert bool(ran(system.machine)) is (expected is None)
    assert [finding.code for finding in came.findings] == ([expected] if expected else [])


def test_they_run_by_name_then_those_of_the_configuration() -> None:
    system = MemorySystem()
    for name in ("b", "10-a", "a"):
        hook(system.machine, f"after.d/{name}")
    system.machine.programs.says("/usr/bin/tell")
    system.machine.put("/usr/bin/tell", "#!/bin/sh\n", mode=0o755)
    hooks = Hooks(after=(("/usr/bin/tell", "it is done"),))
    assert run_all(system, hooks, lambda: TOLD, "after").findings == ()
    assert ran(system.machine) == [f"{HOOKS}/after.d/{name}" for name in ("10-a", "a", "b")]
    assert system.machine.programs.argvs()[-1] == ("/usr/bin/tell", "it is done")


def _foreign(machine: Machine) -> None:
    machine.put(f"{HOOKS}/after.d/x", "#!/bin/sh\n", mode=0o755, owner=(1000, 1000))


def _writable_folder(machine: Machine) -> None:
    machine.put_directory(f"{HOOKS}/after.d", mode=0o777)


def _foreign_folder(machine: Machine) -> None:
    machine.put_directory(HOOKS, owner=(1000, 1000))


def _group(machine: Machine) -> None:
    machine.put(f"{HOOKS}/after.d/x", "#!/bin/sh\n", mode=0o775, owner=(0, 50))


def _link(machine: Machine) -> None:
    machine.put("/home/user/x", "#!/bin/sh\n", mode=0o755, owner=(1000, 1000))
    machine.put_link(f"{HOOKS}/after.d/x", "/home/user/x")


def _link_by_way_of_a_stranger(machine: Machine) -> None:
    machine.put("/opt/x", "#!/bin/sh\n", mode=0o755)
    machine.put_link("/home/user/link", "/opt/x", owner=(1000, 1000))
    machine.put_link(f"{HOOKS}/after.d/x", "../../../../home/user/link")


def _circle(machine: Machine) -> None:
    machine.put_link(f"{HOOKS}/after.d/x", "x")


@pytest.mark.parametrize(
    ("twist", "names"),
    [
        (_foreign, "belongs to user 1000"),
        (_writable_folder, "can be written by others"),
        (_foreign_folder, f"{HOOKS} belongs to user 1000"),
        (_group, "can be written by others"),
        (_link, "/home/user/x belongs to user 1000"),
        (_link_by_way_of_a_stranger, "/home/user/link belongs to user 1000"),
        (_circle, "too many symbolic links"),
    ],
)
def test_what_another_could_have_written_is_not_run(twist: Callable[[Machine], None], names: str) -> None:
    machine = Machine()
    path = hook(machine, "after.d/x")
    twist(machine)
    assert names in distrust(MemorySystem(machine).files, path)
    run_all(MemorySystem(machine), Hooks(), lambda: TOLD, "after")
    assert ran(machine) == []


def test_roots_own_links_are_followed_and_a_sticky_directory_is_no_danger() -> None:
    machine = Machine()
    machine.put("/tmp/tools/x", "#!/bin/sh\n", mode=0o755)
    machine.put_link(f"{HOOKS}/after.d/x", "/tmp/tools/../tools/x")
    machine.programs.on(f"{HOOKS}/after.d/x")(lambda system, argv, stdin: 0)
    assert distrust(MemorySystem(machine).files, f"{HOOKS}/after.d/x") == ""
    run_all(MemorySystem(machine), Hooks(), lambda: TOLD, "after")
    assert ran(machine) == [f"{HOOKS}/after.d/x"]


def test_a_command_of_the_configuration_is_held_to_the_same_rule() -> None:
    machine = Machine()
    machine.put("/home/user/x", "#!/bin/sh\n", mode=0o755, owner=(1000, 1000))
    found = run_all(MemorySystem(machine), Hooks(before=(("/home/user/x",),)), lambda: TOLD, "before")
    assert [finding.code for finding in found.findings] == ["hook-refused"] and found.failed == 1
    assert machine.programs.ran == []


# What they are told.


def test_names_that_do_not_fit_into_a_variable_are_counted() -> None:
    names = [f"lineage-{number:05d}" for number in range(10_000)]
    told = Told("after", "renew", "1", START, tuple(Lineage(name, done=("deployed",)) for name in names))
    found = told.environment()
    kept = found["MAILSEAL_LINEAGES"].split()
    assert kept == names[: len(kept)] and int(found["MAILSEAL_LEFT_OUT"]) == len(names) - len(kept)
    assert len(found["MAILSEAL_LINEAGES"]) <= MOST_VARIABLE


def test_before_and_after_a_renewal(stand: Stand) -> None:
    before, after = hook(stand.machine, "before.d/note"), hook(stand.machine, "after.d/note")
    assert run(stand).report.exit_code is ExitCode.OK
    assert ran(stand.machine) == [before, after]
    asked, told = the(stand.machine, before), the(stand.machine, after)
    assert dict(asked.env)["MAILSEAL_EVENT"] == "before" and dict(told.env)["MAILSEAL_EVENT"] == "after"
    assert dict(told.env)["MAILSEAL_CHANGED"] == "mail" and dict(told.env)["MAILSEAL_EXIT_STATUS"] == "0"
    first, last = json.loads(asked.stdin), json.loads(told.stdin)
    assert first["event"] == "before" and first["ended"] is None
    assert first["lineages"] == [{"name": "mail", "identifiers": ["mail.example.org"]}]
    assert any(step.startswith("order a certificate") for step in first["steps"])
    assert last["lineages"][0]["done"] == ["ordered", "deployed", "proven"]
    assert last["lineages"][0]["directory"] == f"{ROOT}/lineages/mail/current"
    assert last["lineages"][0]["generation"] == 1 and last["exit_status"] == 0
    assert first["run"] == last["run"] == dict(told.env)["MAILSEAL_RUN"]
    for one in stand.machine.programs.ran:
        assert b"PRIVATE KEY" not in one.stdin and "PRIVATE KEY" not in str(one.env)


def test_a_run_with_nothing_to_do_runs_none(stand: Stand) -> None:
    run(stand)
    hook(stand.machine, "before.d/note")
    hook(stand.machine, "after.d/note")
    assert run(stand).report.exit_code is ExitCode.OK
    assert ran(stand.machine) == []


def test_the_hook_before_comes_before_the_first_question_to_the_ca(stand: Stand) -> None:
    seen: list[int] = []
    hook(stand.machine, "before.d/note", lambda system, argv, stdin: seen.append(len(stand.ca.state.orders)))
    run(stand)
    assert seen == [0] and len(stand.ca.state.orders) == 1


def test_after_a_failure_it_is_told_of_that(stand: Stand) -> None:
    run(stand)
    stand.later(days=61)
    after = hook(stand.machine, "after.d/note")
    stand.poisons(2)
    came = run(stand)
    assert came.report.exit_code is ExitCode.FAILED
    told = the(stand.machine, after)
    assert dict(told.env)["MAILSEAL_FAILED"] == "mail" and dict(told.env)["MAILSEAL_EXIT_STATUS"] == "3"
    assert "Taken back" in json.loads(told.stdin)["lineages"][0]["failed"]


# What their failure means.


def test_a_hook_after_that_fails_changes_the_exit_code_and_nothing_else(stand: Stand) -> None:
    hook(stand.machine, "after.d/10-bad", lambda system, argv, stdin: said(argv, stderr="no\n", status=7))
    hook(stand.machine, "after.d/20-good")
    came = run(stand)
    assert came.report.exit_code is ExitCode.FINDINGS and stand.serves == 1
    assert ran(stand.machine) == [f"{HOOKS}/after.d/10-bad", f"{HOOKS}/after.d/20-good"]
    found = next(finding for finding in came.report.findings if finding.code == "hook-failed")
    assert found.severity is Severity.WARNING and "status 7: no" in found.seen
    last = list(History(MemorySystem(stand.machine), ROOT).lines())[-1]
    assert last.event is Deed.HOOK_FAILED and last.run == came.id and "10-bad" in last.detail
    assert run(stand).report.exit_code is ExitCode.OK, "the next run has nothing to tell"


def test_a_hanging_hook_is_ended_in_its_time(stand: Stand) -> None:
    def hangs(system: MemorySystem, argv: tuple[str, ...], stdin: bytes) -> int:
        raise Hangs

    hook(stand.machine, "after.d/hangs", hangs)
    stand.more = "[hooks]\ntimeout = 5\n"
    came = run(stand)
    assert came.report.exit_code is ExitCode.FINDINGS and stand.serves == 1
    assert any("did not end within 5 s" in f.seen for f in came.report.findings if f.code == "hook-failed")


def test_a_hook_before_that_fails_stops_the_run(stand: Stand) -> None:
    hook(stand.machine, "before.d/10-bad", lambda system, argv, stdin: 1)
    hook(stand.machine, "before.d/20-more")
    after = hook(stand.machine, "after.d/note")
    came = run(stand)
    assert came.report.exit_code is ExitCode.FAILED
    assert [type(error) for error in came.report.errors] == [HookFailed]
    assert stand.machine.tree("/etc/mailseal").keys() >= {HOOKS} and stand.before == {
        path: state for path, state in stand.machine.tree("/etc").items() if "/mailseal" not in path
    }
    assert stand.ca.state.orders == {} and ran(stand.machine) == [f"{HOOKS}/before.d/10-bad", after]
    # Mended, the next run goes on.
    hook(stand.machine, "before.d/10-bad")
    assert run(stand).report.exit_code is ExitCode.OK and stand.serves == 1


def test_or_is_told_of_only_where_the_configuration_says_so(stand: Stand) -> None:
    hook(stand.machine, "before.d/bad", lambda system, argv, stdin: 1)
    stand.more = "[hooks]\nbefore_must_succeed = false\n"
    came = run(stand)
    assert came.report.exit_code is ExitCode.FINDINGS and codes(came) == {"hook-failed"}
    assert stand.serves == 1


def test_nothing_stops_a_run_that_saves_a_certificate_from_expiring(stand: Stand) -> None:
    run(stand)
    hook(stand.machine, "before.d/bad", lambda system, argv, stdin: 1)
    stand.later(days=80)
    assert run(stand).report.exit_code is ExitCode.FAILED and stand.serves == 1
    stand.later(days=6)  # of the 90
    assert run(stand).report.exit_code is ExitCode.FINDINGS and stand.serves == 2


def test_a_hook_may_ask_for_the_status_meanwhile(stand: Stand) -> None:
    from mailseal.cli.status import gather

    seen: list[int] = []

    def asks(system: MemorySystem, argv: tuple[str, ...], stdin: bytes) -> int:
        seen.append(gather(MemorySystem(stand.machine), stand.config())[0].generation)
        return 0

    hook(stand.machine, "before.d/asks", asks)
    hook(stand.machine, "after.d/asks", asks)
    run(stand)
    assert seen == [0, 1]


# Under systemd.


Properties = dict[str, str]


def _in_unit(machine: Machine, unit: str = "mailseal.service") -> None:
    machine.put_directory("/run/systemd/system")
    machine.put("/proc/self/cgroup", f"8:pids:/\n0::/system.slice/{unit}\n")
    for program in ("systemd-run", "systemctl", "journalctl"):
        machine.put(f"/usr/bin/{program}", "", mode=0o755)


def _ends(machine: Machine, state: Properties | None, words: str = "") -> list[str]:
    """systemd runs what it is asked to, which ends in this state (None: well); the list gets what it was given."""
    given: list[str] = []

    def runs(system: MemorySystem, argv: tuple[str, ...], stdin: bytes) -> int:
        path = next(word.partition("file:")[2] for word in argv if "StandardInput" in word)
        found = system.files.state(path)
        assert (found.mode, found.uid) == (0o600, 0)
        given.append(found.content.decode())
        return 0 if state is None else 1

    machine.programs.on("systemd-run")(runs)
    told = {"LoadState": "loaded", **(state or {})}
    machine.programs.says("systemctl", "show", stdout="".join(f"{k}={v}\n" for k, v in told.items()))
    machine.programs.says("systemctl", "reset-failed")
    machine.programs.says("systemctl", "stop")
    machine.programs.says("journalctl", stdout=words)
    return given


def test_in_our_unit_a_hook_gets_a_unit_of_its_own() -> None:
    machine = Machine()
    _in_unit(machine)
    given = _ends(machine, None)
    path = hook(machine, "after.d/x")
    assert run_all(MemorySystem(machine), Hooks(timeout=9), lambda: TOLD, "after").findings == ()
    (done,) = machine.programs.ran
    assert done.argv[0] == "systemd-run" and done.argv[-2:] == ("--", path)
    assert "--property=TimeoutStartSec=9" in done.argv and "--setenv=MAILSEAL_EVENT=after" in done.argv
    assert json.loads(given[0])["event"] == "after"
    assert not [name for name in machine.tree("/run") if name.endswith(".input")]


@pytest.mark.parametrize(
    ("state", "seen"),
    [
        (
            {"Result": "exit-code", "ExecMainCode": "1", "ExecMainStatus": "3"},
            "it ended with status 3: no tea",
        ),
        (
            {"Result": "signal", "ExecMainCode": "2", "ExecMainStatus": "9"},
            "it was ended by signal 9: no tea",
        ),
        (
            {"Result": "timeout", "ExecMainCode": "2", "ExecMainStatus": "15"},
            "it did not end within 9 s and was ended: no tea",
        ),
        ({"LoadState": "not-found"}, f"Cannot run {HOOKS}/after.d/x"),
    ],
)
def test_how_it_ended_there(state: Properties, seen: str) -> None:
    machine = Machine()
    _in_unit(machine)
    _ends(machine, state, "no tea\n")
    hook(machine, "after.d/x")
    (found,) = run_all(MemorySystem(machine), Hooks(timeout=9), lambda: TOLD, "after").findings
    assert (found.code, found.seen) == ("hook-failed", seen)
    forgotten = [argv for argv in machine.programs.argvs() if argv[1] == "reset-failed"]
    assert len(forgotten) == (state.get("LoadState") is None), "no failed unit stays behind"


def test_a_unit_that_does_not_come_back_is_stopped() -> None:
    machine = Machine()
    _in_unit(machine)
    _ends(machine, None)
    hook(machine, "after.d/x")

    def hangs(system: MemorySystem, argv: tuple[str, ...], stdin: bytes) -> int:
        raise Hangs

    machine.programs.on("systemd-run")(hangs)
    found = run_all(MemorySystem(machine), Hooks(timeout=9), lambda: TOLD, "after")
    assert [finding.code for finding in found.findings] == ["hook-failed"]
    unit = next(word for word in machine.programs.ran[0].argv if word.startswith("--unit="))
    assert machine.programs.argvs()[1] == ("systemctl", "stop", "--no-block", unit.removeprefix("--unit="))
    assert not [name for name in machine.tree("/run") if name.endswith(".input")]


@pytest.mark.parametrize("unit", ["ssh.service", "cron.service", "my-mailseal.service"])
def test_elsewhere_it_is_a_child(unit: str) -> None:
    machine = Machine()
    _in_unit(machine, unit)
    path = hook(machine, "after.d/x")
    run_all(MemorySystem(machine), Hooks(), lambda: TOLD, "after")
    assert machine.programs.argvs() == [(path,)]

"""Hooks on a real host: told what happened, able to ask mailseal, their failure in the exit status, ended in time."""

from __future__ import annotations

import json

from lab.ca import Pebble
from lab.host import Host
from lab.world import World
from tests.lab.job import CONFIG, add_name, setup, view

HOOKS = "/etc/mailseal/hooks"
NOTES = "/var/tmp/notes"


def _hook(mail: Host, name: str, body: str, mode: int = 0o755) -> None:
    mail.run(["mkdir", "-p", f"{HOOKS}/before.d", f"{HOOKS}/after.d", NOTES])
    mail.write(f"{HOOKS}/{name}", f"#!/bin/sh\n{body}\n", mode)


def _limit(mail: Host, seconds: int) -> None:
    text = mail.read(CONFIG).partition("\n[hooks]\n")[0]
    mail.write(CONFIG, f"{text}\n[hooks]\ntimeout = {seconds}\n")


def _note(mail: Host, name: str, ask: str) -> str:
    """A hook that writes down what it is told, and what a command of mailseal says meanwhile."""
    command = " ".join(mail.mailseal_command)
    return (
        f"exec >{NOTES}/{name}.out 2>&1\n"
        f"env >{NOTES}/{name}.env; cat >{NOTES}/{name}.json\n"
        f"{command} {ask} >&2; echo ended $?\n"
    )


def _variables(mail: Host, name: str) -> dict[str, str]:
    pairs = (line.partition("=") for line in mail.read(f"{NOTES}/{name}.env").splitlines())
    return {key: value for key, _, value in pairs if key.startswith("MAILSEAL_")}


def test_hooks_before_and_after(world: World, pebble: Pebble, mail: Host) -> None:
    setup(mail, pebble)
    _limit(mail, 600)
    _hook(mail, "before.d/note", _note(mail, "before", "check"))
    _hook(mail, "after.d/10-note", _note(mail, "after", "status"))
    add_name(world, mail)
    done = mail.mailseal("apply", "--json", timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr

    for name in ("before", "after"):  # the lock is held by the run before, and by nobody after
        told = mail.read(f"{NOTES}/{name}.out")
        assert told.splitlines()[-1] in ("ended 0", "ended 1") and "Another mailseal" not in told, told
    before, after = _variables(mail, "before"), _variables(mail, "after")
    assert (before["MAILSEAL_EVENT"], after["MAILSEAL_EVENT"]) == ("before", "after")
    assert before["MAILSEAL_RUN"] == after["MAILSEAL_RUN"] and after["MAILSEAL_CHANGED"] == "mail"
    document = json.loads(mail.read(f"{NOTES}/after.json"))
    assert document["lineages"][0]["done"] == ["ordered", "deployed", "proven"]
    assert document["lineages"][0]["generation"] == 2 and document["exit_status"] == 0
    history = [json.loads(line) for line in mail.read("/var/lib/mailseal/history.jsonl").splitlines()]
    deeds = [line["event"] for line in history if line["run"] == document["run"] and "lineage" in line]
    assert deeds == ["ordered", "deployed", "proven"]

    # Nothing to do: no hook runs.
    mail.run(["rm", "-r", NOTES])
    assert mail.mailseal("apply", timeout=120).returncode == 0
    assert not mail.exists(NOTES)

    # One fails, one hangs with a child of its own, one could be written by everybody: each is a finding, the rest runs.
    _hook(mail, "after.d/20-fails", "echo 'the tea is cold' >&2; exit 3")
    _hook(mail, "after.d/30-hangs", "sleep 1234 & sleep 4321")
    _hook(mail, "after.d/40-anybodys", "touch /var/tmp/owned", 0o777)
    _hook(mail, "after.d/50-last", f"touch {NOTES}/last")
    _limit(mail, 6)
    mail.run(["rm", f"{HOOKS}/before.d/note", f"{HOOKS}/after.d/10-note"])
    add_name(world, mail, "imap.example.test")
    done = mail.mailseal("apply", "--json", timeout=120)
    report = json.loads(done.stdout)
    assert done.returncode == 1 and report["exit_status"] == 1, done.stdout + done.stderr
    found = {one["subject"].rpartition("/")[2]: one for one in report["findings"]}
    assert found["20-fails"]["code"] == "hook-failed" and "the tea is cold" in found["20-fails"]["seen"]
    assert found["30-hangs"]["code"] == "hook-failed" and "within 6 s" in found["30-hangs"]["seen"]
    assert found["40-anybodys"]["code"] == "hook-refused" and not mail.exists("/var/tmp/owned")
    assert mail.exists(f"{NOTES}/last")
    assert not mail.pids("-f", "sleep (1234|4321)")
    served = view(world)
    assert len(set(served.values())) == 1, served

    # One before the change says no: nothing is ordered, nothing changes, and it is told.
    _hook(mail, "before.d/veto", "echo 'not today'; exit 1")
    mail.sh(f"rm {HOOKS}/after.d/*")
    add_name(world, mail, "smtp.example.test")
    refused = mail.mailseal("apply", timeout=120)
    assert refused.returncode == 3 and "not today" in refused.stderr, refused.stderr
    assert view(world) == served
    last = json.loads(mail.read("/var/lib/mailseal/last-run.json"))
    assert last["exit_status"] == 3 and "veto" in last["errors"][0]

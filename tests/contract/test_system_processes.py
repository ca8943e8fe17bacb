"""What the port `Processes` promises."""

from __future__ import annotations

import errno
import time
from pathlib import Path

import pytest

from mailseal.errors import CommandTimeout
from tests.support.memory import Hangs, MemorySystem, said
from tests.support.stages import Stage, refused


def runs(pid: int) -> bool:
    """Whether a process is there and not a zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_a_process_is_run_by_argv_without_a_shell(stage: Stage) -> None:
    path = stage.program(
        "show",
        'printf "%s|" "$@"; cat; echo trouble >&2; exit 3',
        lambda system, argv, stdin: said(
            argv, "|".join([*argv[1:], ""]) + stdin.decode(), stderr="trouble\n", status=3
        ),
    )
    done = stage.system.processes.run([path, "$HOME", "a b", ";"], stdin=b"from stdin")
    assert done.stdout == "$HOME|a b|;|from stdin"
    assert (done.stderr, done.status, done.ok, done.said) == ("trouble\n", 3, False, "trouble")
    assert done.argv == (path, "$HOME", "a b", ";")


def test_what_is_not_installed_cannot_be_run(stage: Stage) -> None:
    processes = stage.system.processes
    assert processes.which("no-such-daemon") is None
    fault = refused(stage, errno.ENOENT, lambda: processes.run(["no-such-daemon", "-t"]))
    assert "no-such-daemon" in fault.message
    refused(stage, errno.ENOENT, lambda: processes.spawn([f"{stage.root}/nothing"]))
    path = stage.program("daemon", "true", lambda system, argv, stdin: 0)
    assert processes.which(path) == path
    stage.widen(path, 0o644)
    if stage.name == "local":
        assert processes.which(path) is None


def test_a_process_that_hangs_is_ended_in_time(stage: Stage) -> None:
    def hang(system: MemorySystem, argv: tuple[str, ...], stdin: bytes) -> None:
        raise Hangs

    path = stage.program(
        "hang", "trap '' TERM; sleep 600 & echo $! >\"$0.pid\"; echo waiting; wait; sleep 600", hang
    )
    before, began = stage.system.clock.monotonic(), time.monotonic()
    with pytest.raises(CommandTimeout) as caught:
        stage.system.processes.run([path], timeout=3.0)
    assert path in caught.value.message
    assert time.monotonic() - began < 120  # far from the ten minutes that it would sleep
    assert stage.system.clock.monotonic() - before > 2.99
    if stage.name == "local":
        child = int(Path(f"{path}.pid").read_text())
        gone = began + 120
        while runs(child) and time.monotonic() < gone:
            time.sleep(0.05)  # it was sent the signal; the kernel takes a moment on a loaded machine
        assert not runs(child), "the whole group is ended"


def test_a_spawned_process_runs_until_it_is_terminated(stage: Stage) -> None:
    path = stage.program("daemon", "exec sleep 600", lambda system, argv, stdin: None)
    process = stage.system.processes.spawn([path])
    assert process.poll() is None
    process.terminate()
    assert process.poll() == -15
    process.terminate()

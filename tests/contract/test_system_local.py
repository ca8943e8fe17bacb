"""What only the real machine can be asked: real processes, mounts, start-up, locks that die with their holder."""

from __future__ import annotations

import errno
import os
import sys
import threading
import time
from pathlib import Path

import pytest

from lab.guard import Unavailable
from mailseal.errors import Locked, SystemFault
from mailseal.system.local import LocalSystem
from tests.conftest import give_up
from tests.support import traced
from tests.support.memory import MemorySystem


def forbidden(pid: int) -> int:
    raise PermissionError(errno.EPERM, "by a container's seccomp profile")


@pytest.mark.parametrize("told", [True, False], ids=["by pidfd", "by looking"])
def test_a_daemon_left_behind_is_not_waited_for(monkeypatch: pytest.MonkeyPatch, told: bool) -> None:
    if not told:
        monkeypatch.setattr(os, "pidfd_open", forbidden)
    began = time.monotonic()
    done = LocalSystem().processes.run(["sh", "-c", "echo started; sleep 3 & echo $!"])
    assert done.stdout.startswith("started\n")
    assert time.monotonic() - began < 2
    os.kill(int(done.stdout.split()[1]), 9)


def test_output_beyond_the_bound_stops_the_process() -> None:
    with pytest.raises(SystemFault) as caught:
        LocalSystem().processes.run(["cat", "/dev/zero"], timeout=30)
    assert caught.value.errno == errno.EFBIG


def test_much_input_to_one_who_does_not_read_it() -> None:
    assert LocalSystem().processes.run(["true"], stdin=b"x" * 1_000_000, timeout=10).ok
    echoed = LocalSystem().processes.run(["cat"], stdin=b"x" * 1_000_000, timeout=10)
    assert len(echoed.stdout) == 1_000_000


def test_the_environment_is_small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET_OF_THE_SHELL", "1")
    monkeypatch.setenv("PATH", "relative:/usr/bin:/bin")
    done = LocalSystem().processes.run(
        ["sh", "-c", "env; umask; pwd; ls /proc/self/fd | wc -l"], env={"ADDED": "yes"}
    )
    lines = done.stdout.splitlines()
    assert "SECRET_OF_THE_SHELL=1" not in lines
    assert {"LANG=C.UTF-8", "ADDED=yes", "0022"} <= set(lines)
    path = next(line for line in lines if line.startswith("PATH="))
    assert path.startswith("PATH=/usr/bin:/bin:") and "/usr/sbin" in path and "relative" not in path
    assert lines[-2] == "/"
    assert int(lines[-1]) <= 4


def test_the_lock_dies_with_its_holder(tmp_path: Path) -> None:
    path = str(tmp_path / "mailseal.lock")
    holder = (
        "import sys, time; from mailseal.system.local import LocalSystem\n"
        f"with LocalSystem().lock({path!r}): print('held', flush=True); time.sleep(60)"
    )
    import subprocess

    with subprocess.Popen(
        [sys.executable, "-c", holder], stdout=subprocess.PIPE, env={"PYTHONPATH": ":".join(sys.path)}
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"held\n"
        with pytest.raises(Locked, match=f"pid {process.pid}"), LocalSystem().lock(path):
            pass
        process.kill()
        process.wait()
        with LocalSystem().lock(path):
            pass


def test_waiting_for_the_lock_gets_it(tmp_path: Path) -> None:
    path = str(tmp_path / "mailseal.lock")
    held, release = threading.Event(), threading.Event()

    def hold() -> None:
        with LocalSystem().lock(path):
            held.set()
            release.wait(5)

    thread = threading.Thread(target=hold)
    thread.start()
    held.wait(5)
    threading.Timer(0.1, release.set).start()
    with LocalSystem().lock(path, wait=5):
        pass
    thread.join()


def test_a_fifo_or_device_is_not_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    files = LocalSystem().files
    assert files.state(str(tmp_path / "fifo")).kind == "other"
    for path in (str(tmp_path / "fifo"), "/dev/zero"):
        with pytest.raises(SystemFault):
            files.read(path)
    with pytest.raises(SystemFault):
        files.append(str(tmp_path / "fifo"), b"x")


def test_files_without_a_size_are_read() -> None:
    assert LocalSystem().files.read("/proc/self/stat")


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to mount")
def test_a_full_disk_is_told_and_leaves_nothing(tmp_path: Path) -> None:
    """A file system of 64 KiB, in a mount namespace that ends with the child."""
    program = (
        "import ctypes, os, sys\n"
        "from mailseal.errors import SystemFault\n"
        "from mailseal.system.local import LocalSystem\n"
        "libc = ctypes.CDLL(None, use_errno=True)\n"
        "if libc.unshare(0x00020000) or libc.mount(b'', b'/', None, 0x44000, None): sys.exit(77)\n"
        f"root = {str(tmp_path)!r}\n"
        "if libc.mount(b'tmpfs', root.encode(), b'tmpfs', 0, b'size=64k,mode=0755'): sys.exit(77)\n"
        "files = LocalSystem().files\n"
        "files.create(root + '/old', b'old', mode=0o600)\n"
        "for act in (files.create, files.replace):\n"
        "    try: act(root + '/' + ('new' if act == files.create else 'old'), b'x' * 100000, mode=0o600)\n"
        "    except SystemFault as fault: print(fault.errno, fault.next_command)\n"
        "try: files.append(root + '/old', b'x' * 100000)\n"
        "except SystemFault as fault: print(fault.errno, fault.next_command)\n"
        "print(files.listdir(root), files.read(root + '/old'))\n"
    )
    done = LocalSystem().processes.run(
        [sys.executable, "-c", program], env={"PYTHONPATH": ":".join(sys.path)}
    )
    if done.status == 77:
        give_up(Unavailable("no mount namespaces here"))
    *faults, left = done.stdout.splitlines()
    assert done.ok, done.said
    assert len(faults) == 3 and all(
        fault.startswith(f"{errno.ENOSPC} ") and "df -h" in fault for fault in faults
    )
    assert left == "('old',) b'old'"


def test_loading_it_loads_nothing_heavy() -> None:
    program = "import sys, mailseal.system.local; print(*sys.modules)"
    done = LocalSystem().processes.run(
        [sys.executable, "-c", program], env={"PYTHONPATH": ":".join(sys.path)}
    )
    loaded = set(done.stdout.split())
    assert "mailseal.system.files" in loaded
    assert not loaded & {
        "aiohttp",
        "asyncio",
        "ssl",
        "dns",
        "OpenSSL",
        "cryptography",
        "jinja2",
        "rich",
        "msgspec",
    }


CALLS = {
    "openat": "create",
    "mkdirat": "mkdir",
    "write": "write",
    "fchown": "chown",
    "fchmod": "chmod",
    "fsync": "fsync",
    "renameat": "rename",
    "symlinkat": "symlink",
}
NEVER = (
    "open",
    "creat",
    "umask",
    "chmod",
    "fchmodat",
    "chown",
    "fchownat",
    "rename",
    "link",
    "linkat",
    "truncate",
)


@pytest.mark.skipif(os.geteuid() != 0, reason="gives a file to another group")
def test_the_calls_of_a_write(tmp_path: Path) -> None:
    """As the kernel sees them: every file born 0600, never followed, and in the order that memory counts."""
    processes, trace = LocalSystem().processes, tmp_path / "trace"
    if processes.which("strace") is None:
        give_up(Unavailable("strace is not installed"))
    stage = tmp_path / "stage"
    stage.mkdir()
    watched = ",".join([*CALLS, "unlinkat", *NEVER])
    done = processes.run(
        [
            "strace",
            "-fy",
            "-e",
            f"trace={watched}",
            "-o",
            str(trace),
            sys.executable,
            traced.__file__,
            str(stage),
        ],
        env={"PYTHONPATH": ":".join(sys.path), "PYTHONDONTWRITEBYTECODE": "1"},
    )
    if "PTRACE" in done.said:
        give_up(Unavailable("no tracing here"))
    assert done.ok, done.said
    calls = []
    for line in trace.read_text().splitlines():
        call = line.split("(")[0].split()[-1]
        if str(stage) not in line or (call == "openat" and "O_CREAT" not in line):
            continue
        if call == "openat":
            assert line.split("O_WRONLY|", 1)[1].startswith("O_CREAT|O_EXCL|O_NOFOLLOW|O_CLOEXEC, 0600)")
        if call == "mkdirat":
            assert line.endswith(", 0700) = 0")
        if call == "unlinkat":
            calls.append("rmdir" if "AT_REMOVEDIR" in line else "unlink")
        else:
            calls.append(CALLS[call])
    memory = MemorySystem()
    traced.writes(memory.files, "/var/lib")
    assert calls == [effect.kind for effect in memory.machine.effects]

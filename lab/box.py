"""What can be asked of a lab host, whether it is a container or a whole machine.

`Box` is the one interface that tests are written against; `lab.host.Host` and
`lab.machine.Machine` say only how to get in. Commands enter through nsenter(1),
with an environment of their own (nothing of the caller's leaks in) and without
the capability to set the clock, which has no namespace here and is the host's.

Output goes through files, not pipes: a daemon that a control command leaves
behind may keep its standard output open, and a pipe would make the caller wait
for it. A command that runs out of time is killed with its whole process group.
"""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import subprocess
import tempfile
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Self

from lab.guard import CHECKOUT
from lab.recipe import LAB_PYTHON

SOURCE = "/src/mailseal"

_NOT_OURS = "-sys_time,-sys_module,-sys_rawio,-sys_boot,-wake_alarm"

ENVIRONMENT = {
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "HOME": "/root",
    "LC_ALL": "C.UTF-8",
    "TERM": "dumb",
    "PYTHONDONTWRITEBYTECODE": "1",
}

SNAPSHOT = """
import grp, hashlib, os, pwd, stat, sys

def tell(path):
    try:
        status = os.lstat(path)
    except FileNotFoundError:
        return
    kind = stat.filemode(status.st_mode)
    owner = f"{pwd.getpwuid(status.st_uid).pw_name}:{grp.getgrgid(status.st_gid).gr_name}"
    content = ""
    if stat.S_ISREG(status.st_mode):
        content = hashlib.sha256(open(path, "rb").read()).hexdigest()
    elif stat.S_ISLNK(status.st_mode):
        content = os.readlink(path)
    print(f"{path}|{kind} {owner} {content}".rstrip())

for top in sys.argv[1:]:
    tell(top)
    for folder, folders, files in os.walk(top):
        for name in sorted(folders + files):
            tell(os.path.join(folder, name))
"""

Result = subprocess.CompletedProcess[str]


class CommandFailed(Exception):
    """A command inside ended with another status than 0; tells its output."""

    def __init__(self, box: str, result: Result) -> None:
        said = "\n".join(text.rstrip() for text in (result.stdout, result.stderr) if text.strip())
        super().__init__(f"{shlex.join(result.args)} on {box} ended with {result.returncode}:\n{said}")
        self.result = result


class Spawned(subprocess.Popen[bytes]):
    """A process left running inside; signals reach it and its children, not only the nsenter before it."""

    def send_signal(self, sig: int) -> None:
        """To the whole process group, as a terminal would."""
        if self.poll() is None:
            os.killpg(self.pid, sig)


class Box(ABC):
    """A host of the lab: run commands in it, read and write its files."""

    ipv4: str
    ipv6: str

    def __init__(self, name: str, release: str) -> None:
        self.name = name
        self.release = release
        self.mailseal_command: tuple[str, ...] = ("/opt/lab/bin/mailseal",)
        self._spawned: list[Spawned] = []

    @abstractmethod
    def enter(self) -> list[str]:
        """The argv prefix that runs the rest inside."""

    @abstractmethod
    def _stop(self) -> None:
        """Kills the first process of the namespaces, and so all."""

    def stop(self) -> None:
        """Ends everything inside at once; what was written there is gone."""
        self._stop()
        for process in self._spawned:
            process.wait()
        self._spawned.clear()

    def run(
        self,
        argv: Sequence[str],
        *,
        input: str | None = None,  # noqa: A002 - the name subprocess has for it
        timeout: float = 60,
        check: bool = True,
        env: Mapping[str, str] | None = None,
        user: str | None = None,
        cwd: str | None = None,
    ) -> Result:
        """Runs to the end; raises CommandFailed, or subprocess.TimeoutExpired after `timeout` seconds."""
        with (
            tempfile.TemporaryFile() as source,
            tempfile.TemporaryFile() as out,
            tempfile.TemporaryFile() as err,
        ):
            source.write((input or "").encode())
            source.seek(0)
            process = Spawned(
                self._argv(argv, user, cwd),
                stdin=source,
                stdout=out,
                stderr=err,
                env=self._env(env),
                start_new_session=True,
            )
            try:
                process.wait(timeout)
            except BaseException as stopped:
                process.kill()
                process.wait()
                if isinstance(stopped, subprocess.TimeoutExpired):
                    raise subprocess.TimeoutExpired(list(argv), timeout, _text(out), _text(err)) from None
                raise
            result = Result(list(argv), process.returncode, _text(out), _text(err))
        if check and result.returncode != 0:
            raise CommandFailed(self.name, result)
        return result

    def sh(self, script: str, *, timeout: float = 60, check: bool = True) -> str:
        """A shell script's standard output."""
        return self.run(["sh", "-euc", script], timeout=timeout, check=check).stdout

    def spawn(
        self,
        argv: Sequence[str],
        *,
        env: Mapping[str, str] | None = None,
        log: str | None = None,
        user: str | None = None,
    ) -> Spawned:
        """Starts and leaves running; its output goes to `log`, a path inside, or nowhere."""
        if log is not None:
            argv = ["sh", "-c", 'log=$1; shift; exec "$@" >>"$log" 2>&1', "sh", log, *argv]
        process = Spawned(
            self._argv(argv, user, None),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env=self._env(env),
            start_new_session=True,
        )
        self._spawned.append(process)
        return process

    def write(self, path: str, text: str, mode: int = 0o644) -> None:
        """Writes a file inside (never through a link of ours: the path is walked inside), with its folders."""
        script = 'mkdir -p "$(dirname "$1")"; cat >"$1"; chmod "$2" "$1"'
        self.run(["sh", "-euc", script, "sh", path, f"{mode:o}"], input=text)

    def read(self, path: str) -> str:
        """A file's text; raises CommandFailed if it cannot be read."""
        return self.run(["cat", path]).stdout

    def exists(self, path: str) -> bool:
        """Whether there is anything under that name, a dangling link included."""
        return self.run(["sh", "-c", '[ -e "$1" ] || [ -L "$1" ]', "sh", path], check=False).returncode == 0

    def python(self, code: str | Path, *args: str, timeout: float = 60, check: bool = True) -> Result:
        """Runs code, or a file of the checkout, with the runtime dependencies, `mailseal` and `lab` importable."""
        if isinstance(code, Path):
            what = [f"{SOURCE}/{code.resolve().relative_to(CHECKOUT)}"]
        else:
            what = ["-c", code]
        env = {"PYTHONPATH": f"{SOURCE}/src:{SOURCE}"}
        return self.run([LAB_PYTHON, *what, *args], timeout=timeout, check=check, env=env)

    def mailseal(
        self,
        *args: str,
        check: bool = False,
        timeout: float = 300,
        env: Mapping[str, str] | None = None,
        input: str | None = None,  # noqa: A002 - the name subprocess has for it
    ) -> Result:
        """The program under test, from the checkout unless `mailseal_command` names an installed one."""
        argv = [*self.mailseal_command, *args]
        return self.run(argv, check=check, timeout=timeout, env=env, input=input)

    def listening(self) -> set[tuple[str, int]]:
        """Address and TCP port of everything that listens inside."""
        pairs = (line.split()[3].rpartition(":") for line in self.run(["ss", "-Hltn"]).stdout.splitlines())
        return {(address.strip("[]"), int(port)) for address, _, port in pairs}

    def wait_listening(self, *ports: int, timeout: float = 20) -> None:
        """Returns when all of these TCP ports are listened on; raises TimeoutError."""
        deadline = time.monotonic() + timeout
        while missing := set(ports) - {port for _, port in self.listening()}:
            if time.monotonic() > deadline:
                raise TimeoutError(f"Nothing listens on {sorted(missing)} of {self.name} after {timeout:g} s")
            time.sleep(0.05)

    def pids(self, *argv: str) -> list[int]:
        """Process IDs inside, by pgrep's arguments."""
        return [int(pid) for pid in self.run(["pgrep", *argv], check=False).stdout.split()]

    def snapshot(self, *paths: str) -> dict[str, str]:
        """Every file under `paths`: type, mode, owner, and content's hash or link's target. For before and after."""
        told = self.run(["/usr/bin/python3", "-I", "-c", SNAPSHOT, *paths], timeout=120).stdout
        return dict(line.rsplit("|", 1) for line in told.splitlines())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _argv(self, argv: Sequence[str], user: str | None, cwd: str | None) -> list[str]:
        prefix = [*self.enter(), "setpriv", f"--bounding-set={_NOT_OURS}"]
        if user is not None:
            prefix += [f"--reuid={user}", f"--regid={user}", "--init-groups"]
        prefix.append("--")
        if cwd is not None:
            prefix += ["sh", "-c", 'cd "$1" && shift && exec "$@"', "sh", cwd]
        return [*prefix, *argv]

    def _env(self, more: Mapping[str, str] | None) -> dict[str, str]:
        return {**ENVIRONMENT, **(more or {})}


def hosts_file(name: str) -> str:
    """/etc/hosts as Debian's installer leaves it on a machine of that name."""
    return f"127.0.0.1 localhost\n::1 localhost ip6-localhost\n127.0.1.1 {name} {name.partition('.')[0]}\n"


def resolv_conf(nameserver: str | None) -> str:
    """/etc/resolv.conf for one name server, or an empty one."""
    return f"nameserver {nameserver}\noptions timeout:2 attempts:2\n" if nameserver else ""


def nsenter(pid: int, *namespaces: str) -> list[str]:
    """The argv prefix that enters these namespaces of a process."""
    return [shutil.which("nsenter") or "nsenter", f"--target={pid}", *namespaces]


def child_of(pid: int, *, program: str = "", init: bool = False, timeout: float = 10) -> int:
    """The child that the process gets, seen from here.

    With `program`, the one that runs it; with `init`, the one that is PID 1 of a namespace of its own.
    """
    deadline = time.monotonic() + timeout
    while True:
        threads = os.listdir(f"/proc/{pid}/task") if Path(f"/proc/{pid}").exists() else []
        for child in (child for thread in threads for child in _lines(f"/proc/{pid}/task/{thread}/children")):
            status = dict(line.split(":", 1) for line in _lines(f"/proc/{child}/status", "\n") if ":" in line)
            runs = not program or status.get("Name", "").strip() == program[:15]
            if runs and (not init or status.get("NSpid", "").endswith("\t1")):
                return int(child)
        if time.monotonic() > deadline or not Path(f"/proc/{pid}").exists():
            raise ProcessLookupError(f"Process {pid} has no child {program}")
        time.sleep(0.005)


def _lines(path: str, separator: str | None = None) -> list[str]:
    try:
        return Path(path).read_text(encoding="utf-8").split(separator)
    except (FileNotFoundError, ProcessLookupError):
        return []


def kill(process: subprocess.Popen[bytes]) -> None:
    """Ends a process of ours by its own handle, and waits for it."""
    if process.poll() is None:
        process.send_signal(signal.SIGKILL)
    process.wait()


def _text(file: IO[bytes]) -> str:
    file.seek(0)
    return file.read().decode("utf-8", "replace")

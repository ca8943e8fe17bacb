"""Keys, seen by the kernel: where their bytes are written, how those files are born, and that nobody widens them.

A whole setup runs under strace, children included. Every write whose octets
hold a private key (the marker of PEM, or any line of a key that exists
afterwards) is traced back to the open of its file descriptor.
"""

from __future__ import annotations

import re

from lab.ca import Pebble
from lab.host import Host
from lab.world import API_TRUST
from tests.lab.job import ROOTS

TRACE = "/tmp/trace"
CALLS = (
    "openat,open,creat,write,pwrite64,writev,fchmod,fchmodat,chmod,fchown,rename,renameat,renameat2,"
    "link,linkat,execve,sendto,sendmsg"
)
# openat, by path or from a directory's descriptor: flags, mode and the path that the kernel gave it.
CREATED = re.compile(r'openat\([^,]+, "[^"]+", ([A-Z_|]*O_CREAT[A-Z_|]*), (0[0-7]*)\) = \d+<([^>]+)>')
WRITTEN = re.compile(r"\b(?:write|pwrite64|writev)\((\d+)<([^>]+)>")
WIDENED = re.compile(r"fchmod\(\d+<([^>]+)>, 0[0-7]*(?:[1-7][0-7]|[0-7][1-7])\)")
EXECUTED = re.compile(r'^(\d+) +execve\("([^"]+)"')
RENAMED = re.compile(r'renameat2?\([^<]*<([^>]*)>, "([^"]+)", [^<]*<([^>]*)>, "([^"]+)"')


def _run_traced(mail: Host, pebble: Pebble) -> None:
    mail.write(ROOTS, "".join(pebble.roots()))
    argv = [
        "strace", "-f", "-qq", "-y", "-s", "20000", "-e", f"trace={CALLS}", "-o", TRACE,
        "/opt/lab-venv/bin/python", "-m", "mailseal",
        "setup", "--yes", "--agree-tos", "--directory", pebble.directory_url, "--ca-file", API_TRUST,
        "--trust", ROOTS, "--key-type", "ecdsa-p256", "--key-type", "rsa-2048",
    ]  # fmt: skip
    done = mail.run(argv, timeout=300, env={"PYTHONPATH": "/src/mailseal/src"}, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def _secrets(mail: Host) -> list[str]:
    """A line out of the middle of every private key that now exists."""
    found = []
    for path in mail.sh("find /var/lib/mailseal -type f -name privkey.pem -o -type f -name key.pem").split():
        lines = mail.read(path).splitlines()
        found.append(lines[len(lines) // 2] if len(lines) > 3 else lines[1])
    assert len(found) == 3, "an account key, an ECDSA key and an RSA key"
    return found


def test_every_file_with_key_bytes_is_born_0600_below_folders_of_roots(mail: Host, pebble: Pebble) -> None:
    _run_traced(mail, pebble)
    secrets = _secrets(mail)
    lines = mail.read(TRACE).splitlines()
    created = {m[3]: (m[1], m[2]) for line in lines if (m := CREATED.search(line))}
    widened = {m[1] for line in lines if (m := WIDENED.search(line))}
    renamed = {f"{m[1]}/{m[2]}": f"{m[3]}/{m[4]}" for line in lines if (m := RENAMED.search(line))}
    holding = [line for line in lines if any(secret in line for secret in secrets)]
    assert not [line[:200] for line in holding if "sendto(" in line or "sendmsg(" in line], (
        "a key on a socket"
    )
    assert not [line[:200] for line in holding if "execve(" in line], "a key in an argv or environment"
    holders = {m[2] for line in holding if (m := WRITTEN.search(line))}
    assert holders, "the trace shows where the keys were written"
    files = {path for path in holders if path.startswith("/")}
    # What is no file: Dovecot's own processes hand the key on, in the rehearsal as in service.
    programs = {m[1]: m[2] for line in lines if (m := EXECUTED.search(line))}
    others = {
        programs.get(line.split()[0], "?")
        for line in holding
        if (m := WRITTEN.search(line)) and not m[2].startswith("/")
    }
    assert all("dovecot" in program for program in others), others
    for path in files:
        flags, mode = created.get(path, ("", ""))
        assert "O_EXCL" in flags and mode == "0600", (path, flags, mode)
        assert path.startswith("/var/lib/mailseal/"), path
        assert path not in widened, path
    # The folders: only root enters them.
    for folder in {path.rsplit("/", 1)[0] for path in files}:
        final = renamed.get(folder, folder)
        parts = final.split("/")
        modes = mail.sh(
            " ; ".join(
                f"stat -c %a {'/'.join(parts[:n])} 2>/dev/null || echo gone" for n in range(4, len(parts) + 1)
            )
        ).split()
        assert "700" in modes, (final, modes)


def test_nothing_on_disk_holds_a_key_but_where_keys_belong(mail: Host, pebble: Pebble) -> None:
    _run_traced(mail, pebble)
    mail.sh(f"rm {TRACE}")
    for secret in _secrets(mail):
        found = set(mail.sh(f"grep -rlF -- '{secret}' /etc /var /run /tmp /root 2>/dev/null || true").split())
        assert found and all(
            path.startswith(("/var/lib/mailseal/lineages/", "/var/lib/mailseal/accounts/")) for path in found
        ), found
        for path in found:
            assert mail.sh(f"stat -c '%a %U' {path}").strip() == "600 root"

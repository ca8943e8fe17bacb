"""How a root image is made: Debian with the mail stack as its packages leave it.

debootstrap(8) brings the base, apt-get the rest, with a policy-rc.d that answers
101 ("action forbidden by policy"), so that no daemon starts. Postfix would see no
network at install and disable it: `postfix/protocols` is preseeded, as Debian's
installer does with a network. Test CAs and DNS servers are installed but not
enabled, because a mail server has none.

Runs as `python -m lab.recipe RELEASE DIRECTORY CACHE` in mount, PID and UTS
namespaces made by `lab.image`: what it mounts goes when it ends. The host's CA
bundle is lent to apt and pip for the build, and is not in the finished image.
"""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import sys
from pathlib import Path

from lab.guard import CHECKOUT
from lab.sources import sources_for

VERSION = 1

HOSTNAME = "mail.example.test"
USER, PASSWORD = "alice", "wonderland"

PACKAGES = (
    *("systemd", "systemd-sysv", "dbus", "cron", "iproute2", "iputils-ping", "procps", "strace", "less"),
    *(
        "python3",
        "python3-venv",
        "ca-certificates",
        "openssl",
        "ssl-cert",
        "curl",
        "swaks",
        "libnet-ssleay-perl",
    ),
    *("postfix", "apache2"),
    *("dovecot-imapd", "dovecot-pop3d", "dovecot-managesieved", "dovecot-lmtpd"),
    *("pebble", "caddy", "bind9", "bind9-dnsutils"),
)

PRESEED = f"""\
postfix postfix/main_mailer_type select Internet Site
postfix postfix/mailname string {HOSTNAME}
postfix postfix/protocols select all
"""

DISABLED = ("caddy.service", "named.service", "pebble.service")
MASKED = (
    "apt-daily.timer",
    "apt-daily-upgrade.timer",
    "dpkg-db-backup.timer",
    "e2scrub_all.timer",
    "fstrim.timer",
)

WHEELHOUSE = "/var/cache/wheelhouse"
LAB_PYTHON = "/opt/lab-venv/bin/python"

_WRAPPER = f"""\
#!{LAB_PYTHON}
# mailseal from the checkout that is bound into this container.
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, "/src/mailseal/src")
from mailseal.cli.main import main

sys.exit(main())
"""

_BUILD_BUNDLE = "/root/build-bundle.crt"


def requirements_for(package: str, pinned: str) -> str:
    """The pinned lines of `package` and of all it pulls in, cut out of a whole requirements file.

    uv writes behind each pin who asked for it (`# via …`); followed from the wanted package on.
    """
    blocks = re.split(r"\n(?=\S)(?!#)", pinned)
    wanted, before = {package}, set[str]()
    while wanted != before:
        before = set(wanted)
        for block in blocks:
            asked_by = re.findall(r"^    #(?: via)? +([a-z0-9._-]+)$", block, re.MULTILINE)
            if wanted.intersection(asked_by):
                wanted.add(block.split("==")[0])
    return "".join(block.rstrip() + "\n" for block in blocks if block.split("==")[0] in wanted)


def host_bundle() -> Path | None:
    """The roots that this host trusts, where its own tools are told to look for them."""
    named = (os.environ.get(name) for name in ("PIP_CERT", "REQUESTS_CA_BUNDLE", "SSL_CERT_FILE"))
    for path in (*named, "/etc/ssl/certs/ca-certificates.crt"):
        if path and Path(path).is_file():
            return Path(path)
    return None


def host_indexes() -> dict[str, str]:
    """Package indexes of the host's pip in place of the public one, as pip's environment variables."""
    told = subprocess.run(
        [sys.executable, "-m", "pip", "config", "list"], capture_output=True, text=True, check=False
    )
    found = {}
    for line in told.stdout.splitlines():
        key, _, value = line.partition("=")
        name = key.rpartition(".")[2]
        if name in ("index-url", "extra-index-url"):
            found[f"PIP_{name.upper().replace('-', '_')}"] = value.strip("'")
    return found


def pins() -> tuple[str, str]:
    """Requirements with hashes: of mailseal, and of what builds its wheel."""
    folder = CHECKOUT / "requirements"
    development = (folder / "dev.txt").read_text(encoding="utf-8")
    return (folder / "runtime.txt").read_text(encoding="utf-8"), requirements_for("hatchling", development)


class Build:
    """One image on its way: `root` grows from nothing to a whole Debian."""

    def __init__(self, release: str, root: Path, cache: Path) -> None:
        self.release = release
        self.root = root
        self.cache = cache
        self._indexes = host_indexes()

    def make(self) -> None:
        """Every stage in order; a failing command ends the build with its exit status."""
        socket.sethostname(HOSTNAME.partition(".")[0])
        self._bootstrap()
        self._mounts()
        lent = self._lend()
        self._packages()
        self._python()
        self._settle()
        for path in lent:
            path.unlink(missing_ok=True)
        self._write("/etc/resolv.conf", "")
        self._write("/etc/hosts", f"127.0.0.1 localhost\n127.0.1.1 {HOSTNAME} mail\n::1 localhost\n")
        self._write("/etc/machine-id", "")

    def _bootstrap(self) -> None:
        mirror = sources_for(self.release)[0].uri
        debs = self._cached("debs")
        _run(
            ["debootstrap", "--variant=minbase", f"--cache-dir={debs}", self.release, str(self.root), mirror],
            env={
                **os.environ,
                "DEBOOTSTRAP_DIR": os.environ.get("DEBOOTSTRAP_DIR", "/usr/share/debootstrap"),
            },
        )

    def _mounts(self) -> None:
        for directory in ("proc", "dev", "var/cache/apt/archives"):
            (self.root / directory).mkdir(parents=True, exist_ok=True)
        _run(["mount", "-t", "proc", "proc", str(self.root / "proc")])
        _run(["mount", "--rbind", "/dev", str(self.root / "dev")])
        _run(["mount", "--bind", str(self._cached("debs")), str(self.root / "var/cache/apt/archives")])
        pip = self.root / "var/cache/pip"
        pip.mkdir(parents=True)
        _run(["mount", "--bind", str(self._cached("pip")), str(pip)])

    def _lend(self) -> list[Path]:
        """The host's way out (resolver, proxy, CA bundle), for the build only; returns what to take back."""
        sources = "".join(source.line() + "\n" for source in sources_for(self.release))
        self._write("/etc/apt/sources.list", sources)
        self._write("/etc/resolv.conf", Path("/etc/resolv.conf").read_text(encoding="utf-8"))
        own_hosts = Path("/etc/hosts").read_text(encoding="utf-8")
        self._write("/etc/hosts", f"127.0.1.1 {HOSTNAME} mail\n{own_hosts}")
        self._write("/etc/hostname", "mail\n")
        settings = subprocess.run(
            ["apt-config", "dump", "Acquire"], capture_output=True, text=True, check=True
        ).stdout
        lent = [self._write("/usr/sbin/policy-rc.d", "#!/bin/sh\nexit 101\n", 0o755)]
        bundle = host_bundle()
        if bundle is not None:
            lent.append(self._write(_BUILD_BUNDLE, bundle.read_text(encoding="utf-8")))
            settings += f'Acquire::https::CaInfo "{_BUILD_BUNDLE}";\n'
        lent.append(self._write("/etc/apt/apt.conf.d/99lab-build", settings))
        unsafe = "force-unsafe-io\npath-exclude=/usr/share/man/*\npath-exclude=/usr/share/locale/*\n"
        lent.append(self._write("/etc/dpkg/dpkg.cfg.d/lab-build", unsafe))
        return lent

    def _packages(self) -> None:
        self._chroot("apt-get", "update", "-q")
        self._chroot("debconf-set-selections", stdin=PRESEED)
        quiet = ("-q", "-y", "--no-install-recommends", "-o", "APT::Keep-Downloaded-Packages=true")
        self._chroot("apt-get", "install", *quiet, *PACKAGES)
        shutil.rmtree(self.root / "var/lib/apt/lists")
        (self.root / "var/lib/apt/lists/partial").mkdir(parents=True)

    def _python(self) -> None:
        """A wheelhouse for installing offline, and an interpreter that has the dependencies."""
        runtime, build = pins()
        self._write("/root/runtime.txt", runtime)
        self._write("/root/build.txt", build)
        venv = str(Path(LAB_PYTHON).parent.parent)
        pip = (LAB_PYTHON, "-m", "pip", "--cache-dir=/var/cache/pip", "--disable-pip-version-check", "-q")
        self._chroot("/usr/bin/python3", "-m", "venv", venv)
        for wanted in ("/root/runtime.txt", "/root/build.txt"):
            self._chroot(
                *pip, "download", "--only-binary=:all:", "--require-hashes", "-d", WHEELHOUSE, "-r", wanted
            )
        offline = ("--no-index", f"--find-links={WHEELHOUSE}")
        self._chroot(*pip, "install", *offline, "--require-hashes", "-r", "/root/runtime.txt")
        self._write("/etc/pip.conf", f"[global]\nno-index = true\nfind-links = {WHEELHOUSE}\n")
        self._write("/opt/lab/bin/mailseal", _WRAPPER, 0o755)

    def _settle(self) -> None:
        self._chroot("useradd", "--create-home", "--shell", "/bin/bash", USER)
        self._chroot("chpasswd", stdin=f"{USER}:{PASSWORD}\nroot:{PASSWORD}\n")
        for unit in DISABLED:
            if any(
                (self.root / where / unit).exists()
                for where in ("lib/systemd/system", "usr/lib/systemd/system")
            ):
                self._chroot("systemctl", "disable", unit)
        self._chroot("systemctl", "mask", *MASKED)
        (self.root / "src/mailseal").mkdir(parents=True)

    def _cached(self, what: str) -> Path:
        directory = self.cache / what / self.release
        directory.mkdir(parents=True, exist_ok=True)
        return directory

    def _write(self, path: str, text: str, mode: int = 0o644) -> Path:
        target = self.root / path.lstrip("/")
        target.parent.mkdir(parents=True, exist_ok=True)
        target.unlink(missing_ok=True)
        target.write_text(text, encoding="utf-8")
        target.chmod(mode)
        return target

    def _chroot(self, *argv: str, stdin: str = "") -> None:
        env = {
            "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            "HOME": "/root",
            "LC_ALL": "C.UTF-8",
            "DEBIAN_FRONTEND": "noninteractive",
            **{name: value for name, value in os.environ.items() if name.lower().endswith("_proxy")},
            **{
                name: os.environ[name]
                for name in ("PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL")
                if name in os.environ
            },
        }
        if (self.root / _BUILD_BUNDLE.lstrip("/")).exists():
            env |= {"PIP_CERT": _BUILD_BUNDLE, "SSL_CERT_FILE": _BUILD_BUNDLE}
        _run(["chroot", str(self.root), *argv], env=env, stdin=stdin)


def _run(argv: list[str], env: dict[str, str] | None = None, stdin: str = "") -> None:
    print("+", *argv, flush=True)
    subprocess.run(argv, env=env, input=stdin, text=True, check=True)


def main() -> int:
    """`RELEASE DIRECTORY CACHE`; the log goes to stdout."""
    if os.getpid() != 1:
        print("lab.recipe: only in a PID namespace of its own; lab.image makes one", file=sys.stderr)
        return 2
    release, root, cache = sys.argv[1:]
    try:
        Build(release, Path(root), Path(cache)).make()
    except subprocess.CalledProcessError as failed:
        print(f"{failed.cmd} ended with {failed.returncode}", flush=True)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""Private instances of Postfix, Dovecot and Apache: configuration folders of their own, high ports of 127.0.0.1.

What a second instance on a machine is to each daemon: to Postfix a
configuration, queue and data directory (postfix(1) -c, MULTI_INSTANCE_README),
to Dovecot a dovecot.conf with a base_dir (dovecot(1) -c), to Apache an
APACHE_CONFDIR in Debian's layout (apache2ctl(8)). Programs, modules and users
are the packages'; nothing below /etc, /run, /var/log or /var/spool is written.

Promises: the daemons are started by their own commands and stopped by the
process IDs that they wrote into their own folders; never by name.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from lab.box import ENVIRONMENT

DEBIAN_MODULES = (
    *("access_compat", "alias", "auth_basic", "authn_core", "authn_file", "authz_core", "authz_host"),
    *("authz_user", "autoindex", "deflate", "dir", "env", "filter", "mime", "mpm_event", "negotiation"),
    *("reqtimeout", "setenvif", "status"),
)


class DidNotStart(Exception):
    """A private instance ended or stayed silent; the text holds the end of its log."""


@dataclass(frozen=True)
class Place:
    """A folder for everything of one run, and what is added to each port."""

    root: Path
    offset: int
    name: str

    @property
    def etc(self) -> Path:
        return self.root / "etc"

    def port(self, number: int) -> int:
        """The private instance's port in place of the well-known one."""
        return self.offset + number

    def fill(self, path: Path, text: str) -> None:
        """Writes a file, with `@NAME@`, `@ROOT@` and `@80@` (a port) filled in, and makes its folders."""
        path.parent.mkdir(parents=True, exist_ok=True)
        filled = text.replace("@ROOT@", str(self.root)).replace("@NAME@", self.name)
        for number in (25, 80, 110, 143, 443, 993, 995, 4190):
            filled = filled.replace(f"@{number}@", str(self.port(number)))
        path.write_text(filled, encoding="utf-8")


POSTFIX_MAIN = """\
compatibility_level = 3.6
myhostname = @NAME@
mydestination = $myhostname, localhost
mynetworks = 127.0.0.0/8
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
queue_directory = @ROOT@/postfix-queue
data_directory = @ROOT@/postfix-data
maillog_file_prefixes = @ROOT@
maillog_file = @ROOT@/log/postfix.log
alias_maps =
alias_database =
local_recipient_maps =
default_transport = error:nothing is sent from here
local_transport = error:nothing is delivered here
smtpd_relay_restrictions = permit_mynetworks reject_unauth_destination
smtpd_peername_lookup = no

# TLS parameters
smtpd_tls_cert_file = @ROOT@/etc/snakeoil.pem
smtpd_tls_key_file = @ROOT@/etc/snakeoil.key
smtpd_tls_security_level = may
"""

POSTFIX_MASTER = """\
# service type  private unpriv  chroot  wakeup  maxproc command
@25@      inet  n       -       n       -       -       smtpd
pickup    unix  n       -       n       60      1       pickup
cleanup   unix  n       -       n       -       0       cleanup
qmgr      unix  n       -       n       300     1       qmgr
tlsmgr    unix  -       -       n       1000?   1       tlsmgr
rewrite   unix  -       -       n       -       -       trivial-rewrite
bounce    unix  -       -       n       -       0       bounce
defer     unix  -       -       n       -       0       bounce
trace     unix  -       -       n       -       0       bounce
verify    unix  -       -       n       -       1       verify
flush     unix  n       -       n       1000?   0       flush
proxymap  unix  -       -       n       -       -       proxymap
smtp      unix  -       -       n       -       -       smtp
showq     unix  n       -       n       -       -       showq
error     unix  -       -       n       -       -       error
retry     unix  -       -       n       -       -       error
discard   unix  -       -       n       -       -       discard
local     unix  -       n       n       -       -       local
anvil     unix  -       -       n       -       1       anvil
scache    unix  -       -       n       -       1       scache
postlog   unix-dgram n  -       n       -       1       postlogd
"""

DOVECOT_COMMON = """\
protocols = imap pop3 sieve
listen = 127.0.0.1
base_dir = @ROOT@/dovecot-run
state_dir = @ROOT@/dovecot-state
log_path = @ROOT@/log/dovecot.log

service imap-login {
  inet_listener imap {
    port = @143@
  }
  inet_listener imaps {
    port = @993@
    ssl = yes
  }
}
service pop3-login {
  inet_listener pop3 {
    port = @110@
  }
  inet_listener pop3s {
    port = @995@
    ssl = yes
  }
}
service managesieve-login {
  inet_listener sieve {
    port = @4190@
  }
}
"""

DOVECOT_23 = """\
passdb {
  driver = static
  args = nologin=yes reason=nobody_logs_in_here
}
userdb {
  driver = static
  args = uid=nobody gid=nogroup home=@ROOT@/empty
}
mail_location = maildir:~/Maildir
"""

DOVECOT_24 = """\
dovecot_config_version = 2.4.0
dovecot_storage_version = 2.4.0
passdb static {
  password = nobody-logs-in-here
  fields {
    nologin = yes
  }
}
userdb static {
  fields {
    uid = nobody
    gid = nogroup
    home = @ROOT@/empty
  }
}
mail_driver = maildir
mail_path = ~/Maildir
service managesieve-login {
  inet_listener sieve_deprecated {
    port = 0
  }
}
"""

DOVECOT_SSL_23 = """\
ssl = yes
ssl_cert = <@ROOT@/etc/snakeoil.pem
ssl_key = <@ROOT@/etc/snakeoil.key
"""
DOVECOT_SSL_24 = """\
ssl = yes
ssl_server_cert_file = @ROOT@/etc/snakeoil.pem
ssl_server_key_file = @ROOT@/etc/snakeoil.key
"""

APACHE_CONF = """\
DefaultRuntimeDir ${APACHE_RUN_DIR}
PidFile ${APACHE_PID_FILE}
User ${APACHE_RUN_USER}
Group ${APACHE_RUN_GROUP}
HostnameLookups Off
ErrorLog ${APACHE_LOG_DIR}/apache.log
LogLevel warn
IncludeOptional mods-enabled/*.load
IncludeOptional mods-enabled/*.conf
Include ports.conf
<Directory />
    AllowOverride None
    Require all denied
</Directory>
IncludeOptional conf-enabled/*.conf
IncludeOptional sites-enabled/*.conf
"""

APACHE_PORTS = """\
Listen 127.0.0.1:@80@
<IfModule ssl_module>
    Listen 127.0.0.1:@443@
</IfModule>
"""

APACHE_ENVVARS = """\
export APACHE_RUN_USER=www-data
export APACHE_RUN_GROUP=www-data
export APACHE_PID_FILE=@ROOT@/apache-run/apache2.pid
export APACHE_RUN_DIR=@ROOT@/apache-run
export APACHE_LOCK_DIR=@ROOT@/apache-lock
export APACHE_LOG_DIR=@ROOT@/log
export APACHE_ULIMIT_MAX_FILES=true
export APACHE_STARTED_BY_SYSTEMD=true
export LANG=C
"""

APACHE_SITE = """\
<VirtualHost *:@80@>
    DocumentRoot @ROOT@/www
    <Directory @ROOT@/www>
        Require all granted
    </Directory>
</VirtualHost>
"""


class Instances:
    """The three daemons of one place; `stop()` ends whatever of them runs."""

    def __init__(self, place: Place) -> None:
        self.place = place
        self._env = {**ENVIRONMENT}

    def write(self) -> None:
        """Writes the configurations and a self-signed certificate, as Debian's ssl-cert makes one."""
        root = self.place.root
        for folder in ("log", "empty", "www", "apache-run", "apache-lock", "postfix-data", "dovecot-run"):
            (root / folder).mkdir(parents=True)
        shutil.chown(root / "postfix-data", "postfix")
        self.place.fill(root / "www/index.html", "<!DOCTYPE html><title>@NAME@</title>@NAME@\n")
        self._snakeoil()
        self._postfix()
        self._dovecot()
        self._apache()

    def start(self) -> None:
        """Starts them, and returns when each has written its process ID."""
        root, etc = self.place.root, self.place.etc
        self._run("postfix", "-c", str(etc / "postfix"), "start")
        self._run("dovecot", "-c", str(etc / "dovecot/dovecot.conf"))
        self._run("apache2ctl", "start", APACHE_CONFDIR=str(etc / "apache2"))
        deadline = time.monotonic() + 20
        while missing := [name for name, pid_file in self._pid_files() if _pid(pid_file, name) is None]:
            if time.monotonic() > deadline:
                logs = "\n".join(
                    _tail(root / "log" / log) for log in ("postfix.log", "dovecot.log", "apache.log")
                )
                raise DidNotStart(f"{', '.join(missing)} did not start:\n{logs}")
            time.sleep(0.05)

    def stop(self) -> None:
        """Ends each by the process ID in its own folder, and waits; what does not go in ten seconds is killed."""
        running = [pid for name, file in self._pid_files() if (pid := _pid(file, name)) is not None]
        for sign, patience in ((signal.SIGTERM, 10.0), (signal.SIGKILL, 2.0)):
            for pid in running:
                with suppress(ProcessLookupError):
                    os.kill(pid, sign)
            end = time.monotonic() + patience
            while (
                running := [pid for pid in running if Path(f"/proc/{pid}").exists()]
            ) and time.monotonic() < end:
                time.sleep(0.05)

    def _pid_files(self) -> Iterator[tuple[str, Path]]:
        """The name of each daemon's first process, and where its ID is."""
        yield "master", self.place.root / "postfix-queue/pid/master.pid"
        yield "dovecot", self.place.root / "dovecot-run/master.pid"
        yield "apache2", self.place.root / "apache-run/apache2.pid"

    def _snakeoil(self) -> None:
        etc = self.place.etc
        etc.mkdir()
        argv = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "3650"]
        argv += ["-subj", f"/CN={self.place.name}", "-addext", f"subjectAltName=DNS:{self.place.name}"]
        self._run(*argv, "-keyout", str(etc / "snakeoil.key"), "-out", str(etc / "snakeoil.pem"))
        (etc / "snakeoil.key").chmod(0o600)

    def _postfix(self) -> None:
        folder = self.place.etc / "postfix"
        self.place.fill(folder / "main.cf", POSTFIX_MAIN)
        self.place.fill(folder / "master.cf", POSTFIX_MASTER)
        (self.place.root / "postfix-queue").mkdir()

    def _dovecot(self) -> None:
        folder = self.place.etc / "dovecot"
        old = self._run("dovecot", "--version").startswith("2.3")
        own = (
            f"{DOVECOT_COMMON}{DOVECOT_23}" if old else f"{DOVECOT_24}{DOVECOT_COMMON}"
        )  # 2.4 wants its version first
        self.place.fill(folder / "dovecot.conf", f"{own}!include conf.d/*.conf\n")
        self.place.fill(folder / "conf.d/10-ssl.conf", DOVECOT_SSL_23 if old else DOVECOT_SSL_24)

    def _apache(self) -> None:
        folder = self.place.etc / "apache2"
        self.place.fill(folder / "apache2.conf", APACHE_CONF)
        self.place.fill(folder / "ports.conf", APACHE_PORTS)
        self.place.fill(folder / "envvars", APACHE_ENVVARS)
        self.place.fill(folder / "sites-available/000-default.conf", APACHE_SITE)
        shutil.copytree("/etc/apache2/mods-available", folder / "mods-available")
        for name in ("mods-enabled", "conf-available", "conf-enabled", "sites-enabled"):
            (folder / name).mkdir()
        (folder / "sites-enabled/000-default.conf").symlink_to("../sites-available/000-default.conf")
        for module in DEBIAN_MODULES:
            for file in (f"{module}.load", f"{module}.conf"):
                if (folder / "mods-available" / file).exists():
                    (folder / "mods-enabled" / file).symlink_to(f"../mods-available/{file}")

    def _run(self, *argv: str, **env: str) -> str:
        with open(
            self.place.root / "log/start.log", "ab+"
        ) as said:  # a pipe would wait for the daemon itself
            begin = said.seek(0, os.SEEK_END)
            done = subprocess.run(
                argv,
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=said,
                env={**self._env, **env},
                check=False,
            )
            said.seek(begin)
            told = said.read().decode("utf-8", "replace")
        if done.returncode != 0:
            raise DidNotStart(f"{' '.join(argv)} ended with {done.returncode}:\n{told}")
        return told


def _pid(path: Path, name: str) -> int | None:
    """The process of that name whose ID a file holds, if it runs."""
    try:
        pid = int(path.read_text(encoding="ascii"))
        comm = Path(f"/proc/{pid}/comm").read_text(encoding="ascii").strip()
    except (OSError, ValueError):
        return None
    return pid if comm == name else None


def _tail(path: Path) -> str:
    try:
        return "\n".join(path.read_text(encoding="utf-8", errors="replace").splitlines()[-10:])
    except OSError:
        return ""

"""The unit files of `mailseal renew`, for systemd 252 (Debian 12) and later. Pure.

systemd.timer(5): `OnCalendar` with `Persistent` catches up after downtime, which
the monotonic settings do not. Machines are spread over the whole interval by
where in it their calendar begins, and `RandomizedDelaySec` adds at most a tenth of it
or five minutes: it holds up what is caught up at boot as well, when a
certificate may be about to expire.

systemd.exec(5): the service is root's, since it writes the configuration of
daemons, and everything else that root could do is taken from it, as far as
its work allows:

- Only /etc, /var, /run, /srv and the directories that the configuration names
  can be written; programs and homes cannot. `postfix reload`, `postmap`,
  `sendmail` and the daemons' checkers need no more.
- The rehearsal needs mount, network and process namespaces and starts daemons
  in them, which change their identity, bind ports and chroot: hence these
  namespaces, @mount and the capabilities left in the bounding set.
- Memory that is written and executed is not forbidden: a web server's modules may
  compile as they run, and would not start in the rehearsal.
- To tell who listens on a port (/proc/<pid>/fd) of a process with more
  capabilities than our own, CAP_SYS_PTRACE is needed; @debug stays forbidden.

`SuccessExitStatus=1 4`: findings, and waiting for something, are no failure of
the run; `mailseal status` and the notifications tell them. The unit fails
where something could not be done.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

from mailseal.schedule.interval import calendar, words

SERVICE = "mailseal.service"
TIMER = "mailseal.timer"
UNITS = "/etc/systemd/system"
SERVICE_PATH = f"{UNITS}/{SERVICE}"
TIMER_PATH = f"{UNITS}/{TIMER}"
WANTS = f"{UNITS}/timers.target.wants"
LINK_PATH = f"{WANTS}/{TIMER}"
STAMP_PATH = f"/var/lib/systemd/timers/stamp-{TIMER}"
MARK = "Written by mailseal"

# What a run may write besides directories that the configuration names.
_WRITABLE = ("/etc", "/var", "/run", "/srv")

_CAPABILITIES = (
    *("CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FOWNER", "CAP_FSETID"),  # files of others, as they were found
    *("CAP_SETUID", "CAP_SETGID", "CAP_SYS_CHROOT", "CAP_KILL"),  # what daemons do when they start
    *("CAP_NET_BIND_SERVICE", "CAP_NET_ADMIN", "CAP_SYS_ADMIN"),  # port 80; the rehearsal's namespaces
    "CAP_SYS_PTRACE",  # who listens
)


def timer(every: timedelta, seed: int) -> str:
    """mailseal.timer; `seed` is a number of this machine's own."""
    seconds = int(every.total_seconds())
    return f"""\
# {MARK}, and again when the shortest lifetime of its certificates asks for another interval.
# To keep it away: install = false in the table [timer] of the configuration, then mailseal apply.
[Unit]
Description=Look for certificates to renew, every {words(every)}
Documentation=man:mailseal(8)

[Timer]
OnCalendar={calendar(every, seed)}
RandomizedDelaySec={min(300, seconds // 10)}
AccuracySec={min(60, max(1, seconds // 20))}
Persistent=true

[Install]
WantedBy=timers.target
"""


def service(program: str, directories: Sequence[str] = ()) -> str:
    """mailseal.service; `directories` are those that the configuration names for us to write to.

    `program` is one of `mailseal.schedule.place.PROGRAMS`, a path that needs no quoting.
    """
    writable = " ".join(_quoted(path) for path in dict.fromkeys((*_WRITABLE, *directories)))
    return f"""\
# {MARK}.
[Unit]
Description=Renew certificates and prove that they are served
Documentation=man:mailseal(8)
ConditionFileIsExecutable={program}
Wants=network-online.target
After=network-online.target nss-lookup.target postfix.service dovecot.service apache2.service nginx.service

[Service]
Type=oneshot
ExecStart={program} renew
SuccessExitStatus=1 4
TimeoutStartSec=2h
TimeoutStopSec=5min

CapabilityBoundingSet={" ".join(_CAPABILITIES)}
KeyringMode=private
LockPersonality=true
NoNewPrivileges=true
PrivateDevices=true
PrivateMounts=true
PrivateTmp=true
ProtectClock=true
ProtectControlGroups=true
ProtectHome=read-only
ProtectHostname=true
ProtectKernelLogs=true
ProtectKernelModules=true
ProtectKernelTunables=true
ProtectProc=invisible
ProtectSystem=strict
ReadWritePaths={writable}
RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6 AF_NETLINK
RestrictNamespaces=mnt net pid
RestrictRealtime=true
RestrictSUIDSGID=true
SystemCallArchitectures=native
SystemCallErrorNumber=EPERM
SystemCallFilter=@system-service @mount
UMask=0077
"""


def _quoted(path: str) -> str:
    """A path in a list of paths, which need not be there: % begins a specifier, blanks part (systemd.syntax(7))."""
    escaped = path.replace("\\", "\\\\").replace("%", "%%").replace('"', '\\"')
    return f'"-{escaped}"' if " " in path or '"' in path else f"-{escaped}"

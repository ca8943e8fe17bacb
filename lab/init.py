"""PID 1 of a lab host: buries the dead, keeps the log, and ends everything when its maker goes.

pid_namespaces(7): orphans are handed to PID 1, which must wait for them, and
when PID 1 exits the kernel kills every other process of the namespace. Daemons
orphan themselves on purpose, so the first is needed. The second is the clean-up:
stdin is a pipe whose other end the test process holds, and its end of file,
whether by `stop()` or because that process was killed, is the order to exit.

syslog(3) talks to /dev/log; a system without one loses what Postfix says. It is
answered here and appended to /var/log/syslog, also for processes that run
chrooted to /var/spool/postfix. Runs on the image's bare interpreter.
"""

import os
import select
import signal
import socket
import sys

SOCKETS = ("/dev/log", "/var/spool/postfix/dev/log")
LOG = "/var/log/syslog"


def open_logs() -> list[socket.socket]:
    opened = []
    for path in SOCKETS:
        if os.path.isdir(os.path.dirname(path)):
            if os.path.lexists(path):
                os.unlink(path)
            log = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
            log.bind(path)
            os.chmod(path, 0o666)
            opened.append(log)
    return opened


def bury() -> None:
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        pass


def main() -> None:
    woken, wake = os.pipe()
    os.set_blocking(wake, False)
    signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    logs = open_logs()
    out = os.open(LOG, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    print("ready", flush=True)
    sources: list[int | socket.socket] = [0, woken, *logs]
    while True:
        ready, _, _ = select.select(sources, [], [])
        for source in ready:
            if source == 0 and not os.read(0, 4096):
                return
            if source == woken:
                os.read(woken, 4096)
                bury()
            elif isinstance(source, socket.socket):
                os.write(out, source.recv(65536).rstrip(b"\0\n") + b"\n")


main()

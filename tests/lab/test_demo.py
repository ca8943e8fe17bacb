"""script/demo: what it shows, what it refuses, and that a host which has servers already stays as it is."""

from __future__ import annotations

import re
import subprocess
import sys
from dataclasses import dataclass

import pytest

from lab.box import SOURCE, Result
from lab.guard import CHECKOUT
from lab.host import Host
from lab.image import RELEASES, ensure
from lab.network import Network
from lab.recipe import LAB_PYTHON

# What the usual container engines leave to root by default: no CAP_SYS_ADMIN, so no namespaces.
_LEFT = (
    "chown,dac_override,fowner,fsetid,kill,setgid,setuid,setpcap,net_bind_service,net_raw,sys_chroot,mknod"
)
WITHOUT_NAMESPACES = ("setpriv", f"--bounding-set=-all,+{_LEFT.replace(',', ',+')}")
ENV = {"PYTHONPATH": f"{SOURCE}:{SOURCE}/src"}


@dataclass(frozen=True)
class HostState:
    """What may not change on a host: what is installed, what listens, who runs, every file that is kept."""

    packages: str
    listening: frozenset[tuple[str, int]]
    servers: tuple[int, ...]
    files: dict[str, str]


def state(host: Host) -> HostState:
    return HostState(
        host.run(["dpkg-query", "-W"]).stdout,
        frozenset(host.listening()),
        tuple(sorted(pid for name in ("master", "dovecot", "apache2") for pid in host.pids("-x", name))),
        host.snapshot(
            "/etc", "/usr", "/opt", "/home", "/root", "/tmp", "/var/www", "/var/lib", "/var/tmp", "/srv"
        ),
    )


def here(host: Host, *prefix: str) -> Result:
    argv = [*prefix, LAB_PYTHON, "-m", "lab.demo", "--here"]
    return host.run(argv, env=ENV, cwd=SOURCE, check=False, timeout=300)


def assert_it_was_told_well(printed: str) -> None:
    assert not [line for line in printed.splitlines() if len(line) > 80]
    assert "\x1b" not in printed
    assert re.search(r"^All \d+ claims were checked and held\. It took \d+ s\.$", printed, re.MULTILINE), (
        printed
    )
    assert "  NO  " not in printed


@pytest.mark.parametrize("release", RELEASES)
def test_in_namespaces_every_claim_holds(namespaces: None, release: str) -> None:
    argv = [sys.executable, "-m", "lab.demo", "--release", release]
    done = subprocess.run(argv, cwd=CHECKOUT, capture_output=True, text=True, timeout=400)
    assert done.returncode == 0, done.stdout + done.stderr
    assert_it_was_told_well(done.stdout)
    for port in ("25 smtp", "110 pop3", "143 imap", "443 https", "993 imaps", "995 pop3s", "4190 sieve"):
        assert re.search(rf"^ +{port} +mail\.example\.test .* proven +trusted$", done.stdout, re.MULTILINE), (
            port
        )


@pytest.mark.parametrize("release", RELEASES)
def test_here_leaves_a_host_with_servers_as_it_was(mail: Host) -> None:
    before = state(mail)
    assert before.servers and ("0.0.0.0", 25) in before.listening
    said = mail.log()
    done = here(mail, *WITHOUT_NAMESPACES)
    assert done.returncode == 0, done.stdout + done.stderr
    assert_it_was_told_well(done.stdout)
    after = state(mail)
    assert after.files == before.files
    assert after == before
    assert mail.log() == said, "the private daemons spoke in the host's log"


def test_a_claim_that_does_not_hold_is_told_and_ends_with_1(mail: Host) -> None:
    mail.write("/usr/local/bin/curl", "#!/bin/sh\necho '200 '\n", 0o755)
    done = here(mail)
    assert done.returncode == 1, done.stdout + done.stderr
    assert re.search(r"^  NO  curl: http://mail\.example\.test:\d+/ sends to", done.stdout, re.MULTILINE)
    assert "did not hold" in done.stdout and "All" not in done.stdout.splitlines()[-1]


def test_refused_namespaces_are_told_with_the_way_out(namespaces: None, release: str) -> None:
    with Network() as network, Host(ensure(release), network) as host:
        before = host.snapshot("/etc", "/var/lib", "/var/cache")
        done = host.run([*WITHOUT_NAMESPACES, f"{SOURCE}/script/demo"], check=False)
        assert done.returncode == 2
        assert "unshare failed: Operation not permitted" in done.stderr
        assert "Nothing was installed or changed." in done.stderr
        assert "script/demo --here" in done.stderr
        assert host.snapshot("/etc", "/var/lib", "/var/cache") == before


def test_here_installs_nothing_beside_servers(mail: Host) -> None:
    mail.run(["dpkg", "--remove", "pebble"])
    before = state(mail)
    done = here(mail)
    assert done.returncode == 2
    assert "pebble" in done.stderr and "postfix" in done.stderr and "Next: " in done.stderr
    assert state(mail) == before


@pytest.mark.parametrize("ending", ["TERM", "KILL"])
def test_nothing_outlives_a_demo_that_is_ended(mail: Host, ending: str) -> None:
    before = state(mail)
    mail.spawn(
        ["env", *(f"{name}={value}" for name, value in ENV.items()), LAB_PYTHON, "-m", "lab.demo", "--here"]
    )
    mail.wait_listening(10025, 10143, 10080, 15000)
    (demo,) = mail.pids("-f", "^[^ ]*python -m lab.demo")
    mail.run(["kill", f"-{ending}", str(demo)])
    mail.sh("for i in $(seq 600); do pgrep pebble >/dev/null || exit 0; sleep 0.1; done; exit 1", timeout=90)
    mail.sh(f"for i in $(seq 600); do [ -d /proc/{demo} ] || exit 0; sleep 0.1; done; exit 1", timeout=90)
    if ending == "KILL":  # then the next one tidies up
        mail.python("from lab.demo.here import _end_abandoned; _end_abandoned()")
    after = state(mail)
    assert after.files.items() ^ before.files.items() == set()
    assert after == before


# A package archive made on the spot: real apt decides what installing would take away.
_ARCHIVE = r"""
mkdir -p /srv/debs && cd /srv/debs
build() {
    mkdir -p "build/$1/DEBIAN" && cat >"build/$1/DEBIAN/control"
    [ -z "${2-}" ] || { printf '%s\n' "$2" >"build/$1/DEBIAN/postinst" && chmod 755 "build/$1/DEBIAN/postinst"; }
    dpkg-deb -Zgzip --build "build/$1" "$1.deb" >/dev/null
    { cat "build/$1/DEBIAN/control"; echo "Filename: ./$1.deb"; echo "Size: $(stat -c %s "$1.deb")"
      echo "SHA256: $(sha256sum "$1.deb" | cut -d' ' -f1)"; echo; } >>Packages
}
field() { printf 'Package: %s\nVersion: 99\nArchitecture: all\nMaintainer: lab <lab@example.test>\n' "$1"
          printf 'Description: stands for %s\n' "$1"; }
dpkg --purge --force-depends $(dpkg-query -W -f '${Package}\n' | grep -E '^(postfix|dovecot-.*|apache2|pebble|caddy)$')
{ field letterbox; printf 'Provides: mail-transport-agent\nConflicts: mail-transport-agent\n'; } | build letterbox
{ field postfix; printf 'Provides: mail-transport-agent\nConflicts: mail-transport-agent\n'; } |
    build postfix "#!/bin/sh
invoke-rc.d letterbox start; echo invoke-rc.d ended with \$? >>/srv/started"
for name in dovecot-imapd dovecot-pop3d dovecot-managesieved apache2 pebble; do field $name | build $name; done
echo 'deb [trusted=yes] file:/srv/debs ./' >/etc/apt/sources.list
rm -f /etc/apt/sources.list.d/*
printf '#!/bin/sh\ntouch /srv/it-ran\n' >/etc/init.d/letterbox && chmod 755 /etc/init.d/letterbox
apt-get -q update
"""

_INSTALL = "from lab.demo.packages import install_missing; print(*install_missing())"


def test_here_refuses_when_apt_would_remove_another_server(namespaces: None, release: str) -> None:
    with Network() as network, Host(ensure(release), network) as host:
        host.sh(_ARCHIVE)
        host.run(["dpkg", "-i", "/srv/debs/letterbox.deb"])
        before = state(host)
        done = host.python(_INSTALL, check=False)
        assert done.returncode != 0
        assert "apt would remove letterbox" in done.stderr and "Nothing was changed." in done.stderr
        assert state(host) == before


def test_here_installs_what_is_missing_and_starts_nothing(namespaces: None, release: str) -> None:
    with Network() as network, Host(ensure(release), network) as host:
        host.sh(_ARCHIVE)
        host.write("/usr/sbin/policy-rc.d", "#!/bin/sh\nexit 104 # the admin's own\n", 0o755)
        done = host.python(_INSTALL)
        assert done.stdout.split()[:2] == ["postfix", "dovecot-imapd"]
        assert not host.exists("/srv/it-ran")
        assert host.exists("/srv/started")
        assert "the admin's own" in host.read("/usr/sbin/policy-rc.d")
        assert not host.exists("/usr/sbin/policy-rc.d.mailseal-demo")

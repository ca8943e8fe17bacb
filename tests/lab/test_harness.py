"""The lab itself: what it promises to the tests that stand on it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from lab import guard
from lab.box import CommandFailed
from lab.ca import AcmeServer, Caddy, Pebble, PebbleOptions
from lab.ca_faults import Fault, busy, rate_limited
from lab.guard import CHECKOUT, Unavailable
from lab.host import Host
from lab.image import RELEASES
from lab.recipe import PASSWORD, USER, requirements_for
from lab.world import API_TRUST, World

_LAB_PORTS = {25, 53, 80, 110, 143, 443, 465, 587, 993, 995, 4190, 8055, 9443, 14000, 15000}

_GREETING = """
import socket, sys
print(socket.create_connection((sys.argv[1], int(sys.argv[2]))).recv(999).decode())
"""

_LOGIN = """
import imaplib, ssl, sys
host, user, password = sys.argv[1:]
unchecked = ssl.create_default_context()
unchecked.check_hostname, unchecked.verify_mode = False, ssl.CERT_NONE
mailbox = imaplib.IMAP4_SSL(host, ssl_context=unchecked)
mailbox.login(user, password)
mailbox.select()
print(mailbox.fetch("1", "(BODY[TEXT])")[1][0][1].decode())
"""


def listening_here() -> list[str]:
    """Every socket of this host that listens on a port which the lab uses inside."""
    told = subprocess.run(["ss", "-Hlntu"], capture_output=True, text=True, check=True).stdout
    addresses = [line.split()[4] for line in told.splitlines()]
    return sorted(address for address in addresses if int(address.rpartition(":")[2]) in _LAB_PORTS)


def links_here() -> str:
    """The host's network interfaces and named namespaces."""
    return subprocess.run(
        ["sh", "-c", "ip -br link; ip netns"], capture_output=True, text=True, check=True
    ).stdout


def etc_here() -> dict[str, tuple[int, int, int]]:
    """Every file of this host's /etc, with its size, mode and time of change."""
    found = {}
    for folder, folders, files in os.walk("/etc"):
        for name in folders + files:
            status = os.lstat(os.path.join(folder, name))
            found[os.path.join(folder, name)] = (status.st_size, status.st_mode, status.st_mtime_ns)
    return found


@pytest.mark.parametrize("release", RELEASES)
def test_mail_stack_answers(mail: Host) -> None:
    greetings = {25: "220 mail.example.test ESMTP Postfix", 143: "* OK", 110: "+OK", 4190: '"IMPLEMENTATION"'}
    for port, greeting in greetings.items():
        for address in ("127.0.0.2", mail.ipv4, mail.ipv6):
            said = mail.python(_GREETING, address, str(port)).stdout
            assert said.startswith(greeting), (port, address)
    assert "Apache" in mail.run(["curl", "-sSI", f"http://[{mail.ipv6}]/"]).stdout
    served = mail.run(["openssl", "s_client", "-connect", "127.0.0.1:993", "-brief"], input="").stderr
    assert "Protocol version: TLSv1.3" in served


@pytest.mark.parametrize("release", RELEASES)
def test_mail_is_delivered_and_fetched(mail: Host) -> None:
    words = [
        "--to",
        f"{USER}@mail.example.test",
        "--from",
        "bob@example.test",
        "--server",
        mail.ipv4,
        "--tls",
    ]
    mail.run(["swaks", *words, "--body", "sent over STARTTLS"])
    deadline = time.monotonic() + 20
    while not mail.exists(f"/var/mail/{USER}") and time.monotonic() < deadline:
        time.sleep(0.05)
    assert "sent over STARTTLS" in mail.python(_LOGIN, "127.0.0.1", USER, PASSWORD).stdout
    assert "postfix/smtpd" in mail.log()


def test_hosts_start_in_no_time(world: World, release: str) -> None:
    """The quickest of a few, since the machine may be busy with other things."""
    times = []
    for _ in range(4):
        started = time.monotonic()
        host = world.host(release, stack=False)
        times.append(time.monotonic() - started)
        world.discard(host)
    assert min(times) < 1


def test_names_resolve_to_the_mail_host(mail: Host, world: World) -> None:
    world.name(mail, "webmail.example.test")
    for name in ("webmail.example.test", "mail.example.test"):
        assert world.ca.sh(f"dig +short {name} A; dig +short {name} AAAA").split() == [mail.ipv4, mail.ipv6]
    assert mail.run(["getent", "hosts", "ca.example.test"]).stdout.split()[0] == world.ca.ipv6
    assert mail.run(["curl", "-sS", "http://webmail.example.test/"]).returncode == 0
    assert mail.run(["getent", "hosts", "nobody.example.test"], check=False).returncode != 0


def test_there_is_no_way_out(mail: Host) -> None:
    assert mail.run(["ip", "route", "show", "default"]).stdout == ""
    assert mail.run(["ip", "-6", "route", "show", "default"]).stdout == ""


def test_the_clock_and_the_checkout_cannot_be_changed(mail: Host) -> None:
    assert "not permitted" in mail.run(["date", "--set", "2030-01-01"], check=False).stderr
    assert "Read-only" in mail.run(["touch", "/src/mailseal/planted"], check=False).stderr


def test_the_image_trusts_only_what_debian_trusts(mail: Host) -> None:
    bundle = mail.read("/etc/ssl/certs/ca-certificates.crt")
    mail.run(["update-ca-certificates", "--fresh"])
    assert mail.read("/etc/ssl/certs/ca-certificates.crt") == bundle
    assert mail.sh("ls /usr/local/share/ca-certificates") == ""
    assert not mail.exists("/usr/sbin/policy-rc.d")


def test_wheels_install_without_a_network(mail: Host) -> None:
    mail.run(["python3", "-m", "venv", "/opt/trial"])
    pip = [
        "/opt/trial/bin/pip",
        "install",
        "-q",
        "--require-hashes",
        "-r",
        "/src/mailseal/requirements/runtime.txt",
    ]
    mail.run(pip, timeout=180)
    mail.run(["/opt/trial/bin/pip", "install", "-q", "hatchling"], timeout=60)
    mail.run(["/opt/trial/bin/python", "-c", "import aiohttp, dns, jinja2, rich, OpenSSL, hatchling"])


def test_files_commands_and_snapshots(mail: Host) -> None:
    before = mail.snapshot("/etc")
    mail.write("/etc/new folder/file", "Grüße\n", 0o600)
    assert mail.read("/etc/new folder/file") == "Grüße\n"
    changed = set(mail.snapshot("/etc").items()) - set(before.items())
    assert {path for path, _ in changed} == {"/etc/new folder", "/etc/new folder/file"}
    assert any(what.startswith("-rw------- root:root") for _, what in changed)
    assert mail.run(["id", "-un"], user=USER).stdout == f"{USER}\n"
    assert mail.run(["env"], env={"A": "b"}).stdout.count("A=b") == 1
    with pytest.raises(CommandFailed, match=r"on mail\.example\.test ended with 3:\nwhy"):
        mail.run(["sh", "-c", "echo why >&2; exit 3"])


def test_a_command_out_of_time_is_killed_with_its_children(mail: Host) -> None:
    with pytest.raises(subprocess.TimeoutExpired):
        mail.run(["sh", "-c", "sleep 777 & sleep 777"], timeout=0.3)
    assert mail.pids("-f", "sleep 777") == []


def test_orphans_are_buried(mail: Host) -> None:
    mail.sh("(sleep 0.1 &) ; true")
    time.sleep(0.3)
    assert "defunct" not in mail.sh("ps ax")


@pytest.mark.parametrize(
    "options",
    [
        PebbleOptions(),
        PebbleOptions(nonce_reject=50, authz_reuse=0, chain_length=3, alternate_roots=1, eab=True),
    ],
)
def test_pebble_tells_its_directory_and_roots(world: World, mail: Host, options: PebbleOptions) -> None:
    pebble = world.pebble(options)
    told = json.loads(mail.run(["curl", "-sS", "--cacert", API_TRUST, pebble.directory_url]).stdout)
    assert told["meta"]["externalAccountRequired"] == options.eab
    assert told["renewalInfo"].startswith("https://ca.example.test:")
    roots = pebble.roots()
    assert len(roots) == options.alternate_roots + 1
    assert all(root.startswith("-----BEGIN CERTIFICATE-----") for root in roots)
    assert mail.run(["curl", "-sS", pebble.directory_url], check=False).returncode == 60
    pebble.stop()
    assert mail.run(["curl", "-sS", "--cacert", API_TRUST, pebble.directory_url], check=False).returncode == 7


def test_caddy_tells_its_directory_and_root(caddy: Caddy, mail: Host) -> None:
    told = json.loads(mail.run(["curl", "-sS", "--cacert", API_TRUST, caddy.directory_url]).stdout)
    assert {"newNonce", "newAccount", "newOrder"} <= set(told)
    assert caddy.roots()[0].startswith("-----BEGIN CERTIFICATE-----")


@pytest.mark.parametrize("kind", ["pebble", "caddy"])
def test_both_servers_validate_and_issue(
    world: World, release: str, kind: str, request: pytest.FixtureRequest
) -> None:
    """By a client that is not ours: Caddy gets its certificate from them, by http-01 on port 80."""
    server: AcmeServer = request.getfixturevalue(kind)
    client = world.host(release, "client.example.test", stack=False)
    options = f"acme_ca {server.directory_url}\n acme_ca_root {API_TRUST}\n admin off\n skip_install_trust"
    site = "tls {\n issuer acme {\n disable_tlsalpn_challenge\n }\n }\n respond ok"
    client.write("/etc/caddy/Caddyfile", f"{{\n {options}\n}}\nclient.example.test {{\n {site}\n}}\n")
    client.spawn(["caddy", "run", "--config", "/etc/caddy/Caddyfile"], log="/var/log/caddy.log")
    client.wait_listening(80, 443)
    client.write("/tmp/root.pem", server.roots()[0])
    ask = ["curl", "-sS", "--cacert", "/tmp/root.pem", "https://client.example.test/"]
    deadline = time.monotonic() + 30
    while (got := client.run(ask, check=False)).stdout != "ok":
        assert time.monotonic() < deadline, got.stderr + client.read("/var/log/caddy.log")
        time.sleep(0.2)
    world.discard(client)


def test_a_faulty_server_refuses_as_told_and_otherwise_passes_on(
    world: World, mail: Host, pebble: Pebble
) -> None:
    faulty = world.faulty(pebble)
    told = json.loads(mail.run(["curl", "-sS", "--cacert", API_TRUST, faulty.directory_url]).stdout)
    assert told["newOrder"].startswith(f"https://ca.example.test:{faulty.port}/")
    faulty.inject(
        rate_limited("order-plz", "too many", times=2),
        Fault("/dir", method="GET", drop=True),
        busy("/nonce-plz", method="HEAD"),
    )
    ask = ["curl", "-sSi", "--cacert", API_TRUST]
    for _ in range(2):
        refused = mail.run([*ask, "--data", "{}", told["newOrder"]]).stdout
        assert (
            "429 Too Many Requests" in refused
            and "Retry-After: 3600" in refused
            and "Replay-Nonce: " in refused
        )
        assert '"type": "urn:ietf:params:acme:error:rateLimited"' in refused
    assert "malformed" in mail.run([*ask, "--data", "{}", told["newOrder"]]).stdout
    assert mail.run([*ask, faulty.directory_url], check=False).returncode in (52, 56)
    assert mail.run([*ask, faulty.directory_url]).returncode == 0
    assert "503" in mail.run([*ask, "--head", told["newNonce"]]).stdout
    faulty.inject()
    assert "Replay-Nonce" in mail.run([*ask, "--head", told["newNonce"]]).stdout.title()
    assert [request.status for request in faulty.seen()][:4] == [200, 429, 429, 415]
    faulty.stop()


def test_strace_sees_inside(mail: Host) -> None:
    mail.run(["strace", "-f", "-o", "/tmp/trace", "sh", "-c", "umask 077; cat /etc/hostname >/tmp/made"])
    assert "/tmp/made" in mail.read("/tmp/trace")


def test_a_directory_of_the_outside_can_be_bound(world: World, release: str, tmp_path: Path) -> None:
    host = world.host(release, stack=False, binds={"/var/lib/mailseal": tmp_path})
    host.write("/var/lib/mailseal/made", "inside")
    assert (tmp_path / "made").read_text() == "inside"
    world.discard(host)


def test_a_trusted_issuer_is_trusted_by_the_system(world: World, mail: Host, pebble: Pebble) -> None:
    world.trust_issuer(mail, pebble)
    mail.write("/tmp/root.pem", pebble.roots()[0])
    assert "OK" in mail.run(["openssl", "verify", "/tmp/root.pem"]).stdout


def test_two_worlds_at_once_and_nothing_of_the_host_changes(namespaces: None, release: str) -> None:
    before = listening_here(), etc_here(), links_here()
    with World() as one, World() as two:
        first, second = one.host(release), two.host(release)
        assert first.ipv4 == second.ipv4
        first.write("/etc/only-here", "x")
        assert not second.exists("/etc/only-here")
        assert (listening_here(), links_here()) == (before[0], before[2])
    assert (listening_here(), etc_here(), links_here()) == before


def test_everything_dies_with_its_maker(namespaces: None, release: str) -> None:
    code = (
        "import sys, time; from lab.world import World; w = World(); h = w.host(sys.argv[1], stack=False);"
        "m = w.machine(sys.argv[1], 'm.example.test');"
        "print(w.ca.pid, h.pid, m.pid, w.network._pid, flush=True); time.sleep(600)"
    )
    maker = subprocess.Popen(
        [sys.executable, "-c", code, release], cwd=CHECKOUT, stdout=subprocess.PIPE, text=True
    )
    assert maker.stdout is not None
    pids = [int(pid) for pid in maker.stdout.readline().split()]
    assert len(pids) == 4
    maker.kill()
    maker.communicate()
    deadline = time.monotonic() + 10
    while any(Path(f"/proc/{pid}").exists() for pid in pids):
        assert time.monotonic() < deadline, "left behind after its maker was killed"
        time.sleep(0.05)


def test_without_root_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(Unavailable, match="needs root"):
        guard.require()


def test_a_missing_program_is_named_with_its_package(
    namespaces: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(Unavailable, match=r"apt-get install .*systemd-container"):
        guard.require("systemd-nspawn")


def test_refused_namespaces_are_told(namespaces: None) -> None:
    """Under a bounding set without CAP_SYS_ADMIN, as in most containers."""
    code = "from lab.guard import require; require()"
    argv = ["setpriv", "--bounding-set=-sys_admin", "--", sys.executable, "-c", code]
    told = subprocess.run(argv, cwd=CHECKOUT, capture_output=True, text=True, check=False)
    assert told.returncode == 1
    assert "refuses them: unshare: unshare failed: Operation not permitted" in told.stderr


def test_pins_of_one_package_are_cut_out_whole() -> None:
    pins = (
        "alpha==1 \\\n    --hash=sha256:aa\n    # via\n    #   beta\n    #   gamma\n"
        "beta==2 \\\n    --hash=sha256:bb\n    # via -r dev.in\n"
        "gamma==3 ; python_version < '3.12' \\\n    --hash=sha256:cc\n    # via beta\n"
        "delta==4 \\\n    --hash=sha256:dd\n    # via epsilon\n"
    )
    cut = requirements_for("beta", pins)
    assert (
        "alpha==1" in cut and "beta==2" in cut and "gamma==3 ; python_version" in cut and "delta" not in cut
    )

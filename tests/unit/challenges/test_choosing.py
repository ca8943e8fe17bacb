"""The choice, as a table: what is wished, who listens, what is taken or why nothing is."""

from __future__ import annotations

import pytest

from mailseal.challenges.choosing import Choice, Way, Wished, choose, solver_of
from mailseal.challenges.directory import DirectorySolver
from mailseal.challenges.listener import ALL_ADDRESSES, ListenerSolver
from mailseal.challenges.webroot import WebrootSolver
from mailseal.errors import ChallengeError
from mailseal.model import Identifier
from mailseal.system.listeners import Listener
from mailseal.system.local import LocalSystem

APACHE = Listener("::", 80, 812, "apache2")
NGINX = Listener("0.0.0.0", 80, 813, "nginx")
HIDDEN = Listener("0.0.0.0", 80)
SSH = Listener("0.0.0.0", 22, 1, "sshd")
HIGH = Listener("127.0.0.1", 8402, 900, "python3")


@pytest.mark.parametrize(
    ("wished", "seen", "way", "reason"),
    [
        (Wished(), [APACHE, SSH], Way.APACHE, "apache2 (pid 812)"),
        (Wished(), [SSH], Way.LISTENER, "nothing listens on port 80"),
        (Wished(webroot="/var/www/html"), [NGINX], Way.WEBROOT, "nginx (pid 813)"),
        (Wished(roots={Identifier.parse("a.example"): "/srv"}), [NGINX], Way.WEBROOT, "nginx"),
        (Wished(webroot="/var/www/html"), [APACHE], Way.APACHE, "Apache has port 80"),
        (Wished(port=8402), [NGINX], Way.LISTENER, "forwarded to port 8402"),
        (Wished("listener", port=8402), [APACHE], Way.LISTENER, "forwarded to port 8402"),
        (Wished("listener", listen="192.0.2.1", port=8402), [HIGH], Way.LISTENER, "forwarded"),
        (Wished("listener"), [SSH], Way.LISTENER, "nothing listens"),
        (Wished("apache"), [APACHE], Way.APACHE, "the configuration says so"),
        (Wished("apache"), [], Way.APACHE, "nothing listens on port 80 yet"),
        (Wished("webroot", webroot="/var/www/html"), [APACHE], Way.WEBROOT, "a web root is named"),
    ],
)
def test_taken(wished: Wished, seen: list[Listener], way: Way, reason: str) -> None:
    choice = choose(wished, seen)
    assert choice.way is way
    assert reason in choice.reason


@pytest.mark.parametrize(
    ("wished", "seen", "words"),
    [
        (Wished(), [NGINX], ["nginx (pid 813) on 0.0.0.0:80", "webroot", "forward"]),
        (Wished(), [HIDDEN], ["a process that cannot be seen"]),
        (Wished("listener"), [NGINX], ["in use", "nginx (pid 813)"]),
        (Wished("listener", listen="127.0.0.1", port=8402), [HIGH], ["8402", "python3 (pid 900)"]),
        (Wished("listener", port=8402), [HIGH], ["8402", "python3 (pid 900)"]),
        (Wished("apache"), [NGINX], ["Apache cannot answer", "nginx (pid 813)"]),
        (Wished("webroot"), [NGINX], ["No web root is named"]),
        (Wished("webroot", webroot="/var/www/html"), [], ["Nothing listens on port 80"]),
    ],
)
def test_refused(wished: Wished, seen: list[Listener], words: list[str]) -> None:
    with pytest.raises(ChallengeError) as caught:
        choose(wished, seen)
    told = "\n".join(caught.value.lines())
    assert [word for word in words if word not in told] == []
    assert "Next:" in told


def test_apache_on_another_port() -> None:
    high = Listener("127.0.0.1", 8080, 812, "apache2")
    assert choose(Wished(), [high, NGINX], http_port=8080).way is Way.APACHE


def test_solvers() -> None:
    system = LocalSystem()
    wished = Wished(webroot="/var/www/html")
    assert isinstance(solver_of(Choice(Way.APACHE, ""), wished, system), DirectorySolver)
    assert isinstance(solver_of(Choice(Way.WEBROOT, ""), wished, system), WebrootSolver)
    assert isinstance(solver_of(Choice(Way.LISTENER, "", ALL_ADDRESSES), wished, system), ListenerSolver)

"""Run inside a lab host: look at one service, write what its adapter wishes for, check, reload, look again.

`service_job.py KIND ACTION JSON`: the wish as JSON ({"certificates": [[key type,
directory], …], "names": […], "challenge": directory or null, "config_dir": …}).
Actions: `observe`, `write` (only writes), `apply` (writes, checks, reloads),
`rehearse` (runs the throw-away instance in namespaces of its own and keeps it for
the command that follows). Prints one JSON object; the test outside judges it.
"""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from typing import Any

from mailseal.model import (
    AbsentWish,
    Command,
    DirectoryWish,
    FileWish,
    Identifier,
    KeyFiles,
    KeyType,
    LinkWish,
    Wish,
)
from mailseal.services import load
from mailseal.services.base import ChallengeWish, Facts, ServiceSettings, ServiceWish
from mailseal.system import System
from mailseal.system.local import LocalSystem


def main() -> None:
    kind, action, told = sys.argv[1], sys.argv[2], json.loads(sys.argv[3])
    adapter = load(kind)
    system = LocalSystem()
    settings = ServiceSettings(kind, config_dir=told.get("config_dir"))
    facts = adapter.observe(system, settings)
    assert facts is not None
    wish = wish_of(told)
    said: dict[str, Any] = {"facts": facts_of(facts), "audit": [asdict(f) for f in adapter.audit(facts)]}
    if action in ("write", "apply", "rehearse"):
        rendering = adapter.render(wish, facts)
        said["findings"] = [asdict(f) for f in rendering.findings]
        said["changed"] = [w.path for w in rendering.wishes if fulfil(system, w)]
        said["checks"] = [run(system, command) for command in adapter.checks(facts)]
        after = adapter.observe(system, settings)
        assert after is not None
        said["again"] = [w.path for w in adapter.render(wish, after).wishes if fulfil(system, w)]
        said["after"] = facts_of(after)
        said["audit_after"] = [asdict(f) for f in adapter.audit(after)]
    if action == "reload":
        said["reload"] = [run(system, command) for command in adapter.reload(facts)]
    if action == "apply":
        commands = adapter.reload(facts) if facts.running else adapter.restart(facts)
        said["reload"] = [run(system, command) for command in commands]
    if action == "restart":
        said["restart"] = [run(system, command) for command in adapter.restart(facts)]
    if action == "rehearse":
        rehearsal = adapter.rehearsal(facts)
        assert rehearsal is not None
        said["rehearsal"] = asdict(rehearsal)
    print(json.dumps(said))


def wish_of(told: dict[str, Any]) -> ServiceWish:
    names = tuple(Identifier.parse(name) for name in told.get("names", ()))
    return ServiceWish(
        certificates=tuple(
            KeyFiles(
                KeyType(key_type),
                *(f"{folder}/{name}.pem" for name in ("privkey", "cert", "chain", "fullchain", "combined")),
            )
            for key_type, folder in told.get("certificates", ())
        ),
        identifiers=names,
        primary=names[0].value if names else "",
        challenge=ChallengeWish(told["challenge"]) if told.get("challenge") else None,
        submission=bool(told.get("submission")),
    )


def facts_of(facts: Facts) -> dict[str, Any]:
    return {
        "version": facts.version,
        "running": facts.running,
        "systemd": facts.systemd,
        "endpoints": sorted([e.address, e.port, e.protocol.value, e.tls.value] for e in facts.endpoints),
        "configured": [asdict(c) for c in facts.configured],
        "names": facts.names,
    }


def fulfil(system: System, wish: Wish) -> bool:
    """Whether something had to be changed."""
    state = system.files.state(wish.path)
    match wish:
        case FileWish():
            if state.kind == "file" and state.content == wish.content:
                return False
            mode = state.mode if wish.keep_metadata and state.kind == "file" else wish.mode
            system.files.replace(wish.path, wish.content, mode=mode)
        case LinkWish():
            if state.kind == "link" and state.target == wish.target:
                return False
            system.files.symlink(wish.path, wish.target)
        case DirectoryWish():
            if state.kind == "directory":
                return False
            system.files.mkdir(wish.path, mode=wish.mode)
        case AbsentWish():
            if state.kind == "absent":
                return False
            system.files.remove(wish.path)
    return True


def run(system: System, command: Command) -> list[Any]:
    done = system.processes.run(command.argv, timeout=command.timeout, env=dict(command.env))
    return [list(done.argv), done.status, done.said[-600:]]


if __name__ == "__main__":
    main()

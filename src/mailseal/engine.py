"""Where the parts are put together: one configuration and one machine make a `Reconciler`.

The choice of how http-01 is answered is made here, from the configuration and
from who listens on port 80. Where there is no way, that stops orders only:
what is issued already is still deployed, proven and reported.
"""

from __future__ import annotations

import msgspec

from mailseal.certificates import read_pem
from mailseal.chains import SYSTEM_STORE, TrustAnchors, anchor_count
from mailseal.challenges.base import Solver
from mailseal.challenges.choosing import Choice, Way, Wished, choose, solver_of
from mailseal.config.schema import Config
from mailseal.daemons import Say
from mailseal.desired import SIGN, SIGN_TEXT, Desired, desired
from mailseal.diary import Diary
from mailseal.errors import ChallengeError, ConfigError, SystemFault
from mailseal.judge.expect import ExpectedLeaf, PublicFile
from mailseal.model import CHALLENGE_PREFIX, Generation, Identifier
from mailseal.observe import names_to_serve
from mailseal.prove import Prover
from mailseal.reconcile import Reconciler
from mailseal.rehearsal import Rehearsals
from mailseal.schedule import way as schedule
from mailseal.stores.filesystem import LineageStore
from mailseal.system import System
from mailseal.system.listeners import listeners


def wished(config: Config) -> Wished:
    """[http01] as the choice reads it."""
    table = config.http01
    roots = {Identifier.parse(name): path for name, path in table.webroots.items()}
    return Wished(table.method, table.webroot, roots, table.listen, table.port)


def way(system: System, config: Config) -> Choice:
    """How http-01 is answered on this machine now. Raises `ChallengeError` where no way can work."""
    return choose(wished(config), listeners(system), http_port=config.services.apache.http_port)


def anchors(system: System, config: Config) -> TrustAnchors:
    """The roots that certificates are judged by: the system's, or the configuration's own."""
    if config.proof.trust == "system":
        return TrustAnchors("the system's store", system.files.read(SYSTEM_STORE))
    return roots(system, config.proof.trust, "[proof] trust")


def roots(system: System, path: str, key: str) -> TrustAnchors:
    """The roots in a file that a key of the configuration names. Raises `ConfigError` where it holds none."""
    found, reason = b"", ""
    try:
        found = system.files.read(path)
    except SystemFault as error:
        reason = error.reason
    anchors = TrustAnchors(path, found)
    if anchor_count(anchors):
        return anchors
    raise ConfigError(
        f"No roots can be read from {path}",
        faults=(f"{key} names it: {reason or 'it holds no certificate in PEM'}",),
        next_command="name a file that holds root certificates in PEM, or name none for the system's store",
    )


def leaving(config: Config) -> Config:
    """As much of a configuration as handing the machine back needs: the roots that it names may be gone by then."""
    return msgspec.structs.replace(
        config,
        acme=msgspec.structs.replace(config.acme, ca_file=None),
        proof=msgspec.structs.replace(config.proof, trust="system"),
    )


def reconciler(
    system: System, config: Config, say: Say, diary: Diary | None = None, *, path: str = ""
) -> Reconciler:
    """Everything wired for one configuration on one machine; looks at who listens, changes nothing.

    `path` is where the configuration stands: only the one at the usual path keeps the machine's timer.
    """
    problem: ChallengeError | None = None
    choice: Choice | None = None
    try:
        choice = way(system, config)
    except ChallengeError as error:
        problem = error
    wanted = desired(config, challenges_by_apache=choice is not None and choice.way is Way.APACHE)
    trusted = anchors(system, config)
    if config.acme.ca_file is not None:
        roots(system, config.acme.ca_file, "[acme] ca_file")

    def make_solver() -> Solver:
        if choice is None:
            raise problem or ChallengeError("There is no way to answer http-01 here")
        return solver_of(choice, wished(config), system, directory=wanted.challenge_directory)

    return Reconciler(
        system,
        config,
        wanted,
        make_solver=make_solver,
        prover=lambda generation: prover(system, config, wanted, generation),
        rehearser=Rehearsals(system, f"{config.state.directory}/state", wanted.services, wanted.primary, say),
        anchors=trusted,
        say=say,
        diary=diary,
        schedule=schedule.way(config, path),
    )


def prover(system: System, config: Config, wanted: Desired, generation: Generation | None) -> Prover:
    """What asks the endpoints for this wish; with a generation, whether they serve it."""
    store = LineageStore(system, config.state.directory)
    names = names_to_serve(wanted, generation)
    primary = next(
        (name.value for name in names if name.value == wanted.primary), names[0].value if names else ""
    )
    return Prover(
        system,
        anchors(system, config),
        names,
        primary=primary,
        leaves=_leaves(system, store, generation) if generation else (),
        public_file=PublicFile(f"{CHALLENGE_PREFIX}{SIGN}", SIGN_TEXT)
        if wanted.challenges_by_apache
        else None,
        redirect=generation is not None and wanted.challenges_by_apache,
        deadline_seconds=config.proof.deadline,
        timeout=config.proof.timeout,
    )


def _leaves(system: System, store: LineageStore, generation: Generation) -> tuple[ExpectedLeaf, ...]:
    files = store.generation_files(generation)
    return tuple(ExpectedLeaf(read_pem(system.files.read(one.fullchain))) for one in files)

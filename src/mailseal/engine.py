"""Where the parts are put together: one configuration and one machine make a `Reconciler`.

The choice of how http-01 is answered is made here, from the configuration and
from who listens on port 80. Where there is no way, that stops orders only:
what is issued already is still deployed, proven and reported.
"""

from __future__ import annotations

from mailseal.apply import Say
from mailseal.certificates import read_pem
from mailseal.chains import SYSTEM_STORE, TrustAnchors
from mailseal.challenges.base import Solver
from mailseal.challenges.choosing import Choice, Way, Wished, choose, solver_of
from mailseal.config.schema import Config
from mailseal.desired import SIGN, SIGN_TEXT, desired
from mailseal.errors import ChallengeError
from mailseal.judge.expect import ExpectedLeaf, PublicFile
from mailseal.model import CHALLENGE_PREFIX, Generation, Identifier
from mailseal.prove import Prover
from mailseal.reconcile import Reconciler
from mailseal.rehearsal import Rehearsals
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
    return TrustAnchors(config.proof.trust, system.files.read(config.proof.trust))


def reconciler(system: System, config: Config, say: Say) -> Reconciler:
    """Everything wired for one configuration on one machine; looks at who listens, changes nothing."""
    problem: ChallengeError | None = None
    choice: Choice | None = None
    try:
        choice = way(system, config)
    except ChallengeError as error:
        problem = error
    wanted = desired(config, challenges_by_apache=choice is not None and choice.way is Way.APACHE)
    trusted = anchors(system, config)

    def make_solver() -> Solver:
        if choice is None:
            raise problem or ChallengeError("There is no way to answer http-01 here")
        return solver_of(choice, wished(config), system, directory=wanted.challenge_directory)

    store = LineageStore(system, config.state.directory)

    def prover(generation: Generation | None) -> Prover:
        spec = wanted.default
        return Prover(
            system,
            trusted,
            spec.sorted_identifiers if spec else (),
            primary=wanted.primary,
            leaves=_leaves(system, store, generation) if generation else (),
            public_file=PublicFile(f"{CHALLENGE_PREFIX}{SIGN}", SIGN_TEXT)
            if wanted.challenges_by_apache
            else None,
            redirect=generation is not None and wanted.challenges_by_apache,
            deadline_seconds=config.proof.deadline,
            timeout=config.proof.timeout,
        )

    return Reconciler(
        system,
        config,
        wanted,
        make_solver=make_solver,
        prover=prover,
        rehearser=Rehearsals(system, f"{config.state.directory}/state", wanted.services, wanted.primary, say),
        anchors=trusted,
        say=say,
    )


def _leaves(system: System, store: LineageStore, generation: Generation) -> tuple[ExpectedLeaf, ...]:
    files = store.generation_files(generation)
    return tuple(ExpectedLeaf(read_pem(system.files.read(one.fullchain))) for one in files)

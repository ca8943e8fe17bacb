"""`mailseal check`: looks at this machine, or at another from outside, and changes nothing.

Here: finds the services, reads the files that they are configured with,
infers what should hold (`mailseal.judge.infer`; with a configuration of
mailseal's, what that wishes for instead), shakes hands with every endpoint,
and has it all judged. From outside: resolves a host's addresses and asks the
usual ports; what is closed there is told and is no fault, since only the
admin knows what should be open.

Promises: reads, and opens connections; writes nothing, reloads nothing, logs
in nowhere. A file that may not be read (without root) is a finding.
"""

from __future__ import annotations

import asyncio
import errno
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from mailseal import engine, services
from mailseal.chains import SYSTEM_STORE, TrustAnchors, anchor_count
from mailseal.challenges.choosing import Way
from mailseal.config.schema import Config
from mailseal.desired import desired
from mailseal.dns.lookup import addresses
from mailseal.errors import ChallengeError, MailsealError, SystemFault
from mailseal.judge.expect import Expectation
from mailseal.judge.files import Pair, PemFile, full_chain_beside, judge_pair
from mailseal.judge.infer import Seen, infer, mail_name, names_asked, unasked
from mailseal.judge.verdict import Verdict
from mailseal.judge.words import certificate, place
from mailseal.model import AppProtocol, Endpoint, Finding, Identifier, Severity, TlsMode, worst
from mailseal.probes import PATIENCE
from mailseal.probes.base import Stage
from mailseal.prove import Prover, look
from mailseal.services.base import Facts, ServiceAdapter, ServiceSettings
from mailseal.stores.filesystem import LineageStore
from mailseal.system import Files, System

OUTSIDE = (
    (25, AppProtocol.SMTP, TlsMode.STARTTLS),
    (465, AppProtocol.SUBMISSION, TlsMode.IMPLICIT),
    (587, AppProtocol.SUBMISSION, TlsMode.STARTTLS),
    (143, AppProtocol.IMAP, TlsMode.STARTTLS),
    (993, AppProtocol.IMAP, TlsMode.IMPLICIT),
    (110, AppProtocol.POP3, TlsMode.STARTTLS),
    (995, AppProtocol.POP3, TlsMode.IMPLICIT),
    (4190, AppProtocol.SIEVE, TlsMode.STARTTLS),
    (443, AppProtocol.HTTP, TlsMode.IMPLICIT),
    (80, AppProtocol.HTTP, TlsMode.NONE),
)
_PEM_LIMIT = 1_048_576


@dataclass(frozen=True, slots=True)
class Report:
    """What a check saw: the services by name and version, the name that mail goes by, every answer, all findings.

    `anchors` says by whose roots trust was judged.
    """

    services: tuple[str, ...]
    name: str
    verdict: Verdict
    findings: tuple[Finding, ...]
    anchors: str

    @property
    def served(self) -> tuple[tuple[str, str], ...]:
        """Each endpoint that shook hands, and what it spoke and served."""
        lines = [
            (place(one.question.endpoint), f"{one.answer.tls_version}, {certificate(one.answer.chain[0])}")
            for one in self.verdict.judged
            if one.answer.chain
        ]
        return tuple(dict.fromkeys(lines))


def system_anchors(system: System) -> TrustAnchors:
    """The roots that this machine trusts."""
    return TrustAnchors("the system's store", system.files.read(SYSTEM_STORE))


def check_machine(
    system: System,
    *,
    settings: Sequence[ServiceSettings] = (),
    anchors: TrustAnchors | None = None,
    prover: Prover | None = None,
    timeout: float = PATIENCE,
) -> Report:
    """Looks at this machine. `settings` names its services; empty: all kinds that are known, in their usual places.

    With a `prover` what its configuration wishes for holds, in place of what is inferred.
    """
    trusted = anchors or (prover.anchors if prover else None) or system_anchors(system)
    wanted_settings = settings or tuple(ServiceSettings(kind) for kind in services.ADAPTERS)
    found, trouble = _services(system, wanted_settings)
    seen = tuple(Seen(facts, tuple(_pairs(system.files, adapter, facts))) for adapter, facts in found)
    if prover is not None and prover.primary:
        name, certain = prover.primary, True
    else:
        name, certain = mail_name(seen, _host_names(system))
    expected: tuple[Expectation, ...] = infer(seen, name, certain=certain)
    if prover is not None and prover.identifiers:
        expected = (*expected, *prover.expectations([facts for _, facts in found]))
    verdict = asyncio.run(look(system, expected, trusted, timeout=timeout))
    of_files = [finding for one in seen for pair in one.pairs for finding in judge_pair(pair)]
    findings = [
        *trouble,
        *_store(trusted),
        *_audits(found, of_files),
        *of_files,
        *_stopped(found, verdict),
        *_too_many(seen),
        *_good(verdict),
    ]
    return Report(
        services=tuple(f"{adapter.title} {'.'.join(map(str, facts.version))}" for adapter, facts in found),
        name=name,
        verdict=verdict,
        findings=_ordered(findings),
        anchors=trusted.label,
    )


def configured_prover(system: System, config: Config) -> Prover:
    """What a configuration wishes for: its default certificate's names everywhere, and what is issued, served."""
    try:
        by_apache = engine.way(system, config).way is Way.APACHE
    except ChallengeError:
        by_apache = False
    wanted = desired(config, challenges_by_apache=by_apache)
    store = LineageStore(system, config.state.directory)
    number = store.current_number(wanted.default.name) if wanted.default else None
    generation = store.load(wanted.default.name, number) if wanted.default and number is not None else None
    if generation is None:
        wanted = replace(
            wanted, challenges_by_apache=False
        )  # nothing is served yet, and nothing is amiss in that
    return engine.prover(system, config, wanted, generation)


def _services(
    system: System, settings: Iterable[ServiceSettings]
) -> tuple[list[tuple[ServiceAdapter, Facts]], list[Finding]]:
    found: list[tuple[ServiceAdapter, Facts]] = []
    trouble: list[Finding] = []
    for one in settings:
        if not one.enabled:
            continue
        adapter = services.load(one.kind)
        try:
            facts = adapter.observe(system, one)
        except MailsealError as error:
            trouble.append(
                Finding(
                    "service-unreadable", Severity.ERROR, adapter.title, seen=str(error), why="not judged"
                )
            )
            continue
        if facts is not None:
            found.append((adapter, facts))
    if not found and not trouble:
        titles = [services.load(one.kind).title for one in settings]
        trouble.append(
            Finding(
                "no-services",
                Severity.WARNING,
                "this machine",
                seen=f"none of {', '.join(titles)} is installed",
                why="there is nothing here that mailseal could judge",
                mend="mailseal check HOST, to look at another machine from outside",
            )
        )
    return found, trouble


def _pairs(files: Files, adapter: ServiceAdapter, facts: Facts) -> Iterable[Pair]:
    """The files of every setting in force; of many names with files of their own, only those that are asked."""
    empty = [
        Pair(adapter.kind, one, PemFile(one.cert_file), PemFile(one.key_file))
        for one in facts.configured
        if not one.shadowed and one.cert_file.startswith("/")
    ]
    asked = names_asked(empty)
    for pair in empty:
        if pair.configured.names and pair.configured.names not in asked:
            continue
        key_file = pair.configured.key_file
        cert = read_file(files, pair.cert.path)
        key = cert if key_file == cert.path else read_file(files, key_file) if key_file else PemFile("")
        yield replace(pair, cert=cert, key=key)


def read_file(files: Files, path: str) -> PemFile:
    """A certificate or key file as it is; what stops the reading is in it."""
    leads_to = ""
    try:
        own = files.state(path)
        leads_to = own.target if own.kind == "link" else ""
        content = files.read(path, _PEM_LIMIT)
        stat = files.stat(path, follow=True)
    except SystemFault as fault:
        missing = fault.errno in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP)
        problem = "there is no such file" if missing else (fault.reason or fault.message)
        return PemFile(path, None, problem, leads_to)
    beside = full_chain_beside(path)
    there = beside != path and files.stat(beside, follow=True) is not None
    return PemFile(path, content, "", leads_to, stat.mode if stat else 0, beside if there else "")


def _host_names(system: System) -> tuple[str, ...]:
    try:
        said = system.processes.run(("hostname", "--fqdn"), timeout=10.0)
    except SystemFault:
        return ()
    return (said.stdout.strip().lower(),) if said.ok and "." in said.stdout.strip() else ()


def _store(anchors: TrustAnchors) -> Iterable[Finding]:
    if anchor_count(anchors) == 0:
        yield Finding(
            "no-trust-anchors",
            Severity.ERROR,
            anchors.label,
            seen="no root is in it",
            why="nothing can be trusted by it, and nothing was judged rightly",
            mend="apt install --reinstall ca-certificates",
        )


def _audits(found: Iterable[tuple[ServiceAdapter, Facts]], of_files: Sequence[Finding]) -> Iterable[Finding]:
    """What the adapters find odd, without what they tell by a file's name and is judged here by its content."""
    gone = [finding.subject for finding in of_files if finding.code == "file-missing"]
    for adapter, facts in found:
        for finding in adapter.audit(facts):
            by_name = finding.code.endswith(("-leaf-only", "-key-of-another"))
            again = finding.code.endswith("-missing-file") and any(path in finding.seen for path in gone)
            if not (by_name or again):
                yield finding


def _stopped(found: Iterable[tuple[ServiceAdapter, Facts]], verdict: Verdict) -> Iterable[Finding]:
    """A service that does not run, told once in place of once a port; and the verdict's findings but those."""
    dead: set[str] = set()
    for adapter, facts in found:
        own = [one for one in verdict.judged if one.question.endpoint in facts.endpoints]
        if not facts.running and own and all(one.answer.stage is Stage.CONNECT for one in own):
            dead.add(adapter.kind)
            ports = sorted({one.question.endpoint.port for one in own})
            yield Finding(
                "service-not-running",
                Severity.ERROR,
                adapter.title,
                seen=f"it is configured for the ports {', '.join(map(str, ports))} and does not run",
                expected="a service that runs, or none",
                why="its clients are turned away",
                mend=str(adapter.restart(facts)),
            )
    judged = tuple(one for one in verdict.judged if one.question.endpoint.service not in dead)
    yield from replace(verdict, judged=judged).findings


def _good(verdict: Verdict) -> Iterable[Finding]:
    """The endpoints at which nothing is wrong, a line each."""
    bad = {one.question.endpoint for one in verdict.judged if worst(one.findings) >= Severity.WARNING}
    told: dict[Endpoint, str] = {}
    for one in verdict.judged:
        endpoint, answer = one.question.endpoint, one.answer
        if endpoint not in bad and answer.ok:
            seen = f"{answer.tls_version}, {certificate(answer.chain[0])}" if answer.chain else answer.detail
            told.setdefault(endpoint, seen)
    for endpoint, seen in told.items():
        yield Finding("endpoint-good", Severity.OK, place(endpoint), seen=seen)


def _too_many(seen: Sequence[Seen]) -> Iterable[Finding]:
    if count := unasked(seen):
        yield Finding(
            "names-not-asked",
            Severity.INFO,
            "this machine",
            seen=f"{count} names have certificates of their own and were not asked",
            why="that many would take long",
        )


def _ordered(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    return tuple(sorted(dict.fromkeys(findings), key=lambda finding: -finding.severity))


def check_host(
    system: System, host: str, *, anchors: TrustAnchors | None = None, timeout: float = PATIENCE
) -> Report:
    """Looks at a host from outside: the usual ports at all of its addresses.

    Raises `ValueError` where `host` is neither a name nor an address.
    """
    identifier = Identifier.parse(host)
    trusted = anchors or system_anchors(system)
    if identifier.kind == "ip":
        found: tuple[str, ...] = (identifier.value,)
    else:
        found = asyncio.run(addresses(system.dns(), identifier.value)).all
    expected = [
        Expectation(
            Endpoint("", address, port, protocol, tls),
            (identifier.value,),
            identifier.value if port == 25 else "",
            redirect=port == 80,
        )
        for address in found
        for port, protocol, tls in OUTSIDE
    ]
    verdict = asyncio.run(look(system, expected, trusted, timeout=timeout, in_flight=len(OUTSIDE)))
    return Report(
        services=(),
        name=identifier.value,
        verdict=verdict,
        findings=_ordered(
            [*_no_address(identifier, found), *_store(trusted), *_from_outside(verdict), *_good(verdict)]
        ),
        anchors=trusted.label,
    )


def _no_address(identifier: Identifier, found: tuple[str, ...]) -> Iterable[Finding]:
    if not found:
        yield Finding(
            "no-address",
            Severity.ERROR,
            identifier.value,
            seen="DNS gives neither an A nor an AAAA record",
            expected="an address",
            why="nobody can reach it",
        )


def _from_outside(verdict: Verdict) -> Iterable[Finding]:
    """Closed ports are told once an address, and are no fault unless nothing at all is open."""
    closed = {one.question.endpoint for one in verdict.judged if one.answer.stage is Stage.CONNECT}
    reached = {one.question.endpoint for one in verdict.judged} - closed
    for address in sorted({endpoint.address for endpoint in closed}):
        ports = sorted(endpoint.port for endpoint in closed if endpoint.address == address)
        alive = any(endpoint.address == address for endpoint in reached)
        yield Finding(
            "port-closed" if alive else "endpoint-unreachable",
            Severity.INFO if alive else Severity.ERROR,
            address,
            seen=f"no connection to the ports {', '.join(map(str, ports))}"
            if alive
            else "no connection to any of the ports of mail and web",
            why="many networks let nobody out on port 25, so that one may be open all the same"
            if 25 in ports and alive
            else "",
        )
    judged = tuple(one for one in verdict.judged if one.question.endpoint not in closed)
    yield from replace(verdict, judged=judged).findings

"""Setting up: find what is there, draft a configuration, show what it would do, do it, say what to tell people.

Nothing is written before `carry_out`; when that ends without a certificate
that is served, however it ends, the configuration file that was written goes
away again and the machine is as it was. Only the account at the CA and an order
that can be taken up again stay, under mailseal's own folder. The CA's terms are
agreed to only by a flag, never by being asked nicely.
"""

from __future__ import annotations

import asyncio
import posixpath
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import msgspec

from mailseal import config as configuration
from mailseal.acme.client import AcmeClient
from mailseal.acme.jws import SigningKey
from mailseal.challenges.choosing import Choice
from mailseal.challenges.forwarding import Forward, rules
from mailseal.config.acme import Acme
from mailseal.config.schema import Certificate, Config, Http01, PostfixService, Proof, Services, State
from mailseal.daemons import Say
from mailseal.desired import desired
from mailseal.diary import Diary
from mailseal.engine import anchors, reconciler, roots, way
from mailseal.errors import UNCHANGED, ConfigError, MailsealError, UsageError, Waiting
from mailseal.issuers.keys import new_key
from mailseal.model import AppProtocol, Identifier, KeyType, TlsMode
from mailseal.notify.channels import sentence as told_by
from mailseal.observe import found_services
from mailseal.others import Managed, managed
from mailseal.proposals import Proposal, propose
from mailseal.renewal import renewal_time
from mailseal.report import Report
from mailseal.schedule.keeping import lifetimes
from mailseal.schedule.standing import sentence, standing
from mailseal.schedule.way import way as way_of
from mailseal.services.base import Facts
from mailseal.services.postfix_facts import PostfixFacts
from mailseal.services.postfix_submission import missing_ports, sasl_works
from mailseal.steps import Plan
from mailseal.system import System


@dataclass(frozen=True, slots=True)
class Answers:
    """What the admin said on the command line; empty: as proposed."""

    names: tuple[str, ...] = ()
    contacts: tuple[str, ...] = ()
    agree_tos: bool = False
    directory: str | None = None
    ca_file: str | None = None
    trust: str | None = None
    key_types: tuple[str, ...] = ()
    http01: str | None = None
    webroot: str | None = None
    listen: str | None = None
    port: int | None = None
    submission: bool = False


@dataclass(frozen=True, slots=True)
class Found:
    """What a look at the machine brought: the services, the names to propose, ports that could be added."""

    facts: tuple[Facts, ...]
    proposal: Proposal
    submission_ports: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Draft:
    """A configuration that was not written yet, what was found, and the lines that tell it."""

    config: Config
    facts: tuple[Facts, ...]
    proposal: Proposal
    choice: Choice
    told: tuple[str, ...]


class SettingUp:
    """One run of setup. `path` is where the configuration will be."""

    def __init__(self, system: System, path: str, say: Say) -> None:
        self._system = system
        self._path = path
        self._say = say

    def look(self) -> Found:
        """Looks at the machine. Raises `UsageError` where it is set up already, or has no service; changes nothing."""
        with _nothing_changes():
            if self._system.files.stat(self._path) is not None:
                with self._system.lock(State().lock):  # a setup that is at work just now is told as that
                    self._refuse_present()
            facts = self._services()
            proposal = propose(self._system, facts, self._system.dns())
            return Found(facts, proposal, _submission_ports(facts))

    def draft(self, found: Found, answers: Answers) -> Draft:
        """Drafts. Raises `UsageError` or `ConfigError` with what stands in the way; changes nothing."""
        with _nothing_changes():
            return self._draft(found, answers)

    def _draft(self, found: Found, answers: Answers) -> Draft:
        facts, proposal = found.facts, found.proposal
        names = tuple(dict.fromkeys(_parsed(answers.names) or proposal.names))
        if not names:
            raise UsageError(
                "No name of this server was found that DNS knows",
                reason="; ".join(proposal.left_out) or "the services name none",
                state=UNCHANGED,
                next_command="mailseal setup --name mail.example.org, with a name whose A or AAAA record leads here",
            )
        self._refuse_managed(names)
        config = _config(answers, names)
        text = configuration.render(config)
        config = _loaded(text, self._path)
        anchors(self._system, config)
        if config.acme.ca_file is not None:
            roots(self._system, config.acme.ca_file, "--ca-file")
        choice = way(self._system, config)
        terms = self._terms(config)
        if terms and not answers.agree_tos:
            raise UsageError(
                "The CA's terms of service are not agreed to",
                reason=f"they are at {terms}",
                state=UNCHANGED,
                next_command="read them, then the same command with --agree-tos",
            )
        told = _told(config, found, choice, terms, text, self._path)
        return Draft(config, facts, proposal, choice, told)

    def plan(self, draft: Draft) -> Plan:
        """What carrying it out would do."""
        with _nothing_changes():
            return reconciler(self._system, draft.config, self._say, path=self._path).plan()

    def carry_out(self, draft: Draft, diary: Diary | None = None) -> Report:
        """Writes the configuration and applies it; takes the file away again when nothing came of it.

        Raises what stopped it, `Waiting` where the CA does not take an order yet.
        """
        working = reconciler(self._system, draft.config, self._say, diary, path=self._path)
        with _nothing_changes(), working.lock():
            self._refuse_present()  # looked at again, now that nobody else is at work
            before, report = working.current(), None
            folder = posixpath.dirname(self._path)
            made = (folder,) if self._system.files.stat(folder) is None else ()
            try:
                self._write(draft.config, made)
                report = working.run_locked(insist=True)
            finally:
                now = working.current()
                if now == before and (not now or report is None or report.errors):
                    self._take_away(made)
        if not report.errors and not now:
            raise Waiting(
                "There is no certificate yet",
                reason="; ".join(report.waits),
                state=UNCHANGED,
                next_command="the same command then",
            )
        return report

    def _write(self, config: Config, folders: tuple[str, ...]) -> None:
        for folder in folders:
            self._system.files.mkdir(folder, mode=0o755)
        self._system.files.replace(self._path, configuration.render(config).encode(), mode=0o644)

    def _take_away(self, folders: tuple[str, ...]) -> None:
        files = self._system.files
        files.remove(self._path)
        for folder in folders:
            if files.stat(folder) is not None and not files.listdir(folder):
                files.rmdir(folder)

    def _refuse_present(self) -> None:
        if self._system.files.stat(self._path) is not None:
            raise UsageError(
                f"{self._path} is there already",
                state=UNCHANGED,
                next_command="edit it, then mailseal plan and mailseal apply; or move it away for a new setup",
            )

    def farewell(self, draft: Draft, report: Report) -> list[str]:
        """What to type into mail clients, when it is renewed, what to keep open, what was not proven."""
        host = desired(draft.config, challenges_by_apache=False).primary
        lines = ["Tell mail clients:"]
        lines += [f"  {line}" for line in _client_lines(host, self._services())]
        for lineage in report.lineages:
            if lineage.target is not None:
                when = renewal_time(
                    lineage.target, lineage.state.renewal_instant(lineage.target.fingerprints())
                )
                lines += ["", f"{lineage.name}: renewal is due {when.at:%F %H:%M} UTC ({when.why})."]
        timer = standing(self._system, way_of(draft.config, self._path), lifetimes(report.lineages))
        lines += [sentence(timer), told_by(self._system, draft.config)]
        lines += ["Keep port 80 open to the world: the CA asks there at every renewal."]
        lines += _forwarding(draft, self._system)
        lines += ["", *_not_proven(report)]
        return lines

    def _services(self) -> tuple[Facts, ...]:
        empty = desired(Config(services=Services()), challenges_by_apache=False)
        facts = tuple(found for _, found in found_services(self._system, empty))
        if not facts:
            raise UsageError(
                "No service that mailseal knows is installed here",
                reason="looked for Postfix, Dovecot and Apache",
                state=UNCHANGED,
                next_command="apt install postfix dovecot-imapd apache2",
            )
        return facts

    def _refuse_managed(self, names: tuple[Identifier, ...]) -> None:
        wanted = {name.value for name in names}
        others = [one for one in managed(self._system.files) if wanted & set(one.names)]
        if others:
            raise UsageError(
                f"{_clients(others)} keeps certificates for these names already",
                reason="; ".join(f"{one.place}: {', '.join(one.names)}" for one in others),
                state=UNCHANGED,
                next_command="mailseal check (judges the machine as it is); "
                "or end the other client's renewal of these names first",
            )

    def _terms(self, config: Config) -> str:
        async def ask() -> str:
            http = self._system.http(ca_file=config.acme.ca_file)
            try:
                key = SigningKey.from_pem(new_key(KeyType.ECDSA_P256).reveal())
                client = AcmeClient(http, self._system.clock, key, config.acme.directory_url)
                return (await client.directory()).meta.terms_of_service or ""
            finally:
                await http.close()

        self._say(f"asking the CA for its terms: {config.acme.directory_url}")
        return asyncio.run(ask())


@contextmanager
def _nothing_changes() -> Iterator[None]:
    """Errors that do not know of a state come from where nothing was changed yet, or everything was taken back."""
    try:
        yield
    except MailsealError as error:
        error.state = error.state or UNCHANGED
        raise


def _loaded(text: str, path: str) -> Config:
    """The draft, held to the rules of the file that it will be. Raises `ConfigError` that tells of the answers."""
    try:
        return configuration.load(text, path)
    except ConfigError as error:
        raise ConfigError(
            "These answers make no configuration that could be followed:",
            faults=tuple(re.sub(r"^line \d+, ", "", fault) for fault in error.faults),
            next_command="the same command with that mended (mailseal setup --help tells the flags)",
        ) from error


def _parsed(texts: tuple[str, ...]) -> tuple[Identifier, ...]:
    found = []
    for text in texts:
        try:
            found.append(Identifier.parse(text))
        except ValueError as error:
            raise UsageError(
                f"--name {text} is no name for a certificate",
                reason=str(error),
                next_command="the same command with the name mended, such as --name mail.example.org",
            ) from error
    return tuple(found)


def _clients(others: list[Managed]) -> str:
    return " and ".join(dict.fromkeys(one.client for one in others))


def _config(answers: Answers, names: tuple[Identifier, ...]) -> Config:
    acme = Acme(contact=answers.contacts, agree_to_terms=answers.agree_tos, ca_file=answers.ca_file)
    if answers.directory:
        acme = msgspec.structs.replace(acme, directory=answers.directory)
    unknown = [text for text in answers.key_types if text not in set(KeyType)]
    if unknown:
        raise UsageError(
            f"--key-type {unknown[0]}: there is no such type of key",
            next_command=f"take one of {', '.join(KeyType)}",
        )
    key_types = tuple(KeyType(text) for text in answers.key_types) or (KeyType.ECDSA_P256,)
    certificate = Certificate(
        name="mail", identifiers=tuple(name.value for name in names), key_types=key_types
    )
    http01 = Http01(webroot=answers.webroot, listen=answers.listen)
    if answers.http01:
        http01 = msgspec.structs.replace(http01, method=answers.http01)
    if answers.port:
        http01 = msgspec.structs.replace(http01, port=answers.port)
    proof = Proof(trust=answers.trust) if answers.trust else Proof()
    services = Services(postfix=PostfixService(submission=answers.submission))
    return Config(acme=acme, certificate=(certificate,), http01=http01, services=services, proof=proof)


def _submission_ports(facts: tuple[Facts, ...]) -> tuple[int, ...]:
    """Which of 587 and 465 Postfix lacks although a login would work there."""
    postfix = next((one for one in facts if isinstance(one, PostfixFacts)), None)
    if postfix is None or not postfix.running or not sasl_works(postfix):
        return ()
    return missing_ports(postfix)


def _told(config: Config, found: Found, choice: Choice, terms: str, text: str, path: str) -> tuple[str, ...]:
    proposal = found.proposal
    services = ", ".join(f"{one.kind} {'.'.join(map(str, one.version))}" for one in found.facts)
    names = ", ".join(identifier.unicode for identifier in config.specs()[0].sorted_identifiers)
    lines = [f"Found       {services}", f"Names       {names}"]
    lines += [f"  left out  {line}" for line in proposal.left_out]
    if proposal.domains:
        lines.append(f"Mail for    {', '.join(proposal.domains)}")
    if found.submission_ports and not config.services.postfix.submission:
        ports = " and ".join(map(str, found.submission_ports))
        lines.append(f"Submission  {ports} could be opened, since SASL works: --submission")
    lines += [f"CA          {config.acme.directory_url}"]
    if terms:
        lines.append(f"Terms       {terms} (agreed to by --agree-tos)")
    lines += [f"Challenge   http-01 by {choice.way}: {choice.reason}", "", f"{path}:"]
    lines += [f"  {line}" for line in text.splitlines()]
    return (*lines, "")


_CLIENT_WORDS = {
    AppProtocol.IMAP: "IMAP (incoming)",
    AppProtocol.POP3: "POP3 (incoming)",
    AppProtocol.SUBMISSION: "SMTP (outgoing)",
    AppProtocol.SIEVE: "ManageSieve",
}


def _client_lines(host: str, facts: tuple[Facts, ...]) -> list[str]:
    endpoints = {(e.protocol, e.port, e.tls) for one in facts for e in one.endpoints}
    told = []
    for protocol, words in _CLIENT_WORDS.items():
        for _, port, tls in sorted(
            (e for e in endpoints if e[0] is protocol), key=lambda e: e[2] != TlsMode.IMPLICIT
        ):
            way_in = "SSL/TLS" if tls is TlsMode.IMPLICIT else "STARTTLS"
            told.append(f"{words:17} {host}  port {port}  {way_in}")
    return told


def _forwarding(draft: Draft, system: System) -> list[str]:
    if not draft.choice.forwarded:
        return []
    own = system.network.own_addresses()
    address = draft.config.http01.listen or (own[0] if own else "127.0.0.1")
    names = tuple(i.value for i in draft.config.specs()[0].sorted_identifiers)
    lines = ["", "Whoever owns port 80 must forward the challenge to this host. The rule, for"]
    for rule in rules(Forward(names, address, draft.choice.port)):
        lines += ["", f"{rule.product} ({rule.where}):", *rule.text.splitlines()]
    return lines


def _not_proven(report: Report) -> list[str]:
    unknown = [result for one in report.issued if one.looked for result in one.looked.unknown]
    lines = [
        "Not proven from outside: the handshakes went to this machine's own addresses.",
        "Whether the world gets here (DNS, NAT, firewall) only a look from elsewhere",
        "tells: mailseal check HOST.",
    ]
    lines += [f"  {result.identifier} at {result.address}: {result.seen}" for result in unknown]
    return lines

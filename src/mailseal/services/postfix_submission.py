"""Ports 587 and 465 for a master.cf that lacks them (RFC 6409, RFC 8314).

They are added only where a login can work: with Dovecot's SASL where its
socket is there, with Cyrus where main.cf has SASL enabled. Without SASL both
ports would refuse everybody, and a spammer's scan would be all that comes.

The blocks are what Debian's master.cf proposes in comments: mail is taken from
who has logged in and nobody else, 587 demands STARTTLS before that, 465 is TLS
at once. The fields (chroot above all) are those of the machine's own smtp
service, since a path such as `private/auth` must mean the same there.
"""

from __future__ import annotations

from mailseal.model import Finding, Severity
from mailseal.services import postfix_conf as conf
from mailseal.services.postfix_facts import PostfixFacts

_COMMON = (
    "smtpd_tls_auth_only=yes",
    "smtpd_sasl_auth_enable=yes",
    "smtpd_client_restrictions=",
    "smtpd_helo_restrictions=",
    "smtpd_sender_restrictions=",
    "smtpd_relay_restrictions=permit_sasl_authenticated,reject",
    "smtpd_recipient_restrictions=",
    "milter_macro_daemon_name=ORIGINATING",
)
_PORTS = (
    (587, "submission", ("syslog_name=postfix/submission", "smtpd_tls_security_level=encrypt")),
    (465, "submissions", ("syslog_name=postfix/submissions", "smtpd_tls_wrappermode=yes")),
)


def missing_ports(facts: PostfixFacts) -> tuple[int, ...]:
    """Which of 587 and 465 no service of master.cf listens on."""
    heard = {listener.port for listener in facts.listeners}
    return tuple(port for port, _, _ in _PORTS if port not in heard)


def sasl_works(facts: PostfixFacts) -> bool:
    """Whether a login has somebody to ask, as far as it can be seen without one."""
    if facts.sasl_socket is not None:
        return facts.sasl_socket
    enabled = facts.flag("smtpd_sasl_auth_enable") or any(
        facts.flag("smtpd_sasl_auth_enable", listener.service) for listener in facts.listeners
    )
    return enabled and bool(facts.value("smtpd_sasl_type"))


def with_submission(facts: PostfixFacts) -> tuple[bytes, tuple[Finding, ...]]:
    """master.cf with the ports that it lacks; as it is, and a finding, where SASL does not work."""
    text = conf.decode(facts.master.content)
    missing = missing_ports(facts)
    if missing and not sasl_works(facts):
        return facts.master.content, (_no_sasl(facts),)
    for port, name, own in _PORTS:
        if port in missing:
            text = conf.with_service(text, block(facts, name, own))
    return conf.encode(text), ()


def block(facts: PostfixFacts, name: str, own: tuple[str, ...]) -> str:
    """One service's lines."""
    smtp = next((s for s in facts.services if s.type == "inet" and s.command == "smtpd"), None)
    fields = (smtp.private, smtp.unprivileged, smtp.chroot) if smtp else ("n", "-", "y")
    lines = ["# Added by mailseal. To undo all that mailseal changed: mailseal detach"]
    lines.append(f"{name:<16} inet  {fields[0]:<7} {fields[1]:<7} {fields[2]:<7} -       -       smtpd")
    lines += [f"  -o {assignment}" for assignment in (*own, *_COMMON)]
    return "\n".join(lines) + "\n"


def _no_sasl(facts: PostfixFacts) -> Finding:
    kind = facts.value("smtpd_sasl_type") or "none"
    return Finding(
        "postfix-no-sasl",
        Severity.WARNING,
        facts.main_path,
        seen=f"smtpd_sasl_type = {kind}, smtpd_sasl_path = {facts.value('smtpd_sasl_path')}, nobody answers there",
        expected="a SASL server that answers, before 587 and 465 are opened",
        why="Without it no client can log in, so the ports were not added.",
        mend="with Dovecot: add a unix_listener /var/spool/postfix/private/auth to its service auth, then: "
        "postconf -e smtpd_sasl_type=dovecot smtpd_sasl_path=private/auth",
    )

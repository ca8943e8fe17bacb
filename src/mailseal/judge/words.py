"""How certificates, services and dates are called in findings."""

from __future__ import annotations

from datetime import datetime

from mailseal.certificates import certificate_facts
from mailseal.errors import KeyMaterialError
from mailseal.model import Endpoint
from mailseal.probes.base import Question

_RELOAD = {
    "postfix": "postfix reload (and, for names in tls_server_sni_maps, postmap -F MAP before)",
    "dovecot": "doveadm reload",
    "apache": "apache2ctl graceful",
    "nginx": "nginx -s reload",
    "haproxy": "systemctl reload haproxy",
}


def day(moment: datetime) -> str:
    """A date as people write it: 12 August 2026."""
    return f"{moment.day} {moment:%B %Y}"


def certificate(der: bytes) -> str:
    """A certificate so that an admin knows which: names, issuer, dates, the start of its fingerprint."""
    try:
        facts = certificate_facts(der)
    except KeyMaterialError as error:
        return f"a certificate that cannot be read ({error})"
    names = [str(identifier) for identifier in facts.identifiers]
    told = ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
    return (
        f"the certificate of {day(facts.not_before)} for {told or 'no name'} by {facts.issuer or 'nobody'}, "
        f"good until {day(facts.not_after)} (SHA-256 {facts.fingerprint[:16]}…)"
    )


def reload_of(service: str) -> str:
    """The command that makes a service take up changed files."""
    return _RELOAD.get(service, f"systemctl reload {service}" if service else "")


def place(endpoint: Endpoint) -> str:
    """An endpoint with its service: postfix 127.0.0.1:25."""
    return f"{endpoint.service} {endpoint}".strip()


def asked(question: Question) -> str:
    """An endpoint as it was asked: postfix 127.0.0.1:25 as mail.example.org, rsa."""
    told = place(question.endpoint)
    if question.server_name is not None:
        told += f" as {question.server_name}"
    if question.family is not None:
        told += f" ({question.family})"
    return told

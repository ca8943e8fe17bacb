"""The wish, whole: what the configuration asks for on the machine at hand. Pure."""

from __future__ import annotations

from dataclasses import dataclass, replace

from mailseal.config.schema import Config, Service, WebService
from mailseal.model import CertificateSpec
from mailseal.services.base import ServiceSettings

# A file that stays in the challenge directory, so that a proof can see whether the path is served.
SIGN = "mailseal"
SIGN_TEXT = b"mailseal answers ACME challenges here.\n"


@dataclass(frozen=True, slots=True)
class Desired:
    """What should hold: the specs, which of them is served by default, by which services, and how names are shown.

    `challenges_by_apache`: Apache is asked to serve the challenge directory.
    `switched_off` are services that the configuration says to leave alone.
    `submission`: Postfix is asked for the ports 587 and 465 where they are missing.
    """

    specs: tuple[CertificateSpec, ...]
    services: tuple[ServiceSettings, ...]
    challenge_directory: str
    challenges_by_apache: bool
    submission: bool = False
    switched_off: tuple[ServiceSettings, ...] = ()

    @property
    def default(self) -> CertificateSpec | None:
        """The certificate that every service serves; the first of the file."""
        return self.specs[0] if self.specs else None

    @property
    def primary(self) -> str:
        """The name that the host goes by: the default certificate's first in the fixed order of names."""
        if self.default is None:
            return ""
        named = [i for i in self.default.sorted_identifiers if i.kind == "dns" and not i.is_wildcard]
        return (named or list(self.default.sorted_identifiers))[0].value


def settings(kind: str, table: Service) -> ServiceSettings:
    """One service's table as its adapter reads it."""
    base = ServiceSettings(
        kind=kind,
        enabled=table.enabled,
        config_dir=table.config_dir,
        binary=table.binary,
        systemd_unit=table.systemd_unit,
    )
    if not isinstance(table, WebService):
        return base
    return replace(
        base,
        web_root=table.web_root,
        http_port=table.http_port,
        https_port=table.https_port,
    )


def desired(config: Config, *, challenges_by_apache: bool) -> Desired:
    """The wish that a configuration states."""
    tables = (
        ("postfix", config.services.postfix),
        ("dovecot", config.services.dovecot),
        ("apache", config.services.apache),
    )
    return Desired(
        specs=config.specs(),
        services=tuple(settings(kind, table) for kind, table in tables if table.enabled),
        switched_off=tuple(settings(kind, table) for kind, table in tables if not table.enabled),
        challenge_directory=f"{config.state.directory}/challenges",
        challenges_by_apache=challenges_by_apache,
        submission=config.services.postfix.submission,
    )

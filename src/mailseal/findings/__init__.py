"""What each finding's code stands for: the registry behind docs/reference/findings.md.

A code is stable: scripts and monitoring may match it. It is written where the
finding is made (`Finding("dovecot-tls-off", …)`) and explained here; a test
walks the tree and fails for a code that is in one place only. A code says in a
few words what is wrong; one that only a certain daemon can have begins with
that daemon, and stands in that daemon's module. Pure data.
"""

from __future__ import annotations

from mailseal.findings.about import About
from mailseal.findings.apache import APACHE
from mailseal.findings.challenge import CHALLENGE
from mailseal.findings.dovecot import DOVECOT
from mailseal.findings.postfix import POSTFIX
from mailseal.findings.reaching import LOOKING, REACHING
from mailseal.findings.served import FILES, SERVED
from mailseal.findings.telling import TELLING
from mailseal.findings.work import WORK

__all__ = ["CODES", "About"]

CODES: dict[str, About] = {
    **REACHING,
    **LOOKING,
    **SERVED,
    **FILES,
    **POSTFIX,
    **DOVECOT,
    **APACHE,
    **CHALLENGE,
    **WORK,
    **TELLING,
}

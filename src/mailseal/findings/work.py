"""What a run has to tell of its own work."""

from __future__ import annotations

from mailseal.findings.about import About

WORK = {
    "certificate-revoked": About(
        "A revoked certificate is live",
        "It was revoked before another could take its place. Another is ordered at every run until one comes.",
    ),
    "clock-differs": About(
        "The machine's clock differs from the CA's",
        "By more than two minutes, as the Date header of the CA's answers tells. Renewals follow the clock, and so do "
        "clients' and our own judgement of certificates: set it right.",
    ),
    "detached": About(
        "The machine was handed back",
        "`mailseal renew` does nothing then; `mailseal apply` takes the machine up again.",
    ),
    "history-not-written": About(
        "The history could not be written",
        "What was done stands; that it was cannot be read later in history.jsonl.",
    ),
    "hook-failed": About(
        "A hook failed",
        "A program of [hooks], or of before.d or after.d, ended with another status than 0, or not in time. Before "
        "a change that keeps it from being made; after it nothing is taken back.",
    ),
    "hook-refused": About(
        "A hook was not run, since somebody else than root could have written it",
        "It would run as root. The file, and every directory and link on the way to it, must belong to root.",
    ),
    "hook-skipped": About(
        "A file among the hooks is not run",
        "Its name has a dot or another character that run-parts(8) does not take, or it is not executable.",
    ),
    "fallback-ca": About(
        "A certificate was issued by a fallback CA",
        "The CA of `[acme]` has failed for half of the life that was left to the certificate, or for an hour where "
        "none served. At the next renewal it is asked first again.",
    ),
    "generation-refused": About(
        "A generation was refused, since its files are not what was issued",
        "They were changed between the order and the switch. It never goes live; another was ordered in its place.",
    ),
    "interrupted-run": About(
        "An earlier run was interrupted",
        "It was finished, or taken back, as the finding says; see the log for why.",
    ),
    "revocation-waits": About(
        "A certificate is to be revoked and still serves",
        "`mailseal revoke` was interrupted, or an endpoint goes on serving the old certificate. It is revoked by the "
        "run that finds it out of use.",
    ),
    "telling-failed": About(
        "Somebody did not hear of a run",
        "What tells of a run (hooks, notification, metrics, …) failed itself; the work of the run stands.",
    ),
    "not-rehearsed": About(
        "A daemon could not be tried out beforehand",
        "A throw-away instance on the staged configuration was not possible here; the proof after the switch holds "
        "all the same.",
    ),
    "not-scheduled": About(
        "Nobody looks for certificates to renew",
        "There is neither systemd nor cron, or no program that they could start: nothing is renewed by itself.",
    ),
    "service-not-running": About(
        "A daemon is installed and does not run",
        "It gets its files and is otherwise left alone: neither reloaded, nor started, nor proven.",
    ),
    "service-switched-off": About(
        "A service that is switched off still names mailseal's files",
        "Nobody has it take up a renewed certificate, so it serves the old one until that expires.",
    ),
}

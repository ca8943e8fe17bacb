"""What a run has to tell of its own work."""

from __future__ import annotations

from mailseal.findings.about import About

WORK = {
    "detached": About(
        "The machine was handed back",
        "`mailseal renew` does nothing then; `mailseal apply` takes the machine up again.",
    ),
    "history-not-written": About(
        "The history could not be written",
        "What was done stands; that it was cannot be read later in history.jsonl.",
    ),
    "interrupted-run": About(
        "An earlier run was interrupted",
        "It was finished, or taken back, as the finding says; see the log for why.",
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
    "service-not-running": About(
        "A daemon is installed and does not run",
        "It gets its files and is otherwise left alone: neither reloaded, nor started, nor proven.",
    ),
    "service-switched-off": About(
        "A service that is switched off still names mailseal's files",
        "Nobody has it take up a renewed certificate, so it serves the old one until that expires.",
    ),
}

"""Who could not be told."""

from __future__ import annotations

from mailseal.findings.about import About

TELLING = {
    "heartbeat-unsent": About(
        "The heartbeat did not reach its watchman",
        "What `[notify.heartbeat]` names did not answer as it should, so the watchman may raise an alarm.",
    ),
    "notify-doubtful": About(
        "A message may not arrive",
        "It was handed over, and may not go further: the mail server that took it does not run, or refused some of "
        "its recipients.",
    ),
    "notify-not-remembered": About(
        "Who was told what could not be written down",
        "The next run tells the same again.",
    ),
    "notify-unsent": About(
        "A message could not be sent",
        "One of the ways below `[notify]` failed. The others were used all the same, and a later run sends by this "
        "one what is left.",
    ),
}

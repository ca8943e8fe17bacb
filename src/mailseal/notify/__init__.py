"""Notification: whoever is to hear of trouble hears of it, by every way that the configuration names.

    troubles.py   what is wrong, from a run's report (pure)
    schedule.py   when each trouble is told, again, urgently, and as mended (pure)
    book.py       what is remembered between runs, `<state>/notify.json`
    messages.py   what is told, as data
    letters.py    its words (pure)
    channels.py   the ways: mail, webhook, command
    mail.py       a message as a mail (RFC 5322), by sendmail or SMTP
    telling.py    the teller of `mailseal.runs` that puts these together
    heartbeat.py  the teller that asks a watchman's URL

Promises: a trouble is told at its first appearance, then rarer, at once when a
sixth and a twelfth of the certificate's life are left and when it has expired,
and once when it is mended. One channel that fails stops no other; what it
could not send is sent by a later run, also after a crash (a message may come
twice, none is lost for a crash). No message and no finding holds a key, a
password, a secret header or a webhook's URL.
"""

from __future__ import annotations

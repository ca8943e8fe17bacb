"""When mailseal looks by itself: a systemd timer, and a cron file for machines that systemd does not run.

    interval.py   how often: from the shortest lifetime among the certificates held (pure)
    units.py      the timer's and the service's unit files, systemd.timer(5) and systemd.exec(5) (pure)
    cron.py       the cron file, crontab(5) (pure)
    place.py      what of this is here: systemd, cron, the program to start; what stands and when it runs next
    way.py        whose the timer is: the configuration's at the usual path, unless it says no (pure)
    keeping.py    has it stand as it should: journalled like every other change of ours, so that detach takes it back

Everything written here belongs to the machine, so it is written only for the
configuration at its standard path, and not where `[timer] install = false`
says that somebody else starts `mailseal renew`.
"""

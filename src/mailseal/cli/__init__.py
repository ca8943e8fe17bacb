"""The command line: arguments in, results out. It decides nothing itself.

    main.py      the way in, and the one place where errors are caught
    group.py     the table of commands, each in a module that is imported on use
    options.py   what every command takes: --config, --json, --quiet, --verbose, --debug
    output.py    results on stdout; progress, log and errors on stderr
    findings.py  findings as a person reads them, and as JSON
    <command>.py one command: its arguments, a call, its output

Promises: `--help`, `--version` and `status` load none of the heavy libraries;
the exit status is one of `mailseal.errors.ExitCode`, or 130 after Ctrl-C; with
`--json`, stdout holds exactly one JSON document, an error included.
"""

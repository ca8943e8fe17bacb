"""Private instances of the real daemons and CAs, for the demo and the tests.

Everything here runs in namespaces of its own, made by `unshare`, and dies with
the process that asked for it. Nothing of the host is used but its kernel, its
package sources and its CPU time: not its /etc, not its ports, not its clock.

`image`    a Debian release with the mail stack, made once and cached
`network`  a bridge that no host interface is on
`host`     a container without systemd, up in well under a second
`machine`  a whole Debian with systemd, up in about ten seconds
`ca`       ACME servers (Pebble, Caddy) and the DNS of the lab
`bench`    everything together: a CA host and mail hosts on one network

The lab needs root and a kernel that allows namespaces; `guard` says what is missing.
"""

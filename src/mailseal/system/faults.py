"""What the kernel refused, told as a `SystemFault`: what, why, and the command that mends it or looks closer.

errno(3) has the numbers. A mend is a command to type, with the path in it.
"""

from __future__ import annotations

import errno
import os
from shlex import quote

from mailseal.errors import SystemFault


def file_fault(action: str, path: str, error: OSError, *, mend_at: str = "") -> SystemFault:
    """The fault for an action ("write", "rename") on a path; the mend looks at `mend_at` where that differs."""
    return SystemFault(
        f"Cannot {action} {path}",
        reason=reason_of(error),
        errno=error.errno,
        next_command=_mend(error.errno, mend_at or path),
    )


def reason_of(error: OSError) -> str:
    """The kernel's sentence for the error, without Python's decoration."""
    if error.errno is not None:
        return os.strerror(error.errno)
    return str(error) or type(error).__name__


def _mend(number: int | None, path: str) -> str:
    directory = quote(os.path.dirname(path) or "/")
    where = quote(path)
    if number in (errno.EACCES, errno.EPERM) and os.geteuid() != 0:
        return "run it as root, for example with sudo"
    mends = {
        errno.ENOSPC: f"make room: df -h {directory}; df -i {directory}",
        errno.EDQUOT: f"make room within the quota: quota; df -h {directory}",
        errno.EROFS: f"findmnt -T {directory}",
        errno.EACCES: f"namei -l {where}",
        errno.EPERM: f"lsattr -d {where}; namei -l {where}",
        errno.ENOENT: f"ls -ld {directory}",
        errno.ENOTDIR: f"namei -l {where}",
        errno.ELOOP: f"namei -l {where}",
        errno.EEXIST: f"ls -ld {where}",
        errno.EISDIR: f"ls -ld {where}",
        errno.ENOTEMPTY: f"ls -la {where}",
        errno.EIO: "the disk reports errors: dmesg | tail",
        errno.EMFILE: "ulimit -n",
        errno.ENFILE: "sysctl fs.file-nr",
    }
    return mends.get(number, "") if number is not None else ""

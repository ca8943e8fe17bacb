"""A directory that appears whole: its files written, made durable together, and shown by one rename.

On ext4, xfs and their like an fsync(2) waits for a commit of the file system's
own journal, and so ten of them, each after a file was written, wait for ten.
So all is written first, and the kernel asked to begin writing it out
(posix_fadvise(2), POSIX_FADV_DONTNEED); then the first fsync commits what all
of them need, and the others find little left to wait for.

Promises: what is there under its name is complete and durable. A crash before
the rename leaves a hidden neighbour (`.NAME.mailseal-…`), which is nobody's.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from contextlib import ExitStack

from mailseal.system import files as single

FEW, AT_ONCE = 8, 16


def born(directory: int, name: str, contents: Mapping[str, bytes], mode: int) -> None:
    """Makes and syncs the directory (0700) with these files, or leaves nothing; the caller syncs `directory`.

    The keys of `contents` are relative paths; directories on them are made as well.
    """
    os.mkdir(name, 0o700, dir_fd=directory)
    try:
        with ExitStack() as stack:
            top = _entered(directory, name, stack)
            folders, made = {"": top}, []
            for path, content in contents.items():
                folder, _, last = path.rpartition("/")
                here = _below(folders, folder, stack)
                file = os.open(last, single.NEW, 0o600, dir_fd=here)
                stack.callback(os.close, file)
                single.write(file, content)
                single.settle(file, mode, None)
                made.append(file)
            sync(made)
            for opened in folders.values():
                single.sync_directory(opened)
    except BaseException:
        single.remove_below(directory, name)
        raise


def sync(opened: Sequence[int]) -> None:
    """fsync(2) of all of these. The advice before is only for speed."""
    for one in opened:
        os.posix_fadvise(one, 0, 0, os.POSIX_FADV_DONTNEED)
    for one in opened:
        os.fsync(one)


def sync_directories(paths: Sequence[str]) -> None:
    """fsync(2) of these directories; where they are many by several threads, since flushes that meet are one."""
    if len(paths) <= FEW:
        for path in paths:
            _sync_directory(path)
        return
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(AT_ONCE) as pool:
        for _ in pool.map(_sync_directory, paths):
            pass


def _sync_directory(path: str) -> None:
    with single.telling("write", path):
        opened = os.open(path, single.DIRECTORY)
        try:
            single.sync_directory(opened)
        finally:
            os.close(opened)


def _below(folders: dict[str, int], folder: str, stack: ExitStack) -> int:
    if folder not in folders:
        above, _, last = folder.rpartition("/")
        parent = _below(folders, above, stack)
        os.mkdir(last, 0o700, dir_fd=parent)
        folders[folder] = _entered(parent, last, stack)
    return folders[folder]


def _entered(parent: int, name: str, stack: ExitStack) -> int:
    opened = os.open(name, single.DIRECTORY, dir_fd=parent)
    stack.callback(os.close, opened)
    single.settle(opened, 0o700, None)
    return opened

"""One write of each kind, for comparing the calls of the real machine with the effects of the one in memory."""

from __future__ import annotations

import sys

from mailseal.system import Files


def writes(files: Files, root: str) -> None:
    files.create(f"{root}/key.pem", b"KEY", mode=0o640, owner=(0, 7))
    files.replace(f"{root}/key.pem", b"KEY2", mode=0o600)
    files.append(f"{root}/key.pem", b"KEY3")
    files.append(f"{root}/history.jsonl", b"{}", mode=0o644)
    files.symlink(f"{root}/current", "0001")
    files.mkdir(f"{root}/folder", mode=0o711)
    files.create_tree(
        f"{root}/0001", {"ec/key.pem": b"KEY", "ec/cert.pem": b"LEAF", "meta.json": b"{}"}, mode=0o600
    )
    files.mkdir(f"{root}/live", mode=0o700, durable=False)
    files.symlink(f"{root}/live/key.pem", "../current", durable=False)
    files.sync([f"{root}/live", root])
    files.rename(f"{root}/key.pem", f"{root}/folder/key.pem")
    files.remove(f"{root}/current")
    files.remove_tree(f"{root}/folder")


if __name__ == "__main__":
    from mailseal.system.local import LocalSystem

    writes(LocalSystem().files, sys.argv[1])

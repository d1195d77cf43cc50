# SPDX-License-Identifier: GPL-3.0-or-later
"""Show a folder of this machine inside a node of the lab, which sees neither /root nor /tmp of it.

A node has left the machine's tree of mounts, so an ordinary bind mount has no way in. A detached
copy of a mount has: open_tree(2) here, move_mount(2) in there.
"""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
from pathlib import Path

OPEN_TREE, MOVE_MOUNT = 428, 429  # the same numbers on every architecture
AT_FDCWD, CLONE, RECURSIVE, EMPTY_PATH = -100, 1, 0x8000, 4


def graft(pid: int, folder: Path) -> None:
    """``folder`` under its own path in the node whose process 1 is ``pid``. It goes with the
    node."""
    # In a process of its own, which may enter the node's mount namespace and stay there.
    command = [sys.executable, __file__, str(pid), str(folder)]
    subprocess.run(command, check=True, capture_output=True, text=True)


def call(number: int, *arguments: int | bytes) -> int:
    libc = ctypes.CDLL(None, use_errno=True)
    result = int(libc.syscall(number, *arguments))
    if result < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return result


def main(pid: str, folder: str) -> None:
    path = folder.encode()
    tree = call(OPEN_TREE, AT_FDCWD, path, CLONE | RECURSIVE | os.O_CLOEXEC)
    libc = ctypes.CDLL(None, use_errno=True)
    root = os.open(f"/proc/{pid}/root", os.O_RDONLY | os.O_DIRECTORY)
    space = os.open(f"/proc/{pid}/ns/mnt", os.O_RDONLY)
    if libc.setns(space, 0):
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    os.fchdir(root)
    os.chroot(".")
    os.makedirs(folder, exist_ok=True)
    call(MOVE_MOUNT, tree, b"", AT_FDCWD, path, EMPTY_PATH)


if __name__ == "__main__":
    main(*sys.argv[1:])

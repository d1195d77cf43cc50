# SPDX-License-Identifier: GPL-3.0-or-later
"""Settings of the machine that all nodes share and that many nodes need higher.

What was changed is on record for the whole machine, not per lab: the lab that raised a value
may be gone while another still needs it. The last lab puts the values back.
"""

from __future__ import annotations

import contextlib
import json
import os
from typing import Dict

from .host import read_json, write
from .topology import Topology

RECORD = "/run/podnet-lab-limits.json"
NEIGHBOURS = "/proc/sys/net/{}/neigh/default/gc_thresh{}"
INOTIFY = "/proc/sys/fs/inotify/max_user_instances"


def needed(topology: Topology) -> Dict[str, int]:
    """Path → smallest value.

    The neighbour tables' limits count the entries of all namespaces together; systemd opens
    some ten inotify instances per node, of which a user has 128.
    """
    count = len(topology.nodes)
    entries = 8 * count * count
    wanted = {}
    for family in ("ipv4", "ipv6"):
        for level, value in ((3, entries), (2, entries // 2), (1, entries // 4)):
            wanted[NEIGHBOURS.format(family, level)] = value
    if any(node.init == "systemd" for node in topology.nodes):
        wanted[INOTIFY] = 8192
    return wanted


def read(path: str) -> int:
    """The value, or -1 where the kernel has no such setting."""
    try:
        with open(path, encoding="ascii") as stream:
            return int(stream.read())
    except (OSError, ValueError):
        return -1


def _write(path: str, value: int) -> None:
    with contextlib.suppress(OSError), open(path, "w", encoding="ascii") as stream:
        stream.write(str(value))


def raise_for(topology: Topology, record: str = RECORD) -> None:
    """Raise what is lower than this lab needs. The caller holds the machine's lock."""
    known = read_json(record)
    for path, value in needed(topology).items():
        old = read(path)
        if 0 <= old < value and os.access(path, os.W_OK):
            first = known.get(path, {}).get("old", old)
            known[path] = {"old": first, "new": value}
            write(record, json.dumps(known, indent=1, sort_keys=True))
            _write(path, value)


def put_back(record: str = RECORD) -> None:
    """Undo `raise_for`, where nobody has set another value since. For the last lab."""
    for path, values in read_json(record).items():
        if read(path) == values["new"]:
            _write(path, values["old"])
    with contextlib.suppress(FileNotFoundError):
        os.unlink(record)

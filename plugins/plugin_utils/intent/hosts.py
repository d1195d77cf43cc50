# SPDX-License-Identifier: GPL-3.0-or-later
"""The variables of the inventory's hosts that podnet reads, as plain data."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from . import kubespray
from .problems import PREFIX
from .schema import TOOL_KEYS


def host_variables(task_vars: Mapping[str, Any], group: str) -> kubespray.Translation:
    """The `podnet_*` variables of every host of the group, and what kubespray's own ones say.

    Taken from the inventory of all hosts, whatever `--limit` says: what a node needs depends
    on peers that this run may not touch.
    """
    hostvars = task_vars["hostvars"]
    own: dict[str, dict[str, Any]] = {}
    theirs: dict[str, dict[str, Any]] = {}
    for host in map(str, task_vars["groups"].get(group, [])):
        values = hostvars[host]
        names = frozenset(map(str, values))
        own[host] = _plain(values, (n for n in names if n.startswith(PREFIX)))
        needed = kubespray.needed(own[host], names, host)
        if needed is not None:
            theirs[host] = _plain(values, needed)
    return kubespray.translate(own, theirs)


def _plain(values: Mapping[str, Any], names: Iterable[str]) -> dict[str, Any]:
    """Through JSON: Ansible's values are tagged subclasses, which must not travel further."""
    return {
        name: json.loads(json.dumps(values[name], default=str))
        for name in sorted(names)
        if name not in TOOL_KEYS
    }

# SPDX-License-Identifier: GPL-3.0-or-later
"""The variables of the inventory's hosts that podnet reads, as plain data."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from .problems import PREFIX
from .schema import TOOL_KEYS


def host_variables(task_vars: Mapping[str, Any], group: str) -> dict[str, dict[str, Any]]:
    """The `podnet_*` variables of every host of the group.

    Taken from the inventory of all hosts, whatever `--limit` says: what a node needs depends
    on peers that this run may not touch.
    """
    hostvars = task_vars["hostvars"]
    hosts: dict[str, dict[str, Any]] = {}
    for host in task_vars["groups"].get(group, []):
        values = hostvars[host]
        names = [n for n in values if str(n).startswith(PREFIX) and n not in TOOL_KEYS]
        # Through JSON: Ansible's values are tagged subclasses, which must not travel further.
        hosts[str(host)] = {
            str(name): json.loads(json.dumps(values[name], default=str)) for name in names
        }
    return hosts

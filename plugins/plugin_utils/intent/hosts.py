# SPDX-License-Identifier: GPL-3.0-or-later
"""The variables of the inventory's hosts that podnet reads, as plain data."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any

from . import kubespray
from .problems import PREFIX
from .tool_keys import TOOL_KEYS


def host_variables(task_vars: Mapping[str, Any], group: str) -> kubespray.Translation:
    """The `podnet_*` variables of every host of the group, and what kubespray's own ones say.

    Taken from the inventory of all hosts, whatever `--limit` says: what a node needs depends
    on peers that this run may not touch.
    """
    hostvars = task_vars["hostvars"]
    own: dict[str, dict[str, Any]] = {}
    theirs: dict[str, dict[str, Any]] = {}
    shared: Shared = {}
    for host in map(str, task_vars["groups"].get(group, [])):
        values = hostvars.raw_get(host)
        names = frozenset(map(str, values))
        templated = partial(hostvars.__getitem__, host)
        mine = (name for name in names if name.startswith(PREFIX))
        own[host] = _plain(values, templated, mine, shared)
        needed = kubespray.needed(own[host], names, host)
        if needed is not None:
            theirs[host] = _plain(values, templated, needed, shared)
    return kubespray.translate(own, theirs)


# Identity of a value of Ansible's → the value, which keeps its identity while it is here, and its
# plain form; None where it has to be asked for host by host.
Shared = dict[int, tuple[Any, Any]]
MARKS = ("{{", "{%", "{#")


def _plain(
    raw: Mapping[str, Any],
    templated: Callable[[], Mapping[str, Any]],
    names: Iterable[str],
    shared: Shared,
) -> dict[str, Any]:
    """Through JSON: Ansible's values are tagged subclasses, which must not travel further.

    A group's variable is one object in all of its hosts, and a table of all nodes is as large as
    the fleet: what no template makes different is read once. The rest is templated as this host
    has it.
    """
    found: dict[str, Any] = {}
    for name in sorted(names):
        if name in TOOL_KEYS:
            continue
        value = raw[name]
        if id(value) not in shared:
            shared[id(value)] = (value, _through_json(value) if _is_fixed(value) else None)
        plain = shared[id(value)][1]
        if plain is None and value is not None:
            plain = _through_json(templated()[name])
        found[name] = plain
    return found


def _is_fixed(value: Any) -> bool:
    """Whether a value is the same for all hosts: text without a template, numbers, containers of
    them. An encrypted value is none of these."""
    if isinstance(value, str):
        return not any(mark in value for mark in MARKS)
    if isinstance(value, Mapping):
        return all(_is_fixed(key) and _is_fixed(item) for key, item in value.items())
    if isinstance(value, (list, tuple)):
        return all(map(_is_fixed, value))
    return value is None or isinstance(value, (bool, int, float))


def _through_json(value: Any) -> Any:
    return json.loads(json.dumps(value, default=str))

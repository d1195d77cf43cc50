# SPDX-License-Identifier: GPL-3.0-or-later
"""The variables of the inventory's hosts that podnet reads, as plain data."""

from __future__ import annotations

import difflib
import json
from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache, partial
from typing import Any

from . import kubespray
from .parse import KNOWN_NAMES
from .problems import PREFIX, Problem, ProblemsError, printable
from .tool_keys import TOOL_KEYS


def host_variables(task_vars: Mapping[str, Any], group: str) -> kubespray.Translation:
    """The `podnet_*` variables of every host of the group, and what kubespray's own ones say.

    Taken from the inventory of all hosts, whatever `--limit` says: what a node needs depends
    on peers that this run may not touch.

    Raises:
        ProblemsError: every value that cannot be templated or decrypted.
    """
    hostvars = task_vars["hostvars"]
    own: dict[str, dict[str, Any]] = {}
    theirs: dict[str, dict[str, Any]] = {}
    shared: Shared = {}
    failed: Failed = {}
    for host in map(str, task_vars["groups"].get(group, [])):
        values = hostvars.raw_get(host)
        names = frozenset(map(str, values))
        templated = partial(hostvars.__getitem__, host)
        mine = filter(_is_meant, names)
        read = partial(_plain, values, templated, shared=shared, failed=failed, host=host)
        own[host] = read(mine)
        needed = kubespray.needed(own[host], names, host)
        if needed is not None:
            theirs[host] = read(needed)
    if failed:
        raise ProblemsError("the inventory", _all_failed(failed))
    return kubespray.translate(own, theirs)


@lru_cache(maxsize=1 << 14)  # the same names are on every host
def _is_meant(name: str) -> bool:
    """Also a name of podnet's whose prefix is misspelt, to be refused with it: nobody would see
    that it says nothing."""
    if name.startswith(PREFIX):
        return True
    prefix, _mark, rest = name.replace("-", "_").partition("_")
    alike = difflib.SequenceMatcher(None, prefix.lower() + "_", PREFIX).ratio() > 0.8
    return PREFIX + rest.lower() in KNOWN_NAMES and alike


# Identity of a value of Ansible's → the value, which keeps its identity while it is here, and its
# plain form; None where it has to be asked for host by host.
Shared = dict[int, tuple[Any, Any]]
# Variable and what Ansible said of it → the hosts where it did, the first one first.
Failed = dict[tuple[str, str], list[str]]
MARKS = ("{{", "{%", "{#")


def _plain(
    raw: Mapping[str, Any],
    templated: Callable[[], Mapping[str, Any]],
    names: Iterable[str],
    *,
    shared: Shared,
    failed: Failed,
    host: str,
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
            try:
                plain = _through_json(templated()[name])
            except Exception as error:  # Ansible's own types of errors, which are not known here
                failed.setdefault((name, str(error)), []).append(host)
                continue
        found[name] = plain
    return found


def not_templated(where: str, error: object, more: int = 0) -> Problem:
    """``error``: what Ansible said. ``more``: on how many other hosts."""
    said = printable(" ".join(str(error).split()))
    said = said if len(said) <= 160 else said[:159] + "…"
    return Problem(
        where,
        "its value cannot be read",
        "a value, or a template of variables that are set",
        f"{said}{f'; the same on {more} more' if more else ''}",
        "set what the template names, or correct it; an encrypted value needs its vault's password",
    )


def _all_failed(failed: Failed) -> list[Problem]:
    """What a whole group has is said once."""
    return [
        not_templated(f"nodes.{hosts[0]}.{name}", error, len(hosts) - 1)
        for (name, error), hosts in failed.items()
    ]


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

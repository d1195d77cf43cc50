# SPDX-License-Identifier: GPL-3.0-or-later
"""Variables that say how to run: looked at with the inventory, before any node is. Pure.

The role that uses one of them checks it as well, but some of these roles come after the change.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from .problems import Problem, shown
from .readers import type_name

# Name → least and greatest value, as the roles' argument_specs say; None: no limit.
NUMBERS: Mapping[str, tuple[int, int | None]] = {
    "podnet_confirm_seconds": (0, None),
    "podnet_generations_kept": (1, None),
    "podnet_heal_seconds": (0, None),
    "podnet_verify_attempts": (1, None),
    "podnet_verify_bgp_seconds": (0, None),
    "podnet_verify_measure_mbit": (1, None),
    "podnet_verify_measure_seconds": (1, 5),
    "podnet_verify_peers": (0, None),
    "podnet_verify_port": (1, 65535),
    "podnet_verify_timeout_ms": (1, None),
}
WORDS: Mapping[str, tuple[str, ...]] = {
    "podnet_cni_install": ("package", "tarball", "none"),
    "podnet_state": ("present", "absent"),
}
NAMES = (
    "podnet_canary",
    "podnet_lost_nodes",
    "podnet_rollback_nodes",
    "podnet_verify_only",
    "podnet_verify_without",
)
OUTSIDE = "podnet_verify_outside"
WHOLE = re.compile(r"\s*-?[0-9]+\s*")
# What it may be says `fleet/rolling.py`, which is asked by the plan as well.
SERIAL = "podnet_serial"
CHECKED = (*NUMBERS, *WORDS, *NAMES, OUTSIDE, SERIAL)


def run_problems(values: Mapping[str, Any]) -> Iterator[Problem]:
    """What is wrong with those of the variables that are set. Values of the command line are
    text, as in ``-e podnet_confirm_seconds=60``."""
    checks: dict[str, Callable[[str, Any], Iterator[Problem]]] = {
        **dict.fromkeys(NUMBERS, _number),
        **dict.fromkeys(WORDS, _word),
        **dict.fromkeys(NAMES, _names),
        OUTSIDE: _outside,
    }
    for name, check in checks.items():
        if values.get(name) is not None:
            yield from check(name, values[name])


def _number(name: str, value: Any) -> Iterator[Problem]:
    least, most = NUMBERS[name]
    expected = f"a whole number, {least} " + (f"to {most}" if most else "or more")
    number = _whole(value)
    if number is None:
        yield Problem(name, "not a whole number", expected, type_name(value), "write one")
    elif number < least or (most is not None and number > most):
        yield Problem(name, "out of range", expected, str(number), "choose another number")


def _whole(value: Any) -> int | None:
    """A number, or a text of one."""
    if isinstance(value, bool) or not WHOLE.fullmatch(str(value)):
        return None
    return int(value)


def _word(name: str, value: Any) -> Iterator[Problem]:
    if value not in WORDS[name]:
        expected = " or ".join(WORDS[name])
        yield Problem(name, "not one of the words", expected, shown(value), "choose one of them")


def _names(name: str, value: Any) -> Iterator[Problem]:
    given = isinstance(value, str) and not value.strip().startswith(("[", "{"))
    if not given and not (isinstance(value, list) and all(isinstance(x, str) for x in value)):
        remedy = f"""write a list; on the command line: -e '{{"{name}": ["worker-1"]}}'"""
        yield Problem(name, "not a list of nodes", "a list of names", type_name(value), remedy)


def as_list(value: Any) -> list[Any]:
    """What Ansible makes of an argument that is to be a list: a text is divided at its commas."""
    if value is None:
        return []
    return value.split(",") if isinstance(value, str) else list(value)


def _outside(name: str, value: Any) -> Iterator[Problem]:
    remedy = "write each as {address: 203.0.113.10, port: 443}"
    if not isinstance(value, list):
        expected = "a list of hosts with address and port"
        yield Problem(name, "wrong type", expected, type_name(value), remedy)
        return
    for index, host in enumerate(value):
        if not _is_host(host):
            expected = "a host with the keys address and port"
            yield Problem(f"{name}[{index}]", "not a host", expected, shown(host), remedy)


def _is_host(host: Any) -> bool:
    try:
        ipaddress.ip_address(str(host["address"]))
        return 0 < (_whole(host["port"]) or 0) < 65536
    except (KeyError, TypeError, ValueError):
        return False

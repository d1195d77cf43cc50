# SPDX-License-Identifier: GPL-3.0-or-later
"""A configuration of FRR, printed by it or written for it: what of it decides. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ..intent.model import FAMILIES, Family

Line = tuple[str, str]
# What decides about sessions and prefixes. The rest of a configuration is printed by each version
# of FRR in its own way.
_MATTERS = re.compile(
    r"router bgp |network |neighbor \S+ (remote-as|peer-group|password|shutdown|activate|route-map|"
    r"prefix-list|filter-list|distribute-list|route-reflector-client)|bgp listen range |"
    r"(ip|ipv6) prefix-list |route-map |match |bgp as-path |redistribute |aggregate-address "
)
_NUMBER = re.compile(r"(?<=\S) seq \d+(?= )")


@dataclass(frozen=True, slots=True)
class Neighbour:
    """What a configuration says of one address or group; empty where it says nothing.
    ``password``: the mark that `look` puts there."""

    group: str = ""
    asn: str = ""
    password: str = ""
    shutdown: bool = False


@dataclass(frozen=True)
class Conf:
    """A configuration of FRR.

    Attributes:
        lines: (the line that it stands under, itself), of those that matter here.
        networks: what is announced.
    """

    lines: tuple[Line, ...] = ()
    networks: frozenset[str] = frozenset()
    neighbours: Mapping[str, Neighbour] = field(default_factory=dict)

    def neighbour(self, address: str) -> Neighbour:
        """Of an address, with what its group says."""
        own = self.neighbours.get(address, Neighbour())
        group = self.neighbours.get(own.group, Neighbour())
        return Neighbour(
            own.group,
            own.asn or group.asn,
            own.password or group.password,
            own.shutdown or group.shutdown,
        )


def conf_of(text: str) -> Conf:
    """A text of FRR's configuration, printed by it or written for it."""
    lines, networks = [], set()
    neighbours: dict[str, dict[str, Any]] = {}
    under = ""
    for raw in text.splitlines():
        line = _NUMBER.sub("", raw.strip())
        outermost = not raw.startswith(" ") and not line.startswith("!")
        if outermost or line.startswith("address-family "):
            under = line
        elif line == "exit-address-family":
            under = ""
        words = line.split()
        if not words or not _MATTERS.match(line):
            continue
        lines.append(("" if line == under else under, line))
        if words[0] == "network":
            networks.add(words[1])
        elif words[0] == "neighbor":
            _note(neighbours.setdefault(words[1], {}), words[2:])
    known = {name: Neighbour(**items) for name, items in neighbours.items()}
    return Conf(tuple(lines), frozenset(networks), known)


def _note(found: dict[str, Any], words: list[str]) -> None:
    verb, value = words[0], words[1] if len(words) > 1 else ""
    if verb == "peer-group" and value:
        found["group"] = value
    elif verb == "remote-as":
        found["asn"] = value
    elif verb == "password":
        found["password"] = value
    elif verb == "shutdown":
        found["shutdown"] = True


def different(running: Conf, file: Conf) -> list[Line]:
    """What is in one of them alone, sorted."""
    return sorted(set(running.lines) ^ set(file.lines))


def family_of_line(under: str, line: str) -> Family | None:
    """The family that a line is about; None when it may be any."""
    for family in FAMILIES:
        if family in under or f"-{family}" in line:
            return family
    words = line.split()
    if words[0] in ("ip", "ipv6"):
        return "ipv4" if words[0] == "ip" else "ipv6"
    return None

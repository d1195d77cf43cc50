# SPDX-License-Identifier: GPL-3.0-or-later
"""One node's FRR as it is, read from what the script of `look` printed. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from ..intent.model import FAMILIES, Family
from ..kernel.batch import next_hops
from ..kernel.state import UnreadableError
from .look import MARKER

DAEMONS = ("zebra", "bgpd", "watchfrr")
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


@dataclass(frozen=True, slots=True)
class Peer:
    """One session as bgpd has it. ``state``: the words of FRR, such as Established or Active."""

    state: str
    asn: int


@dataclass(frozen=True, slots=True)
class Path:
    """One path to a prefix: from which peer, and the next hop. Both are empty for an own one."""

    peer: str
    via: str


@dataclass(frozen=True)
class Heard:
    """One node's FRR.

    Attributes:
        daemons: those that run.
        sessions: address of the peer → its session.
        learned: destination → next hops of the kernel's routes that BGP made.
        running, file: the configuration that is in force, and the one on disk.
        paths: prefix → paths to it; None when it was not asked for.
        reasons: address of the peer → why the last session ended.
    """

    daemons: frozenset[str] = frozenset()
    sessions: Mapping[str, Peer] = field(default_factory=dict)
    learned: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    running: Conf = Conf()
    file: Conf = Conf()
    paths: Mapping[str, tuple[Path, ...]] | None = None
    reasons: Mapping[str, str] = field(default_factory=dict)

    def stands(self, address: str) -> bool:
        """Whether there is a session with an address."""
        return address in self.sessions and self.sessions[address].state == "Established"


def read(output: str) -> Heard:
    """What the script printed.

    Raises:
        UnreadableError: the answer is not whole.
    """
    _before, *parts = output.split("\n" + MARKER)
    sections = dict(part.partition("\n")[::2] for part in parts)
    if "end" not in sections:
        raise UnreadableError(f"FRR's answer ends too early: {output[-200:]!r}")
    try:
        return Heard(
            daemons=frozenset(sections["daemons"].split()),
            sessions=dict(_sessions(_json(sections["sessions"]))),
            learned=dict(_learned(sections)),
            running=conf_of(sections["running"]),
            file=conf_of(sections["file"]),
            paths=dict(_paths(sections)) if "table4" in sections else None,
            reasons=dict(_reasons(_json(sections.get("neighbours", "")))),
        )
    except (KeyError, ValueError, TypeError, AttributeError) as error:
        raise UnreadableError(f"FRR's answer: {type(error).__name__}: {error}") from error


def _json(text: str) -> Any:
    return json.loads(text.strip() or "{}")


def _sessions(data: Mapping[str, Any]) -> Iterator[tuple[str, Peer]]:
    for part in data.values():
        for address, item in part.get("peers", {}).items():
            yield address, Peer(str(item["state"]), int(item["remoteAs"]))


def _learned(sections: Mapping[str, str]) -> Iterator[tuple[str, tuple[str, ...]]]:
    for key, length in (("learned4", "/32"), ("learned6", "/128")):
        for item in json.loads(sections[key].strip() or "[]"):
            dst = item["dst"] if "/" in item["dst"] else item["dst"] + length
            yield dst, next_hops(item)


def _paths(sections: Mapping[str, str]) -> Iterator[tuple[str, tuple[Path, ...]]]:
    for key in ("table4", "table6"):
        for prefix, items in _json(sections[key]).get("routes", {}).items():
            yield prefix, tuple(_path(item) for item in items)


def _path(item: Mapping[str, Any]) -> Path:
    peer = item.get("peerId", "")
    if ":" not in peer and "." not in peer:  # "(unspec)"
        return Path("", "")
    hops = item.get("nexthops") or [{}]
    used = next((hop for hop in hops if hop.get("used")), hops[0])
    return Path(peer, str(used.get("ip", "")))


def _reasons(data: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for address, item in data.items():
        if isinstance(item, Mapping):
            words = (item.get("lastNotificationReason"), item.get("lastResetDueTo"))
            yield address, ", ".join(str(word) for word in words if word)


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


def family_of_line(under: str, line: str) -> Family | None:
    """The family that a line is about; None when it may be any."""
    for family in FAMILIES:
        if family in under or f"-{family}" in line:
            return family
    words = line.split()
    if words[0] in ("ip", "ipv6"):
        return "ipv4" if words[0] == "ip" else "ipv6"
    return None

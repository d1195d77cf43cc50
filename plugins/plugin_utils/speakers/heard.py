# SPDX-License-Identifier: GPL-3.0-or-later
"""One node's FRR as it is, read from what the script of `look` printed. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from ..kernel.batch import next_hops
from ..kernel.state import UnreadableError
from .conf import Conf, conf_of
from .look import MARKER

DAEMONS = ("zebra", "bgpd", "watchfrr")


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
    running: Conf = field(default_factory=Conf)
    file: Conf = field(default_factory=Conf)
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

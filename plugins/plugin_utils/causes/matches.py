# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether one match of an nftables rule fits a packet: yes, no, or None for "cannot be told"."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Sets = Mapping[tuple[str, str, str], Sequence[Any]]


@dataclass(frozen=True, slots=True)
class Packet:
    """The fields that rules look at; empty where it is not known.

    Attributes:
        protocol: icmp, ipv6-icmp, tcp or udp.
        sport, dport: 0 for a port that was chosen by chance or that the protocol has not.
        state: `new` on the way to a pod, `established` on the way back, `untracked` between VTEPs,
            and between pods that are not tracked.
        table: of the rule that is looked at, for its named sets.
    """

    source: str
    target: str
    protocol: str
    sport: int = 0
    dport: int = 0
    iif: str = ""
    oif: str = ""
    state: str = "new"
    table: tuple[str, str] = ("", "")


def fits(item: Mapping[str, Any], packet: Packet, sets: Sets) -> bool | None:
    match = item.get("match")
    if not match:
        return None
    value = _value(match["left"], packet)
    if value is None:
        return None
    if value == "":
        return False  # also for "!=": nft first asks whether the packet has such a field
    if match["op"] not in ("==", "in", "!="):
        return None
    hit = _among(value, match["right"], packet, sets)
    if hit is None or match["op"] != "!=":
        return hit
    return not hit


def _value(left: Any, packet: Packet) -> Any:
    """The packet's value of a field; None when it is not known, "" when the packet has none."""
    if not isinstance(left, dict):
        return None
    six = ":" in packet.target
    if "ct" in left:
        return packet.state if left["ct"].get("key") == "state" else None
    if "meta" in left:
        of: dict[str, Any] = {
            "l4proto": packet.protocol,
            "iifname": packet.iif or None,
            "iif": packet.iif or None,
            "oifname": packet.oif or None,
            "oif": packet.oif or None,
            "nfproto": "ipv6" if six else "ipv4",
            "protocol": "ip6" if six else "ip",
        }
        return of.get(left["meta"].get("key"))
    payload = left.get("payload", {})
    return _field(str(payload.get("protocol")), str(payload.get("field")), packet, six)


def _field(protocol: str, name: str, packet: Packet, six: bool) -> Any:
    if protocol in ("ip", "ip6"):
        if (protocol == "ip6") != six:
            return ""
        fields = {"saddr": packet.source, "daddr": packet.target}
        if name in ("protocol", "nexthdr"):
            return packet.protocol
        return fields.get(name)
    if protocol in ("tcp", "udp", "th"):
        if packet.protocol not in (("tcp", "udp") if protocol == "th" else (protocol,)):
            return ""
        # A port chosen by chance is hardly the one that a rule names, and may be.
        return {"sport": packet.sport, "dport": packet.dport}.get(name) or None
    if protocol in ("icmp", "icmpv6"):
        if packet.protocol != {"icmp": "icmp", "icmpv6": "ipv6-icmp"}[protocol]:
            return ""
        echo = {"new": "echo-request", "established": "echo-reply"}
        return echo.get(packet.state) if name == "type" else None
    return None


def _among(value: Any, right: Any, packet: Packet, sets: Sets) -> bool | None:
    """Whether a value is the right side of a match, or in it."""
    if isinstance(right, list):
        hits = [_among(value, one, packet, sets) for one in right]
        return True if True in hits else None if None in hits else False
    if isinstance(right, dict):
        return _in_structure(value, right, packet, sets)
    if isinstance(right, str) and right.startswith("@"):
        elements = sets.get((*packet.table, right[1:]))
        return None if elements is None else _among(value, list(elements), packet, sets)
    if isinstance(right, str) and right.endswith("*"):
        return str(value).startswith(right[:-1])
    if str(value).startswith("echo-") and not str(right).startswith("echo-"):
        return None  # without neighbours, or errors that tell an MTU, echoes may be lost as well
    if isinstance(value, str) and isinstance(right, str):
        aliases = {"icmpv6": "ipv6-icmp", "ipv6": "ipv6"}
        return value == aliases.get(right, right)
    return str(value) == str(right)


def _in_structure(value: Any, right: Mapping[str, Any], packet: Packet, sets: Sets) -> bool | None:
    if "set" in right:
        return _among(value, right["set"], packet, sets)
    if "elem" in right:
        return _among(value, right["elem"].get("val"), packet, sets)
    if "prefix" in right:
        return _inside(value, f"{right['prefix']['addr']}/{right['prefix']['len']}")
    if "range" in right:
        return _between(value, *right["range"])
    return None


def _inside(value: Any, cidr: str) -> bool:
    try:
        return ipaddress.ip_address(str(value)) in ipaddress.ip_network(cidr, strict=False)
    except ValueError:
        return False


def _between(value: Any, low: Any, high: Any) -> bool | None:
    if isinstance(value, int) and isinstance(low, int):
        return bool(low <= value <= high)
    try:
        parsed = [ipaddress.ip_address(str(one)) for one in (low, value, high)]
    except ValueError:
        return None
    numbers = [int(one) for one in parsed]
    same = len({one.version for one in parsed}) == 1
    return same and numbers[0] <= numbers[1] <= numbers[2]


def shown(expressions: Sequence[Mapping[str, Any]]) -> str:
    """A rule in a few words; `nft list table` shows it in full."""
    words = []
    for item in expressions:
        word, value = next(iter(item.items()))
        if word == "match":
            words.append(_match(value))
        elif word in ("jump", "goto"):
            words.append(f"{word} {value['target']}")
        elif word not in ("counter", "log", "comment"):
            words.append(word)
    return " ".join(words)


def _match(value: Mapping[str, Any]) -> str:
    left = value["left"] if isinstance(value["left"], dict) else {}
    parts = left.get("payload") or left.get("meta") or left.get("ct") or {}
    name = " ".join(str(v) for v in parts.values()) if isinstance(parts, dict) else "?"
    return f"{name} {value['op']} {_right(value['right'])}"


def _right(right: Any) -> str:
    if isinstance(right, dict) and "prefix" in right:
        return f"{right['prefix']['addr']}/{right['prefix']['len']}"
    if isinstance(right, dict) and "range" in right:
        return "-".join(map(str, right["range"]))
    if isinstance(right, dict) and "set" in right:
        return f"{{ {', '.join(map(_right, right['set']))} }}"
    return str(right)

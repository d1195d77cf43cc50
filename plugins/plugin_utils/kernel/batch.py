# SPDX-License-Identifier: GPL-3.0-or-later
"""What `ip -j -d -batch` answers to the questions of the read script. Pure."""

from __future__ import annotations

import ipaddress
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Kernel:
    """What `ip -batch` printed, told apart by what the items have: without an answer to one
    question some versions print nothing, so that the order says nothing.

    Attributes:
        interfaces: name → bridges and VXLAN devices with all addresses, others with the asked one.
        holders: address of the underlay → the interface that has it.
        routes: of the main table; a single host has its prefix length, which `ip` leaves out.
        onlink: destinations that are reached without a router, in any table.
    """

    interfaces: dict[str, dict[str, Any]]
    holders: dict[str, dict[str, Any]]
    routes: list[dict[str, Any]]
    neighbours: list[dict[str, Any]]
    onlink: list[str]


def kernel_of(code: str, output: str) -> Kernel:
    """``code``: with which `ip -batch` ended.

    Raises:
        ValueError, KeyError, TypeError: when it did not do all, or printed something else.
    """
    if code != "0":
        raise ValueError(f"ip -batch ended with {code!r}")
    found = Kernel({}, {}, [], [], [])
    for item in _stream(output):
        if "ifname" in item:
            found.interfaces[item["ifname"]] = item
            for entry in item["addr_info"]:
                if entry:
                    found.holders.setdefault(entry["local"], item)
        elif "state" in item:
            found.neighbours.append(item)
        else:
            _route(item, found)
    return found


def _route(item: dict[str, Any], found: Kernel) -> None:
    dst = item["dst"]
    if "/" not in dst and dst != "default":
        dst = f"{dst}/{128 if ':' in dst else 32}"
    # Nearly all are podnet's own, and those have a next hop.
    direct = "gateway" not in item and item.get("type", "unicast") == "unicast"
    if direct and "" in next_hops(item) and (dst == "default" or _is_network(dst)):
        found.onlink.append(dst)
    if item.get("table", "main") == "main":
        found.routes.append({**item, "dst": dst})


def _is_network(dst: str) -> bool:
    """Not so the label of an MPLS route."""
    try:
        ipaddress.ip_network(dst)
    except ValueError:
        return False
    return True


def next_hops(item: Mapping[str, Any]) -> tuple[str, ...]:
    """Addresses of a route of ``ip -j route``: several where a prefix is announced by several,
    and empty texts for links."""
    # zebra has a group of one next hop where there were more.
    hops = item.get("nexthops") or [item]
    return tuple(str(hop.get("gateway") or hop.get("via", {}).get("host", "")) for hop in hops)


def _stream(text: str) -> Iterator[dict[str, Any]]:
    """The items of several JSON lists, one after the other."""
    decoder, at = json.JSONDecoder(), 0
    while at < len(text):
        items, at = decoder.raw_decode(text, at)
        if not isinstance(items, list):
            raise ValueError(f"not a list: {str(items)[:80]}")
        yield from (item for item in items if item)
        while text[at : at + 1].isspace():
            at += 1


def kind_of(item: Mapping[str, Any]) -> str:
    """Of an interface: `bridge`, `vxlan`; empty for one without a kind."""
    return str(item.get("linkinfo", {}).get("info_kind", ""))

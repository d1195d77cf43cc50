# SPDX-License-Identifier: GPL-3.0-or-later
"""What `ip -j -d -batch` answers to the questions of the read script. Pure."""

from __future__ import annotations

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
        routes: of the main table.
    """

    interfaces: dict[str, dict[str, Any]]
    holders: dict[str, dict[str, Any]]
    routes: list[dict[str, Any]]
    neighbours: list[dict[str, Any]]


def kernel_of(code: str, output: str) -> Kernel:
    """``code``: with which `ip -batch` ended.

    Raises:
        ValueError, KeyError, TypeError: when it did not do all, or printed something else.
    """
    if code != "0":
        raise ValueError(f"ip -batch ended with {code!r}")
    found = Kernel({}, {}, [], [])
    for item in _stream(output):
        if "ifname" in item:
            found.interfaces[item["ifname"]] = item
            for entry in item["addr_info"]:
                if entry:
                    found.holders.setdefault(entry["local"], item)
        elif "state" in item:
            found.neighbours.append(item)
        elif item.get("table", "main") == "main":
            found.routes.append({"dst": item["dst"], **item})
    return found


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

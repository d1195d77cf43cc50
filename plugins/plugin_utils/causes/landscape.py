# SPDX-License-Identifier: GPL-3.0-or-later
"""One node as it is, read from what the script of `look` printed."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from .. import node as node_room
from ..intent.model import Fabric
from ..kernel.state import State, UnreadableError
from ..plan import plan_node
from ..speakers.heard import Heard
from ..speakers.heard import read as read_heard
from .legacy import objects_of

Item = Mapping[str, Any]
_USUAL = {(0, "local"), (32766, "main"), (32767, "default")}


@dataclass(frozen=True, slots=True)
class Way:
    """What the kernel would do with a packet to ``target``: next hop and interface, or its words
    when there is no way. ``local``: the node takes it for itself."""

    target: str
    via: str = ""
    dev: str = ""
    error: str = ""
    local: bool = False


@dataclass(frozen=True, slots=True)
class Interface:
    """Any interface of the node. ``master``: the bridge whose port it is."""

    name: str
    mtu: int
    up: bool
    carrier: bool
    master: str
    index: int


@dataclass(frozen=True)
class Look:
    """One node.

    Attributes:
        state: podnet's own objects, and settings.
        ways: address of a pod or of a VTEP elsewhere → what the kernel would do.
        rules: policy rules that are not the kernel's three, by priority.
        routes: all routes of all tables, each with its ``family``.
        ruleset: objects of `nft -j list ruleset`, and of legacy tables in the same form.
        interfaces: by name.
        conf_files: names in the CNI folder, sorted.
        neighbours: address → MAC, on the bridge.
        reserved: addresses that host-local has given away.
        bridged: families of which packets between two ports of a bridge pass the hooks of routed
            ones (br_netfilter; kernel, ip-sysctl.rst).
        checksums: packets that were thrown away for their UDP checksum, since boot.
        veth: index of the node's end of the probe pod's veth; 0 when it is not known.
        heard: what FRR says, in mode bgp.
        manifest: of the current generation, as it lies there; empty where there is none.
    """

    state: State
    ways: Mapping[str, Way] = field(default_factory=dict)
    rules: tuple[Item, ...] = ()
    routes: tuple[Item, ...] = ()
    ruleset: tuple[Item, ...] = ()
    interfaces: Mapping[str, Interface] = field(default_factory=dict)
    conf_files: tuple[str, ...] = ()
    neighbours: Mapping[str, str] = field(default_factory=dict)
    reserved: tuple[str, ...] = ()
    bridged: frozenset[str] = frozenset()
    checksums: int = 0
    veth: int = 0
    heard: Heard | None = None
    manifest: str = ""


def read(fabric: Fabric, name: str, output: str) -> Look:
    """What the script printed.

    Raises:
        UnreadableError: the answer is not whole.
    """
    own, *rest = output.split("\n@@look ")
    sections = dict(part.partition("\n")[::2] for part in rest)
    try:
        return Look(
            state=node_room.read(fabric, plan_node(fabric, name), own),
            ways={way.target: way for way in _ways(sections)},
            rules=tuple(
                rule for key in ("rules4", "rules6") for rule in _rules(sections[key], key)
            ),
            routes=tuple(
                {**route, "family": f"ipv{key[-1]}"}
                for key in ("routes4", "routes6")
                for route in _json(sections[key])
            ),
            ruleset=(*_nft(sections["ruleset"]), *_legacy(sections)),
            interfaces={item.name: item for item in _interfaces(sections["links"])},
            conf_files=tuple(sorted(sections["files"].split())),
            neighbours={
                item["dst"]: item["lladdr"]
                for item in _json(sections["neighbours"])
                if "lladdr" in item
            },
            reserved=tuple(word for word in sections["reserved"].split() if word[0].isalnum()),
            bridged=frozenset(
                "ipv6" if "ip6" in line else "ipv4"
                for line in sections["bridged"].split()
                if line.endswith(":1")
            ),
            checksums=_checksums(sections["checksums"]),
            veth=_veth(sections["pod"]),
            heard=read_heard(sections["speaker"]) if "speaker" in sections else None,
            manifest=sections["manifest"],
        )
    except (KeyError, ValueError, IndexError) as error:
        raise UnreadableError(f"{type(error).__name__}: {error}") from error


def _json(text: str) -> list[dict[str, Any]]:
    return [item for item in json.loads(text.strip() or "[]") if item]


def _nft(text: str) -> list[Item]:
    return list(json.loads(text.strip() or "{}").get("nftables", ()))


def _legacy(sections: Mapping[str, str]) -> Iterator[Item]:
    yield from objects_of(sections["legacy"], "ip")
    yield from objects_of(sections["legacy6"], "ip6")


def _ways(sections: Mapping[str, str]) -> Iterator[Way]:
    for key, text in sections.items():
        kind, _space, target = key.partition(" ")
        if kind == "way":
            yield _way(target, text)


def _way(target: str, text: str) -> Way:
    try:
        item = json.loads(text)[0]
    except (ValueError, IndexError):
        return Way(target, error=" ".join(text.split()))
    if item.get("type") in ("unreachable", "blackhole", "prohibit"):
        return Way(target, error=str(item["type"]))
    via = item.get("gateway") or item.get("via", {}).get("host", "")
    return Way(target, via, item.get("dev", ""), "", item.get("type") == "local")


def _rules(text: str, key: str) -> list[Item]:
    """Without local, main and default, which every machine has."""
    family = "ipv6" if key.endswith("6") else "ipv4"
    items = [{**item, "family": family} for item in _json(text)]
    return [i for i in items if (i.get("priority"), i.get("table")) not in _USUAL or "fwmark" in i]


def _interfaces(text: str) -> Iterator[Interface]:
    for item in _json(text):
        flags = item.get("flags", ())
        yield Interface(
            name=item["ifname"],
            mtu=int(item.get("mtu", 0)),
            up="UP" in flags,
            carrier="LOWER_UP" in flags,
            master=item.get("master", ""),
            index=int(item["ifindex"]),
        )


def _checksums(text: str) -> int:
    """The seventh number of the line Udp of /proc/net/snmp, and the one of IPv6."""
    first, *rest = [*text.split("\n"), ""]
    numbers = first.split()
    four = int(numbers[6]) if len(numbers) > 6 else 0
    return four + sum(int(word) for line in rest for word in line.split() if word.isdigit())


def _veth(text: str) -> int:
    for line in text.splitlines():
        if line.startswith("["):
            found = [item.get("link_index", 0) for item in _json(line) if "ifname" in item]
            return int(found[0]) if found else 0
    return 0

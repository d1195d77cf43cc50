# SPDX-License-Identifier: GPL-3.0-or-later
"""Raw inventory variables → Fabric, or every problem of the inventory at once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from . import astray, checks
from .model import Cni, Fabric, Family, Node, family_of
from .problems import PREFIX, Problem, nearest, shown
from .readers import NAME, wrong_type
from .readers_bgp import READERS
from .schema import FLEET_KEYS, NODE_KEYS, REQUIRED, RUNTIME_FOLDERS, Key
from .tool_keys import TOOL_KEYS

FLEET_NAMES = frozenset(key.name for key in FLEET_KEYS)
NODE_NAMES = frozenset(PREFIX + key.name for key in NODE_KEYS)
KNOWN_NAMES = FLEET_NAMES | NODE_NAMES | frozenset(TOOL_KEYS)

HostVars = Mapping[str, Mapping[str, Any]]


@dataclass
class Places:
    """Where node data stands, and what of it could not be read in full.

    Attributes:
        origins: place as the checks name it → place in the node table.
        unread: places, as the checks name them, whose value is missing in part or as a whole.
        given: node and family of the ranges that come from `podnet_allocated`.
    """

    origins: dict[str, str] = field(default_factory=dict)
    unread: set[str] = field(default_factory=set)
    given: set[tuple[str, Family]] = field(default_factory=set)

    def note(self, place: str, value: Any, result: Any) -> None:
        """A value had problems; a list of which every item was kept still counts as read."""
        whole = isinstance(value, (list, tuple)) and isinstance(result, tuple)
        if not whole or len(result) != len(value):
            self.unread.add(place)

    def actual(self, problem: Problem) -> Problem:
        """The problem with the place where a person wrote the value. In a list that was read
        in part the items have moved, so no index is named."""
        place, bracket, rest = problem.where.partition("[")
        index = "" if place in self.unread else bracket + rest
        return replace(problem, where=self.origins.get(place, place) + index)

    def usable(self, node: Node) -> Node:
        """The node without underlay address when what decides about paths was not read: every
        path would only repeat that problem, and the plan asks nodes without address nothing."""
        keys = ("underlay_addresses", "segment", "underlay_mtu")
        known = all(checks.place(node, key) not in self.unread for key in keys)
        return node if known else replace(node, underlay_addresses=())


def parse_fabric(hosts: HostVars) -> tuple[Fabric, list[Problem]]:
    """Read a fleet.

    Args:
        hosts: for every node of the inventory group its variables that begin with ``podnet_``.
            Fleet variables stand in every host's mapping, as Ansible presents group variables.

    Returns:
        The fleet and the problems found. With problems the fleet holds what could be read, so
        that later checks can add theirs; it must not be used for anything else.
    """
    problems: list[Problem] = []
    for name, variables in hosts.items():
        if not isinstance(variables, Mapping):
            wrong_type(variables, f"nodes.{name}", "a mapping of variables", problems)
    usable = {str(n): dict(v) for n, v in sorted(hosts.items()) if isinstance(v, Mapping)}
    _refuse_unknown(usable, problems)
    places = Places()
    fleet = _read_fleet(usable, places, problems)
    nodes = _read_nodes(usable, fleet, places, problems)
    fabric = _fabric(fleet, nodes)
    unread = frozenset(places.unread)
    lost = {} if checks.CLUSTER in unread else astray.astray(fabric, places.given)
    found = [*checks.check(fabric, fleet, unread, lost), *astray.problems(fabric, lost)]
    problems += [places.actual(problem) for problem in found]
    return _fabric(fleet, tuple(places.usable(node) for node in nodes)), problems


def _refuse_unknown(hosts: HostVars, problems: list[Problem]) -> None:
    """A misspelt variable would be ignored by Ansible; here it is an error, once per name."""
    unknown: dict[str, list[str]] = {}
    for host, variables in hosts.items():
        for name in variables:
            if name not in KNOWN_NAMES:
                unknown.setdefault(str(name), []).append(host)
    for name, holders in unknown.items():
        where = name if len(holders) == len(hosts) else f"nodes.{holders[0]}.{name}"
        problems.append(_unknown(where, name, KNOWN_NAMES))


def _unknown(where: str, name: str, known: frozenset[str]) -> Problem:
    near = nearest(name, sorted(known))
    return Problem(
        where,
        "unknown key",
        "a key that inventory/README.md lists",
        shown(name),
        f"did you mean {near}?" if near else "remove it",
    )


def _read(key: Key, value: Any, where: str, problems: list[Problem]) -> Any:
    """``value`` through its reader; a value with a problem falls back to the default, so that
    the later checks can go on and find the other problems."""
    before = len(problems)
    result = READERS[key.kind](value, where, key, problems)
    if len(problems) > before and not result:
        return None if key.default is REQUIRED else key.default
    return result


def _read_fleet(hosts: HostVars, places: Places, problems: list[Problem]) -> dict[str, Any]:
    """The fleet variables, each once."""
    fleet: dict[str, Any] = {}
    for key in FLEET_KEYS:
        holders = [host for host, variables in hosts.items() if key.name in variables]
        if not holders:
            if key.default is REQUIRED and hosts:
                problems.append(
                    Problem(
                        key.name,
                        "not set",
                        "a value for the whole fleet",
                        "nothing",
                        f"set {key.name} in group_vars; inventory/README.md shows how",
                    )
                )
            fleet[key.name] = () if key.default is REQUIRED else key.default
            continue
        value = hosts[holders[0]][key.name]
        _refuse_different(key, holders[0], value, hosts, problems)
        before = len(problems)
        fleet[key.name] = _read(key, value, key.name, problems)
        if len(problems) > before:
            places.note(key.name, value, fleet[key.name])
        elif key.default is REQUIRED and not value:
            expected, remedy = "one network or more", f"set {key.name} in group_vars"
            problems.append(Problem(key.name, "not set", expected, "an empty list", remedy))
    return fleet


def _refuse_different(
    key: Key, first: str, value: Any, hosts: HostVars, problems: list[Problem]
) -> None:
    name = key.name

    def seen(of: Any) -> str:
        return "a password" if key.kind == "secret" else shown(of)

    for host, variables in hosts.items():
        # A group's variable is one object in all hosts, and may be as large as the fleet.
        if variables.get(name) is value and name in variables:
            continue
        if name not in variables or variables[name] != value:
            found = seen(variables[name]) if name in variables else "nothing"
            problems.append(
                Problem(
                    f"nodes.{host}.{name}",
                    "differs between nodes",
                    f"{seen(value)}, as {first} has it",
                    found,
                    "set it once for the whole fleet, in group_vars",
                )
            )
            return


def _read_nodes(
    hosts: HostVars, fleet: Mapping[str, Any], places: Places, problems: list[Problem]
) -> tuple[Node, ...]:
    """Nodes of the table and of the host variables; a node may use either or both."""
    rows: dict[str, dict[str, tuple[Any, str]]] = {}
    for raw, entry in (fleet["podnet_nodes"] or {}).items():
        name, where = str(raw), f"podnet_nodes.{raw}"
        rows[name] = {}
        if not isinstance(entry, Mapping):
            wrong_type(
                entry,
                where,
                "a mapping with pod_cidrs and underlay_addresses",
                problems,
            )
            places.unread.update(f"nodes.{name}.{PREFIX}{key.name}" for key in NODE_KEYS)
            continue
        known = frozenset(key.name for key in NODE_KEYS)
        for key_name, value in entry.items():
            if key_name in known:
                rows[name][str(key_name)] = (value, f"{where}.{key_name}")
            else:
                problems.append(_unknown(f"{where}.{key_name}", str(key_name), known))
    for name, variables in hosts.items():
        row = rows.setdefault(name, {})
        for key in NODE_KEYS:
            if PREFIX + key.name in variables:
                _merge(row, key.name, variables[PREFIX + key.name], name, problems)
    for name, cidrs in (fleet["podnet_allocated"] or {}).items():
        if str(name) in rows:  # a node that is gone only keeps its ranges from others
            families = _allocated(rows[str(name)], cidrs, str(name), problems)
            places.given.update((str(name), family) for family in families)
    return tuple(_read_node(name, rows[name], places, problems) for name in sorted(rows))


def _merge(
    row: dict[str, tuple[Any, str]],
    key: str,
    value: Any,
    name: str,
    problems: list[Problem],
) -> None:
    where = f"nodes.{name}.{PREFIX}{key}"
    if key in row and row[key][0] != value:
        problems.append(
            Problem(
                where,
                "declared twice with different values",
                f"{shown(row[key][0])}, as in {row[key][1]}",
                shown(value),
                "keep one of the two",
            )
        )
    row[key] = (value, where)


def _allocated(
    row: dict[str, tuple[Any, str]], value: Any, name: str, problems: list[Problem]
) -> set[Family]:
    """Ranges that `allocate` gave, for the families that the node's own data does not name: these
    families are returned."""
    where = f"podnet_allocated.{name}"
    own, place = row.get("pod_cidrs", ([], where) if isinstance(value, list) else (value, where))
    if not isinstance(own, list | tuple) or not isinstance(value, list | tuple):
        row["pod_cidrs"] = (own, place)
        return set()
    families = {family_of(str(cidr)) for cidr in own}
    twice = [c for c in value if family_of(str(c)) in families and c not in own]
    if twice:
        what, remedy = "declared twice with different values", "keep one of the two"
        expected = f"{shown(own)}, as in {place}"
        problems.append(Problem(where, what, expected, shown(value), remedy))
    more = [cidr for cidr in value if family_of(str(cidr)) not in families]
    row["pod_cidrs"] = ([*own, *more], place if own else where)
    return {family_of(str(cidr)) for cidr in more}


def _read_node(
    name: str, row: Mapping[str, tuple[Any, str]], places: Places, problems: list[Problem]
) -> Node:
    if not NAME.fullmatch(name):
        problems.append(
            Problem(
                "nodes",
                "not a node name",
                "at most 253 letters, digits, dots, dashes, underscores; a letter or digit first",
                shown(name),
                "rename the node in the inventory",
            )
        )
    values: dict[str, Any] = {}
    for key in NODE_KEYS:
        place = f"nodes.{name}.{PREFIX}{key.name}"
        if key.name in row:
            value, where = row[key.name]
            before = len(problems)
            values[key.name] = _read(key, value, where, problems)
            places.origins[place] = where
            if len(problems) > before:
                places.note(place, value, values[key.name])
            if value == [] and key.default is REQUIRED:
                problems.append(_missing(name, key.name))
        elif key.default is REQUIRED:
            values[key.name] = ()
            if place not in places.unread:
                problems.append(_missing(name, key.name))
        else:
            values[key.name] = key.default
    return Node(
        name=name,
        segment=values["segment"],
        pod_cidrs=values["pod_cidrs"] or (),
        underlay_addresses=values["underlay_addresses"] or (),
        underlay_mtu=values["underlay_mtu"],
        persistence=values["persistence"],
        bgp_asn=values["bgp_asn"],
        bgp_reflector=values["bgp_reflector"],
        bgp_peers=values["bgp_peers"],
    )


def _missing(name: str, key: str) -> Problem:
    example = {"pod_cidrs": "[10.64.2.0/24]", "underlay_addresses": "[192.0.2.11]"}[key]
    remedy = f"set {PREFIX}{key} for the host, or {key} in the node table podnet_nodes"
    if key == "pod_cidrs":
        remedy += "; or have podnet.fabric.allocate give free ones"
    return Problem(
        f"nodes.{name}.{PREFIX}{key}", "not set", f"a list such as {example}", "nothing", remedy
    )


def _fabric(fleet: Mapping[str, Any], nodes: tuple[Node, ...]) -> Fabric:
    conf_dir, bin_dir = RUNTIME_FOLDERS[fleet["podnet_runtime"]]
    return Fabric(
        cluster_cidrs=fleet["podnet_cluster_cidrs"] or (),
        mode=fleet["podnet_mode"],
        vni=fleet["podnet_vni"],
        vxlan_port=fleet["podnet_vxlan_port"],
        vxlan_family=fleet["podnet_vxlan_family"],
        bridge=fleet["podnet_bridge"],
        mtu=fleet["podnet_mtu"],
        masquerade=fleet["podnet_masquerade"],
        masquerade_exclude=fleet["podnet_masquerade_exclude"],
        cni=Cni(
            network=fleet["podnet_cni_network"],
            version=fleet["podnet_cni_version"],
            conf_dir=fleet["podnet_cni_conf_dir"] or conf_dir,
            bin_dir=fleet["podnet_cni_bin_dir"] or bin_dir,
            file=fleet["podnet_cni_file"],
            chain=fleet["podnet_cni_chain"],
        ),
        nodes=nodes,
        pod_tracking=fleet["podnet_pod_tracking"],
        vxlan_from=fleet["podnet_vxlan_from"],
        pod_sources=fleet["podnet_pod_sources"],
        pod_identity=fleet["podnet_pod_identity"],
        pods_to_node=fleet["podnet_pods_to_node"],
        pods_to_node_ports=fleet["podnet_pods_to_node_ports"],
        coexist=fleet["podnet_coexist"],
        bgp_listen_ranges=fleet["podnet_bgp_listen_ranges"],
        bgp_password=fleet["podnet_bgp_password"],
        bgp_bfd=fleet["podnet_bgp_bfd"],
    )

# SPDX-License-Identifier: GPL-3.0-or-later
"""Free ranges of the cluster CIDRs for nodes that have none, and the file that remembers them.

Pure. What was given once does not move by itself: only what is missing is added, and a node that is
gone keeps its entry, so that nobody else gets a range whose pods may still be there.
"""

from __future__ import annotations

import ipaddress
import json
import re
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

import yaml

from .model import Fabric, Family, family_of
from .problems import Problem, ProblemsError, nearest, shown
from .readers import read_cidrs, read_prefix_lengths, wrong_type
from .schema import FLEET_KEYS, NODE_KEYS
from .yaml_keys import repeated_below

VARIABLE = "podnet_allocated"
DEFAULT_LENGTHS: Mapping[Family, int] = {"ipv4": 24, "ipv6": 64}
HEAD = f"""\
# Written by podnet.fabric.allocate; keep it with the inventory. A range in here moves only with
# podnet_allocate_renumber. A node that is gone keeps its ranges until podnet_allocate_release
# names it.
---
{VARIABLE}:"""

AGAIN = "correct it, or take it back from version control"
Ranges = dict[str, tuple[str, ...]]
KEYS = {key.name: key for key in (*FLEET_KEYS, *NODE_KEYS)}


def natural(name: str) -> tuple[tuple[int, str], ...]:
    """Sorting key that puts worker-2 before worker-10."""
    parts = re.findall(r"\d+|\D+", name)
    return tuple((int(part), "") if part.isdecimal() else (-1, part) for part in parts)


def allocate(fabric: Fabric, lengths: Mapping[Family, int], taken: Iterable[str]) -> Ranges:
    """For each node the first free range of every family that it lacks.

    Args:
        fabric: the fleet, in which nodes may lack ranges.
        lengths: prefix length of a new range, by family.
        taken: networks and single addresses that nobody gets, besides the ranges that nodes have.

    Returns:
        New ranges by node, only of nodes that get one; IPv4 first.

    Raises:
        ProblemsError: not enough room; nothing is given then.
    """
    busy = [*taken, *(cidr for node in fabric.nodes for cidr in node.pod_cidrs)]
    found: dict[str, list[str]] = {}
    problems = []
    for family in fabric.families:
        names = [node.name for node in fabric.nodes if not node.pod_cidr(family)]
        names.sort(key=lambda name: (natural(name), name))
        pools = [cidr for cidr in fabric.cluster_cidrs if family_of(cidr) == family]
        mine = [cidr for cidr in busy if family_of(cidr) == family]
        free = list(islice(free_ranges(pools, lengths[family], mine), len(names)))
        if len(free) < len(names):
            problems.append(_full(family, lengths[family], pools, names, len(free)))
        for name, cidr in zip(names, free, strict=False):
            found.setdefault(name, []).append(cidr)
    if problems:
        raise ProblemsError("the inventory", problems)
    return {name: tuple(cidrs) for name, cidrs in found.items()}


def given_back(fabric: Fabric, last: Ranges, taken: Iterable[str]) -> Ranges:
    """What nodes that have no range at all had in an earlier plan, where all of it lies in the
    cluster's networks and is nobody's now: the file that kept it is lost, and their pods are there.

    Args:
        fabric: the fleet, in which nodes may lack ranges.
        last: node → its ranges then; no two of them overlap.
        taken: as in `allocate`.
    """
    busy = [*taken, *(cidr for node in fabric.nodes for cidr in node.pod_cidrs)]
    pools, used = _merged_spans(fabric.cluster_cidrs), _merged_spans(busy)

    def fits(cidr: str) -> bool:
        span = _span(cidr)
        around = _near(pools[family_of(cidr)], span)
        inside = any(pool[0] <= span[0] and span[1] <= pool[1] for pool in around)
        return inside and not any(_meet(span, one) for one in _near(used[family_of(cidr)], span))

    names = (node.name for node in fabric.nodes if not node.pod_cidrs)
    return {n: last[n] for n in names if last.get(n) and all(map(fits, last[n]))}


def _merged_spans(cidrs: Iterable[str]) -> dict[Family, list[tuple[int, int]]]:
    """Disjoint and sorted, by family."""
    found: dict[Family, list[tuple[int, int]]] = {"ipv4": [], "ipv6": []}
    for family, spans in found.items():
        for first, last in sorted(_span(cidr) for cidr in cidrs if family_of(cidr) == family):
            if spans and first <= spans[-1][1]:
                spans[-1] = (spans[-1][0], max(spans[-1][1], last))
            else:
                spans.append((first, last))
    return found


def _near(spans: list[tuple[int, int]], span: tuple[int, int]) -> list[tuple[int, int]]:
    """Those of disjoint, sorted spans that begin last before it, and first in it."""
    place = bisect_left(spans, span)
    return spans[max(place - 1, 0) : place + 1]


def free_ranges(pools: Sequence[str], length: int, taken: Iterable[str]) -> Iterator[str]:
    """Networks of one length inside the pools, in order, that overlap nothing that is taken.

    One pass over what is taken, sorted: the gaps between are cut into aligned pieces.
    """
    busy = sorted(map(_span, taken))
    for pool in pools:
        network = ipaddress.ip_network(pool)
        start, end = _span(pool)
        size = 1 << max(network.max_prefixlen - length, 0)
        for first, last in [*(span for span in busy if _meet(span, (start, end))), (end, end)]:
            while start + size <= min(first, end):
                yield str(type(network)((start, length)))
                start += size
            start = max(start, -(-last // size) * size)


def _meet(one: tuple[int, int], two: tuple[int, int]) -> bool:
    return one[0] < two[1] and two[0] < one[1]


def _span(cidr: str) -> tuple[int, int]:
    """First address, and the one behind the last."""
    network = ipaddress.ip_network(cidr)
    first = int(network.network_address)
    return first, first + network.num_addresses


def _full(family: Family, length: int, pools: list[str], names: list[str], free: int) -> Problem:
    missing = names[free:]
    listed = ", ".join(missing[:5]) + (f" and {len(missing) - 5} more" if missing[5:] else "")
    return Problem(
        "podnet_cluster_cidrs",
        f"no room for the {family} ranges of {len(names)} nodes",
        f"{len(names)} free ranges of length /{length}",
        f"{free} in {', '.join(pools)}; none for {listed}",
        "add a network to podnet_cluster_cidrs, choose longer podnet_node_prefix_lengths, or give "
        "up ranges of nodes that are gone with podnet_allocate_release",
    )


def lengths_of(hosts: Mapping[str, Mapping[str, Any]]) -> dict[Family, int]:
    """What the fleet declares, or else the usual lengths. What is wrong in it the plan will say."""
    name = "podnet_node_prefix_lengths"
    declared = [variables[name] for variables in hosts.values() if name in variables][:1]
    unheard: list[Problem] = []
    read = [read_prefix_lengths(value, name, KEYS[name], unheard) for value in declared]
    return {f: (read[0] if read else {}).get(f, n) for f, n in DEFAULT_LENGTHS.items()}


# --- the file ------------------------------------------------------------------------------------


def read_file(text: str, where: str) -> Ranges:
    """What an earlier run wrote.

    Raises:
        ProblemsError: not such a file; it is not touched then.
    """
    try:
        loader = yaml.SafeLoader(text)
        top = loader.get_single_node()
        if twice := _repeated(top):
            raise ProblemsError("the allocated ranges", [_twice(where, twice)])
        data = None if top is None else loader.construct_document(top)
    except (yaml.YAMLError, ValueError) as error:
        mark = getattr(error, "problem_mark", None)
        place = f"{where}, line {mark.line + 1}" if mark else where
        said = shown(str(getattr(error, "problem", None) or error))
        problem = Problem(place, "not YAML", f"the one variable {VARIABLE}", said, AGAIN)
        raise ProblemsError("the allocated ranges", [problem]) from error
    if not isinstance(data, Mapping) or set(data) != {VARIABLE}:
        found = shown(", ".join(map(str, data)) if isinstance(data, Mapping) else data)
        what, remedy = "not only allocated ranges", "move the other variables to another file"
        problem = Problem(where, what, f"the one variable {VARIABLE}", found, remedy)
        raise ProblemsError("the allocated ranges", [problem])
    return read_ranges(data[VARIABLE] or {}, where)


def _repeated(top: yaml.Node | None) -> list[tuple[str, list[int]]]:
    """Keys of the file and of the mappings in it, with their lines; the first that is there again
    comes first."""
    found = [(keys[-1], lines) for keys, lines in repeated_below(top)]
    return sorted(found, key=lambda item: item[1][1])


def _twice(where: str, keys: list[tuple[str, list[int]]]) -> Problem:
    """YAML would take the last one. What the others keep would be given to somebody else, and gone
    from the file."""
    named = [
        f"{shown(key)} in lines {', '.join(map(str, lines[:-1]))} and {lines[-1]}"
        for key, lines in keys[:3]
    ]
    rest = len(keys) - len(named)
    more = [f"and {rest} more key{'s' if rest > 1 else ''}"] if rest else []
    return Problem(
        f"{where}, line {keys[0][1][1]}",
        "a key is there more than once",
        f"{VARIABLE} once, and each node in it once",
        "; ".join([*named, *more]),
        "put them together: one entry for each node, with the ranges that it has; or take the file"
        " back from version control",
    )


def read_ranges(value: Any, where: str) -> Ranges:
    """The value of the variable: node → its ranges, canonical."""
    problems: list[Problem] = []
    if not isinstance(value, Mapping):
        wrong_type(value, where, "a mapping from node name to its ranges", problems)
        value = {}
    key = KEYS["pod_cidrs"]
    found = {str(n): read_cidrs(v, f"{where}: {n}", key, problems) for n, v in value.items()}
    if problems:
        raise ProblemsError("the allocated ranges", problems)
    return found


def as_text(ranges: Ranges) -> str:
    """One line for each node, so that a diff shows what was added."""
    names = sorted(ranges, key=lambda name: (natural(name), name))
    lines = [f"  {json.dumps(name)}: {json.dumps(list(ranges[name]))}" for name in names]
    return "\n".join([HEAD, *lines]) + "\n" if lines else f"{HEAD} {{}}\n"


def released(ranges: Ranges, names: Sequence[str], fleet: Iterable[str]) -> Ranges:
    """Without the entries of nodes that are gone for good.

    Raises:
        ProblemsError: a name without an entry, or of a node that is in the fleet.
    """
    here, problems = frozenset(fleet), []
    where = "podnet_allocate_release"
    gone = ", ".join(name for name in ranges if name not in here) or "none"
    for name in names:
        if name in here:
            what, remedy = "the node is in the inventory", "take it out of the inventory first"
        elif name not in ranges:
            near = nearest(name, ranges)
            what, remedy = "no such entry", f"did you mean {near}?" if near else "leave it out"
        else:
            continue
        problems.append(Problem(where, what, f"nodes that are gone: {gone}", shown(name), remedy))
    if problems:
        raise ProblemsError("the call", problems)
    return {name: cidrs for name, cidrs in ranges.items() if name not in names}


def without(ranges: Ranges, back: Ranges) -> Ranges:
    """What is left; a node that has none left has no entry."""
    left = {n: tuple(c for c in cidrs if c not in back.get(n, ())) for n, cidrs in ranges.items()}
    return {name: cidrs for name, cidrs in left.items() if cidrs or name not in back}


def merged(old: Ranges, new: Ranges) -> Ranges:
    """What was given before and what is given now, IPv4 first; a node may get another family
    later."""
    more = {n: tuple(sorted((*old.get(n, ()), *new[n]), key=family_of)) for n in new}
    return {**old, **more}

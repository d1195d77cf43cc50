# SPDX-License-Identifier: GPL-3.0-or-later
"""kubespray's own variables as podnet's, where podnet's are not set. Pure.

Names and meaning as in kubespray's docs/ansible/vars.md, and in its role kubespray_defaults, where
`ipv4_stack` and `ipv6_stack` follow `enable_dual_stack_networks`. What kubespray takes from facts
or from defaults of its roles is not in the inventory, and is not guessed here.
"""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from .model import FAMILIES, Family
from .problems import Problem, ProblemsError, shown

POOLS: Mapping[Family, str] = {"ipv4": "kube_pods_subnet", "ipv6": "kube_pods_subnet_ipv6"}
LENGTHS: Mapping[Family, str] = {
    "ipv4": "kube_network_node_prefix",
    "ipv6": "kube_network_node_prefix_ipv6",
}
SERVICES: Mapping[Family, str] = {
    "ipv4": "kube_service_addresses",
    "ipv6": "kube_service_addresses_ipv6",
}
# The address that a node binds comes first: the interface is found by it. `access_ip` may be one
# that only a router in front of the node knows.
ADDRESSES: Mapping[Family, tuple[str, str]] = {
    "ipv4": ("ip", "access_ip"),
    "ipv6": ("ip6", "access_ip6"),
}
OLD_SWITCH = "enable_dual_stack_networks"
SWITCHES: Mapping[Family, str] = {"ipv4": "ipv4_stack", "ipv6": "ipv6_stack"}
FLEET_NAMES = (*POOLS.values(), *LENGTHS.values(), *SERVICES.values(), OLD_SWITCH)
FLEET_NAMES += tuple(SWITCHES.values())
NODE_NAMES = tuple(name for names in ADDRESSES.values() for name in names)
WORDS = {"true": True, "yes": True, "on": True, "1": True}
WORDS |= {"false": False, "no": False, "off": False, "0": False}

Variables = Mapping[str, Any]


@dataclass
class Translation:
    """What became of the variables of others.

    Attributes:
        variables: of podnet, by host.
        origins: place of a value as the plan names it → the variable that it came from.
        problems: what only this room knows; they replace the plan's problems of the same place.
        sources: variable of podnet → the variables that it came from.
        odd: hosts that are reached by another address than the one they bind.
    """

    variables: dict[str, dict[str, Any]]
    origins: dict[str, str] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)
    sources: dict[str, dict[str, None]] = field(default_factory=dict)
    odd: list[str] = field(default_factory=list)

    def notes(self) -> list[str]:
        """What a person should know of it, a line for each."""
        lines = [
            f"{own} from kubespray's {', '.join(names)}" for own, names in self.sources.items()
        ]
        if self.odd:
            more = f" and {len(self.odd) - 5} more" if self.odd[5:] else ""
            listed = ", ".join(self.odd[:5]) + more
            lines.append(f"ip is the underlay address, access_ip is another one: {listed}")
        return lines

    def take(self, host: str, name: str, value: Any, sources: Iterable[str]) -> None:
        """One variable of a host, and those that it came from."""
        self.variables[host][name] = value
        self.sources.setdefault(name, {}).update(dict.fromkeys(sources))

    @contextlib.contextmanager
    def named(self) -> Iterator[None]:
        """Problems of the plan in here stand where a person wrote the value."""
        said = {problem.where for problem in self.problems}
        try:
            yield
        except ProblemsError as error:
            others = [p for p in error.problems if p.where not in said]
            places = [replace(p, where=self.origins.get(p.where, p.where)) for p in others]
            raise ProblemsError(error.stage, [*self.problems, *places]) from error
        if self.problems:
            raise ProblemsError("the inventory", self.problems)


def needed(own: Variables, names: Collection[str], node: str) -> frozenset[str] | None:
    """Which of kubespray's variables are to be read for a host; None when it is none of its hosts.

    No others, because a variable that needs facts cannot be read without them.
    """
    if not any(pool in names for pool in POOLS.values()):
        return None
    wanted: tuple[str, ...] = ()
    if "podnet_cluster_cidrs" not in own:
        wanted += FLEET_NAMES
    if not _has_address(own, node):
        wanted += NODE_NAMES
    return frozenset(name for name in wanted if name in names)


def _has_address(own: Variables, node: str) -> bool:
    table = own.get("podnet_nodes")
    row = table.get(node) if isinstance(table, Mapping) else None
    in_table = isinstance(row, Mapping) and "underlay_addresses" in row
    return in_table or "podnet_underlay_addresses" in own


def translate(own: Mapping[str, Variables], theirs: Mapping[str, Variables]) -> Translation:
    """Every variable of podnet that kubespray's can give and that is not set itself.

    Args:
        own: variables of podnet, by host.
        theirs: what `needed` asked for, of the hosts that are kubespray's.
    """
    done = Translation({host: dict(variables) for host, variables in own.items()})
    for host, found in theirs.items():
        if "podnet_cluster_cidrs" not in own[host]:
            _fleet(host, found, done)
        if not _has_address(own[host], host):
            _addresses(host, found, done)
    return done


def _fleet(host: str, found: Variables, done: Translation) -> None:
    families = [family for family in FAMILIES if _is_on(family, found, done)]
    for name, given in (("podnet_cluster_cidrs", POOLS), ("podnet_service_cidrs", SERVICES)):
        there = [given[family] for family in families if given[family] in found]
        for index, source in enumerate(there):
            done.origins[f"{name}[{index}]"] = source
        if there and name not in done.variables[host]:
            done.take(host, name, [found[s] for s in there], there)
    for family in families:
        if POOLS[family] not in found:
            name = POOLS[family]
            what, expected = "not set", f"a network, because {SWITCHES[family]} is on"
            remedy = f"write {name} into the inventory; defaults of kubespray's roles are not read"
            done.problems.append(Problem(name, what, expected, "nothing", remedy))
    lengths = {family: LENGTHS[family] for family in families if LENGTHS[family] in found}
    name = "podnet_node_prefix_lengths"
    if lengths and name not in done.variables[host]:
        done.origins |= {f"{name}.{family}": source for family, source in lengths.items()}
        values = {family: found[source] for family, source in lengths.items()}
        done.take(host, name, values, lengths.values())


def _is_on(family: Family, found: Variables, done: Translation) -> bool:
    name = SWITCHES[family]
    if name not in found and family == "ipv6":
        name = OLD_SWITCH
    value = found.get(name, family == "ipv4")
    word = WORDS.get(str(value).strip().lower())
    if word is None:
        remedy = "write true or false"
        done.problems.append(Problem(name, "not a boolean", "true or false", shown(value), remedy))
    return bool(word)


def _addresses(host: str, found: Variables, done: Translation) -> None:
    place = f"nodes.{host}.podnet_underlay_addresses"
    taken: dict[str, Any] = {}
    for bound, reached in ADDRESSES.values():
        there = [name for name in (bound, reached) if found.get(name)]
        if there:
            taken[there[0]] = found[there[0]]
        if len(there) > 1 and found[bound] != found[reached]:
            done.odd.append(host)
    for index, name in enumerate(taken):
        done.origins[f"{place}[{index}]"] = f"nodes.{host}.{name}"
    if taken:
        done.take(host, "podnet_underlay_addresses", list(taken.values()), taken)
        return
    expected = "ip or ip6, access_ip or access_ip6, or podnet_underlay_addresses"
    remedy = "set ip for the host; podnet takes no address from a node's facts"
    done.problems.append(Problem(place, "not set", expected, "nothing", remedy))

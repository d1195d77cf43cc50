# SPDX-License-Identifier: GPL-3.0-or-later
"""Node tables that others keep, as variables of hosts. Pure; what the values mean is checked by the
plan, with every other problem of the inventory."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from .model import family_of
from .problems import PREFIX, Problem, ProblemsError, nearest, shown
from .schema import NODE_KEYS

NODE_NAMES = tuple(key.name for key in NODE_KEYS)
LISTS = tuple(key.name for key in NODE_KEYS if key.kind in ("cidrs", "addresses"))
Hosts = dict[str, dict[str, Any]]


def from_csv(text: str, columns: Mapping[str, str]) -> Hosts:
    """A table with a line of headings.

    Args:
        columns: heading → name of a node variable without its prefix, `name` for the node's own
            name, or any other host variable, such as `ansible_host`. A heading that is not in
            here is taken for that name itself.

    Raises:
        ProblemsError: rows or headings that cannot be used, all of them.
    """
    reader = csv.DictReader(io.StringIO(text), skipinitialspace=True)
    headings = [str(name or "").strip() for name in reader.fieldnames or ()]
    names = {heading: columns.get(heading, heading) for heading in headings}
    problems = list(_headings(names))
    hosts: Hosts = {}
    for row in () if problems else reader:
        where = f"line {reader.line_num}"
        values = {names[str(k).strip()]: v for k, v in row.items() if k is not None}
        problems += _row(row, values, where, hosts)
        hosts[str(values.get("name") or "").strip()] = _variables(values)
    if problems:
        raise ProblemsError("the node table", problems)
    return hosts


def _headings(names: Mapping[str, str]) -> Iterator[Problem]:
    if "name" not in names.values():
        found = ", ".join(names) or "an empty file"
        remedy = "add it, or map one"
        what = "no column has the nodes' names"
        yield Problem("line 1", what, "a heading `name`", shown(found), remedy)
    for heading, name in names.items():
        if name.startswith(PREFIX) and name.removeprefix(PREFIX) not in NODE_NAMES:
            known = [PREFIX + one for one in NODE_NAMES]
            meant = nearest(name, known)
            remedy = f"write {meant}" if meant else "map the column, or take it out"
            place = f"column {shown(heading)}"
            yield Problem(place, "not a node variable", ", ".join(known), shown(name), remedy)


def _row(
    row: Mapping[Any, Any], values: Mapping[str, Any], where: str, hosts: Hosts
) -> Iterator[Problem]:
    name = str(values.get("name") or "").strip()
    if None in row:
        found = f"{len(row[None])} more"
        yield Problem(where, "more fields than headings", "one for each", found, "quote the commas")
    if not name:
        yield Problem(where, "no name", "the node's name", "an empty field", "fill it in")
    elif name in hosts:
        what = "the node is there twice"
        yield Problem(where, what, "one line for each", shown(name), "remove one")


def _variables(values: Mapping[str, Any]) -> dict[str, Any]:
    """Empty fields are variables that are not set; several values stand in one field with blanks or
    semicolons between them."""
    found: dict[str, Any] = {}
    for name, value in values.items():
        text = str(value or "").strip()
        plain = name.removeprefix(PREFIX)
        if name == "name" or not text:
            continue
        if plain in LISTS:
            found[PREFIX + plain] = text.replace(";", " ").split()
        elif plain in NODE_NAMES:
            found[PREFIX + plain] = int(text) if text.isdecimal() else text
        else:
            found[name] = text
    return found


def from_kubernetes(data: Any, segment_label: str = "") -> Hosts:
    """What `kubectl get nodes -o json` prints: `spec.podCIDRs` and the internal addresses in
    `status.addresses` (Kubernetes API, core/v1 Node).

    Args:
        segment_label: label of a node whose value is its segment, such as
            topology.kubernetes.io/zone; empty: all nodes are in one.

    Raises:
        ProblemsError: not such a list, or nodes without a pod CIDR or an address.
    """
    if not isinstance(data, Mapping) or not isinstance(data.get("items"), list):
        where, found = "the list of nodes", shown(data)
        remedy = "save it with `kubectl get nodes -o json`"
        raise ProblemsError(
            where, [Problem(where, "not a list of nodes", "an object with items", found, remedy)]
        )
    hosts: Hosts = {}
    problems: list[Problem] = []
    for item in data["items"]:
        name, variables = _node(item, segment_label)
        problems += _incomplete(name, variables, segment_label)
        hosts[name] = variables
    if problems:
        raise ProblemsError("the list of nodes", problems)
    return hosts


def _node(item: Mapping[str, Any], segment_label: str) -> tuple[str, dict[str, Any]]:
    spec, meta = item.get("spec") or {}, item.get("metadata") or {}
    cidrs = spec.get("podCIDRs") or [cidr for cidr in [spec.get("podCIDR")] if cidr]
    addresses = list(_first_of_each((item.get("status") or {}).get("addresses") or ()))
    found: dict[str, Any] = {
        "podnet_pod_cidrs": [str(cidr) for cidr in cidrs],
        "podnet_underlay_addresses": addresses,
    }
    if addresses:
        found["ansible_host"] = addresses[0]
    label = (meta.get("labels") or {}).get(segment_label)
    if label:
        found["podnet_segment"] = str(label)
    return str(meta.get("name") or ""), found


def _first_of_each(addresses: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    """The first internal address of each family; what is no address is left to the plan."""
    seen = set()
    for item in addresses:
        if item.get("type") != "InternalIP":
            continue
        address = str(item.get("address"))
        family = family_of(address)
        if family not in seen:
            seen.add(family)
            yield address


def _incomplete(name: str, variables: Mapping[str, Any], segment_label: str) -> Iterator[Problem]:
    if not variables["podnet_pod_cidrs"]:
        remedy = "let the controller manager allocate them, or give podnet_pod_cidrs yourself"
        yield Problem(f"node {name}", "no pod CIDR", "spec.podCIDRs", "none", remedy)
    if not variables["podnet_underlay_addresses"]:
        remedy = "see `kubectl get nodes -o wide`"
        yield Problem(f"node {name}", "no internal address", "type InternalIP", "none", remedy)
    if segment_label and "podnet_segment" not in variables:
        remedy = f"label it: kubectl label node {name} {segment_label}=…"
        yield Problem(f"node {name}", "no label for its segment", segment_label, "none", remedy)

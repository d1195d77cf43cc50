# SPDX-License-Identifier: GPL-3.0-or-later
"""Node tables that others keep, as variables of hosts. Pure; what the values mean is checked by the
plan, with every other problem of the inventory."""

from __future__ import annotations

import csv
import difflib
import io
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Protocol

import yaml

from .model import family_of
from .problems import PREFIX, Problem, ProblemsError, nearest, shown
from .schema import NODE_KEYS
from .yaml_keys import repeated

NODE_NAMES = tuple(key.name for key in NODE_KEYS)
LISTS = tuple(key.name for key in NODE_KEYS if key.kind in ("cidrs", "addresses"))
NUMBERS = tuple(key.name for key in NODE_KEYS if key.kind == "integer")
Hosts = dict[str, dict[str, Any]]
YAML_ENDINGS = (".yml", ".yaml", ".json")


class Inventory(Protocol):
    """What the inventory plugins use of Ansible's inventory."""

    def add_group(self, group: str) -> str: ...
    def add_host(self, host: str, group: str) -> Any: ...
    def set_variable(self, entity: str, varname: str, value: Any) -> None: ...


def enter(inventory: Inventory, group: str, hosts: Hosts) -> None:
    """Hosts and their variables into one group of the inventory."""
    name = inventory.add_group(group)
    for host, variables in hosts.items():
        inventory.add_host(host, group=name)
        for key, value in variables.items():
            inventory.set_variable(host, key, value)


def from_table(file: str, text: str, columns: Mapping[str, str]) -> Hosts:
    """A node table in the form that the file's name says: YAML, or else CSV.

    Args:
        columns: heading → name of a node variable without its prefix, `name` for the node's own
            name, or any other host variable, such as `ansible_host`. A heading that is not in
            here is taken for that name itself.

    Raises:
        ProblemsError: rows or headings that cannot be used, all of them.
    """
    return (from_yaml if file.endswith(YAML_ENDINGS) else from_csv)(text, columns)


def from_csv(text: str, columns: Mapping[str, str]) -> Hosts:
    """A table with a line of headings. What a spreadsheet leaves of rows and columns that are empty
    is none."""
    body = text.lstrip("\r\n")
    above = len(text[: len(text) - len(body)].splitlines())
    reader = csv.DictReader(io.StringIO(body), skipinitialspace=True)
    headings = [str(name or "").strip() for name in reader.fieldnames or ()]
    names = {heading: columns.get(heading, heading) for heading in headings}
    first = f"line {above + 1}"
    problems = [*_headings(names, first), *_same(headings, names, first)]
    hosts: Hosts = {}
    # With two columns of one meaning, or none of names, no row says what it is meant to.
    for row in () if any(p.where == first for p in problems) else reader:
        more = [cell for cell in row.pop(None, ()) if cell.strip()]
        if not more and not any(cell and cell.strip() for cell in row.values()):
            continue
        where = f"line {above + reader.line_num}"
        if more:
            found, remedy = f"{len(more)} more", "quote the commas"
            what = "more fields than headings"
            problems.append(Problem(where, what, "one for each", found, remedy))
        values = {names[str(k).strip()]: v for k, v in row.items()}
        if (stray := values.pop("", None)) and stray.strip():
            what, remedy = "a value in a column without a heading", "name the column, or empty it"
            problems.append(Problem(where, what, "a heading over it", shown(stray), remedy))
        problems += _take(values, where, hosts)
    return _whole(hosts, problems)


def from_yaml(text: str, columns: Mapping[str, str]) -> Hosts:
    """A list of mappings, one for each node; JSON is YAML as well."""
    problems: list[Problem] = []
    hosts: Hosts = {}
    for where, row in _yaml_rows(text, problems):
        names = {str(key): columns.get(str(key), str(key)) for key in row}
        problems += [*_unknown(names, where), *_same(list(names), names, where)]
        problems += _take({names[str(k)]: v for k, v in row.items()}, where, hosts)
    return _whole(hosts, problems)


def _yaml_rows(text: str, problems: list[Problem]) -> Iterator[tuple[str, Mapping[Any, Any]]]:
    """Each row with the line that it begins on."""
    expected, remedy = "a list of mappings, one for each node", "see docs/inventories.md"
    loader = yaml.SafeLoader(text)
    try:
        top = loader.get_single_node()
        if not isinstance(top, yaml.SequenceNode):
            found = "a mapping" if isinstance(top, yaml.MappingNode) else shown(text.strip())
            problems.append(Problem("the table", "not a list of nodes", expected, found, remedy))
            return
        for item in top.value:
            where = f"line {item.start_mark.line + 1}"
            if isinstance(item, yaml.MappingNode):
                problems += [_twice(k, n) for k, lines in repeated(item).items() for n in lines[1:]]
                yield where, loader.construct_document(item)
            else:
                found = shown(loader.construct_document(item))
                problems.append(Problem(where, "not a mapping", "name: …", found, remedy))
    except (yaml.YAMLError, ValueError) as error:
        mark = getattr(error, "problem_mark", None)
        where = f"line {mark.line + 1}" if mark else "the table"
        said = getattr(error, "problem", None) or error
        problems.append(Problem(where, "not YAML", expected, shown(str(said)), "correct it"))


def _twice(key: str, line: int) -> Problem:
    where, what = f"line {line}", "the key is there twice"
    return Problem(where, what, "one value for each", shown(key), "remove one")


def _whole(hosts: Hosts, problems: list[Problem]) -> Hosts:
    if problems:
        raise ProblemsError("the node table", problems)
    return hosts


def _headings(names: Mapping[str, str], where: str) -> Iterator[Problem]:
    if "name" not in names.values():
        found = ", ".join(names) or "an empty file"
        semicolons = any(";" in name for name in names)
        remedy = "write commas between columns" if semicolons else "add it, or map one"
        what = "no column has the nodes' names"
        yield Problem(where, what, "a heading `name`", shown(found), remedy)
    yield from _unknown(names, "")


def _unknown(names: Mapping[str, str], where: str) -> Iterator[Problem]:
    for heading, name in names.items():
        plain = name.removeprefix(PREFIX)
        # A column of somebody's own has no name that is all but one of these.
        if name == "name" or plain in NODE_NAMES:
            continue
        if name.startswith(PREFIX) or difflib.get_close_matches(plain, NODE_NAMES, cutoff=0.85):
            # As it was written: with the prefix, or without.
            prefix = PREFIX if name.startswith(PREFIX) else ""
            known = [prefix + one for one in NODE_NAMES]
            meant = nearest(name, known)
            remedy = f"write {meant}" if meant else "map the column, or take it out"
            place = f"{where}, {heading}" if where else f"column {shown(heading)}"
            yield Problem(place, "not a node variable", ", ".join(known), shown(name), remedy)


def _same(headings: list[str], names: Mapping[str, str], where: str) -> Iterator[Problem]:
    """Of two columns with one meaning the last one would win."""
    seen: dict[str, str] = {}
    for heading in filter(None, headings):
        plain = names[heading].removeprefix(PREFIX)
        if plain in seen:
            found = f"{shown(seen[plain])} and {shown(heading)}"
            remedy = "take one out; several values of one column stand with blanks between them"
            yield Problem(where, f"two columns are {plain}", "one for each", found, remedy)
        seen[plain] = heading


def _take(values: Mapping[str, Any], where: str, hosts: Hosts) -> Iterator[Problem]:
    """A row into the hosts, or what is wrong with it."""
    name = _text(values.get("name"))
    if not name:
        yield Problem(where, "no name", "the node's name", "an empty field", "fill it in")
    elif name in hosts:
        what = "the node is there twice"
        yield Problem(where, what, "one line for each", shown(name), "remove one")
    hosts[name] = _variables(values)


def _text(value: Any) -> str:
    return "" if value is None else str(value).strip()


def _variables(values: Mapping[str, Any]) -> dict[str, Any]:
    """Empty fields are variables that are not set; several values stand in one field with blanks or
    semicolons between them, where the table has no lists of its own."""
    found: dict[str, Any] = {}
    for name, value in values.items():
        text = _text(value)
        plain = name.removeprefix(PREFIX)
        if name == "name" or not text:
            continue
        if not isinstance(value, str):
            found[PREFIX + plain if plain in NODE_NAMES else name] = value
        elif plain in LISTS:
            found[PREFIX + plain] = text.replace(";", " ").split()
        elif plain in NODE_NAMES:
            number = plain in NUMBERS and text.isascii() and text.isdecimal()
            found[PREFIX + plain] = int(text) if number else text
        else:
            found[name] = text
    return found


def from_kubernetes(data: Any, segment_label: str = "", cidrs_required: bool = True) -> Hosts:
    """What `kubectl get nodes -o json` prints: `spec.podCIDRs` and the internal addresses in
    `status.addresses` (Kubernetes API, core/v1 Node).

    Args:
        segment_label: label of a node whose value is its segment, such as
            topology.kubernetes.io/zone; empty: all nodes are in one.
        cidrs_required: whether a node without a pod CIDR is refused, or left without.

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
    for number, item in enumerate(data["items"]):
        if not isinstance(item, Mapping):
            what, remedy = "not a node", "save it with `kubectl get nodes -o json`"
            problems.append(Problem(f"items[{number}]", what, "an object", shown(item), remedy))
            continue
        name, variables = _node(item, segment_label)
        if name in hosts:
            what, remedy = "the node is there twice", "remove one"
            problems.append(Problem(f"node {name}", what, "one for each", shown(name), remedy))
        problems += _incomplete(name, variables, segment_label)
        if not variables["podnet_pod_cidrs"]:
            problems += _without_cidr(name) if cidrs_required else ()
            del variables["podnet_pod_cidrs"]
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


def _without_cidr(name: str) -> Iterator[Problem]:
    remedy = (
        "let the controller manager allocate them; or set require_pod_cidrs to false, and podnet's "
        "playbook allocate gives it one"
    )
    yield Problem(f"node {name}", "no pod CIDR", "spec.podCIDRs", "none", remedy)


def _incomplete(name: str, variables: Mapping[str, Any], segment_label: str) -> Iterator[Problem]:
    if not variables["podnet_underlay_addresses"]:
        remedy = "see `kubectl get nodes -o wide`"
        yield Problem(f"node {name}", "no internal address", "type InternalIP", "none", remedy)
    if segment_label and "podnet_segment" not in variables:
        remedy = f"label it: kubectl label node {name} {segment_label}=…"
        yield Problem(f"node {name}", "no label for its segment", segment_label, "none", remedy)

# SPDX-License-Identifier: GPL-3.0-or-later
"""Readers: one raw inventory value → one canonical value, or a problem.

A reader takes ``(value, where, key, problems)`` and returns the canonical value; what it
cannot accept it adds to ``problems`` and leaves out of its result. Nothing is guessed.
"""

from __future__ import annotations

import ipaddress
import json
import re
from collections.abc import Callable, Mapping
from typing import Any

from .model import FAMILIES
from .problems import Problem, nearest, shown
from .schema import Key

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,252}")
INTERFACE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_-]*")
PATH = re.compile(r"(/[A-Za-z0-9._+-]+)+")
BROADCAST = ipaddress.ip_address("255.255.255.255")
IFNAMSIZ = 15  # linux/if.h: 16 bytes with the terminating zero

Problems = list[Problem]


def type_name(value: object) -> str:
    """The YAML word for a value's type."""
    names = {bool: "a boolean", int: "a number", float: "a number", str: "a string"}
    if value is None:
        return "nothing"
    for kind, word in names.items():
        if isinstance(value, kind):
            return f"{word}, {shown(value)}"
    return "a mapping" if isinstance(value, Mapping) else "a list"


def wrong_type(value: object, where: str, expected: str, problems: Problems) -> None:
    problems.append(
        Problem(where, "wrong type", expected, type_name(value), "write it in the expected form")
    )


def text(value: object, where: str, expected: str, problems: Problems) -> str | None:
    if isinstance(value, str):
        return str(value)
    wrong_type(value, where, expected, problems)
    return None


def items(value: object, where: str, expected: str, problems: Problems) -> list[Any]:
    if isinstance(value, (list, tuple)):
        return list(value)
    wrong_type(value, where, expected, problems)
    return []


def network(value: object, where: str, problems: Problems) -> str | None:
    """A CIDR with a prefix length and no host bits, canonical."""
    expected = "a network such as 10.64.2.0/24 or fd00:64:0:2::/64"
    word = text(value, where, expected, problems)
    if word is None:
        return None
    try:
        if "/" not in word or "%" in word:
            raise ValueError("no prefix length, or a zone")
        interface = ipaddress.ip_interface(word)
        mask = word.partition("/")[2]
        if "." in mask and mask != str(interface.netmask):
            raise ValueError("a wildcard mask")  # the address library takes it for a netmask
    except ValueError:
        problems.append(
            Problem(where, "not a network", expected, shown(word), "write address/length")
        )
        return None
    if interface.ip != interface.network.network_address:
        problems.append(
            Problem(
                where,
                "has host bits set",
                f"{interface.network}, the network that holds this address",
                shown(word),
                "write the network itself, or correct the prefix length",
            )
        )
    # With its host bits cleared the value still takes part in the later checks.
    return str(interface.network)


def address(value: object, where: str, problems: Problems) -> str | None:
    """A unicast address that another node can reach, canonical, without prefix length."""
    expected = "an address such as 192.0.2.11 or 2001:db8::11"
    word = text(value, where, expected, problems)
    if word is None:
        return None
    try:
        parsed = ipaddress.ip_address(word)
    except ValueError:
        remedy = "leave the prefix length out" if "/" in word else "write one plain address"
        problems.append(Problem(where, "not an address", expected, shown(word), remedy))
        return None
    if (
        parsed.is_loopback
        or parsed.is_multicast
        or parsed.is_unspecified
        or parsed.is_link_local
        or parsed == BROADCAST
        or getattr(parsed, "scope_id", None)
        or getattr(parsed, "ipv4_mapped", None)
    ):
        problems.append(
            Problem(
                where,
                "no other node can reach this address",
                "a unicast address that is routable between the nodes",
                shown(word),
                "give the address of the node's underlay interface",
            )
        )
        return None
    return str(parsed)


def read_cidrs(value: Any, where: str, key: Key, problems: Problems) -> tuple[str, ...]:
    found = items(value, where, "a list of networks", problems)
    parsed = (network(item, f"{where}[{i}]", problems) for i, item in enumerate(found))
    return tuple(item for item in parsed if item is not None)


def read_addresses(value: Any, where: str, key: Key, problems: Problems) -> tuple[str, ...]:
    found = items(value, where, "a list of addresses", problems)
    parsed = (address(item, f"{where}[{i}]", problems) for i, item in enumerate(found))
    return tuple(item for item in parsed if item is not None)


def read_integer(value: Any, where: str, key: Key, problems: Problems) -> int | None:
    if value is None and key.default is None:
        return None
    # `-e podnet_vni=7` arrives as a string: digits are a number, nothing else is.
    if isinstance(value, str) and re.fullmatch(r"[0-9]{1,10}", value):
        value = int(value)
    expected = f"a whole number from {key.low} to {key.high}"
    if isinstance(value, bool) or not isinstance(value, int):
        wrong_type(value, where, expected, problems)
        return None
    if not key.low <= value <= key.high:
        problems.append(
            Problem(
                where,
                "out of range",
                expected,
                str(value),
                "choose a value in the range",
            )
        )
        return None
    return int(value)


def read_choice(value: Any, where: str, key: Key, problems: Problems) -> str | None:
    expected = "one of " + ", ".join(key.choices)
    word = text(value, where, expected, problems)
    if word is None or word in key.choices:
        return word
    near = nearest(word, key.choices)
    remedy = f"did you mean {near}?" if near else "choose one of them"
    problems.append(Problem(where, "unknown word", expected, shown(word), remedy))
    return None


def read_pattern(
    pattern: re.Pattern[str], expected: str
) -> Callable[[Any, str, Key, Problems], str | None]:
    """A reader of strings that must match ``pattern`` as a whole."""

    def read(value: Any, where: str, key: Key, problems: Problems) -> str | None:
        word = text(value, where, expected, problems)
        if word is None:
            return None
        if pattern.fullmatch(word) and ".." not in word.split("/"):
            return word
        problems.append(Problem(where, "not accepted", expected, shown(word), "correct it"))
        return None

    return read


def read_interface(value: Any, where: str, key: Key, problems: Problems) -> str | None:
    expected = (
        f"an interface name of 1 to {IFNAMSIZ} letters, digits, dashes or underscores, "
        "not a dash first; not lo, all or default"
    )
    word = text(value, where, expected, problems)
    if word is None:
        return None
    if INTERFACE.fullmatch(word) and len(word) > IFNAMSIZ:
        found = f"{shown(word)}, {len(word)} characters"
        problems.append(Problem(where, "name too long", expected, found, "choose a shorter name"))
        return None
    if not INTERFACE.fullmatch(word) or word in ("lo", "all", "default"):
        problems.append(
            Problem(
                where,
                "not an interface name",
                expected,
                shown(word),
                "choose another name",
            )
        )
        return None
    return word


def read_families(value: Any, where: str, key: Key, problems: Problems) -> tuple[str, ...]:
    found = items(value, where, "a list of ipv4, ipv6 (or an empty list)", problems)
    for index, item in enumerate(found):
        if item not in FAMILIES:
            problems.append(
                Problem(
                    f"{where}[{index}]",
                    "unknown family",
                    "ipv4 or ipv6",
                    shown(item),
                    "write ipv4, ipv6 or both",
                )
            )
    return tuple(family for family in FAMILIES if family in found)


def read_ports(value: Any, where: str, key: Key, problems: Problems) -> tuple[str, ...]:
    """Ports as `tcp/53`: sorted by number, each once."""
    found: set[tuple[int, str]] = set()
    for index, item in enumerate(items(value, where, "a list such as [udp/53]", problems)):
        parts = (
            re.fullmatch(r"(tcp|udp)/([1-9][0-9]{0,4})", item) if isinstance(item, str) else None
        )
        if parts and int(parts[2]) < 65536:
            found.add((int(parts[2]), parts[1]))
            continue
        expected, remedy = "tcp/1 to tcp/65535, or udp/1 to udp/65535", "write protocol/port"
        problems.append(Problem(f"{where}[{index}]", "not a port", expected, shown(item), remedy))
    return tuple(f"{protocol}/{port}" for port, protocol in sorted(found))


def read_prefix_lengths(value: Any, where: str, key: Key, problems: Problems) -> dict[str, int]:
    if not isinstance(value, Mapping):
        wrong_type(value, where, "a mapping such as {ipv4: 24, ipv6: 64}", problems)
        return {}
    lengths: dict[str, int] = {}
    for family, length in value.items():
        if family not in FAMILIES:
            expected = "the keys ipv4 and ipv6"
            near = nearest(str(family), FAMILIES)
            problems.append(
                Problem(
                    f"{where}.{family}",
                    "unknown key",
                    expected,
                    shown(family),
                    f"did you mean {near}?" if near else "remove it",
                )
            )
            continue
        bounds = Key(str(family), "integer", high=32 if family == "ipv4" else 128, low=1)
        number = read_integer(length, f"{where}.{family}", bounds, problems)
        if number is not None:
            lengths[str(family)] = number
    return lengths


def read_plugins(
    value: Any, where: str, key: Key, problems: Problems
) -> tuple[Mapping[str, Any], ...]:
    """CNI plugin configurations that follow the bridge plugin in the conflist."""
    plugins = []
    for index, item in enumerate(items(value, where, "a list of CNI plugins", problems)):
        place = f"{where}[{index}]"
        expected = "a mapping with a key type that names the plugin's program"
        if not isinstance(item, Mapping):
            wrong_type(item, place, expected, problems)
            continue
        kind = item.get("type")
        if not isinstance(kind, str) or not NAME.fullmatch(kind):
            found = f"type: {shown(kind)}" if "type" in item else "no key type"
            problems.append(
                Problem(
                    place,
                    "plugin without a usable type",
                    expected,
                    found,
                    "name the plugin",
                )
            )
            continue
        # Through JSON and back: plain types only, and what JSON cannot hold is refused here.
        try:
            plugins.append(json.loads(json.dumps(item, allow_nan=False)))
        except (TypeError, ValueError):
            problems.append(
                Problem(
                    place,
                    "not JSON",
                    "values that JSON can hold",
                    shown(item),
                    "give text, finite numbers, true, false, null, lists or mappings",
                )
            )
    return tuple(plugins)


def read_node_table(value: Any, where: str, key: Key, problems: Problems) -> Mapping[str, Any]:
    if isinstance(value, Mapping):
        return value
    wrong_type(value, where, "a mapping from node name to its data", problems)
    return {}


def read_allocated(value: Any, where: str, key: Key, problems: Problems) -> Mapping[str, Any]:
    """Ranges by node, as they stand; those of nodes that are gone are looked at only here."""
    if not isinstance(value, Mapping):
        wrong_type(value, where, "a mapping from node name to its ranges", problems)
        return {}
    for name, cidrs in value.items():
        if not NAME.fullmatch(str(name)):
            expected, remedy = "the name of a node", "take the entry out"
            problems.append(Problem(where, "not a node name", expected, shown(name), remedy))
        read_cidrs(cidrs, f"{where}.{name}", key, problems)
    return value


READERS: Mapping[str, Callable[[Any, str, Key, Problems], Any]] = {
    "cidrs": read_cidrs,
    "addresses": read_addresses,
    "integer": read_integer,
    "choice": read_choice,
    "interface": read_interface,
    "families": read_families,
    "ports": read_ports,
    "prefix_lengths": read_prefix_lengths,
    "plugins": read_plugins,
    "node_table": read_node_table,
    "allocated": read_allocated,
    "name": read_pattern(
        NAME, "a name of at most 253 letters, digits, dots, dashes and underscores"
    ),
    "path": read_pattern(
        PATH, "an absolute path of letters, digits and ._+-, without .. or a slash at its end"
    ),
    "conflist_name": read_pattern(
        re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*\.conflist"),
        "a file name of letters, digits and ._- that ends in .conflist",
    ),
}

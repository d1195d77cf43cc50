# SPDX-License-Identifier: GPL-3.0-or-later
"""Keys that a YAML mapping has more than once. PyYAML keeps the last one and says nothing. Pure."""

from __future__ import annotations

from collections.abc import Iterator

import yaml

# What is merged may be several, each by a key of its own.
MERGE = "<<"


def repeated(mapping: yaml.MappingNode) -> dict[str, list[int]]:
    """Each key that is there more than once, as it is written but for quotes, and its lines,
    counted from 1. Keys that are no scalars are not looked at: there is no name among them."""
    lines: dict[str, list[int]] = {}
    for key, _value in mapping.value:
        if isinstance(key, yaml.ScalarNode):
            lines.setdefault(key.value, []).append(key.start_mark.line + 1)
    return {key: found for key, found in lines.items() if found[1:]}


def repeated_below(top: yaml.Node | None) -> Iterator[tuple[tuple[str, ...], list[int]]]:
    """(the keys that lead there and the key itself, its lines) for each key of a document that its
    mapping has more than once."""
    seen: set[int] = set()
    left: list[tuple[tuple[str, ...], yaml.Node | None]] = [((), top)]
    while left:
        path, node = left.pop()
        if id(node) in seen:  # an alias
            continue
        seen.add(id(node))
        if isinstance(node, yaml.MappingNode):
            yield from (((*path, k), lines) for k, lines in repeated(node).items() if k != MERGE)
            left += [((*path, str(key.value)), value) for key, value in node.value]
        elif isinstance(node, yaml.SequenceNode):
            left += [(path, item) for item in node.value]

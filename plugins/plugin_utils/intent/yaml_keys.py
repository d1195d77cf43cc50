# SPDX-License-Identifier: GPL-3.0-or-later
"""Keys that a YAML mapping has more than once. PyYAML keeps the last one and says nothing. Pure."""

from __future__ import annotations

import yaml


def repeated(mapping: yaml.MappingNode) -> dict[str, list[int]]:
    """Each key that is there more than once, as it is written but for quotes, and its lines,
    counted from 1. Keys that are no scalars are not looked at: there is no name among them."""
    lines: dict[str, list[int]] = {}
    for key, _value in mapping.value:
        if isinstance(key, yaml.ScalarNode):
            lines.setdefault(key.value, []).append(key.start_mark.line + 1)
    return {key: found for key, found in lines.items() if found[1:]}

# SPDX-License-Identifier: GPL-3.0-or-later
"""In which order nodes switch: canaries first, then batches. Pure."""

from __future__ import annotations

from collections.abc import Container, Iterator, Sequence

from ..intent.problems import Problem, shown

Size = int | str


def batches(hosts: Sequence[str], canary: Sequence[str], serial: Sequence[Size]) -> list[list[str]]:
    """``hosts`` in batches, none empty.

    Args:
        hosts: the nodes that switch, in their order.
        canary: nodes of the first batch.
        serial: sizes of the batches after it, as Ansible's ``serial`` has them: numbers, or
            percentages of the nodes that are no canaries; the last one repeats.
    """
    first = [host for host in hosts if host in canary]
    rest = [host for host in hosts if host not in canary]
    found = [first] if first else []
    sizes = _sizes(serial or ("100%",), len(rest))
    while rest:
        size = next(sizes)
        found.append(rest[:size])
        rest = rest[size:]
    return found


def no_canary(
    canary: Sequence[str], read: Container[str], switching: Sequence[str]
) -> Iterator[Problem]:
    """Nodes that are to switch before all others, and of which none can."""
    if canary and switching and not any(name in read for name in canary):
        yield Problem(
            "podnet_canary",
            "none of these nodes was reached",
            "a node that can switch now",
            shown(", ".join(canary)),
            "name another one, or leave podnet_canary out",
        )


def _sizes(serial: Sequence[Size], hosts: int) -> Iterator[int]:
    sizes = [_size(item, hosts) for item in serial]
    yield from sizes
    while True:
        yield sizes[-1]


def _size(item: Size, hosts: int) -> int:
    text = str(item).strip()
    number = int(text.removesuffix("%"))
    return max(1, number * hosts // 100 if text.endswith("%") else number)


def order_problems(
    known: Container[str], canary: Sequence[str], serial: Sequence[Size]
) -> Iterator[Problem]:
    """What is wrong with the order that was asked for."""
    for name in canary:
        if name not in known:
            yield Problem(
                "podnet_canary",
                "names no node of the fleet",
                "names of nodes",
                shown(name),
                "correct the name",
            )
    for item in serial:
        text = str(item).strip().removesuffix("%")
        if not (text.isascii() and text.isdigit() and int(text) > 0):
            yield Problem(
                "podnet_serial",
                "not the size of a batch",
                'numbers of nodes or percentages, such as [1, "25%"]',
                shown(item),
                "correct the value",
            )

# SPDX-License-Identifier: GPL-3.0-or-later
"""What the judge says of one check."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, fields
from operator import attrgetter, itemgetter
from typing import Any, Literal

from ..intent.model import Family

Status = Literal["success", "failure", "error", "skipped"]
STATUSES: tuple[Status, ...] = ("success", "failure", "error", "skipped")
# From the one that a person must know first to the one that says least.
OUTSIDE = ("outside", "masquerade")  # kinds whose target is no node
WORST: tuple[Status, ...] = ("failure", "error", "success", "skipped")
RANK: Mapping[Status, int] = {status: place for place, status in enumerate(WORST)}


@dataclass(frozen=True, slots=True)
class Result:
    """One promise on one way.

    Attributes:
        id: unique and stable from run to run: kind/family/source/target.
        promise: number of the sentence of `checks.PROMISES` that it proves.
        source, target: names of nodes; equal for what concerns one node alone; the target of
            `outside` and `masquerade` is address and port.
        status: `error` is "could not look", which is neither a failure nor a success.
        rtt_us: microseconds until the answer came, where one came.
    """

    id: str
    promise: int
    kind: str
    family: Family | None
    source: str
    target: str
    backend: str | None
    status: Status
    expected: str
    found: str
    remedy: str | None = None
    rtt_us: int | None = None

    def to_dict(self) -> dict[str, Any]:
        return dict(zip(NAMES, VALUES_OF(self), strict=True))

    @staticmethod
    def from_dict(data: Mapping[str, Any]) -> Result:
        return Result(*ITEMS_OF(data))


# There are a hundred thousand results of a large fleet, and each is written and read.
NAMES: tuple[str, ...] = tuple(field.name for field in fields(Result))
VALUES_OF, ITEMS_OF = attrgetter(*NAMES), itemgetter(*NAMES)
LINE = json.JSONEncoder(ensure_ascii=False, check_circular=False)


def as_text(data: Mapping[str, Any]) -> str:
    """JSON with each of ``results`` on a line of its own, behind everything else: small to write,
    quick to read, and with grep and diff a person finds a line in it."""
    head = {name: value for name, value in data.items() if name != "results"}
    body = ",\n".join(map(LINE.encode, data["results"]))
    text = json.dumps(head, indent=1, ensure_ascii=False).removesuffix("\n}")
    return f'{text},\n "results": [\n{body}\n ]\n}}\n'

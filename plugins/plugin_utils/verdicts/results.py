# SPDX-License-Identifier: GPL-3.0-or-later
"""What the judge says of one check."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from ..intent.model import Family

Status = Literal["success", "failure", "error", "skipped"]
STATUSES: tuple[Status, ...] = ("success", "failure", "error", "skipped")
# From the one that a person must know first to the one that says least.
OUTSIDE = ("outside", "masquerade")  # kinds whose target is no node
WORST: tuple[Status, ...] = ("failure", "error", "success", "skipped")


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
        return {name: getattr(self, name) for name in self.__slots__}

    @staticmethod
    def from_dict(data: Mapping[str, Any]) -> Result:
        return Result(**{name: data[name] for name in Result.__slots__})

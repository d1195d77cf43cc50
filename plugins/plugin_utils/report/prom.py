# SPDX-License-Identifier: GPL-3.0-or-later
"""report.json → metrics for the textfile collector of node_exporter. Pure.

The text format of Prometheus (exposition formats, version 0.0.4). Ages are left to the reader, as
the naming guide has it: `time() - podnet_verify_timestamp_seconds`.
"""

from __future__ import annotations

import datetime
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

STATUSES = ("success", "failure", "error", "skipped")
Sample = tuple[Mapping[str, str], float]


def prom_text(data: Mapping[str, Any], drift: Mapping[str, int] | None = None) -> str:
    """The whole file.

    Args:
        data: the content of report.json.
        drift: node → number of differences that `status` or `drift` found last; None when
            nobody has looked.
    """
    lines: list[str] = []
    for name, about, samples in _metrics(data, drift):
        lines += [f"# HELP podnet_{name} {about}", f"# TYPE podnet_{name} gauge"]
        lines += [f"podnet_{name}{_labels(labels)} {value:.9g}" for labels, value in samples]
    return "\n".join(lines) + "\n"


def _metrics(
    data: Mapping[str, Any], drift: Mapping[str, int] | None
) -> Iterator[tuple[str, str, Iterable[Sample]]]:
    pairs, nodes = data["summary"]["pairs"], data["summary"]["nodes"]
    yield (
        "verify_ok",
        "1 when every check that was asked for holds.",
        [({}, data["verdict"] == "pass")],
    )
    yield (
        "verify_timestamp_seconds",
        "When the last verification ended, in Unix time.",
        [({}, datetime.datetime.fromisoformat(data["ended"]).timestamp())],
    )
    yield (
        "nodes",
        "Nodes of the fleet, and those that the last verification was asked for.",
        [({"which": which}, nodes[which]) for which in ("fleet", "asked")],
    )
    yield (
        "pairs",
        "Ordered pairs of nodes by the worst result of each; error: could not be looked at.",
        [({"status": status}, pairs[status]) for status in STATUSES],
    )
    yield (
        "checks",
        "Checks by promise and result.",
        [
            ({"promise": str(promise["number"]), "status": status}, promise[status])
            for promise in data["promises"]
            for status in STATUSES
        ],
    )
    ways = [(_way(path), path) for path in data["paths"]]
    yield (
        "path_rtt_seconds",
        "Median round trip of the pairs that one backend carries.",
        [(labels, path["rtt_us"] / 1e6) for labels, path in ways if path["rtt_us"] is not None],
    )
    yield "path_loss_ratio", "Probes between nodes without an answer.", list(_loss(data))
    if drift is not None:
        yield (
            "drift",
            "Differences between a node and what it must be, when somebody looked last.",
            [({"node": node}, number) for node, number in sorted(drift.items())],
        )


def _way(path: Mapping[str, Any]) -> dict[str, str]:
    return {"backend": str(path["backend"]), "family": str(path["family"])}


def _loss(data: Mapping[str, Any]) -> Iterator[Sample]:
    """By backend and family: probes that were sent and not answered, of those that were sent."""
    sent: dict[tuple[str, str], list[bool]] = {}
    for result in data["results"]:
        probes = result["kind"] in ("icmp", "tcp", "udp") and result["source"] != result["target"]
        if probes and result["backend"] and result["status"] in ("success", "failure"):
            way = (str(result["backend"]), str(result["family"]))
            sent.setdefault(way, []).append(result["status"] == "failure")
    for (backend, family), lost in sorted(sent.items()):
        yield {"backend": backend, "family": family}, sum(lost) / len(lost)


def _labels(labels: Mapping[str, str]) -> str:
    if not labels:
        return ""
    return "{" + ",".join(f'{name}="{_escaped(value)}"' for name, value in labels.items()) + "}"


def _escaped(value: str) -> str:
    return value.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")

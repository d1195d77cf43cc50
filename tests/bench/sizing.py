# SPDX-License-Identifier: GPL-3.0-or-later
"""Topics `push` and `reflector`: their measurements, and the tables of docs/sizing.md from what
they left in docs/performance/. `sizing.py` writes the tables.

A cell that is computed and not measured says so in its head, and the page has the formula.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
from collections.abc import Iterable
from typing import Any

from store import REPO, Row, Store

PAGE = REPO / "docs/sizing.md"
FLEETS, MODES, CLIENTS = (100, 1000, 10_000), ("routed", "vxlan"), (100, 300, 1000)
PUSH = [(count, mode) for count in FLEETS for mode in MODES]
ROUNDS = int(os.environ.get("ROUNDS") or 3)


def measure(topic: str, calls: Iterable[tuple[str, ...]]) -> None:
    """Every call in a process of its own, ROUNDS times; then the page."""
    store, wanted = Store(topic, fresh=True), list(calls)
    for number in range(1, ROUNDS + 1):
        for words in wanted:
            command = [sys.executable, str(REPO / f"tests/bench/bench_{topic}.py"), *words]
            done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
            store.add({**json.loads(done.stdout), "round": number})
            print(done.stdout.strip(), flush=True)
    write_page()


def median(rows: list[Row], figure: str, **keys: Any) -> float:
    found = [row[figure] for row in rows if all(row.get(k) == v for k, v in keys.items())]
    return statistics.median(found)


def amount(number: float) -> str:
    """Bytes as a person reads them."""
    for unit in ("B", "KB", "MB", "GB"):
        if number < 1000 or unit == "GB":
            return f"{number:.0f} {unit}" if number >= 10 or unit == "B" else f"{number:.1f} {unit}"
        number /= 1000
    raise AssertionError("GB is the last unit")


def seconds(number: float) -> str:
    return f"{number * 1000:.0f} ms" if number < 1 else f"{number:.1f} s"


def table(head: list[str], lines: list[list[str]]) -> list[str]:
    rows = [head, ["---"] * len(head), *lines]
    return [f"| {' | '.join(row)} |" for row in rows]


def of_controller(rows: list[Row]) -> list[str]:
    lines = []
    for count, mode in PUSH:
        keys: Row = {"nodes": count, "mode": mode}
        get = {name: median(rows, name, **keys) for name in rows[0] if name not in (*keys, "round")}
        each = get["compare_cpu"] + get["plan_node_cpu"]
        whole = get["plan_cpu"] + count * (each + get["render_cpu"])
        lines.append(
            [
                *(f"{count:,}", mode, seconds(get["plan_cpu"]), amount(get["controller_rss"])),
                *(amount(get["fleet_bytes"]), seconds(get["render_cpu"]), seconds(each)),
                *(seconds(whole), amount(count * get["read_bytes"])),
                amount(count * get["definition_bytes"]),
            ]
        )
    head = ["Nodes", "Mode", "Check and plan the fleet", "Memory", "`fabric.json`"]
    head += ["Render a node", "Compare a node", "All nodes, CPU (computed)"]
    return table(
        [*head, "All answers (computed)", "All definitions (computed)"],
        lines,
    )


def of_node(rows: list[Row]) -> list[str]:
    lines = []
    for count, mode in PUSH:
        keys: Row = {"nodes": count, "mode": mode}
        numbers = [f"{median(rows, n, **keys):,.0f}" for n in ("routes", "neighbours", "fdb")]
        spent = [seconds(median(rows, n, **keys)) for n in ("node_load_cpu", "node_read_cpu")]
        sizes = [amount(median(rows, n, **keys)) for n in ("definition_bytes", "read_bytes")]
        lines.append([f"{count:,}", mode, *numbers, *spent, *sizes])
    head = ["Nodes", "Mode", "Routes", "Neighbours", "FDB entries", "Load all of it, CPU"]
    return table([*head, "Read it once, CPU", "Definitions", "One reading, sent"], lines)


def of_reflector(rows: list[Row]) -> list[str]:
    names = ("bgpd_rss", "zebra_rss", "bytes", "bgpd_cpu", "zebra_cpu", "idle_cpu", "idle_bytes")
    found = {
        count: {name: median(rows, name, nodes=count) for name in names}
        for count in CLIENTS
        if any(row["nodes"] == count for row in rows)
    }
    few, many = min(found), max(found)
    lines = [_line(f"{count:,}", count, get) for count, get in found.items()]
    factor = 10_000 / many
    slope = {n: (found[many][n] - found[few][n]) / (many - few) for n in names}
    computed = {n: found[many][n] + slope[n] * (10_000 - many) for n in names}
    # What is sent grows with the square: every client is sent the prefix of every other.
    computed |= {n: found[many][n] * factor**2 for n in ("bytes", "bgpd_cpu")}
    lines.append(_line("10,000 (computed)", 10_000, computed))
    head = ["Clients", "Sessions", "Routes", "bgpd, memory", "zebra, memory"]
    head += [
        "bgpd until all know all, CPU",
        "zebra, CPU",
        "Sent until then",
        "idle, share of a core",
    ]
    return table([*head, "idle, bytes a second"], lines)


def _line(name: str, count: int, get: dict[str, float]) -> list[str]:
    memory = [amount(get["bgpd_rss"]), amount(get["zebra_rss"])]
    work = [seconds(get["bgpd_cpu"]), seconds(get["zebra_cpu"]), amount(get["bytes"])]
    idle = [f"{get['idle_cpu']:.1%}", amount(get["idle_bytes"])]
    return [name, f"{count:,}", f"{count:,}", *memory, *work, *idle]


def write_page() -> None:
    text = PAGE.read_text(encoding="utf-8")
    for name, topic, made in (
        ("controller", "push", of_controller),
        ("node", "push", of_node),
        ("reflector", "reflector", of_reflector),
    ):
        kept = Store(topic).data
        if not kept["rows"]:
            continue
        rounds = max(row["round"] for row in kept["rows"])
        often = f"medians of {rounds} rounds" if rounds > 1 else "one round"
        stamp = f"Measured on {kept['date']} by `make bench T={topic}`, {often}, at commit "
        stamp += f"{kept['commit']}: {kept['machine']}."
        before, _mark, rest = text.partition(f"<!-- {name} -->\n")
        _old, _mark, after = rest.partition(f"<!-- end of {name} -->\n")
        lines = "\n".join([stamp, "", *made(kept["rows"])])
        text = f"{before}<!-- {name} -->\n{lines}\n<!-- end of {name} -->\n{after}"
    PAGE.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    write_page()

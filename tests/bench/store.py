# SPDX-License-Identifier: GPL-3.0-or-later
"""Raw results of a topic in `docs/performance/<topic>.json`, kept after each measurement, so that a
run that is interrupted goes on where it was."""

from __future__ import annotations

import datetime
import json
import os
import platform
import statistics
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

REPO = Path(__file__).resolve().parents[2]
FOLDER = REPO / "docs" / "performance"
Row = dict[str, Any]


class Store:
    """The rows of a topic: each what was measured once, with what tells it from others."""

    def __init__(self, topic: str, fresh: bool = False) -> None:
        self.path = FOLDER / f"{topic}.json"
        self.data: dict[str, Any] = {"rows": []}
        if self.path.is_file() and not fresh:
            self.data = json.loads(self.path.read_text(encoding="utf-8"))

    @property
    def rows(self) -> list[Row]:
        return list(self.data["rows"])

    def has(self, **keys: Any) -> bool:
        """Whether a row with these values is there."""
        return any(all(row.get(k) == v for k, v in keys.items()) for row in self.rows)

    def drop(self, field: str) -> None:
        """Forget the rows that have a field, which are measured anew."""
        self.data["rows"] = [row for row in self.data["rows"] if field not in row]

    def add(self, row: Row) -> None:
        self.data["rows"].append(row)
        self.data |= {"commit": commit(), "date": today(), "machine": machine()}
        self.path.parent.mkdir(parents=True, exist_ok=True)
        new = self.path.with_suffix(".new")
        lines = ",\n".join("  " + json.dumps(item) for item in self.data["rows"])
        head = {k: v for k, v in self.data.items() if k != "rows"}
        text = (
            json.dumps(head, indent=1).removesuffix("\n}") + ',\n "rows": [\n' + lines + "\n ]\n}\n"
        )
        new.write_text(text, encoding="utf-8")
        os.replace(new, self.path)


def today() -> str:
    return datetime.datetime.now(datetime.UTC).date().isoformat()


def commit() -> str:
    command = ["git", "-C", str(REPO), "rev-parse", "--short", "HEAD"]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def machine() -> str:
    """In words of its shape only."""
    ssh = subprocess.run(["ssh", "-V"], capture_output=True, text=True, check=False).stderr
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    words = [
        f"{os.cpu_count()} cores, {memory:.0f} GiB",
        f"Linux {platform.release().split('-')[0]}",
    ]
    return ", ".join([*words, ssh.split(",")[0].strip(), f"Python {platform.python_version()}"])


def median(rows: list[Row], figure: str, keep: Callable[[Row], bool]) -> float | None:
    """Of one figure over the rows that are wanted; None when there is none."""
    found = [row[figure] for row in rows if keep(row) and row.get(figure) is not None]
    return statistics.median(found) if found else None

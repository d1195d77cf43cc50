# SPDX-License-Identifier: GPL-3.0-or-later
"""What was tested on what: run molecule's scenarios, time them, keep the record, write the tables.

tools/tested.py run SCENARIO...   run them; PODNET_WRITE_DOCS=1 keeps record and times
tools/tested.py add KEY=VALUE...  keep one entry, as tests of tests/netns do
tools/tested.py tables            write the table of README.md from docs/tested.yml

docs/tested.yml is a list; one entry is one combination that tests ran on, as the nodes themselves
named it: distribution, runtime, manager (of the host's network), nodes (what they were made of),
by (the test), date.
"""

from __future__ import annotations

import datetime
import itertools
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parent.parent
RECORD = ROOT / "docs" / "tested.yml"
TIMES = ROOT / "CONTRIBUTING.md"
KEY = ("distribution", "runtime", "manager", "nodes", "by")
STEP = re.compile(r"(\w+) ➜ (\w+): Executing")
COLOUR = re.compile(r"\x1b\[[0-9;]*m")

MANAGERS = ("none", "systemd-networkd", "NetworkManager", "ifupdown")
PODMAN_CNI = "podman with its CNI back end"
RUNTIMES = (
    "CNI plugins alone",
    "containerd",
    PODMAN_CNI,
    "podman in pods of the module pod",
    "CRI-O, k3s",
)
DISTRIBUTIONS = ("Debian 12", "Debian 13", "Ubuntu 24.04", "Rocky 9", "Fedora")
# podman 5 is built without CNI.
WITHOUT = {(distribution, PODMAN_CNI) for distribution in ("Debian 13", "Rocky 9", "Fedora")}
# No clients of CNI; both may run beside podnet.
NOT_SUPPORTED = "Docker; podman with netavark"

Entry = dict[str, str]


def record(entry: Mapping[str, str]) -> None:
    """Keep one entry, in the place of an older one of the same combination."""
    new = {key: entry[key] for key in KEY}
    new["date"] = str(datetime.datetime.now(tz=datetime.UTC).date())
    kept = [old for old in entries() if any(old[key] != new[key] for key in KEY)]
    kept.append(new)
    kept.sort(key=lambda item: [item[key] for key in KEY])
    head = "# Written by the tests (tools/tested.py says how); what nobody ran is not here.\n"
    RECORD.write_text(head + yaml.safe_dump(kept, sort_keys=False, width=100), encoding="utf-8")


def entries() -> list[Entry]:
    found: list[Entry] = yaml.safe_load(RECORD.read_text(encoding="utf-8")) or []
    return found


def run(scenarios: Sequence[str]) -> int:
    """Molecule's own output, and a table of seconds at the end; the exit code is molecule's."""
    with tempfile.TemporaryDirectory() as folder:
        seen = Path(folder) / "seen.json"
        argv = ["molecule", "test", *(word for name in scenarios for word in ("-s", name))]
        with subprocess.Popen(
            argv,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env={**os.environ, "PODNET_SEEN": str(seen)},
        ) as process:
            steps = list(_timed(process))
        if process.returncode:
            return process.returncode
        found: Entry = json.loads(seen.read_text(encoding="utf-8"))
    seconds = _seconds(steps)
    table = _times(seconds, found)
    print(table)
    if os.environ.get("PODNET_WRITE_DOCS"):
        record({**found, "runtime": RUNTIMES[0], "by": f"molecule: {', '.join(sorted(seconds))}"})
        tables()
        _replace(TIMES, f"molecule {found['distribution']} {found['nodes']}", table)
    return 0


def _timed(process: subprocess.Popen[str]) -> Iterator[tuple[str, float]]:
    for line in process.stdout or ():
        sys.stdout.write(line)
        sys.stdout.flush()
        if step := STEP.search(COLOUR.sub("", line)):
            yield step[1], time.monotonic()
    yield "", time.monotonic()


def _seconds(steps: Sequence[tuple[str, float]]) -> dict[str, float]:
    """Scenario → seconds. What `default` does for all, create and destroy, is its own."""
    found: dict[str, float] = {}
    for (name, start), (_next, end) in itertools.pairwise(steps):
        found[name] = found.get(name, 0.0) + end - start
    return found


def _times(seconds: Mapping[str, float], seen: Entry) -> str:
    day = datetime.datetime.now(tz=datetime.UTC).date()
    lines = [
        f"{seen['distribution']}, {seen['nodes']}; {day}, {os.cpu_count()} cores:",
        "",
        "| Scenario | Seconds |",
        "|---|---|",
        *(f"| {name} | {round(value)} |" for name, value in seconds.items()),
        f"| all | {round(sum(seconds.values()))} |",
    ]
    return "\n".join(lines)


def tables() -> None:
    _replace(ROOT / "README.md", "tested", matrix(entries()))


def matrix(found: Sequence[Entry]) -> str:
    """Distribution and runtime by host network manager; equal rows of a distribution are one."""
    width = len(MANAGERS)
    lines = [
        "| Distribution | Runtime | " + " | ".join(MANAGERS) + " |",
        "|---" * (2 + width) + "|",
    ]
    for distribution in DISTRIBUTIONS:
        rows: dict[str, list[str]] = {}
        for runtime in RUNTIMES:
            cells = " | ".join(_cell(found, distribution, runtime, name) for name in MANAGERS)
            rows.setdefault(cells, []).append(runtime)
        lines += [f"| {distribution} | {'; '.join(names)} | {c} |" for c, names in rows.items()]
    lines.append(f"| all | {NOT_SUPPORTED} |" + " not supported |" * width)
    return "\n".join(lines)


def _cell(found: Sequence[Entry], distribution: str, runtime: str, manager: str) -> str:
    tested = any(
        entry["distribution"].startswith(distribution)
        and entry["runtime"].startswith(runtime)
        and entry["manager"] == manager
        for entry in found
    )
    if tested:
        return "tested"
    return "not supported" if (distribution, runtime) in WITHOUT else "expected"


def _replace(path: Path, name: str, text: str) -> None:
    """Between the marks of a name; a file without them gets nothing."""
    begin, end = f"<!-- {name} -->\n", f"<!-- end of {name} -->\n"
    old = path.read_text(encoding="utf-8")
    if begin not in old or end not in old:
        sys.exit(f"{path.name}: no marks '{begin.strip()}' and '{end.strip()}'")
    before, _begin, rest = old.partition(begin)
    path.write_text(f"{before}{begin}{text}\n{end}{rest.partition(end)[2]}", encoding="utf-8")


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["run", *names] if names:
            sys.exit(run(names))
        case ["add", *pairs] if sorted(pair.split("=")[0] for pair in pairs) == sorted(KEY):
            record(dict(pair.split("=", 1) for pair in pairs))
            tables()
        case ["tables"]:
            tables()
        case _:
            sys.exit(__doc__)

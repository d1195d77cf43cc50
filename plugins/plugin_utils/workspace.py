# SPDX-License-Identifier: GPL-3.0-or-later
"""The controller's files: rendered definitions, the parsed fleet, and what a run leaves.

The only module of plugin_utils that touches the file system. Files are replaced atomically,
so that an interrupted run leaves the old or the new content and nothing between.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import re
import shutil
import tempfile
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any

import jinja2

from .fleet.numbers import Numbers
from .intent.model import Fabric
from .render import DEFINITIONS, MANIFEST, environment

# Names of transactions that are kept: many runs of a fleet of hundreds.
RUNS_REMEMBERED = 10_000
COLLECTION = Path(__file__).resolve().parents[2]


class WorkspaceError(Exception):
    """A file that an earlier stage should have left is not there or cannot be read."""


class Workspace:
    """Paths below ``podnet_output_dir``."""

    def __init__(self, root: str | None) -> None:
        self.root = Path(root or os.getcwd()).expanduser().resolve()
        self.state = self.root / ".podnet"

    def intended(self, node: str) -> Path:
        return self.root / "intended" / node

    def save_fabric(self, fabric: Fabric) -> None:
        write(self.state / "fabric.json", json.dumps(fabric.to_dict(), indent=1) + "\n")

    def fabric(self) -> Fabric:
        """The fleet that the plan stage of this run saved."""
        return Fabric.from_dict(self.load("fabric.json", "run the role plan first"))

    def _file(self, name: str) -> Path:
        """Names hold names of hosts, which not every playbook has had checked by the plan."""
        if ".." in Path(name).parts:
            raise WorkspaceError(f"{name!r} is outside {self.state}; correct the host's name")
        return self.state / name

    def save(self, name: str, data: Any) -> None:
        write(self._file(name), json.dumps(data, indent=1) + "\n")

    def save_raw(self, name: str, data: Any) -> None:
        """What programs alone read, in one line: json has a fast writer for that alone, and there
        is such a file of every node."""
        write(self._file(name), json.dumps(data) + "\n")

    def load(self, name: str, remedy: str) -> Any:
        path = self._file(name)
        try:
            return json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise WorkspaceError(f"{path}: cannot be read ({error}); {remedy}") from error

    def begin(self, pid: int) -> None:
        """A run begins: take the folder for the process ``pid``, and forget what an earlier run
        left between its stages.

        Raises:
            WorkspaceError: another process that is alive works here, or the folder is somebody
                else's. A process that is gone leaves its lock behind and keeps nobody out.
        """
        try:
            self.state.mkdir(parents=True, exist_ok=True)
            # Two that begin in the same moment would both find nobody here.
            with (self.state / "begin").open("w") as turn:
                fcntl.flock(turn, fcntl.LOCK_EX)
                self._take(pid)
        except PermissionError as error:
            raise WorkspaceError(
                f"{error.filename}: cannot be written\n"
                f"    expected: a folder of the user who runs this\n"
                f"    found:    {error.strerror}, as after a run by another user\n"
                f"    do:       give {self.root} to this user, or set podnet_output_dir"
            ) from error

    def _take(self, pid: int) -> None:
        lock = self.state / "lock"
        held = lock.read_text(encoding="utf-8").split() if lock.is_file() else []
        if len(held) == 2 and int(held[0]) != pid and _started(int(held[0])) == held[1]:
            raise WorkspaceError(
                f"{self.root}: another run works in this folder (process {held[0]}); wait until it "
                "has ended, or give this one a podnet_output_dir of its own"
            )
        write(lock, f"{process(pid)}\n")
        over = self._over()
        for path in (self.state / "run").rglob("*.json"):
            with contextlib.suppress(ValueError, AttributeError):
                over.append(json.loads(path.read_text(encoding="utf-8")).get("ident"))
            path.unlink()
        self.save("over.json", over[-RUNS_REMEMBERED:])

    def insist_on_plan(self, pid: int) -> None:
        """The plan here is of the run ``pid``, and no other works in the folder.

        Raises:
            WorkspaceError: it is of another run, and may be of another inventory.
        """
        planned = content(self.state / "lock")
        if (planned or "").strip() != process(pid):
            found = "none at all" if planned is None else "the plan of another run"
            raise WorkspaceError(
                f"{self.root}: there is no plan of this run\n"
                "    expected: the role podnet.fabric.plan before this one, in the same run\n"
                f"    found:    {found}\n"
                "    do:       import the playbook podnet.fabric.plan first"
            )

    def is_over(self, transaction: str) -> bool:
        """Whether a transaction is of an earlier run in this folder: that run is over, so nobody is
        going to confirm it any more."""
        return transaction in self._over()

    def _over(self) -> list[str]:
        file = self.state / "over.json"
        return list(self.load(file.name, "remove it")) if file.is_file() else []

    def numbers(self) -> Numbers:
        """Of generations that runs from this folder have given."""
        file = self.state / "numbers.json"
        if not file.is_file():
            return Numbers()
        try:
            return Numbers.from_dict(self.load(file.name, "remove it"))
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise WorkspaceError(f"{file}: is not what a run has written; remove it") from error

    def save_numbers(self, numbers: Numbers) -> None:
        self.save_raw("numbers.json", numbers.to_dict())

    def save_run(self, node: str, run: dict[str, Any]) -> None:
        """What the current run does on a node, between its stages."""
        self.save_raw(f"run/{node}.json", run)

    def run(self, node: str) -> dict[str, Any]:
        run: dict[str, Any] = self.load(f"run/{node}.json", "run the stage read first")
        return run

    def save_begun(self, moment: float | None) -> None:
        """When the current run began to change nodes, by a clock that all processes share; None:
        it has not yet."""
        self.save("begun.json", moment)

    def begun(self) -> float | None:
        moment: float | None = self.load("begun.json", "run the stage gate first")
        return moment

    def drop_run(self, node: str) -> None:
        self._file(f"run/{node}.json").unlink(missing_ok=True)

    def has_run(self, node: str) -> bool:
        return self._file(f"run/{node}.json").is_file()

    def leave_out(self, node: str) -> None:
        """The current run has nothing to do with a node of the inventory."""
        self.save_raw(f"run/out/{node}.json", {})

    def is_left_out(self, node: str) -> bool:
        return self._file(f"run/out/{node}.json").is_file()

    def forget(self, names: Iterable[str]) -> list[str]:
        """Remove the rendered definitions of nodes that are not in the fleet any more. Only
        folders that podnet made, which a manifest shows."""
        keep = frozenset(names)
        parent = self.root / "intended"
        folders = sorted(parent.iterdir()) if parent.is_dir() else []
        gone = [f for f in folders if f.name not in keep and (f / MANIFEST).is_file()]
        for folder in gone:
            shutil.rmtree(folder)
        return [folder.name for folder in gone]


def process(pid: int) -> str:
    """Names a process, and no later one that gets its number."""
    return f"{pid} {_started(pid)}"


def _started(pid: int) -> str:
    """When a process began, as the kernel counts it (proc_pid_stat(5), field 22), so that another
    process with the same number is told from it; empty when there is none."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8")
    except OSError:
        return ""
    return stat.rpartition(")")[2].split()[19]


def content(path: Path) -> str | None:
    """Text of a file; None when there is none."""
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return None


def write(path: Path, text: str) -> bool:
    """Replace ``path`` by ``text`` atomically; False, and no write, when it holds it already."""
    if content(path) == text:
        return False
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as stream:
            stream.write(text)
        os.chmod(name, 0o644)
        os.replace(name, path)
    except BaseException:
        os.unlink(name)
        raise
    return True


@cache
def templates() -> dict[str, jinja2.Template]:
    """The roles' templates: definition → template."""
    env = environment()
    return {
        name: env.from_string(role_file(role, "templates", f"{name}.j2"))
        for role, names in DEFINITIONS.items()
        for name in names
    }


@cache
def role_file(role: str, kind: str, name: str) -> str:
    """Text of a file of one of the collection's roles."""
    return (COLLECTION / "roles" / role / kind / name).read_text(encoding="utf-8")


@cache
def node_modules() -> tuple[tuple[str, str], ...]:
    """Name and text of the code that runs on nodes with Python, without what needs a lab."""
    folder = COLLECTION / "plugins" / "module_utils"
    paths = sorted(path for path in folder.glob("*.py") if path.stem != "__init__")
    return tuple((path.stem, path.read_text(encoding="utf-8")) for path in paths)


@cache
def node_program() -> str:
    """`podnet-node` as it lies on a node: one file, replaced as a whole, whatever it is made of."""
    text = role_file("converge", "files", "podnet-node")
    for line, name in re.findall(r"^(\. \./(\S+)\n)", text, re.MULTILINE):
        text = text.replace(line, role_file("converge", "files", name))
    return text

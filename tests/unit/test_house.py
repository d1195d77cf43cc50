# SPDX-License-Identifier: GPL-3.0-or-later
"""The rules of the house, for whatever files exist: rooms, sizes, roles, modules, playbooks."""

from __future__ import annotations

import ast
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
CORE = ROOT / "plugins/plugin_utils"

# The controller's files are one room's business, the nodes another's; all else in the core is pure.
IMPURE = {"workspace.py", "exchange.py", "reach.py", "parallel.py", "sources.py"}
SYSTEM = {
    *("ansible", "ansible_collections", "asyncio", "glob", "os", "pathlib", "random", "requests"),
    *("shutil", "signal", "socket", "subprocess", "sys", "tempfile", "threading", "time", "urllib"),
}
IMPURE_CALLS = {"open", "print", "input", "exec", "eval", "__import__"}

# Imports go to a lower number, or stay in the room. What is not named is in the middle.
FLOORS = {"intent": 0, "kernel": 0, "backends": 1}
MIDDLE = 2


def tracked(*suffixes: str) -> list[Path]:
    """Files that git knows or would take, below the root; links and deleted files left out."""
    command = ["git", "-C", str(ROOT), "ls-files", "-z", "-co", "--exclude-standard"]
    names = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split("\0")
    paths = [ROOT / name for name in sorted(names) if name.endswith(suffixes or ("",)) and name]
    return [path for path in paths if path.is_file() and not path.is_symlink()]


def rel(path: Path) -> str:
    return str(path.relative_to(ROOT))


def load(path: Path) -> Any:
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def roles() -> list[Path]:
    return sorted(path.parent.parent for path in ROOT.glob("roles/*/tasks/main.yml"))


def core_files() -> list[Path]:
    return sorted(path for path in CORE.rglob("*.py") if ".ruff_cache" not in path.parts)


def room(path: Path) -> str:
    """`intent` for a file in that folder, `plan` for plan.py."""
    return path.relative_to(CORE).with_suffix("").parts[0]


def imports(path: Path) -> list[tuple[str, Path | None]]:
    """Each import of a file: its dotted name and, when relative, the file or folder it names."""
    found: list[tuple[str, Path | None]] = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found += [(alias.name, None) for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and not node.level:
            found.append((node.module or "", None))
        elif isinstance(node, ast.ImportFrom):
            base = path.parents[node.level - 1]
            if node.module:
                found.append((node.module, base.joinpath(*node.module.split("."))))
            else:
                found += [(alias.name, base / alias.name) for alias in node.names]
    return found


# --- rooms ------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", [p for p in core_files() if p.name not in IMPURE], ids=rel)
def test_the_core_is_pure(path: Path) -> None:
    named = {name.partition(".")[0] for name, target in imports(path) if target is None}
    assert not named & SYSTEM, f"{rel(path)} imports {sorted(named & SYSTEM)}; use the seam"
    calls = {
        node.func.id
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
    }
    assert not calls & IMPURE_CALLS, f"{rel(path)} calls {sorted(calls & IMPURE_CALLS)}"


@pytest.mark.parametrize("path", core_files(), ids=rel)
def test_imports_of_the_core_go_one_way(path: Path) -> None:
    own = room(path)
    floor = FLOORS.get(own, MIDDLE)
    for name, target in imports(path):
        if target is None:
            continue
        assert CORE in (*target.parents, target), f"{rel(path)} imports {name} outside the core"
        other = room(target)
        allowed = other == own or FLOORS.get(other, MIDDLE) < floor or floor == MIDDLE
        assert allowed, f"{rel(path)}: {own} must not import {other} ({name})"


def test_imports_of_the_core_have_no_cycle() -> None:
    graph = {
        room(path): {room(t) for _, t in imports(path) if t is not None} - {room(path)}
        for path in core_files()
        if path.parent == CORE and path.name != "__init__.py"
    }
    done: set[str] = set()
    while ready := [
        name for name in graph if name not in done and not graph[name] & set(graph) - done
    ]:
        done.update(ready)
    assert done == set(graph), f"these import each other: {sorted(set(graph) - done)}"


@pytest.mark.parametrize("path", sorted(ROOT.glob("plugins/mod*/**/*.py")), ids=rel)
def test_what_runs_on_nodes_does_not_import_the_core(path: Path) -> None:
    named = [name for name, _ in imports(path) if "plugin_utils" in name]
    assert not named, f"{rel(path)}: plugin_utils stays on the controller; found {named}"


# --- sizes and words --------------------------------------------------------------------------


@pytest.mark.parametrize("path", tracked(".py"), ids=rel)
def test_python_files_are_short_and_licensed(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 400, f"{rel(path)} has more than 400 lines; divide it"
    if text.strip():
        assert "SPDX-License-Identifier: GPL-3.0-or-later" in text[:300], rel(path)
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            length = (node.end_lineno or 0) - node.lineno + 1
            assert length <= 50, f"{rel(path)}:{node.lineno} {node.name} has {length} lines, not 50"


@pytest.mark.parametrize("path", sorted(ROOT.glob("roles/*/tasks/*.yml")), ids=rel)
def test_tasks_files_are_short(path: Path) -> None:
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 80, rel(path)


def test_no_file_puts_off_work_or_names_this_machine() -> None:
    # Put together, so that this file does not find itself.
    words = re.compile("|".join(["TO" + "DO", "FIX" + "ME", r"\bX" + r"XX\b"]))
    places = re.compile("|".join([r"/wor" + r"k/(main|shared|scratch)", "/tmp/ven" + "v"]))
    found = []
    for path in tracked():
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue  # a picture
        for number, line in enumerate(text.splitlines(), 1):
            if words.search(line) or places.search(line) or str(ROOT) + "/" in line:
                found.append(f"{rel(path)}:{number}: {line.strip()[:100]}")
    assert not found, "\n".join(found)


def test_git_ignores_no_source() -> None:
    """A pattern such as `report/` without a leading slash hides roles/report from every commit."""
    command = ["git", "-C", str(ROOT), "ls-files", "-oi", "--exclude-standard", "--directory"]
    found = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split("\n")
    source = ("plugins/", "roles/", "playbooks/", "tests/", "tools/", "docs/", "inventory/")
    caches = ("__pycache__/", "_cache/", ".pyc")
    lost = [name for name in found if name.startswith(source) and not name.endswith(caches)]
    assert not lost, f".gitignore hides {lost}; begin its pattern with a slash"


# --- roles, modules, playbooks ----------------------------------------------------------------


@pytest.mark.parametrize("role", roles(), ids=rel)
def test_a_role_has_the_same_files_as_every_role(role: Path) -> None:
    wanted = ["defaults/main.yml", "meta/main.yml", "meta/argument_specs.yml", "README.md"]
    missing = [name for name in wanted if not (role / name).is_file()]
    assert not missing, f"{rel(role)} has no {', '.join(missing)}"


@pytest.mark.parametrize("role", roles(), ids=rel)
def test_defaults_and_argument_specs_agree(role: Path) -> None:
    options = load(role / "meta/argument_specs.yml")["argument_specs"]["main"].get("options", {})
    defaults = load(role / "defaults/main.yml") or {}
    declared = {name: spec["default"] for name, spec in options.items() if "default" in spec}
    assert set(defaults) <= set(options), f"not in argument_specs: {set(defaults) - set(options)}"
    tasks = "".join(path.read_text(encoding="utf-8") for path in role.glob("tasks/*.yml"))
    for name, value in declared.items():
        # A variable that playbooks need before any role is there has its default where it is used.
        inline = name not in defaults and f"{name} | default({value!r})" in tasks
        assert inline or defaults.get(name) == value, f"{rel(role)}: the defaults of {name} differ"
    assert set(defaults) <= set(declared), f"no default in argument_specs: {rel(role)}"
    undescribed = [name for name, spec in options.items() if not spec.get("description")]
    assert not undescribed, f"{rel(role)}: without description: {undescribed}"


@pytest.mark.parametrize("role", roles(), ids=rel)
def test_variables_of_a_role_are_known_to_the_inventory(role: Path) -> None:
    """Otherwise the plan refuses them as misspelt."""
    from ansible_collections.podnet.fabric.plugins.plugin_utils.intent import schema, tool_keys

    known = {key.name for key in schema.FLEET_KEYS} | set(tool_keys.TOOL_KEYS)
    known |= {f"podnet_{key.name}" for key in schema.NODE_KEYS}
    options = load(role / "meta/argument_specs.yml")["argument_specs"]["main"].get("options", {})
    assert set(options) <= known, f"not in intent/schema.py: {sorted(set(options) - known)}"


def documentation(path: Path) -> dict[str, Any]:
    """The DOCUMENTATION of a module, without importing it."""
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "DOCUMENTATION":
            found = yaml.safe_load(ast.literal_eval(node.value))
            assert isinstance(found, dict)
            return found
    raise AssertionError(f"{rel(path)} has no DOCUMENTATION")


def modules() -> list[Path]:
    return [path for path in sorted(ROOT.glob("plugins/modules/*.py")) if path.stem != "__init__"]


@pytest.mark.parametrize("path", modules(), ids=rel)
def test_a_module_says_what_it_supports(path: Path) -> None:
    found = documentation(path)
    assert found["module"] == path.stem
    attributes = found.get("attributes", {})
    for name in ("check_mode", "diff_mode", "idempotent"):
        support = attributes.get(name, {}).get("support")
        assert support in ("full", "partial", "none", "N/A"), f"{rel(path)}: attribute {name}"


def test_every_action_is_documented_by_a_module_and_listed() -> None:
    actions = {path.stem for path in ROOT.glob("plugins/action/*.py")} - {"__init__"}
    names = {path.stem for path in modules()}
    assert actions <= names, f"no plugins/modules file for {sorted(actions - names)}"
    group = load(ROOT / "meta/runtime.yml")["action_groups"]["all"]
    assert group == sorted(group), "meta/runtime.yml: action_groups.all is not sorted"
    assert names <= set(group), f"not in action_groups.all: {sorted(names - set(group))}"


@pytest.mark.parametrize("path", sorted(ROOT.glob("playbooks/*.yml")), ids=rel)
def test_a_playbook_is_a_list_of_roles(path: Path) -> None:
    """Or of parts of roles, which a play may end between."""
    parts = {"ansible.builtin.import_role", "ansible.builtin.meta"}
    for play in load(path):
        imported = play.get("ansible.builtin.import_playbook")
        tasks = play.get("tasks", [])
        named = imported or play.get("roles") or tasks
        assert named, f"{rel(path)}: {play.get('name')} has no roles"
        other = {"pre_tasks", "post_tasks", "handlers"} & set(play)
        other |= {task["name"] for task in tasks if not parts & set(task)}
        assert not other, f"{rel(path)}: {play.get('name')} has {sorted(other)}; put it in a role"
        if imported and "podnet.fabric." not in imported:
            assert (path.parent / imported).is_file(), f"{rel(path)} imports {imported}: not there"


def test_a_playbook_for_a_fleet_refuses_an_inventory_without_one() -> None:
    """First of all, by itself or by what it imports. `render` is a part of others."""

    def begins(path: Path) -> str:
        imported = load(path)[0].get("ansible.builtin.import_playbook", "")
        return begins(path.parent / imported) if (path.parent / imported).is_file() else path.stem

    first = {path.stem: begins(path) for path in sorted(ROOT.glob("playbooks/*.yml"))}
    without = {name for name, begin in first.items() if begin != "fleet"}
    assert without == {"lab_down", "lab_up", "render"}


def test_the_sample_inventory_is_accepted() -> None:
    from ansible_collections.podnet.fabric.plugins.plugin_utils.plan import compile_fleet
    from inventories import variables

    fabric = compile_fleet(variables(ROOT / "inventory/sample/hosts.yml"))
    assert [node.name for node in fabric.nodes] == ["worker-1", "worker-2", "worker-3"]
    assert list(fabric.segments) == ["rack-a", "rack-b"]

# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether every source of the inventory was read, and all of it. Ansible only warns of one that was
not, and of keys that are there twice, of which it takes the last: the fleet without these nodes
would be planned, and their routes would go everywhere, with exit code 0.

Ansible remembers what it has read (`processed_sources`, which its plugin `constructed` uses, too).
What it was given and has not read is found by the walk that it makes itself. Files of YAML are read
once more for keys alone.
"""

from __future__ import annotations

import contextlib
import itertools
import os
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from ansible.errors import AnsibleParserError
from ansible.inventory.manager import IGNORED
from ansible.utils.path import unfrackpath

from .intent.problems import Problem, ProblemsError, printable, shown
from .intent.yaml_keys import repeated_below

# What podnet's own inventory plugins did in this process. Actions run in forks of it and see it:
# source → the table and its problems; and the tables.
REFUSED: dict[str, tuple[str, tuple[Problem, ...]]] = {}
TABLES: set[str] = set()
# In a folder Ansible takes each file for an inventory. These are tables of one, whatever plugin
# reads them.
TABLE_ENDINGS = (".csv",)
# Ansible's own default, which need not be there.
DEFAULT = "/etc/ansible/hosts"
VARIABLES = ("group_vars", "host_vars")
YAML_ENDINGS = ("", ".yml", ".yaml", ".json")
# The one in C where there is one: an inventory of a large fleet is large.
LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


@contextlib.contextmanager
def reading(source: str, table: str, file: str | None = None) -> Iterator[None]:
    """Around an inventory plugin's work: what is wrong is kept for `refuse_sources`.

    Args:
        source: what Ansible gave to the plugin.
        table: where the nodes come from, as a person calls it.
        file: the same as a path, if it is one.

    Raises:
        AnsibleParserError: the nodes cannot be used.
    """
    if file is not None:
        TABLES.add(os.path.realpath(file))
    REFUSED.pop(source, None)
    try:
        yield
    except (OSError, ValueError, ProblemsError) as error:
        problems = error.problems if isinstance(error, ProblemsError) else ()
        REFUSED[source] = (table, problems) if problems else (f"{table}: {error}", ())
        raise AnsibleParserError(f"{table}: {error}") from error


def refuse_sources(variables: Mapping[str, Any]) -> None:
    """The variables are those of a task.

    Raises:
        ProblemsError: every source, or file in a folder, that was given to Ansible and not read;
            every key that is there twice.
    """
    manager = variables["hostvars"]._inventory
    done = manager._inventory.processed_sources
    problems = [*unread(manager._sources, done)]
    problems += doubled(done, str(variables.get("playbook_dir") or ""))
    if problems:
        raise ProblemsError("the inventory", problems)


def unread(sources: Sequence[str], done: Collection[str]) -> Iterator[Problem]:
    """A problem for each source, or file in a folder, that is not among those that were read."""
    known = set(done)
    for given in filter(None, sources):
        source = given if "," in given else unfrackpath(given, follow=False)
        if os.path.isdir(source):
            files = list(_files(source))
            yield from (p for path in files if path not in known for p in _problems(path, source))
            # Variables alone are a source, too, of which Ansible says that it cannot be parsed.
            if not files and not any(Path(source, name).is_dir() for name in VARIABLES):
                yield from _problems(source, "")
        elif source not in known and (source != DEFAULT or os.path.exists(source)):
            yield from _problems(source, "")


def doubled(done: Collection[str], playbooks: str) -> Iterator[Problem]:
    """A problem for each key that a source has twice in one mapping, a host for example, and for
    each of podnet's variables in the files of variables beside it and beside the playbook."""
    files = [path for path in dict.fromkeys(done) if path and os.path.isfile(path)]
    for path in files:
        yield from (_twice(path, keys[-1], lines) for keys, lines in _doubled(path))
    places = dict.fromkeys([*map(os.path.dirname, files), *filter(None, [playbooks])])
    for place, name in itertools.product(places, VARIABLES):
        for path in sorted(map(str, Path(place, name).rglob("*"))):
            own = (item for item in _doubled(path) if item[0][0].startswith("podnet_"))
            yield from (_twice(path, keys[-1], lines) for keys, lines in own)


def _doubled(path: str) -> list[tuple[tuple[str, ...], list[int]]]:
    """Of what is no YAML, or cannot be read, somebody else speaks."""
    if os.path.splitext(path)[1] not in YAML_ENDINGS:
        return []
    try:
        with open(path, encoding="utf-8") as stream:
            found = list(repeated_below(yaml.compose(stream, Loader=LOADER)))
    except (OSError, ValueError, yaml.YAMLError):
        return []
    return sorted(found, key=lambda item: item[1])


def _twice(path: str, key: str, lines: list[int]) -> Problem:
    rest = f"lines {', '.join(map(str, lines[:-1]))} and {lines[-1]}"
    return Problem(
        path,
        f"{shown(key)} is there more than once, and only the last one would count",
        "each key once in its mapping",
        rest,
        "put them together, or give one of them its own name",
    )


def _files(folder: str) -> Iterator[str]:
    """What Ansible takes for an inventory in a folder, but for the tables of one."""
    for name in sorted(os.listdir(folder)):
        path = os.path.join(folder, name)
        if IGNORED.search(os.fsencode(name)):
            continue
        if os.path.isdir(path):
            yield from _files(path)
        elif not name.endswith(TABLE_ENDINGS) and os.path.realpath(path) not in TABLES:
            yield path


def _problems(path: str, folder: str) -> Iterator[Problem]:
    table, problems = REFUSED.get(path, ("", ()))
    found = _found(path)
    if table:
        count = f"{len(problems)} problem{'s' if len(problems) > 1 else ''} of {table}"
        found = f"{count}, below" if problems else " ".join(table.split())
    remedy = "correct it, or leave it out of -i"
    if folder:
        remedy = "correct it; if it is no inventory, take it out of the folder, or name it in"
        remedy += " ignore_patterns of [inventory] in ansible.cfg"
    what, expected = "it could not be read", "every source given with -i is read"
    yield Problem(f"inventory source {path}", what, expected, _line(found), remedy)
    for problem in problems:
        where = f"inventory table {table}: {problem.where}"
        yield Problem(where, problem.what, problem.expected, problem.found, problem.remedy)


def _found(path: str) -> str:
    if "," not in path and not os.path.lexists(path):
        return "no such file"
    if os.path.isdir(path):
        return "a folder without an inventory"
    if os.path.exists(path) and not os.access(path, os.R_OK):
        return "a file that this user may not read"
    return "nothing that Ansible can read; its warnings at the start of this run say why"


def _line(text: str) -> str:
    text = printable(text)
    return text if len(text) <= 200 else text[:199] + "…"


def no_nodes(variables: Mapping[str, Any], group: str) -> Problem | None:
    """What is wrong where the group has no host. Where no host matches, Ansible ends with 0."""
    if variables["groups"].get(group):
        return None
    sources = [str(source) for source in variables.get("ansible_inventory_sources") or ()]
    return Problem(
        "inventory",
        f"no host in the group {printable(group)}",
        "the nodes of the fleet",
        _line(f"none, in {', '.join(sources) or 'no inventory'}"),
        "correct -i, or name the group by podnet_group",
    )

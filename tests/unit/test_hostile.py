# SPDX-License-Identifier: GPL-3.0-or-later
"""Hostile strings in every variable of the data model, walked by the schema so that a new variable
is covered at once: refused with a problem that names it, or inert."""

from __future__ import annotations

import re
import shlex
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.podnet.fabric.plugins.plugin_utils.causes import look
from ansible_collections.podnet.fabric.plugins.plugin_utils.changes import PROGRAM
from ansible_collections.podnet.fabric.plugins.plugin_utils.cni_install import archive_script
from ansible_collections.podnet.fabric.plugins.plugin_utils.intent.model import Fabric
from ansible_collections.podnet.fabric.plugins.plugin_utils.intent.problems import (
    PREFIX,
    ProblemsError,
)
from ansible_collections.podnet.fabric.plugins.plugin_utils.intent.schema import (
    FLEET_KEYS,
    NODE_KEYS,
    Key,
)
from ansible_collections.podnet.fabric.plugins.plugin_utils.kernel.state import State
from ansible_collections.podnet.fabric.plugins.plugin_utils.node import script_to_read
from ansible_collections.podnet.fabric.plugins.plugin_utils.plan import compile_fleet, plan_node
from ansible_collections.podnet.fabric.plugins.plugin_utils.render import render_node
from ansible_collections.podnet.fabric.plugins.plugin_utils.settle import settle
from ansible_collections.podnet.fabric.plugins.plugin_utils.workspace import templates

MARK = "hostile"
STRINGS = (
    f"$(touch /{MARK})",
    f"`touch /{MARK}`",
    f"; touch /{MARK};",
    f"a\ntouch /{MARK}\n",
    f"' ; touch /{MARK} '",
    f'" ; touch /{MARK} "',
    f"-{MARK}",
    f"--{MARK}=x",
    f"../../{MARK}",
    "{{ " + MARK + " }}",
    f"${{{MARK}}}",
    f"{MARK}\0",
    f"{MARK}\u202e\u2028x",
    f"{MARK}" * 5000,
    f"{MARK} }} add rule inet podnet {{",
    f"%{MARK}s%n",
)
TEMPLATES = templates()
JSON = ("list", "json")
# Free words of the data model, and where the model has them.
WORDS = ("bin_dir", "conf_dir", "file", "network", "version")


def hosts(name: str = "worker-2") -> dict[str, dict[str, Any]]:
    return {
        host: {
            "podnet_cluster_cidrs": ["10.64.0.0/16"],
            "podnet_pod_cidrs": [f"10.64.{number}.0/24"],
            "podnet_underlay_addresses": [f"192.0.2.{number}"],
        }
        for number, host in enumerate(("worker-1", name), 1)
    }


def placed(text: str) -> Iterator[Any]:
    """A string wherever a value may have one."""
    yield text
    yield [text]
    yield {text: text}
    yield {"ipv4": text}
    yield [{"type": text}]
    yield [{"type": "tuning", text: text, "sysctl": {text: [text]}}]
    yield {text: {"pod_cidrs": [text], "underlay_addresses": [text]}}


def fleets(key: Key, text: str) -> Iterator[dict[str, dict[str, Any]]]:
    """The variable in all hosts, or in one if it is a node's own."""
    for value in placed(text):
        data = hosts()
        for host in data if key in FLEET_KEYS else ["worker-1"]:
            data[host][key.name if key in FLEET_KEYS else PREFIX + key.name] = value
        yield data


def rendered(fabric: Fabric) -> dict[str, str]:
    return {
        f"{node.name}/{name}": text
        for node in fabric.nodes
        for name, text in render_node(fabric, plan_node(fabric, node.name), TEMPLATES).items()
    }


def only_in_json(texts: dict[str, str]) -> bool:
    """What is accepted as it stands is free data of CNI plugins, which are files of JSON."""
    return all(MARK not in text for name, text in texts.items() if not name.endswith(JSON))


def questions(fabric: Fabric, name: str) -> tuple[str, str]:
    """The shell texts that ask a node: for its state, and for the cause of a failure."""
    pods = {"ipv4": "10.64.1.5"}
    reading = script_to_read(fabric, plan_node(fabric, name))
    return reading, look.script(fabric, name, pods, ["10.64.2.5"])


def taken_apart(text: str) -> tuple[str, dict[str, str]]:
    """What a shell reads as its own, and the files that it only writes, by name: a word of a
    `printf`, in quotes from its beginning to its end."""
    files: dict[str, str] = {}

    def take(found: re.Match[str]) -> str:
        (content,) = shlex.split(found[1])
        files[found[2]] = content
        return "\n"

    pattern = r"""printf %s ((?:'[^']*'|"'")+) >"(?:\$stage/)?([^"]+)"\n"""
    return re.sub(pattern, take, text), files


@pytest.mark.parametrize("key", [*FLEET_KEYS, *NODE_KEYS], ids=lambda key: key.name)
@pytest.mark.parametrize("number", range(len(STRINGS)))
def test_refused_or_inert(key: Key, number: int) -> None:
    for data in fleets(key, STRINGS[number]):
        try:
            fabric = compile_fleet(data)
        except ProblemsError as error:
            text = error.text()
            assert key.name in text
            # What a person reads cannot move their cursor or hide a part of itself.
            assert not re.search(r"[\0-\x09\x0b-\x1f\x7f\u202e\u2028]", text)
            assert len(text) < 20_000, "the value is shown in part only"
        else:
            assert only_in_json(rendered(fabric))
            for node in fabric.nodes:
                staged = settle(
                    fabric, plan_node(fabric, node.name), State(has_systemd=True), 3, "run1"
                )["staged"]
                shell, files = taken_apart(staged)
                assert {"add.do", "add.undo", f"{PROGRAM}.new"} <= set(files)
                assert only_in_json(files)
                assert MARK not in "\n".join([shell, *questions(fabric, node.name)])


@pytest.mark.parametrize("number", range(len(STRINGS)))
def test_names_of_nodes(number: int) -> None:
    with pytest.raises(ProblemsError):
        compile_fleet(hosts(STRINGS[number]))


@pytest.mark.parametrize("word", [*WORDS, "bridge"])
def test_quoted_all_the_same(word: str, tmp_path: Path) -> None:
    """The readers refuse these values; if one did not, the shell would see a word all the same."""
    fabric, fell = compile_fleet(hosts()), tmp_path / "fell"
    for text in STRINGS:
        hostile = text.replace(f"/{MARK}", str(fell)).replace("\0", "")
        cni = replace(fabric.cni, **{word: hostile}) if word in WORDS else fabric.cni
        given = replace(fabric, cni=cni, bridge=hostile if word == "bridge" else fabric.bridge)
        texts = [*questions(given, "worker-1")]
        if word == "bin_dir":
            texts.append(archive_script(b"", hostile).decode())
        for script in texts:
            # The texts only read. `touch` is a word that is found whatever the path is.
            run = f"PATH=/nowhere\ntouch() {{ echo fell >{fell}; }}\n{script}"
            subprocess.run(["sh", "-s"], input=run.encode(), capture_output=True, check=False)
            assert not fell.exists(), (text, script)

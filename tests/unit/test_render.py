# SPDX-License-Identifier: GPL-3.0-or-later
"""Plans of random fleets → texts: the files say what the plan says, and nothing else."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from ansible_collections.podnet.fabric.plugins.action.render import Task, render_nodes
from ansible_collections.podnet.fabric.plugins.plugin_utils import workspace
from ansible_collections.podnet.fabric.plugins.plugin_utils.conflist import plugins_of
from ansible_collections.podnet.fabric.plugins.plugin_utils.intent.model import Fabric
from ansible_collections.podnet.fabric.plugins.plugin_utils.kernel.objects import Sysctl, lines
from ansible_collections.podnet.fabric.plugins.plugin_utils.plan import (
    backend_of,
    compile_fleet,
    plan_node,
)
from ansible_collections.podnet.fabric.plugins.plugin_utils.render import (
    DEFINITIONS,
    MANIFEST,
    render_node,
)
from fleets import HOSTILE, Hosts, as_table, fabrics, hosts
from hypothesis import given, settings
from hypothesis import strategies as st

TEMPLATES = workspace.templates()
QUICK = settings(max_examples=40, deadline=None)


def render(fabric: Fabric, name: str) -> dict[str, str]:
    return render_node(fabric, plan_node(fabric, name), TEMPLATES)


def commands(text: str) -> list[str]:
    return [line for line in text.splitlines() if line and not line.startswith("#")]


@QUICK
@given(fabrics())
def test_files_hold_exactly_the_lines_of_the_plan(fabric: Fabric) -> None:
    for node in fabric.nodes:
        plan, files = plan_node(fabric, node.name), render(fabric, node.name)
        assert set(files) == {
            *(n for role, names in DEFINITIONS.items() if role != "bgp" for n in names),
            fabric.cni.file,
            MANIFEST,
        }
        ip = [
            *commands(files["bridge.batch"]),
            *commands(files["vxlan.batch"]),
            *commands(files["routes.batch"]),
        ]
        assert sorted(ip) == sorted(lines(plan.objects, "ip"))
        assert sorted(commands(files["fdb.batch"])) == sorted(lines(plan.objects, "bridge"))
        settings_ = [f"{s.path} = {s.value}" for s in plan.objects if isinstance(s, Sysctl)]
        assert sorted(commands(files["sysctl.conf"])) == sorted(settings_)


@QUICK
@given(hosts(), st.data())
def test_slices_render_byte_for_byte_what_one_run_renders(
    fleet: Hosts, data: st.DataObject
) -> None:
    whole, table = compile_fleet(fleet), as_table(fleet)
    part = data.draw(st.lists(st.sampled_from(sorted(fleet)), min_size=1, unique=True))
    sliced = compile_fleet(dict.fromkeys(part, table))
    for name in part:
        assert render(sliced, name) == render(whole, name)


@QUICK
@given(fabrics())
def test_masquerade_never_between_pods(fabric: Fabric) -> None:
    for node in fabric.nodes:
        nft = render(fabric, node.name)["podnet.nft"]
        families = [f for f in fabric.families if f in fabric.masquerade]
        assert nft.count("masquerade fully-random") == len(families)
        for family in families:
            word, number = ("ip", "4") if family == "ipv4" else ("ip6", "6")
            jumps = [line.strip() for line in nft.splitlines() if f"jump leaving{number}" in line]
            own = f'{word} saddr {node.cidr_by_family[family]} oifname != "{fabric.bridge}"'
            assert jumps == [f"{own} jump leaving{number}"]
            direct = {
                peer.underlay[family]
                for peer in fabric.nodes
                if peer is not node
                and backend_of(fabric, node.name, peer.name, family) == "host_routes"
            }
            ranges = [c for c in fabric.cluster_cidrs if (":" in c) == (family == "ipv6")]
            kept = [*ranges, f"@peers{number}"] if direct else ranges
            *found, last = _items(rf"chain leaving{number} {{(.*?)\n\t}}", nft)
            assert found[: len(kept)] == [f"{word} daddr {item} return" for item in kept]
            assert all(rule.endswith(" drop") for rule in found[len(kept) :])
            assert last == "masquerade fully-random"
            peers = _items(rf"set peers{number} {{.*?elements = {{(.*?)\n\t\t}}", nft)
            assert sorted(peers) == sorted(f"{address}," for address in direct)


def _items(pattern: str, text: str) -> list[str]:
    """The lines of one block; none where there is no such block."""
    found = re.search(pattern, text, re.S)
    return [line.strip() for line in found[1].splitlines() if line.strip()] if found else []


@QUICK
@given(fabrics())
def test_conflist_says_what_the_plan_says(fabric: Fabric) -> None:
    for node in fabric.nodes:
        data: dict[str, Any] = json.loads(render(fabric, node.name)[fabric.cni.file])
        bridge, *chain = data["plugins"]
        assert (data["name"], data["cniVersion"]) == (fabric.cni.network, fabric.cni.version)
        assert (bridge["bridge"], bridge["mtu"]) == (
            fabric.bridge,
            plan_node(fabric, node.name).pod_mtu,
        )
        assert not bridge["isGateway"] and not bridge["ipMasq"]
        assert [r[0]["subnet"] for r in bridge["ipam"]["ranges"]] == [
            node.cidr_by_family[family] for family in fabric.families
        ]
        assert chain == list(fabric.cni.chain)
        used = {bridge["type"], bridge["ipam"]["type"], *(p["type"] for p in chain)}
        assert used == set(plugins_of(fabric))


def test_plugin_options_are_the_only_free_text_and_stay_in_json() -> None:
    """CNI plugins have options that podnet does not know; they are data in JSON, nowhere else."""
    for text in HOSTILE:
        fabric = compile_fleet(
            {
                "n": {
                    "podnet_cluster_cidrs": ["10.64.0.0/16"],
                    "podnet_pod_cidrs": ["10.64.1.0/24"],
                    "podnet_underlay_addresses": ["192.0.2.1"],
                    "podnet_cni_chain": [{"type": "tuning", "mark-9f2": f"mark-9f2{text}"}],
                }
            }
        )
        files = render(fabric, "n")
        conflist, manifest = json.loads(files.pop(fabric.cni.file)), files.pop("manifest.json")
        chain = json.loads(manifest)["intent"]["podnet_cni_chain"]
        assert conflist["plugins"][1] == chain[0]
        assert chain[0]["mark-9f2"] == f"mark-9f2{text}"
        assert not any("mark-9f2" in content for content in files.values())


@QUICK
@given(fabrics())
def test_lines_are_plain_words(fabric: Fabric) -> None:
    """No quote, glob, dollar or control character in anything that a tool or a shell reads."""
    for node in fabric.nodes:
        for name, text in render(fabric, node.name).items():
            if name.endswith((".batch", "sysctl.conf")):
                assert all(re.fullmatch(r"[A-Za-z0-9 ./:=_-]+", line) for line in commands(text)), (
                    name
                )


def test_what_another_mode_or_name_has_left_goes_and_nothing_else(tmp_path: Path) -> None:
    """`drift` takes each file for a definition; notes of somebody are not podnet's to remove."""
    rows = {
        "node-1": {
            "podnet_cluster_cidrs": ["10.64.0.0/16"],
            "podnet_pod_cidrs": ["10.64.1.0/24"],
            "podnet_underlay_addresses": ["192.0.2.1"],
        }
    }
    kept = workspace.Workspace(str(tmp_path))
    kept.save_fabric(compile_fleet(rows))
    folder = kept.intended("node-1")
    folder.mkdir(parents=True)
    for name in ("frr.conf", "05-old.conflist", "notes"):
        (folder / name).write_text("x\n", encoding="utf-8")
    task = Task(kept.root, None, True, False)
    assert {"node-1/frr.conf", "node-1/05-old.conflist"} < set(
        render_nodes(task, ["node-1"]).changed
    )
    left = {path.name for path in folder.iterdir()}
    assert "notes" in left and not left & {"frr.conf", "05-old.conflist"}
    assert render_nodes(task, ["node-1"]).changed == []

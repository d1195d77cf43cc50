# SPDX-License-Identifier: GPL-3.0-or-later
"""NodePlan → the text of every definition. Templates only print; lists arrive here sorted."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass

import jinja2

from .conflist import conflist_text
from .intent.model import FAMILIES, Fabric, family_of
from .intent.variables import variables_of
from .kernel.objects import FdbEntry, KernelObject, Link, Neighbour, Route, lines
from .plan import NodePlan, digest
from .strangers import template_values

# Which role owns which definition; the template is the role's `templates/<name>.j2`.
DEFINITIONS: Mapping[str, tuple[str, ...]] = {
    "bridge": ("bridge.batch", "sysctl.conf"),
    "host_routes": ("routes.batch",),
    "vxlan": ("vxlan.batch", "fdb.batch"),
    "firewall": ("podnet.nft",),
    "cni": (),
}
MANIFEST = "manifest.json"


@dataclass(frozen=True, slots=True)
class Group:
    """Lines that belong together in a definition, under one comment."""

    title: str
    lines: tuple[str, ...]


def environment() -> jinja2.Environment:
    """Jinja2 as the templates expect it: an undefined name is an error, blocks leave no gap."""
    return jinja2.Environment(
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,
    )


def render_node(
    fabric: Fabric, plan: NodePlan, templates: Mapping[str, jinja2.Template]
) -> dict[str, str]:
    """All definitions of a node: file name → content, with the manifest."""
    context = _context(fabric, plan)
    files = {
        name: templates[name].render(context) for names in DEFINITIONS.values() for name in names
    }
    files[fabric.cni.file] = conflist_text(fabric, plan.node, plan.pod_mtu)
    files[MANIFEST] = _manifest(fabric, plan, files)
    return files


def _context(fabric: Fabric, plan: NodePlan) -> dict[str, object]:
    bridge, *overlays = plan.links
    return {
        "fabric": fabric,
        "node": plan.node,
        "pod_mtu": plan.pod_mtu,
        "bridge": _device(plan, bridge),
        "overlays": [_device(plan, link) for link in overlays],
        "neighbours": _groups(plan, Neighbour, "ip"),
        "fdb": _groups(plan, FdbEntry, "bridge"),
        "routes": _groups(plan, Route, "ip"),
        "sysctls": plan.sysctls,
        "masquerade": _masquerade(fabric, plan),
        "strangers": template_values(fabric, plan),
    }


def _device(plan: NodePlan, link: Link) -> list[str]:
    """A device and its addresses."""
    return lines((link, *(item for item in plan.addresses if item.dev == link.name)), "ip")


def _groups(plan: NodePlan, kind: type, tool: str) -> list[Group]:
    groups = []
    for peer, backends, objects in plan.entries:
        chosen: tuple[KernelObject, ...] = tuple(item for item in objects if isinstance(item, kind))
        if chosen:
            title = f"{peer.name} (segment {peer.segment}, {' and '.join(backends)})"
            groups.append(Group(title, tuple(lines(chosen, tool))))
    return groups


def _masquerade(fabric: Fabric, plan: NodePlan) -> list[dict[str, str | list[str]]]:
    """Per family: the node's pods, and everything that must see their real addresses."""
    rules: list[dict[str, str | list[str]]] = []
    for family in FAMILIES:
        if family not in fabric.masquerade:
            continue
        pods = [c for c in (*plan.node.pod_cidrs, *plan.retiring) if family_of(c) == family]
        if not pods:
            continue
        keyword, short = ("ip", "4") if family == "ipv4" else ("ip6", "6")
        everything = (
            *fabric.cluster_cidrs,
            *fabric.masquerade_exclude,
            *plan.retiring_anywhere,
            *plan.direct_peers,
        )
        inside = sorted({c for c in everything if family_of(c) == family})
        rules.append(
            {
                "keyword": keyword,
                "set": f"inside{short}",
                "type": f"{family}_addr",
                "pods": pods[0] if len(pods) == 1 else "{ " + ", ".join(pods) + " }",
                "inside": inside,
            }
        )
    return rules


def _manifest(fabric: Fabric, plan: NodePlan, files: Mapping[str, str]) -> str:
    """What a generation is: its node, the intent that made it, so that a rollback can return to
    it, and its files' digest. No date: equal intent gives equal bytes."""
    data = {
        "schema": 2,
        "node": plan.node.name,
        "intent": variables_of(fabric, plan.node),
        "retiring": list(plan.retiring),
        "pod_mtu": plan.pod_mtu,
        "devices": [link.name for link in plan.links],
        "digest": digest(dict(files)),
    }
    return json.dumps(data, indent=2) + "\n"

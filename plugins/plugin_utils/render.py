# SPDX-License-Identifier: GPL-3.0-or-later
"""NodePlan → the text of every definition. Templates only print; lists arrive here sorted."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping

import jinja2

from .backends import learns
from .bgp import template_values as bgp_values
from .conflist import conflist_text
from .intent.model import Fabric
from .intent.variables import variables_of
from .kernel.objects import Link, lines
from .masquerade import template_values as masqueraded
from .networkd import NAMES, networkd_files
from .plan import NodePlan, digest
from .strangers import template_values

# Which role owns which definition; the template is the role's `templates/<name>.j2`.
DEFINITIONS: Mapping[str, tuple[str, ...]] = {
    "bridge": ("bridge.batch", "sysctl.conf"),
    "host_routes": ("routes.batch",),
    "vxlan": ("vxlan.batch", "fdb.batch"),
    "bgp": ("frr.conf",),
    "firewall": ("podnet.nft",),
    "cni": (),
}
MANIFEST = "manifest.json"


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
    files = {
        name: text
        for role in DEFINITIONS
        for name, text in _printed(fabric, plan, templates, role).items()
    }
    files[fabric.cni.file] = conflist_text(fabric, plan.node, plan.pod_mtu)
    files |= networkd_files(plan)
    files[MANIFEST] = _manifest(fabric, plan, files)
    return files


def rendered(
    fabric: Fabric, plan: NodePlan, templates: Mapping[str, jinja2.Template], role: str | None
) -> dict[str, str]:
    """The definitions of a node that one role owns, or all: file name → content, empty where the
    node shall not have one of networkd's files."""
    native = {name: "" for names in NAMES.values() for name in names} | networkd_files(plan)
    if role and role != "cni":
        own = {name: native[name] for name in NAMES.get(role, ())}
        return _printed(fabric, plan, templates, role) | own
    files = render_node(fabric, plan, templates)
    # The manifest has the digest of all the others.
    return native | files if role is None else {n: files[n] for n in (fabric.cni.file, MANIFEST)}


def _printed(
    fabric: Fabric, plan: NodePlan, templates: Mapping[str, jinja2.Template], role: str
) -> dict[str, str]:
    if role == "bgp" and not learns(fabric):
        return {}
    common = {"fabric": fabric, "node": plan.node}
    return {
        name: templates[name].render(common | VALUES[name](fabric, plan))
        for name in DEFINITIONS[role]
    }


def _bridge(fabric: Fabric, plan: NodePlan) -> dict[str, object]:
    return {"bridge": _device(plan, plan.links[0])}


def _sysctls(fabric: Fabric, plan: NodePlan) -> dict[str, object]:
    return {"sysctls": plan.sysctls}


def _routes(fabric: Fabric, plan: NodePlan) -> dict[str, object]:
    """The lines of each peer, under a comment that names it."""
    return {"routes": plan.ways.routes(plan.sources)}


def _vxlan(fabric: Fabric, plan: NodePlan) -> dict[str, object]:
    return {
        "overlays": [_device(plan, link) for link in plan.links[1:]],
        "neighbours": plan.ways.neighbours(),
    }


def _fdb(fabric: Fabric, plan: NodePlan) -> dict[str, object]:
    return {"fdb": plan.ways.fdb()}


def _bgp(fabric: Fabric, plan: NodePlan) -> dict[str, object]:
    return {"bgp": bgp_values(fabric, plan)}


def _filter(fabric: Fabric, plan: NodePlan) -> dict[str, object]:
    return {"masquerade": masqueraded(fabric, plan), "strangers": template_values(fabric, plan)}


def _device(plan: NodePlan, link: Link) -> list[str]:
    """A device and its addresses."""
    return lines((link, *(item for item in plan.addresses if item.dev == link.name)), "ip")


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


# What the template of each definition prints, beside the fleet and the node.
VALUES: Mapping[str, Callable[[Fabric, NodePlan], dict[str, object]]] = {
    "bridge.batch": _bridge,
    "sysctl.conf": _sysctls,
    "routes.batch": _routes,
    "vxlan.batch": _vxlan,
    "fdb.batch": _fdb,
    "frr.conf": _bgp,
    "podnet.nft": _filter,
}

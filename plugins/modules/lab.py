#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Throw-away nodes on one machine."""

from __future__ import annotations

DOCUMENTATION = r"""
module: lab
short_description: Build throw-away nodes on one machine
version_added: 0.1.0
description:
  - Builds every node of an inventory as a set of namespaces (network, mount, UTS, PID, IPC) with
    its own C(/etc), its own sshd and its own port in an underlay of segments, which a router joins
    that knows no pod CIDR. An overlay over the machine's own root, or over an unpacked root file
    system, is the nodes' file system.
  - An outside host behind the router answers probes, so that masquerading can be shown.
  - A segment's subnet is the /24 (IPv4) or /64 (IPv6) around its nodes' addresses, or wider where
    they do not fit; its gateway is the last usable address that no node has.
  - Only what differs is touched. Nodes that run and are wanted as they are stay as they are.
  - Needs root, iproute2, util-linux and an OpenSSH server on the machine.
options:
  name:
    description: Name of the lab. Labs of different names or folders do not touch each other.
    type: str
    default: lab
  directory:
    description: Folder of the labs; the lab keeps its files in the folder O(name) below it.
    type: path
    required: true
  state:
    description: Whether the lab is there.
    type: str
    choices: [present, absent]
    default: present
  nodes:
    description: The nodes.
    type: list
    elements: dict
    default: []
    suboptions:
      name:
        description: Name and host name.
        type: str
        required: true
      segment:
        description: Layer-2 segment of the underlay.
        type: str
        default: default
      underlay_addresses:
        description: Addresses in the underlay, at most one per family.
        type: list
        elements: str
        required: true
      underlay_mtu:
        description: MTU of the underlay port, in bytes.
        type: int
        default: 1500
      init:
        description: First process of this node; left out, it is that of O(init).
        type: str
        choices: [sshd, systemd]
  init:
    description:
      - The nodes' first process, where a node does not say it itself.
      - With V(systemd) a node boots as a real one does.
    type: str
    choices: [sshd, systemd]
    default: sshd
  rootfs:
    description: Root file system below the nodes' own layer. The nodes never write to it.
    type: path
    default: /
  engine:
    description:
      - What makes the nodes. With V(none) the lab itself, from namespaces; otherwise they are
        containers of an engine, which gives them no network of its own. V(auto) takes Podman or
        Docker, whichever answers.
      - A container boots systemd, so O(init) must be V(systemd).
    type: str
    choices: [none, auto, podman, docker]
    default: none
  image:
    description:
      - Image of the containers, with systemd and an OpenSSH server.
      - Left out, the engine makes one of O(rootfs), once per folder.
    type: str
  hidden:
    description: Paths of the machine that nodes over its own root must not see, beside the usual.
    type: list
    elements: path
    default: []
  reserved_cidrs:
    description: Networks that the outside host must not use, such as those of pods.
    type: list
    elements: str
    default: []
  restart:
    description: Names of nodes that are started anew, as after a power cut; their files stay.
    type: list
    elements: str
    default: []
  probe_server:
    description:
      - Path of the program that answers probes on the outside host.
      - Required with O(state=present).
    type: path
  probe_port:
    description: Its port, UDP and TCP.
    type: int
    default: 7717
extends_documentation_fragment:
  - podnet.fabric.attributes
attributes:
  check_mode:
    support: full
  diff_mode:
    support: partial
    details: Says what is started, stopped and built; not how files change.
  idempotent:
    support: partial
    details: O(restart) always restarts.
author:
  - podnet developers (@podnet)
"""

EXAMPLES = r"""
- name: Build two nodes
  podnet.fabric.lab:
    directory: /tmp/labs
    probe_server: /usr/local/libexec/probe_server.py
    nodes:
      - name: node-1
        segment: rack-a
        underlay_addresses: [192.0.2.11]
      - name: node-2
        segment: rack-b
        underlay_addresses: [198.51.100.11, "2001:db8:b::11"]
        init: systemd

- name: Take them down
  podnet.fabric.lab:
    directory: /tmp/labs
    state: absent
"""

RETURN = r"""
changes:
  description: What was done, or would be in check mode, one line each.
  type: list
  elements: str
  returned: success
ssh_config:
  description: OpenSSH client configuration that reaches every node by its name.
  type: str
  returned: when the lab is present
nodes:
  description: Per node how to reach it.
  type: dict
  returned: when the lab is present
  contains:
    address:
      description: Management address, on which sshd listens.
      type: str
    port:
      description: Port of sshd.
      type: int
    key:
      description: Path of the private key for root.
      type: str
    netns:
      description: Name of the network namespace, for C(ip netns).
      type: str
    netns_path:
      description: Path of the network namespace.
      type: str
    pid:
      description: The node's process 1, by its number on the machine; null when it does not run.
      type: int
router:
  description: Path of the router's network namespace.
  type: str
  returned: when the lab is present
outside_netns:
  description: Path of the outside host's network namespace.
  type: str
  returned: when the lab is present
outside:
  description: Addresses of the outside host.
  type: list
  elements: str
  returned: when the lab is present
"""

import os
from typing import Any, Dict

from ansible.module_utils.basic import AnsibleModule

from ..module_utils.lab.runtime import Lab
from ..module_utils.lab.topology import LabError, derive

INIT = {"type": "str", "choices": ["sshd", "systemd"]}
SPEC = {
    "name": {"type": "str", "default": "lab"},
    "directory": {"type": "path", "required": True},
    "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
    "nodes": {
        "type": "list",
        "elements": "dict",
        "default": [],
        "options": {
            "name": {"type": "str", "required": True},
            "segment": {"type": "str", "default": "default"},
            "underlay_addresses": {"type": "list", "elements": "str", "required": True},
            "underlay_mtu": {"type": "int", "default": 1500},
            "init": dict(INIT),
        },
    },
    "init": {**INIT, "default": "sshd"},
    "rootfs": {"type": "path", "default": "/"},
    "engine": {"type": "str", "choices": ["none", "auto", "podman", "docker"], "default": "none"},
    "image": {"type": "str"},
    "hidden": {"type": "list", "elements": "path", "default": []},
    "reserved_cidrs": {"type": "list", "elements": "str", "default": []},
    "restart": {"type": "list", "elements": "str", "default": []},
    "probe_server": {"type": "path"},
    "probe_port": {"type": "int", "default": 7717},
}


def present(module: AnsibleModule, lab: Lab) -> Dict[str, Any]:
    params = module.params
    topology = derive(params["nodes"], params["init"], params["reserved_cidrs"])
    todo = (lab.changes if module.check_mode else lab.up)(topology, params["restart"])
    said = todo.lines()
    result = {"changed": bool(todo), "changes": said, "diff": {"prepared": _lines(said)}}
    if module.check_mode:
        return result
    segments = f"{len(topology.segments)} segment{'s' if len(topology.segments) != 1 else ''}"
    return {
        **result,
        **lab.facts(),
        "outside": [cidr.split("/")[0] for cidr in topology.outside],
        "podnet_summary": f"{len(topology.nodes)} nodes in {segments}",
    }


def absent(module: AnsibleModule, lab: Lab) -> Dict[str, Any]:
    there = lab.exists()
    if there and not module.check_mode:
        lab.down()
    said = ["remove the lab"] if there else []
    return {"changed": there, "changes": said, "diff": {"prepared": _lines(said)}}


def _lines(said: Any) -> str:
    return "".join(f"{line}\n" for line in said)


def main() -> None:
    module = AnsibleModule(
        argument_spec=SPEC,
        supports_check_mode=True,
        required_if=[("state", "present", ["probe_server"])],
    )
    if os.geteuid():
        module.fail_json(msg="lab: namespaces need root; run the playbook as root or with sudo")
    p = module.params
    try:
        server = (p["probe_server"] or "", p["probe_port"])
        made_of = (p["rootfs"], p["hidden"], p["engine"], p["image"] or "")
        lab = Lab(p["directory"], p["name"], *server, *made_of)
        result = present(module, lab) if p["state"] == "present" else absent(module, lab)
    except LabError as error:
        module.fail_json(msg=str(error))
    module.exit_json(**result)


if __name__ == "__main__":
    main()

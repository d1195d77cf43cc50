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
  - Builds every node of an inventory as a set of namespaces (network, mount, UTS, PID, IPC) with its own
    C(/etc), its own sshd and its own port in an underlay of segments, which a router joins that knows no
    pod CIDR. An overlay over the machine's own root is the nodes' file system; no image is needed.
  - An outside host behind the router answers probes, so that masquerading can be shown.
  - Needs root, iproute2, util-linux and an OpenSSH server on the machine.
options:
  name:
    description: Name of the lab. Two labs on one machine do not touch each other.
    type: str
    default: lab
  directory:
    description: Folder in which the lab keeps its files.
    type: path
    required: true
  state:
    description: Whether the lab is there.
    type: str
    choices: [present, absent]
    default: present
  nodes:
    description: The nodes, each with V(name), V(segment), V(underlay_addresses), V(underlay_mtu), V(init).
    type: list
    elements: dict
    default: []
  init:
    description: The nodes' first process, where a node does not say it itself.
    type: str
    choices: [sshd, systemd]
    default: sshd
  restart:
    description: Names of nodes that are started anew, as after a power cut; their files stay.
    type: list
    elements: str
    default: []
  probe_server:
    description: Path of the program that answers probes on the outside host.
    type: path
  probe_port:
    description: Its port, UDP and TCP.
    type: int
    default: 7717
attributes:
  check_mode:
    description: Can run in check mode and say what would change, without changing it.
    support: full
  diff_mode:
    description: Says in detail what changes.
    support: none
  idempotent:
    description: A second run with the same input changes nothing.
    support: full
author:
  - podnet developers (@podnet)
"""

EXAMPLES = r"""
- name: Build two nodes
  podnet.fabric.lab:
    directory: /tmp/labs
    nodes:
      - name: node-1
        segment: rack-a
        underlay_addresses: [192.0.2.11]
      - name: node-2
        segment: rack-b
        underlay_addresses: [198.51.100.11]
"""

RETURN = r"""
ssh_config:
  description: OpenSSH client configuration that reaches every node by its name.
  type: str
  returned: when the lab is present
nodes:
  description: Per node its management address and its network namespace.
  type: dict
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

SPEC = {
    "name": {"type": "str", "default": "lab"},
    "directory": {"type": "path", "required": True},
    "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
    "nodes": {"type": "list", "elements": "dict", "default": []},
    "init": {"type": "str", "choices": ["sshd", "systemd"], "default": "sshd"},
    "restart": {"type": "list", "elements": "str", "default": []},
    "probe_server": {"type": "path"},
    "probe_port": {"type": "int", "default": 7717},
}


def present(module: AnsibleModule, lab: Lab) -> Dict[str, Any]:
    topology = derive(module.params["nodes"], module.params["init"])
    if module.check_mode:
        todo = lab.changes(topology, module.params["restart"])
        return {"changed": bool(todo["stop"] or todo["start"])}
    changed = lab.up(topology, module.params["restart"])
    state = lab.state()
    nodes = {
        name: {"address": lab.address(state, name), "netns": lab.netns(str(entry["index"]))}
        for name, entry in state["nodes"].items()
    }
    return {
        "changed": changed,
        "ssh_config": os.path.join(lab.root, "ssh_config"),
        "nodes": nodes,
        "outside": [cidr.split("/")[0] for cidr in topology.outside],
        "podnet_summary": f"{len(nodes)} nodes in {len(topology.segments)} segments",
    }


def absent(module: AnsibleModule, lab: Lab) -> Dict[str, Any]:
    there = lab.exists()
    if there and not module.check_mode:
        lab.down()
    return {"changed": there}


def main() -> None:
    module = AnsibleModule(argument_spec=SPEC, supports_check_mode=True)
    if os.geteuid():
        module.fail_json(msg="lab: namespaces need root; run the playbook as root or with sudo")
    params = module.params
    try:
        lab = Lab(params["directory"], params["name"], params["probe_server"] or "", params["probe_port"])
        result = present(module, lab) if params["state"] == "present" else absent(module, lab)
    except LabError as error:
        module.fail_json(msg=str(error))
    module.exit_json(**result)


if __name__ == "__main__":
    main()

#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Probe pods and what they observe."""

from __future__ import annotations

DOCUMENTATION = r"""
module: reachability
short_description: Start probe pods, send probes from inside them, and collect what they observe
version_added: 0.1.0
description:
  - With O(state=started) two real pods are made through the node's CNI configuration. One app
    container answers probes, another one is killed and started again to see whether the pod keeps
    its address.
  - With O(state=probed) all probes of the node are sent, from all places at the same time. An
    answer must carry the payload that was sent. A probe that is lost is sent again, and the result
    says so.
  - The module reports raw observations and judges nothing; the action
    P(podnet.fabric.verify#module) does.
options:
  state:
    description: What to do.
    type: str
    choices: [started, probed, absent]
    required: true
  node:
    description: Name of the node, as the observations name it.
    type: str
    required: true
  conflist:
    description:
      - CNI configuration list for the probe pods.
      - Left out, it is the lexically first one in O(conf_dir), the one that a container runtime
        takes.
    type: path
  conf_dir:
    description: Folder of CNI configurations.
    type: path
    default: /etc/cni/net.d
  bin_dirs:
    description: Folders of CNI plugins.
    type: list
    elements: path
    default: [/usr/lib/cni, /opt/cni/bin]
  port:
    description: Port on which the probe pods answer, UDP and TCP.
    type: int
    default: 7717
  ttl:
    description: Seconds after which a forgotten server in a probe pod ends by itself.
    type: int
    default: 900
  targets:
    description: Probes to send.
    type: list
    elements: dict
    default: []
    suboptions:
      id:
        description: Identifies the probe in the result.
        type: str
        required: true
      from:
        description: The pod V(a) or V(b), or the node itself.
        type: str
        choices: [a, b, node]
        required: true
      kind:
        description: Kind of probe.
        type: str
        choices: [icmp, tcp, udp, mtu_pass, mtu_exceed, mtu_pieces]
        required: true
      address:
        description: Where to.
        type: str
        required: true
      port:
        description: Port, for TCP and UDP.
        type: int
      size:
        description: Length of the IP packet in bytes, for the kinds V(mtu_pass), V(mtu_exceed) and
          V(mtu_pieces).
        type: int
  pods:
    description: Names of the two probe pods, V(a) and V(b).
    type: list
    elements: str
    default: [podnet-verify-a, podnet-verify-b]
  restart_check:
    description: Whether an app container is killed and started again, to see what the pod keeps.
    type: bool
    default: true
  attempts:
    description: How often a probe is sent before it counts as lost.
    type: int
    default: 3
  timeout_ms:
    description: Milliseconds to wait for each answer.
    type: int
    default: 1000
extends_documentation_fragment:
  - podnet.fabric.attributes
attributes:
  check_mode:
    support: none
    details: Probing needs probe pods, and they are a change while they last.
  diff_mode:
    support: none
  idempotent:
    support: partial
    details: O(state=absent) is; O(state=started) makes new probe pods every time.
author:
  - podnet developers (@podnet)
"""

EXAMPLES = r"""
- name: Start the probe pods
  podnet.fabric.reachability:
    state: started
    node: "{{ inventory_hostname }}"

- name: Send a full-sized packet from inside the first one
  podnet.fabric.reachability:
    state: probed
    node: "{{ inventory_hostname }}"
    targets:
      - {id: mtu-to-worker-2, from: a, kind: mtu_pass, address: 10.64.2.5, size: 1450}

- name: Remove the probe pods
  podnet.fabric.reachability:
    state: absent
    node: "{{ inventory_hostname }}"
"""

RETURN = r"""
observation:
  description: The probe pods as seen from inside.
  type: dict
  returned: with O(state=started)
  contains:
    node:
      description: The node's name as given.
      type: str
    pods:
      description: Per pod its name, addresses, MAC, MTU, and per container its process, the inode
        of its network namespace, and the interfaces that are seen from inside.
      type: list
      elements: dict
    restart:
      description: The container that was killed, with its process and the pod's MAC and addresses
        as seen from inside it before, and from inside the new one after.
      type: dict
    counters:
      description: Packets that the node has thrown away since boot, by reason.
      type: dict
    addresses:
      description: The node's own addresses of global scope.
      type: list
      elements: str
    errors:
      description: What went wrong, in the words of who said it.
      type: list
      elements: str
probes:
  description: One entry per target, in the same order.
  type: list
  elements: dict
  returned: with O(state=probed)
  contains:
    id:
      description: The target's.
      type: str
    ok:
      description: Whether the payload came back; with V(mtu_exceed), whether it did not.
      type: bool
    source_seen:
      description: The address that the far side saw, for TCP and UDP.
      type: str
    rtt_us:
      description: Microseconds from the sending of the attempt that was answered.
      type: int
    attempts:
      description: How often it was sent.
      type: int
    error:
      description: Why it failed; with V(mtu_exceed), who refused the packet.
      type: str
    looked:
      description: False when the probe could not be made at all, which says nothing about the
        network.
      type: bool
"""

from ansible.module_utils.basic import AnsibleModule

from ..module_utils import probe_pods

TARGET = {
    "id": {"type": "str", "required": True},
    "from": {"type": "str", "choices": ["a", "b", "node"], "required": True},
    "kind": {
        "type": "str",
        "choices": ["icmp", "tcp", "udp", "mtu_pass", "mtu_exceed", "mtu_pieces"],
        "required": True,
    },
    "address": {"type": "str", "required": True},
    "port": {"type": "int"},
    "size": {"type": "int"},
}
SPEC = {
    "state": {"type": "str", "choices": ["started", "probed", "absent"], "required": True},
    "node": {"type": "str", "required": True},
    "conflist": {"type": "path"},
    "conf_dir": {"type": "path", "default": "/etc/cni/net.d"},
    "bin_dirs": {"type": "list", "elements": "path", "default": ["/usr/lib/cni", "/opt/cni/bin"]},
    "port": {"type": "int", "default": 7717},
    "ttl": {"type": "int", "default": probe_pods.DEFAULTS["ttl"]},
    "targets": {"type": "list", "elements": "dict", "default": [], "options": TARGET},
    "pods": {"type": "list", "elements": "str", "default": probe_pods.DEFAULTS["pods"]},
    "restart_check": {"type": "bool", "default": probe_pods.DEFAULTS["restart_check"]},
    "attempts": {"type": "int", "default": 3},
    "timeout_ms": {"type": "int", "default": 1000},
}


def main() -> None:
    module = AnsibleModule(argument_spec=SPEC)
    result = probe_pods.observed(module.params)
    if result.pop("failed", False):
        module.fail_json(**result)
    module.exit_json(**result)


if __name__ == "__main__":
    main()

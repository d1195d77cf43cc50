#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Pods on a bare node."""

from __future__ import annotations

DOCUMENTATION = r"""
module: pod
short_description: Create and remove a pod on a bare node
version_added: 0.1.0
description:
  - Creates a pod without Kubernetes and without a container engine. An infra container holds the network,
    IPC and UTS namespace; it is attached by the CNI plugins of the node's configuration list, as the CNI
    specification says. App containers join it and share its interfaces, IP and MAC.
  - A dead app container is started again and the pod keeps its IP. A pod whose infra container has ended
    is removed and made anew.
  - A failure in the middle leaves no address, no interface and no process behind.
options:
  name:
    description: Name of the pod and its host name.
    type: str
    required: true
  state:
    description: Whether the pod is there.
    type: str
    choices: [present, absent]
    default: present
  containers:
    description: App containers. They see the node's files and processes of their own only.
    type: list
    elements: dict
    default: []
    suboptions:
      name:
        description: Name of the container.
        type: str
        required: true
      command:
        description: Program and arguments.
        type: list
        elements: str
        required: true
      env:
        description: Environment variables that are added.
        type: dict
        default: {}
      workdir:
        description: Working directory.
        type: path
        default: /
  conflist:
    description: CNI configuration list; left out, the lexically first one in O(conf_dir).
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
  ifname:
    description: Name of the pod's interface.
    type: str
    default: eth0
  capabilities:
    description: Values of CNI capabilities, such as V(portMappings).
    type: dict
    default: {}
attributes:
  check_mode:
    description: Can run in check mode and say what would change, without changing it.
    support: full
  diff_mode:
    description: Says in detail what changes.
    support: full
  idempotent:
    description: A second run with the same input changes nothing.
    support: full
author:
  - podnet developers (@podnet)
"""

EXAMPLES = r"""
- name: Start a pod with a web server
  podnet.fabric.pod:
    name: web
    containers:
      - name: server
        command: [python3, -m, http.server, "8080"]

- name: Remove it
  podnet.fabric.pod:
    name: web
    state: absent
"""

RETURN = r"""
pod:
  description: The pod as seen from inside; addresses by family, MAC, MTU, path of the network namespace, and
    per container its process, the inode of its network namespace and its interfaces.
  type: dict
  returned: when the pod is present
actions:
  description: What was done, or would be in check mode.
  type: list
  elements: str
  returned: always
"""

from typing import Any, Dict, List

from ansible.module_utils.basic import AnsibleModule

from ..module_utils import cni
from ..module_utils.pods import Pod

CONTAINER = {
    "name": {"type": "str", "required": True},
    "command": {"type": "list", "elements": "str", "required": True},
    "env": {"type": "dict", "default": {}},
    "workdir": {"type": "path", "default": "/"},
}
SPEC = {
    "name": {"type": "str", "required": True},
    "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
    "containers": {"type": "list", "elements": "dict", "default": [], "options": CONTAINER},
    "conflist": {"type": "path"},
    "conf_dir": {"type": "path", "default": "/etc/cni/net.d"},
    "bin_dirs": {"type": "list", "elements": "path", "default": ["/usr/lib/cni", "/opt/cni/bin"]},
    "ifname": {"type": "str", "default": "eth0"},
    "capabilities": {"type": "dict", "default": {}},
}


def present(pod: Pod, params: Dict[str, Any], check: bool) -> Dict[str, Any]:
    """Make the pod as wanted; returns the actions and the pod's facts."""
    wanted = {key: params[key] for key in ("ifname", "bin_dirs", "capabilities")}
    actions: List[str] = []
    record = pod.record()
    problem = pod.problem(record, wanted) if record else None
    if record and problem:
        actions.append(f"remove pod {pod.name}: {problem}")
        if not check:
            pod.remove()
        record = None
    if record is None:
        actions.append(f"create pod {pod.name}")
        if check:
            names = [container["name"] for container in params["containers"]]
            return {"actions": actions + [f"start container {name}" for name in names]}
        path = params["conflist"] or cni.find_conflist(params["conf_dir"])
        record = pod.create(wanted, cni.read_conflist(path))
    dead = pod.dead_containers(record, params["containers"])
    for definition in params["containers"]:
        if definition["name"] in dead:
            actions.append(f"start container {definition['name']}")
            if not check:
                pod.start_container(record, definition)
    return {"actions": actions, "pod": pod.facts(record)}


def absent(pod: Pod, check: bool) -> Dict[str, Any]:
    there = pod.record() is not None
    if not check:
        there = pod.remove()
    return {"actions": [f"remove pod {pod.name}"] if there else []}


def main() -> None:
    module = AnsibleModule(argument_spec=SPEC, supports_check_mode=True)
    pod = Pod(module.params["name"])
    try:
        with pod.locked():
            if module.params["state"] == "present":
                result = present(pod, module.params, module.check_mode)
            else:
                result = absent(pod, module.check_mode)
    except (cni.CniError, OSError) as error:
        module.fail_json(msg=f"pod {pod.name}: {error}")
    lines = "".join(f"{action}\n" for action in result["actions"])
    module.exit_json(changed=bool(lines), diff={"prepared": lines}, **result)


if __name__ == "__main__":
    main()

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
  - Creates a pod without Kubernetes and without a container engine. An infra container holds the
    network, IPC and UTS namespace; it is attached by the CNI plugins of the node's configuration
    list, as the CNI specification says. App containers join it and share its interfaces, IP and
    MAC.
  - A dead app container is started again and the pod keeps its IP. A pod whose infra container has
    ended is removed and made anew.
  - A failure in the middle leaves no address, no interface and no process behind. What a killed
    run left is removed by the next run for the same pod, with either O(state).
  - A pod that exists is whole when its infra container lives and the plugins' C(CHECK) says so.
    The plugin V(bridge) wants the bridge to keep its MAC address for that, as podnet's bridges do.
  - The network configuration is kept with the pod. A pod is removed with what it was made with,
    even when the file is gone; a changed file does not change a pod that exists.
requirements:
  - On the node Python 3.8, the CNI plugins, and root.
options:
  name:
    description: Name of the pod and its host name; lower case letters, digits and hyphens.
    type: str
    required: true
  namespace:
    description: A label that plugins are told as V(K8S_POD_NAMESPACE). Names of pods are unique
      without it.
    type: str
  state:
    description: Whether the pod is there.
    type: str
    choices: [present, absent]
    default: present
  containers:
    description:
      - App containers. They see the node's files, and of all processes only their own.
      - A container that has ended is started again; one that is left out is stopped.
    type: list
    elements: dict
    default: []
    suboptions:
      name:
        description: Name of the container, unique in the pod, not V(infra).
        type: str
        required: true
      command:
        description: Program and arguments.
        type: list
        elements: str
        required: true
      env:
        description: Environment variables, besides E(PATH) and E(HOME).
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
    description: Folders of CNI plugins, the first match counts.
    type: list
    elements: path
    default: [/usr/lib/cni, /opt/cni/bin]
  ifname:
    description: Name of the pod's interface.
    type: str
    default: eth0
  capabilities:
    description: Values of CNI capabilities, such as C(portMappings) or C(bandwidth). A plugin of
      the list must declare each.
    type: dict
    default: {}
extends_documentation_fragment:
  - podnet.fabric.attributes
attributes:
  check_mode:
    support: full
  diff_mode:
    support: full
  idempotent:
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

- name: Start one that the node's port 8080 leads to, with 10 Mbit/s
  podnet.fabric.pod:
    name: web
    containers:
      - name: server
        command: [python3, -m, http.server, "80"]
        workdir: /srv/www
    capabilities:
      portMappings:
        - {hostPort: 8080, containerPort: 80, protocol: tcp}
      bandwidth: {ingressRate: 10000000, ingressBurst: 1000000}

- name: Remove it
  podnet.fabric.pod:
    name: web
    state: absent
"""

RETURN = r"""
pod:
  description: The pod as seen from inside.
  type: dict
  returned: when the pod is present, not when check mode says that it would be made
  contains:
    name:
      description: Name of the pod.
      type: str
    namespace:
      description: The label.
      type: str
    addresses:
      description: One address per family.
      type: dict
      sample: {ipv4: 10.64.1.5, ipv6: "fd00:64:1::5"}
    mac:
      description: MAC address of the pod's interface.
      type: str
    mtu:
      description: MTU of the pod's interface, in bytes.
      type: int
    netns:
      description: Path of the network namespace.
      type: str
    infra_pid:
      description: Process of the infra container.
      type: int
    containers:
      description: Per container, infra container first, its name, V(running) or V(ended), its
        process, the inode of its network namespace and the interfaces in there.
      type: list
      elements: dict
    cni_result:
      description: Result of the last plugin.
      type: dict
    unchecked:
      description: Plugins whose C(CHECK) found fault with the pod right after their own C(ADD),
        with what they said. They are not asked again whether the pod is whole.
      type: dict
actions:
  description: What was done, or would be in check mode.
  type: list
  elements: str
  returned: always
"""

import os
from typing import Any, Dict, List, Optional

from ansible.module_utils.basic import AnsibleModule

from ..module_utils import cni
from ..module_utils.pods import Pod, Record, Step, checked_name

CONTAINER = {
    "name": {"type": "str", "required": True},
    "command": {"type": "list", "elements": "str", "required": True},
    "env": {"type": "dict", "default": {}},
    "workdir": {"type": "path", "default": "/"},
}
SPEC = {
    "name": {"type": "str", "required": True},
    "namespace": {"type": "str"},
    "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
    "containers": {"type": "list", "elements": "dict", "default": [], "options": CONTAINER},
    "conflist": {"type": "path"},
    "conf_dir": {"type": "path", "default": "/etc/cni/net.d"},
    "bin_dirs": {"type": "list", "elements": "path", "default": ["/usr/lib/cni", "/opt/cni/bin"]},
    "ifname": {"type": "str", "default": "eth0"},
    "capabilities": {"type": "dict", "default": {}},
}


def definitions(pod: Pod, given: List[Record]) -> List[Record]:
    """Containers as they are recorded; CniError for names that cannot be used."""
    names = [checked_name(item["name"], f"pod {pod.name}: container") for item in given]
    for name in names:
        if names.count(name) > 1 or name == "infra":
            where = f"pod {pod.name}: container {name}"
            found = "the infra container's name" if name == "infra" else "used twice"
            expected = "a name of its own"
            raise cni.CniError(cni.message(where, "no own name", expected, found, "rename it"))
        if not given[names.index(name)]["command"]:
            where = f"pod {pod.name}: container {name}"
            text = cni.message(where, "no command", "program and arguments", "[]", "add them")
            raise cni.CniError(text)
    texts = [{str(k): str(v) for k, v in item["env"].items()} for item in given]
    return [{**item, "env": env} for item, env in zip(given, texts)]


def present(pod: Pod, params: Record, check: bool) -> Record:
    """Make the pod as wanted; returns the steps and the pod's facts."""
    wanted = {key: params[key] for key in ("ifname", "capabilities", "namespace")}
    containers = definitions(pod, params["containers"])
    record = pod.record()
    before = state(pod, record)
    steps = pod.steps(record, wanted, containers)
    conflist: Record = {}
    if any(step.verb == "create pod" for step in steps):
        conflist = cni.read_conflist(params["conflist"] or cni.find_conflist(params["conf_dir"]))
        pod.usable(conflist, wanted)
    if not check:
        for step in steps:
            record = execute(pod, step, record, wanted, conflist, containers)
    result: Record = {"actions": [str(step) for step in steps]}
    if record and not (check and conflist):
        result["pod"] = pod.facts(record)
    after = [f"pod {pod.name}", *(running(item) for item in containers)]
    return {**result, "diff": diff(before, after if steps else before)}


def execute(
    pod: Pod,
    step: Step,
    record: Optional[Record],
    wanted: Record,
    conflist: Record,
    containers: List[Record],
) -> Optional[Record]:
    """One step; returns the record after it."""
    if step.verb == "remove pod":
        pod.remove()
        return None
    if step.verb == "create pod":
        return pod.create(wanted, conflist)
    if record is None:
        raise AssertionError(f"{step.verb} of a pod that has no record")
    if step.verb == "stop container":
        pod.stop_container(record, step.name)
    else:
        pod.start_container(record, next(c for c in containers if c["name"] == step.name))
    return record


def absent(pod: Pod, check: bool) -> Record:
    before = state(pod, pod.record())
    there = pod.there()
    if not check:
        there = pod.remove()
    steps = [str(Step("remove pod", pod.name))] if there else []
    return {"actions": steps, "diff": diff(before, [])}


def running(definition: Record) -> str:
    return f"container {definition['name']}: {' '.join(definition['command'])}"


def state(pod: Pod, record: Optional[Record]) -> List[str]:
    """What is there, as lines for a diff."""
    if record is None:
        return [f"pod {pod.name}: remains of one"] if pod.there() else []
    whole, ended = pod.state(record)
    return [
        f"pod {pod.name}{'' if whole else ': not alive'}",
        *(
            running(item["definition"]) + (" (ended)" if name in ended else "")
            for name, item in record["containers"].items()
        ),
    ]


def diff(before: List[str], after: List[str]) -> Dict[str, Any]:
    texts = ["".join(f"{line}\n" for line in lines) for lines in (before, after)]
    return {"before": texts[0], "after": texts[1]}


def main() -> None:
    module = AnsibleModule(argument_spec=SPEC, supports_check_mode=True)
    os.umask(0o022)  # whatever the login's is: root runs some of what is written here
    try:
        pod = Pod(module.params["name"], module.params["bin_dirs"])
        with pod.locked(check=module.check_mode):
            if module.params["state"] == "present":
                result = present(pod, module.params, module.check_mode)
            else:
                result = absent(pod, module.check_mode)
    except (cni.CniError, OSError) as error:
        module.fail_json(msg=f"pod {module.params['name']}: {error}")
    module.exit_json(changed=bool(result["actions"]), **result)


if __name__ == "__main__":
    main()

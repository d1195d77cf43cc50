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
  - With O(state=probed) one process per network namespace sends all probes of the node. An answer
    must carry the payload that was sent. A probe that is lost is sent again, and the result says
    so.
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
        choices: [icmp, tcp, udp, mtu_pass, mtu_exceed]
        required: true
      address:
        description: Where to.
        type: str
        required: true
      port:
        description: Port, for TCP and UDP.
        type: int
      size:
        description: Length of the IP packet in bytes, for V(mtu_pass) and V(mtu_exceed).
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

import inspect
import os
import shutil
import signal
import sys
import time
from typing import Any, Dict, List, Optional

from ansible.module_utils.basic import AnsibleModule

from ..module_utils import cni, machine, places, probe_server
from ..module_utils.pods import Pod, by_family

FOLDER = "/run/podnet/verify"
LISTEN_SECONDS = 10.0
TARGET = {
    "id": {"type": "str", "required": True},
    "from": {"type": "str", "choices": ["a", "b", "node"], "required": True},
    "kind": {
        "type": "str",
        "choices": ["icmp", "tcp", "udp", "mtu_pass", "mtu_exceed"],
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
    "ttl": {"type": "int", "default": 900},
    "targets": {"type": "list", "elements": "dict", "default": [], "options": TARGET},
    "pods": {
        "type": "list",
        "elements": "str",
        "default": ["podnet-verify-a", "podnet-verify-b"],
    },
    "restart_check": {"type": "bool", "default": True},
    "attempts": {"type": "int", "default": 3},
    "timeout_ms": {"type": "int", "default": 1000},
}
FAULTS = (cni.CniError, OSError)
# What the contract with the judge has; the pod module tells more.
CONTAINER_KEYS = ("name", "pid", "netns", "interfaces")
POD_KEYS = ("name", "addresses", "mtu", "mac")


def pods_of(params: Dict[str, Any]) -> List[Pod]:
    return [Pod(name, params["bin_dirs"]) for name in params["pods"]]


def absent(params: Dict[str, Any]) -> Dict[str, Any]:
    """Take the probe pods away."""
    changed, errors = os.path.isdir(FOLDER), []
    for pod in pods_of(params):
        try:
            with pod.locked():
                changed = pod.remove() or changed
        except FAULTS as error:
            errors.append(f"{pod.name}: {error}")
    shutil.rmtree(FOLDER, ignore_errors=True)
    return {"changed": changed, "errors": errors}


def started(params: Dict[str, Any]) -> Dict[str, Any]:
    """Make the probe pods and look at them from inside."""
    errors = absent(params)["errors"]
    os.makedirs(FOLDER, exist_ok=True)
    program = os.path.join(FOLDER, "probe_server.py")
    with open(program, "w", encoding="utf-8") as stream:
        stream.write(inspect.getsource(probe_server))
    made, restart = [], None
    for pod in pods_of(params):
        try:
            with pod.locked():
                record = create(pod, params, program)
                made.append(pod)
                await_server(pod, record, params["port"])
                if params["restart_check"] and restart is None:
                    restart = restart_container(pod, record)
        except FAULTS as error:
            errors.append(f"{pod.name}: {error}")
    observation = {
        "node": params["node"],
        "pods": [found for found in (look(pod, errors) for pod in made) if found],
        "restart": restart,
        "errors": errors,
        "counters": {"udp_checksums": udp_checksums()},
    }
    return {"changed": True, "observation": observation}


def udp_checksums() -> int:
    """Packets that the node threw away for a wrong UDP checksum since boot (proc_net(5)): what
    a network card with a broken VXLAN offload makes."""
    found = 0
    for path, head in (("/proc/net/snmp", "Udp: "), ("/proc/net/snmp6", "Udp6InCsumErrors")):
        try:
            with open(path, encoding="ascii") as stream:
                words = [line.split() for line in stream if line.startswith(head)]
        except OSError:
            continue
        # In the first file a line of names stands above the line of numbers.
        place = words[0].index("InCsumErrors") if len(words) == 2 else 1
        found += int(words[-1][place]) if words else 0
    return found


def create(pod: Pod, params: Dict[str, Any], program: str) -> Dict[str, Any]:
    wanted: Dict[str, Any] = {"ifname": "eth0", "capabilities": {}, "namespace": None}
    path = params["conflist"] or cni.find_conflist(params["conf_dir"])
    record = pod.create(wanted, cni.read_conflist(path))
    python, ttl = sys.executable or "python3", str(params["ttl"])
    server = [python, program, "--port", str(params["port"]), "--ttl", ttl]
    for name, command in (("server", server), ("sleeper", ["sleep", ttl])):
        pod.start_container(record, {"name": name, "command": command, "env": {}, "workdir": "/"})
    return record


def look(pod: Pod, errors: List[str]) -> Optional[Dict[str, Any]]:
    """The pod as the observation has it."""
    record = pod.record()
    if record is None:
        return None
    try:
        facts = pod.facts(record)
    except FAULTS as error:
        errors.append(f"{pod.name}: {error}")
        return None
    containers = [{key: item[key] for key in CONTAINER_KEYS} for item in facts["containers"]]
    return {**{key: facts[key] for key in POD_KEYS}, "containers": containers}


def await_server(pod: Pod, record: Dict[str, Any], port: int) -> None:
    """Wait until the server listens: probes of other nodes may come at once. Raises OSError."""
    server = record["containers"]["server"]
    end = time.monotonic() + LISTEN_SECONDS
    while not listens(server["pid"], port):
        if not machine.alive(server):
            raise OSError(f"container server has ended: {pod.last_words('server')}")
        if time.monotonic() > end:
            raise OSError(f"container server does not listen on port {port}")
        time.sleep(0.02)


def listens(pid: int, port: int) -> bool:
    """Whether the last socket that the server opens is there (proc_net(5)); a kernel without IPv6
    has no udp6."""
    for name in ("udp6", "udp"):
        try:
            with open(f"/proc/{pid}/net/{name}", encoding="ascii") as stream:
                return any(f":{port:04X} " in line for line in stream)
        except OSError:
            continue
    return False


def restart_container(pod: Pod, record: Dict[str, Any]) -> Dict[str, Any]:
    """Kill an app container, start it again, and look from inside it before and after."""

    def seen() -> Dict[str, Any]:
        pid = record["containers"]["sleeper"]["pid"]
        interface = (pod.interfaces(pid) or [{}])[0]
        addresses = by_family(interface.get("addresses", []))
        return {"pid": pid, "mac": interface.get("mac", ""), "addresses": addresses}

    before = seen()
    os.kill(before["pid"], signal.SIGKILL)
    pod.start_container(record, record["containers"]["sleeper"]["definition"])
    return {"container": "sleeper", "before": before, "after": seen()}


def probed(params: Dict[str, Any]) -> Dict[str, Any]:
    """Send all probes, one process per place they are sent from, all at the same time."""
    first, second = pods_of(params)
    where: places.Places = {"a": first.netns, "b": second.netns, "node": None}
    seconds = params["timeout_ms"] / 1000
    found = places.run_everywhere(params["targets"], where, params["attempts"], seconds)
    return {"changed": False, "probes": found}


def main() -> None:
    module = AnsibleModule(argument_spec=SPEC)
    os.umask(0o022)  # whatever the login's is: root runs some of what is written here
    params = module.params
    if len(set(params["pods"])) != 2:
        module.fail_json(msg=f"pods: expected two different names, found {params['pods']}")
    try:
        result = {"started": started, "probed": probed, "absent": absent}[params["state"]](params)
    except FAULTS as error:
        module.fail_json(msg=f"{params['node']}: {error}")
    errors = result.pop("errors", [])
    if errors:
        module.fail_json(msg="probe pods cannot be removed:\n" + "\n".join(errors))
    module.exit_json(**result)


if __name__ == "__main__":
    main()

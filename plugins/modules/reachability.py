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
  - With O(state=started) two real pods are made through the node's CNI configuration. One app container
    answers probes, another one is killed and started again to see whether the pod keeps its address.
  - With O(state=probed) one process per network namespace sends all probes of the node.
  - The module reports raw observations and judges nothing; the action P(podnet.fabric.verify#module) does.
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
    description: CNI configuration list for the probe pods.
    type: path
    default: /etc/cni/net.d/10-podnet.conflist
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
  attempts:
    description: How often a probe is sent before it counts as lost.
    type: int
    default: 3
  timeout_ms:
    description: Milliseconds to wait for each answer.
    type: int
    default: 1000
attributes:
  check_mode:
    description: Can run in check mode and say what would change, without changing it.
    support: none
    details: Probing needs probe pods, and they are a change while they last.
  diff_mode:
    description: Says in detail what changes.
    support: none
  idempotent:
    description: A second run with the same input changes nothing.
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
"""

RETURN = r"""
observation:
  description: The probe pods as seen from inside, the restart of a container, and errors.
  type: dict
  returned: with O(state=started)
probes:
  description: One entry per target; whether the answer came, the source that the far side saw, the round trip in
    microseconds, the number of attempts, and whether the probe could be made at all.
  type: list
  elements: dict
  returned: with O(state=probed)
"""

import ctypes
import inspect
import json
import os
import shutil
from typing import Any, Dict, List, Optional

from ansible.module_utils.basic import AnsibleModule

from ..module_utils import cni, machine, probe_server, probes
from ..module_utils.pods import Pod

PODS = {"a": "podnet-verify-a", "b": "podnet-verify-b"}
FOLDER = "/run/podnet/verify"
CLONE_NEWNET = 0x40000000
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
    "conflist": {"type": "path", "default": "/etc/cni/net.d/10-podnet.conflist"},
    "bin_dirs": {"type": "list", "elements": "path", "default": ["/usr/lib/cni", "/opt/cni/bin"]},
    "port": {"type": "int", "default": 7717},
    "ttl": {"type": "int", "default": 900},
    "targets": {"type": "list", "elements": "dict", "default": [], "options": TARGET},
    "attempts": {"type": "int", "default": 3},
    "timeout_ms": {"type": "int", "default": 1000},
}


def remove() -> List[str]:
    """Take the probe pods away; returns what could not be removed."""
    errors = []
    for name in PODS.values():
        pod = Pod(name)
        try:
            with pod.locked():
                pod.remove()
        except (cni.CniError, OSError) as error:
            errors.append(f"{name}: {error}")
    shutil.rmtree(FOLDER, ignore_errors=True)
    return errors


def started(params: Dict[str, Any]) -> Dict[str, Any]:
    """Make the probe pods and look at them from inside."""
    errors = remove()
    os.makedirs(FOLDER, exist_ok=True)
    program = os.path.join(FOLDER, "probe_server.py")
    with open(program, "w", encoding="utf-8") as stream:
        stream.write(inspect.getsource(probe_server))
    pods = []
    restart: Optional[Dict[str, Any]] = None
    for name in PODS.values():
        pod = Pod(name)
        try:
            with pod.locked():
                record = create(pod, params, program)
                if restart is None:
                    restart = restart_container(pod, record)
                pods.append(pod.facts(record))
        except (cni.CniError, OSError) as error:
            errors.append(f"{name}: {error}")
    observation = {"node": params["node"], "pods": pods, "restart": restart, "errors": errors}
    return {"changed": True, "observation": observation}


def create(pod: Pod, params: Dict[str, Any], program: str) -> Dict[str, Any]:
    wanted = {"ifname": "eth0", "bin_dirs": params["bin_dirs"], "capabilities": {}}
    record = pod.create(wanted, cni.read_conflist(params["conflist"]))
    server = ["python3", program, "--port", str(params["port"]), "--ttl", str(params["ttl"])]
    for name, command in (("server", server), ("sleeper", ["sleep", str(params["ttl"])])):
        pod.start_container(record, {"name": name, "command": command, "env": {}, "workdir": "/"})
    return record


def restart_container(pod: Pod, record: Dict[str, Any]) -> Dict[str, Any]:
    """Kill an app container, start it again, and look from inside it before and after."""

    def look() -> Dict[str, Any]:
        pid = record["containers"]["sleeper"]["pid"]
        interface = (pod.interfaces(pid) or [{}])[0]
        return {
            "pid": pid,
            "mac": interface.get("mac", ""),
            "addresses": {
                "ipv6" if ":" in cidr else "ipv4": cidr.split("/")[0]
                for cidr in interface.get("addresses", [])
            },
        }

    before = look()
    machine.kill_marked("PODNET_CONTAINER", f"{record['id']}/sleeper")
    pod.start_container(record, record["containers"]["sleeper"]["definition"])
    return {"container": "sleeper", "before": before, "after": look()}


def probed(params: Dict[str, Any]) -> Dict[str, Any]:
    """Send all probes, one process per place they are sent from, all at the same time."""
    running = []
    for place in ("a", "b", "node"):
        targets = [target for target in params["targets"] if target["from"] == place]
        if targets:
            running.append((targets, *fork(place, targets, params)))
    results: List[Dict[str, Any]] = []
    for targets, child, reader in running:
        with os.fdopen(reader, "rb") as stream:
            answer = stream.read()
        os.waitpid(child, 0)
        results += json.loads(answer) if answer else unseen(targets, "the prober ended early")
    return {"changed": False, "probes": results}


def unseen(targets: List[Dict[str, Any]], why: str) -> List[Dict[str, Any]]:
    empty = {"ok": False, "source_seen": None, "rtt_us": None, "attempts": 0, "looked": False}
    return [{"id": target["id"], "error": why, **empty} for target in targets]


def fork(place: str, targets: List[Dict[str, Any]], params: Dict[str, Any]) -> Any:
    """A child in the place's network namespace; returns its number and the answer's pipe."""
    reader, writer = os.pipe()
    child = os.fork()
    if child:
        os.close(writer)
        return child, reader
    try:
        os.close(reader)
        try:
            if place != "node":
                enter(Pod(PODS[place]).netns)
            results = probes.run_probes(targets, params["attempts"], params["timeout_ms"] / 1000)
        except OSError as error:
            results = unseen(targets, f"{place}: {error}")
        with os.fdopen(writer, "wb") as stream:
            stream.write(json.dumps(results).encode())
    finally:
        os._exit(0)


def enter(path: str) -> None:
    """Join a network namespace (setns(2); the os module has it since Python 3.12 only)."""
    handle = os.open(path, os.O_RDONLY)
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.setns(handle, CLONE_NEWNET):
        code = ctypes.get_errno()
        raise OSError(code, f"{path}: {os.strerror(code)}")
    os.close(handle)


def main() -> None:
    module = AnsibleModule(argument_spec=SPEC)
    if module.params["state"] == "started":
        module.exit_json(**started(module.params))
    if module.params["state"] == "probed":
        module.exit_json(**probed(module.params))
    errors = remove()
    if errors:
        module.fail_json(msg="probe pods cannot be removed:\n" + "\n".join(errors))
    module.exit_json(changed=True)


if __name__ == "__main__":
    main()

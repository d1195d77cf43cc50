# SPDX-License-Identifier: GPL-3.0-or-later
"""The two probe pods of a node: made, looked at from inside, probed from, and taken away.

What the module `reachability` does on a node. The action `verify` sends it to many nodes as a
program of its own (`node_python.py` of the controller), so nothing here imports Ansible.
"""

from __future__ import annotations

import os
import signal
from typing import Any, Callable, Dict, List, Mapping, Optional, Tuple

from . import cni, helper, links, machine, namespaces, places, probe_server
from .pods import Pod, by_family

FOLDER = "/run/podnet/verify"
SERVER = "podnet-probe"
# Parameters of the module `reachability` that the action `verify` leaves as they are.
DEFAULTS = {
    "conflist": None,
    "ttl": 900,
    "pods": ["podnet-verify-a", "podnet-verify-b"],
    "restart_check": True,
    "stay": False,
}
FAULTS = (cni.CniError, OSError)
# What the contract with the judge has; the pod module tells more.
CONTAINER_KEYS = ("name", "pid", "netns", "interfaces")
POD_KEYS = ("name", "addresses", "mtu", "mac")


def pods_of(params: Dict[str, Any]) -> List[Pod]:
    run = remembering(machine.run)
    return [Pod(name, params["bin_dirs"], run) for name in params["pods"]]


def remembering(run: machine.Run) -> machine.Run:
    """Asks each plugin once which versions it speaks, and not for each pod."""
    known: Dict[Tuple[str, str], machine.Answer] = {}

    def asked(argv: List[str], env: Mapping[str, str], stdin: str) -> machine.Answer:
        if env.get("CNI_COMMAND") != "VERSION":
            return run(argv, env, stdin)
        key = (" ".join(argv), stdin)
        if key not in known:
            known[key] = run(argv, env, stdin)
        return known[key]

    return asked


def absent(params: Dict[str, Any]) -> Dict[str, Any]:
    """Take the probe pods away."""
    changed, errors = os.path.isdir(FOLDER), []
    helper.dismiss(FOLDER)
    for pod in pods_of(params):
        try:
            with pod.locked():
                changed = pod.remove() or changed
        except FAULTS as error:
            errors.append(f"{pod.name}: {error}")
    machine.remove_folder(FOLDER)
    return {"changed": changed, "errors": errors}


def started(params: Dict[str, Any]) -> Dict[str, Any]:
    """Make the probe pods and look at them from inside. With ``stay`` a helper waits in FOLDER for
    what is asked next."""
    errors = absent(params)["errors"]
    os.makedirs(FOLDER, exist_ok=True)
    made, restart = [], None
    for pod in pods_of(params):
        try:
            with pod.locked():
                record = create(pod, params)
                made.append(pod)
                start_containers(pod, record, params)
                if params["restart_check"] and restart is None:
                    restart = restart_container(pod, record)
        except FAULTS as error:
            errors.append(f"{pod.name}: {error}")
    if params["stay"]:
        try:
            helper.stay(FOLDER, params["ttl"], observed)
        except OSError as error:
            errors.append(f"nobody waits for what is asked next: {error}")
    observation = {
        "node": params["node"],
        "pods": [found for found in (look(pod, errors) for pod in made) if found],
        "restart": restart,
        "errors": errors,
        "counters": {"udp_checksums": udp_checksums()},
        "addresses": own_addresses(),
    }
    return {"changed": True, "observation": observation}


def own_addresses() -> List[str]:
    """The node's own addresses of global scope: one of them is what it masquerades to. Raises
    OSError."""
    found = (address for link in links.seen(namespaces.OWN) for address in link.addresses)
    return sorted({address.address for address in found if address.world})


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


def create(pod: Pod, params: Dict[str, Any]) -> Dict[str, Any]:
    """The pod with its network; no app container yet."""
    wanted: Dict[str, Any] = {"ifname": "eth0", "capabilities": {}, "namespace": None}
    path = params["conflist"] or cni.find_conflist(params["conf_dir"])
    return pod.create(wanted, cni.read_conflist(path), lasting=False)


def start_containers(pod: Pod, record: Dict[str, Any], params: Dict[str, Any]) -> None:
    """One that answers, a fork of us, and one that does nothing. The first one listens when it has
    been started: probes of other nodes may come at once. Raises OSError."""

    def server() -> Callable[[], None]:
        namespaces.name_process(SERVER)
        return probe_server.listening(params["port"], params["ttl"])

    for name, command, body in (
        ("sleeper", ["sleep", str(params["ttl"])], None),
        ("server", [SERVER], server),
    ):
        definition = {"name": name, "command": command, "env": {}, "workdir": "/"}
        pod.start_container(record, definition, body)


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
    """Send all probes, from all places at the same time."""
    first, second = pods_of(params)
    where: places.Places = {"a": first.netns, "b": second.netns, "node": None}
    seconds = params["timeout_ms"] / 1000
    found = places.run_everywhere(params["targets"], where, params["attempts"], seconds)
    return {"changed": False, "probes": found}


STATES = {"started": started, "probed": probed, "absent": absent}


def observed(given: Dict[str, Any]) -> Dict[str, Any]:
    """What the module answers to these parameters; ``failed`` and ``msg`` when it cannot."""
    params = {**DEFAULTS, **given}
    os.umask(0o022)  # whatever the login's is: root runs some of what is written here
    if len(set(params["pods"])) != 2:
        text = f"pods: expected two different names, found {params['pods']}"
        return {"failed": True, "msg": text}
    try:
        result = STATES[params["state"]](params)
    except FAULTS as error:
        return {"failed": True, "msg": f"{params['node']}: {error}"}
    errors = result.pop("errors", [])
    if errors:
        text = "probe pods cannot be removed:\n" + "\n".join(errors)
        return {**result, "failed": True, "msg": text}
    return result

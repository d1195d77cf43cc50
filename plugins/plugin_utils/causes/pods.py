# SPDX-License-Identifier: GPL-3.0-or-later
"""Why a node has no probe pods, or none as they should be. Pure."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator

from .. import node as node_room
from ..intent.model import family_of
from ..verdicts.observations import MESSAGE, Missing
from ..verdicts.scene import POD_A
from .landscape import Look
from .suspects import ANEW, Cause, Scene, Trip, applied

_CURRENT = "/etc/podnet/current/"
# What `node_python` says where nothing was answered: by the shell's codes there is no such program,
# or none that runs, and what no Python 3.8 says of podnet's code is said by an older one.
_PYTHON = re.compile(r"Python \S+ or newer gave no answer \(exit code (\d+)\): (.*)")
_NOT_FOUND = ("2", "126", "127")
_OLDER = ("SyntaxError", "ImportError", "ModuleNotFoundError", "No module named")


def ready(scene: Scene, node: str) -> Cause | None:
    """What keeps the pods of a node from being what the plan says; None when nothing does."""
    start = scene.started.get(node, Missing("the node gave no answer"))
    look = scene.looks.get(node)
    if look is None:
        reason = (
            start.reason if isinstance(start, Missing) else "it gave no answer after the probes"
        )
        text = f"bring {node} back, or make it reachable for Ansible, and verify again"
        return Cause(node, "node", node, "an answer", reason, text)
    errors = [start.reason] if isinstance(start, Missing) else list(start.errors)
    if errors:
        for cause in (*_python(node, errors[0]), *_nothing(node, look)):
            return cause
    for cause in (*_plugins(scene, node, look), *_conflist(scene, node, look)):
        return cause
    if not errors:
        return None
    for cause in _range(scene, node, look):
        return cause
    return _said(node, errors[0])


def _python(node: str, error: str) -> Iterator[Cause]:
    """Whoever has no Python of this age starts nothing, whatever else is missing."""
    found = _PYTHON.fullmatch(error)
    if found and (found[1] in _NOT_FOUND or any(word in found[2] for word in _OLDER)):
        repair = (
            "install Python 3.8 or newer there (podnet.fabric.bootstrap), or correct "
            "ansible_python_interpreter"
        )
        text = f"exit code {found[1]}: {found[2]}"
        yield Cause(node, "program", "python3", "Python 3.8 or newer", text, repair)


def _nothing(node: str, look: Look) -> Iterator[Cause]:
    """No generation: podnet was never there, or was reset."""
    if not applied(look):
        texts = ("in /etc/podnet/current", "none; podnet was not applied here", ANEW)
        yield Cause(node, "definitions", "of podnet", *texts)


def _said(node: str, error: str) -> Cause:
    """The error with its own remedy, where it has one. Nothing in it names the node, so that
    nodes with the same trouble are one cause."""
    text = error.removeprefix(f"{POD_A}: ")
    if (message := MESSAGE.fullmatch(text)) is None:
        remedy = "see what the plugins say there, and verify again"
        return Cause(node, "pods", POD_A, "probe pods that start", text, remedy)
    what, expected, found, remedy = message.groups()
    return Cause(node, "pods", POD_A, expected, f"{what}: {found}", remedy)


def _plugins(scene: Scene, node: str, look: Look) -> Iterator[Cause]:
    cni = scene.fabric.cni
    for name, versions in sorted(look.state.plugins.items()):
        if not versions:
            repair = f"install the plugin {name} in {cni.bin_dir}"
            yield Cause(node, "plugin", name, f"in {cni.bin_dir}", "missing", repair)
        elif versions != ("known",) and cni.version not in versions:
            repair = f"install a version of {name} that speaks CNI {cni.version}"
            yield Cause(node, "plugin", name, cni.version, ", ".join(versions), repair)


def _conflist(scene: Scene, node: str, look: Look) -> Iterator[Cause]:
    """The file that a container runtime takes is the lexically first one."""
    path = node_room.conflist_path(scene.fabric)
    folder, _slash, name = path.rpartition("/")
    kept, found = look.state.files.get(_CURRENT + name), look.state.files.get(path)
    earlier = [
        n for n in look.conf_files if n < name and n.endswith((".conflist", ".conf", ".json"))
    ]
    if earlier:
        repair = f"rm {folder}/{earlier[0]}, or give podnet_cni_file an earlier name"
        yield Cause(node, "conflist", earlier[0], f"{name} comes first", earlier[0], repair)
    elif kept is not None and kept != found and not (found and look.state.pending):
        # While a change waits the file is new already, and the generation still the old one.
        repair = f"cp {_CURRENT}{name} {path}"
        text = "somebody changed it" if found else "missing"
        yield Cause(node, "conflist", name, "as podnet wrote it", text, repair)


def _range(scene: Scene, node: str, look: Look) -> Iterator[Cause]:
    """host-local gives every host address of a range but the gateway's."""
    for cidr in scene.fabric.by_name[node].pod_cidrs:
        network = ipaddress.ip_network(cidr)
        given = sum(_in(address, cidr) for address in look.reserved)
        usable = network.num_addresses - 3
        if given >= usable:
            repair = "remove pods, or reservations of pods that are gone, in /var/lib/cni/networks"
            texts = ("a free address", f"{given} of {usable} are given away")
            yield Cause(node, "range", cidr, *texts, repair)


def _in(address: str, cidr: str) -> bool:
    try:
        return ipaddress.ip_address(address) in ipaddress.ip_network(cidr)
    except ValueError:
        return False


def attached(trip: Trip, node: str) -> Iterator[Cause]:
    """The probe pod's veth on the bridge, and who answers for its address."""
    look, bridge = trip.scene.looks[node], trip.scene.fabric.bridge
    ports = {item.index: item for item in look.interfaces.values()}
    veth = ports.get(look.veth)
    if veth is not None and not trip.only_large:
        if veth.master != bridge:
            repair = f"ip link set dev {veth.name} master {bridge}"
            found = f"port of {veth.master}" if veth.master else "port of no bridge"
            yield Cause(
                node, "veth", f"{veth.name} of {bridge}", f"port of {bridge}", found, repair
            )
        elif not veth.up:
            repair = f"ip link set dev {veth.name} up"
            yield Cause(node, "veth", f"{veth.name} of {bridge}", "up", "down", repair)
    start, address = trip.scene.started.get(node), trip.scene.address(node, trip.family)
    if start is None or isinstance(start, Missing) or POD_A not in start.pods:
        return
    mac, found = start.pods[POD_A].mac, look.neighbours.get(address, "")
    if found and found != mac and not trip.only_large:
        repair = f"find {found} (`bridge fdb show br {bridge}`) and take {address} from it"
        six = "neighbour discovery" if family_of(address) == "ipv6" else "ARP"
        text = f"{mac} answers {six}"
        yield Cause(node, "duplicate address", address, text, f"{found} does", repair)

# SPDX-License-Identifier: GPL-3.0-or-later
"""Names and addresses that keep labs apart on one machine (pure)."""

from __future__ import annotations

import hashlib
import ipaddress
import re
from collections.abc import Iterable, Mapping, Sequence

from .topology import MANAGEMENT, LabError

RUNTIME = "/run/podnet-lab"
MANAGEMENT_PREFIX = 20
LAB_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,30}[a-z0-9])?\Z")


def lab_id(directory: str, name: str) -> str:
    """Six hex digits; the same for the same lab, different for a lab in another folder."""
    if not LAB_NAME.match(name):
        raise LabError(
            f"name: {name!r} cannot name a lab.\n    expected: lower case letters, digits and "
            "hyphens, at most 32\n    do:       Set podnet_lab_name."
        )
    return _digest(f"{directory}\0{name}")[:6]


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def group(ident: str) -> int:
    """Interface group of the lab's links on the machine; lets the kernel delete them at once."""
    return 0x70000000 + int(ident, 16)


def prefix(ident: str) -> str:
    """What every interface of the lab on the machine starts with."""
    return f"pl{ident}"


def bridge(ident: str) -> str:
    """The management bridge on the machine."""
    return f"{prefix(ident)}b"


def management_port(ident: str, index: int) -> str:
    """The machine's end of a node's management link."""
    return f"{prefix(ident)}m{index}"


def router_port(index: int) -> str:
    """The router's end of a node's underlay link."""
    return f"n{index}"


def router_bridge(segment: str) -> str:
    """The segment's bridge in the router; segment names can be longer than 15 characters."""
    return f"br-{_digest(segment)[:8]}"


def mac(ident: str, node: str, link: str) -> str:
    """A locally administered MAC that a node keeps over restarts, as hardware does."""
    digest = _digest(f"{ident}\0{node}\0{link}")
    return "06:" + ":".join(digest[i : i + 2] for i in range(0, 10, 2))


def machine_id(ident: str, node: str) -> str:
    """32 hex digits for /etc/machine-id."""
    return _digest(f"machine-id\0{ident}\0{node}")[:32]


def image(rootfs: str) -> str:
    """The image of an unpacked root file system: named after the folder that it lies in, and it."""
    parent, _slash, name = rootfs.rstrip("/").rpartition("/")
    clean = re.sub("[^a-z0-9.-]", "-", name.lower())
    return f"localhost/podnet-lab:{_digest(parent)[:8]}-{clean}"[:128]


def is_bridge(interface: str) -> bool:
    """Whether an interface of the machine is some lab's management bridge."""
    return re.match(r"pl[0-9a-f]{6}b\Z", interface) is not None


def is_free(subnet: str, used: Iterable[str]) -> bool:
    """Whether a management subnet overlaps none of ``used`` (CIDRs)."""
    wanted = ipaddress.ip_network(subnet)
    networks = (ipaddress.ip_network(cidr, strict=False) for cidr in used)
    return not any(n.version == 4 and n.prefixlen > 0 and wanted.overlaps(n) for n in networks)


def free_management_subnet(used: Iterable[str]) -> str:
    """The first subnet of 198.18.0.0/15 that overlaps none of ``used`` (CIDRs)."""
    taken = list(used)
    for subnet in MANAGEMENT.subnets(new_prefix=MANAGEMENT_PREFIX):
        if is_free(str(subnet), taken):
            return str(subnet)
    raise LabError(
        f"no subnet of {MANAGEMENT} is free on this machine.\n"
        "    do:       Take down labs that nobody needs (playbook lab_down)."
    )


def management_address(subnet: str, index: int) -> str:
    """Address of the node with this index; the machine itself has the first one."""
    return str(ipaddress.ip_network(subnet)[index + 2])


def management_gateway(subnet: str) -> str:
    """The machine's own interface on the management bridge, with prefix length."""
    network = ipaddress.ip_network(subnet)
    return f"{network[1]}/{network.prefixlen}"


def indexes(names: Sequence[str], known: Mapping[str, int]) -> dict[str, int]:
    """A small number per node; nodes that have one keep it, new ones take the lowest free."""
    result = {name: known[name] for name in names if name in known}
    free = (number for number in range(4000) if number not in set(result.values()))
    for name in names:
        if name not in result:
            result[name] = next(free)
    return result

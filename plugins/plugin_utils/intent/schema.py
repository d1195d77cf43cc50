# SPDX-License-Identifier: GPL-3.0-or-later
"""The data model as one table: every variable, its type, default, bounds and meaning.

`parse.py` reads inventories by it, the test-suite compares it with the `plan` role's
argument_specs and with the table in `inventory/README.md`. There is no second list.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

REQUIRED = object()


@dataclass(frozen=True)
class Key:
    """One variable.

    Attributes:
        kind: name of the reader in `parse.READERS`.
        default: value when absent; ``REQUIRED`` when there is none.
        low, high: inclusive bounds of a number.
        choices: the accepted words.
        about: one or two sentences for a person, in the tables of the documentation.
    """

    name: str
    kind: str
    default: Any = REQUIRED
    low: int = 0
    high: int = 0
    choices: tuple[str, ...] = ()
    about: str = ""


# The first of the private range (RFC 6996).
DEFAULT_ASN = 64512

CNI_CHAIN: tuple[Mapping[str, Any], ...] = (
    {"type": "portmap", "capabilities": {"portMappings": True}},
    {"type": "bandwidth", "capabilities": {"bandwidth": True}},
)

# Runtime → (configurations, plugins). Sources: Debian's packages; the defaults of containerd, CRI-O
# and kubelet; docs.k3s.io/networking/multus-ipams.
RUNTIME_FOLDERS: Mapping[str, tuple[str, str]] = {
    "distribution": ("/etc/cni/net.d", "/usr/lib/cni"),
    "containerd": ("/etc/cni/net.d", "/opt/cni/bin"),
    "kubelet": ("/etc/cni/net.d", "/opt/cni/bin"),
    "crio": ("/etc/cni/net.d", "/opt/cni/bin"),
    "k3s": ("/var/lib/rancher/k3s/agent/etc/cni/net.d", "/var/lib/rancher/k3s/data/cni"),
}

FLEET_KEYS: tuple[Key, ...] = (
    Key(
        "podnet_cluster_cidrs",
        "cidrs",
        about=(
            "Networks that hold all pods of the fleet, one or more per family. Their families"
            " are the families of the pod network."
        ),
    ),
    Key(
        "podnet_node_prefix_lengths",
        "prefix_lengths",
        {},
        about=(
            "Prefix length that every node's pod CIDR must have, per family, such as {ipv4: "
            "24, ipv6: 64}. Empty: any length."
        ),
    ),
    Key(
        "podnet_mode",
        "choice",
        "auto",
        choices=("auto", "routed", "vxlan", "bgp"),
        about=(
            "How packets get to other nodes: `routed` (host routes, one segment), `vxlan` "
            "(overlay for every pair), `auto` (host routes inside a segment, VXLAN between "
            "segments), `bgp` (the same, with routes that FRR on the nodes announces and learns, "
            "or with routers that carry pod CIDRs, docs/bgp.md)."
        ),
    ),
    Key(
        "podnet_bgp_listen_ranges",
        "cidrs",
        (),
        about=(
            "Networks of the underlay, each of one segment, from which route reflectors accept "
            "nodes without naming them, so that a new node changes no reflector's sessions."
        ),
    ),
    Key(
        "podnet_bgp_password",
        "secret",
        None,
        about=(
            "Password of all BGP sessions (TCP MD5, RFC 2385), from a vault. Only a fingerprint "
            "of it is ever written or shown."
        ),
    ),
    Key(
        "podnet_bgp_bfd",
        "boolean",
        False,
        about=(
            "Whether BFD (RFC 5880) watches every BGP session, so that a peer is given up within a "
            "second. A node whose FRR restarts is then given up, too (docs/bgp.md)."
        ),
    ),
    Key("podnet_vni", "integer", 64, 1, 16777215, about="VXLAN network identifier."),
    Key(
        "podnet_vxlan_port",
        "integer",
        4789,
        1,
        65535,
        about="UDP port of the VXLAN packets, on every node.",
    ),
    Key(
        "podnet_vxlan_family",
        "choice",
        "auto",
        choices=("auto", "ipv4", "ipv6"),
        about=(
            "Family of the underlay addresses that VXLAN uses. `auto`: IPv4 if every node has"
            " an IPv4 underlay address, else IPv6."
        ),
    ),
    Key("podnet_bridge", "interface", "cbr0", about="Name of the bridge on every node."),
    Key(
        "podnet_mtu",
        "integer",
        None,
        68,
        65535,
        about=(
            "MTU of the pods, in bytes. Left out, it is the smallest underlay MTU less the "
            "cost of the overlay (50 over IPv4, 70 over IPv6, 0 where no pair uses it)."
        ),
    ),
    Key(
        "podnet_masquerade",
        "families",
        ("ipv4", "ipv6"),
        about=(
            "Families whose packets leave the cluster with the node's own address. Never "
            "applied between pods."
        ),
    ),
    Key(
        "podnet_masquerade_exclude",
        "cidrs",
        (),
        about="Networks outside the cluster that see the pods' real addresses all the same.",
    ),
    Key(
        "podnet_pod_tracking",
        "choice",
        "all",
        choices=("all", "outside"),
        about=(
            "Which connections of pods a node's connection tracking sees: `all`, or `outside` (not "
            "those between pods, which then cannot use services that kube-proxy translates)."
        ),
    ),
    Key(
        "podnet_vxlan_from",
        "choice",
        "fleet",
        choices=("fleet", "anyone"),
        about=(
            "Whose VXLAN packets a node takes: `fleet` (underlay addresses of the peers that it "
            "talks VXLAN to), or `anyone`."
        ),
    ),
    Key(
        "podnet_pod_sources",
        "choice",
        "own_ranges",
        choices=("own_ranges", "any"),
        about=(
            "Source addresses that a node routes for its pods: `own_ranges` (its pod CIDRs, not "
            "its own addresses), or `any`."
        ),
    ),
    Key(
        "podnet_pod_identity",
        "choice",
        "bound",
        choices=("bound", "any"),
        about=(
            "Whether a pod is bound to the MAC and the addresses that it used first: "
            "`bound` (IP, ARP, neighbour discovery, MAC), or `any`."
        ),
    ),
    Key(
        "podnet_pods_to_node",
        "choice",
        "allow",
        choices=("allow", "established", "deny"),
        about=(
            "What pods may send to services of a node: `allow` (everything), `established` "
            "(answers to what the node began), `deny` (nothing). ICMP always passes."
        ),
    ),
    Key(
        "podnet_pods_to_node_ports",
        "ports",
        (),
        about=(
            "Services of a node that pods reach all the same, such as [udp/53, tcp/53]; for "
            "`established` and `deny`."
        ),
    ),
    Key(
        "podnet_coexist",
        "choice",
        "auto",
        choices=("auto", "never"),
        about=(
            "Whether daemons that a node runs get a drop-in so that they leave podnet's objects "
            "alone (docs/coexistence.md): `auto`, or `never`."
        ),
    ),
    Key(
        "podnet_service_cidrs",
        "cidrs",
        (),
        about="Networks of services; only checked, so that nothing overlaps.",
    ),
    Key(
        "podnet_host_cidrs",
        "cidrs",
        (),
        about="Networks of hosts; only checked, so that nothing overlaps.",
    ),
    Key(
        "podnet_cni_network",
        "name",
        "podnet",
        about="Name of the CNI network, the `name` of the conflist.",
    ),
    Key(
        "podnet_cni_version",
        "choice",
        "1.0.0",
        choices=("0.3.1", "0.4.0", "1.0.0", "1.1.0"),
        about="CNI version of the conflist; every plugin must speak it.",
    ),
    Key(
        "podnet_runtime",
        "choice",
        "distribution",
        choices=tuple(RUNTIME_FOLDERS),
        about=(
            "Whose folders the CNI configuration and plugins are in: `distribution` (what Debian's"
            " packages of containerd and podman read), `containerd`, `kubelet` and `crio` (as"
            " their projects ship them), `k3s` (since its releases of October 2024)."
        ),
    ),
    Key(
        "podnet_cni_conf_dir",
        "path",
        None,
        about=(
            "Folder of CNI configurations that the container runtime reads. Left out, that of"
            " `podnet_runtime`: /etc/cni/net.d, for k3s /var/lib/rancher/k3s/agent/etc/cni/net.d."
        ),
    ),
    Key(
        "podnet_cni_bin_dir",
        "path",
        None,
        about=(
            "Folder of the CNI plugins. Left out, that of `podnet_runtime`: /usr/lib/cni for"
            " `distribution`, /opt/cni/bin, for k3s /var/lib/rancher/k3s/data/cni."
        ),
    ),
    Key(
        "podnet_cni_file",
        "conflist_name",
        "10-podnet.conflist",
        about="File name of the conflist; runtimes take the first name in the folder.",
    ),
    Key(
        "podnet_cni_chain",
        "plugins",
        CNI_CHAIN,
        about="CNI plugins that run after the bridge plugin, each as its configuration.",
    ),
    Key(
        "podnet_nodes",
        "node_table",
        {},
        about=(
            "The node table: node name to its data, with the node variables below as keys, "
            "without `podnet_`. With it a slice of the inventory knows all peers."
        ),
    ),
    Key(
        "podnet_allocated",
        "allocated",
        {},
        about=(
            "Node name to the ranges that `podnet.fabric.allocate` gave it, for families that its "
            "own data does not name. Written by that playbook."
        ),
    ),
)

# As host variables these carry the prefix `podnet_`; as keys of the node table they do not.
NODE_KEYS: tuple[Key, ...] = (
    Key(
        "pod_cidrs",
        "cidrs",
        about=(
            "Pod CIDR of the node, one per family of the cluster. The first host address is "
            "the node's gateway on the bridge."
        ),
    ),
    Key(
        "underlay_addresses",
        "addresses",
        about="Address of the node in the underlay, one per family. The interface is found by it.",
    ),
    Key(
        "underlay_mtu",
        "integer",
        1500,
        68,
        65535,
        about=(
            "MTU of the underlay interface, in bytes; compared with the real link before "
            "anything changes."
        ),
    ),
    Key(
        "segment",
        "name",
        "default",
        about=(
            "Name of the layer-2 segment of the underlay address. Nodes of one segment reach "
            "each other without a router."
        ),
    ),
    Key(
        "persistence",
        "choice",
        "unit",
        choices=("unit", "networkd"),
        about=(
            "What makes the node's devices at boot: podnet's own `unit`, or, where"
            " systemd-networkd runs, `networkd` by native files (docs/networkd.md)."
        ),
    ),
    Key(
        "bgp_asn",
        "integer",
        DEFAULT_ASN,
        1,
        4294967294,
        about=(
            "AS number of the node. Nodes of one segment and one AS talk BGP to each other; those "
            "of one AS in several segments, too, where no routers carry pod CIDRs."
        ),
    ),
    Key(
        "bgp_reflector",
        "boolean",
        False,
        about=(
            "Whether the node reflects routes among the nodes of its segment and AS; two or more "
            "are advised. Without any, all of these talk to all."
        ),
    ),
    Key(
        "bgp_peers",
        "bgp_peers",
        (),
        about=(
            "Routers that the node announces its pod CIDRs to and learns others' from, such as "
            "[{address: 192.0.2.1, asn: 65001}]; best set per rack, in group_vars."
        ),
    ),
)

# SPDX-License-Identifier: GPL-3.0-or-later
"""What a node is asked when a check failed: its own state, and everything foreign on the way.

It is asked while the probe pods are still there. The kernel itself is asked which way it would
choose (`ip route get`), so that rules, metrics and prefixes need no second implementation here.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Mapping

from .. import node as node_room
from ..backends import learns
from ..intent.model import Fabric, family_of
from ..plan import plan_node
from ..speakers.look import script as speaker_script
from ..verdicts.scene import POD_A

_HEAD = r"""LC_ALL=C; export LC_ALL; PATH=$PATH:/usr/sbin:/sbin; export PATH
l() { printf '\n@@look %s\n' "$1"; }
l ruleset; nft -j list ruleset
for f in '' 6; do
  l "legacy$f"
  save="ip${f}tables-legacy-save"
  grep -qs . "/proc/net/ip${f}_tables_names" && command -v "$save" >/dev/null && "$save" 2>/dev/null
done
l rules4; ip -j -4 rule
l rules6; ip -j -6 rule
l routes4; ip -j -4 route show table all
l routes6; ip -j -6 route show table all
l links; ip -j link
l manifest; cat /etc/podnet/current/manifest.json 2>/dev/null
l bridged; (cd /proc/sys/net/bridge 2>/dev/null && grep -Hs . bridge-nf-call-ip*tables)
l checksums; sed -n 's/^Udp: \([0-9]\)/\1/p' /proc/net/snmp
sed -n 's/^Udp6InCsumErrors *//p' /proc/net/snmp6 2>/dev/null
"""
_POD = r"""l pod
for n in /run/podnet/netns/*{pod}*; do
  [ -e "$n" ] && nsenter --net="$n" ip -j link show eth0
done 2>/dev/null
"""
_CNI = r"""l files; ls {folder} 2>/dev/null
l neighbours; ip -j neigh show dev {bridge}
l reserved; ls /var/lib/cni/networks/{network} 2>/dev/null
"""


def script(fabric: Fabric, name: str, own: Mapping[str, str], others: Iterable[str]) -> str:
    """The shell text: the node's state, and what is foreign.

    Args:
        own: family → address of a pod on the node, the source of the packets.
        others: addresses of pods on other nodes.
    """
    plan = plan_node(fabric, name)
    quote, cni = shlex.quote, fabric.cni
    asked = _CNI.replace("{folder}", quote(cni.conf_dir)).replace("{bridge}", quote(fabric.bridge))
    parts = [
        node_room.script_to_read(fabric, plan),
        _HEAD,
        asked.replace("{network}", quote(cni.network)),
        _POD.replace("{pod}", POD_A),
    ]
    for address in others:
        source = own.get(family_of(address))
        if source:
            # As if the packet came from a pod: by the bridge, with the pod's address.
            given = f"{quote(address)} from {quote(source)} iif {quote(fabric.bridge)}"
            parts.append(_way(address, given))
    outer = fabric.underlay_family
    for peer in fabric.nodes:
        if outer and peer.name != name and outer in peer.underlay:
            address = peer.underlay[outer]
            parts.append(_way(address, quote(address)))
    if learns(fabric):
        parts += ["l speaker\n", speaker_script(tables=True)]
    return "".join(parts)


def _way(address: str, given: str) -> str:
    return f"l 'way {address}'; ip -j route get {given} 2>&1\n"

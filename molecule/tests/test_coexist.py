# SPDX-License-Identifier: GPL-3.0-or-later
"""Scenario `coexist`: booted hosts whose daemons are restarted under traffic; node-1 has networkd
for everything and nftables.service, node-3 has NetworkManager."""

from __future__ import annotations

import pytest
from looks import Hosts, sent_and_received

DROP_INS = {
    "node-1": (
        "/etc/systemd/network/05-podnet.network",
        "/etc/systemd/networkd.conf.d/50-podnet.conf",
        "/etc/systemd/system/nftables.service.d/50-podnet.conf",
    ),
    "node-3": ("/etc/NetworkManager/conf.d/50-podnet.conf",),
}


@pytest.mark.parametrize("meter", ["near4", "near6", "far4", "far6"])
def test_no_packet_was_lost(hosts: Hosts, meter: str) -> None:
    sent, received = sent_and_received(hosts["node-1"], meter)
    assert sent > 300, "the restarts were over before the ping had begun"
    assert received == sent


@pytest.mark.parametrize("node", DROP_INS)
def test_nothing_of_theirs_has_changed(hosts: Hosts, node: str) -> None:
    before, after = (
        hosts[node].file(f"/run/theirs-{n}").content_string for n in ("before", "after")
    )
    assert "/etc/" in before and after == before
    for path in DROP_INS[node]:
        assert hosts[node].file(path).exists, path


def test_networkd_has_the_underlay_and_not_what_is_podnets(hosts: Hosts) -> None:
    lines = hosts["node-1"].check_output("networkctl --no-legend list").splitlines()
    found = {line.split()[1]: line.split()[4] for line in lines}
    assert found["eth0"] == "configured" and found["cbr0"] == "unmanaged", found
    others = [name for name in found if name.startswith(("pn", "veth"))]
    assert len(others) == 2 and {found[name] for name in others} == {"unmanaged"}, found


def test_network_manager_leaves_the_bridge_alone(hosts: Hosts) -> None:
    states = hosts["node-3"].check_output("nmcli -t -f DEVICE,STATE device").split()
    assert "cbr0:unmanaged" in states, states


def test_the_nodes_have_really_booted_with_them(hosts: Hosts) -> None:
    assert "inet " not in hosts["node-1"].file("/run/bare").content_string
    for node, unit in (("node-1", "systemd-networkd"), ("node-3", "NetworkManager")):
        assert hosts[node].service(unit).is_running

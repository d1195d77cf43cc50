# SPDX-License-Identifier: GPL-3.0-or-later
"""What a pod is (the first section of ARCHITECTURE.md), asked of pods that a runtime has made."""

from __future__ import annotations

import ipaddress
import json
from typing import Protocol

from cri import url
from fleet import Fleet

CONFLIST = "10-podnet.conflist"


class RuntimePod(Protocol):
    """A pod with an app container in it, which has BusyBox."""

    def addresses(self) -> list[str]:
        """As the runtime reports them, the first family first."""

    def run(self, *command: str) -> str:
        """What a command in the app container writes."""

    def run_in_sandbox(self, *command: str) -> str:
        """The same in the network namespace that the infra container holds."""

    def namespaces(self, who: str) -> dict[str, str]:
        """Namespace kind → identity of the infra (`sandbox`) or the app container."""


def rendered(fleet: Fleet, node: str) -> str:
    return (fleet.folder / "intended" / node / CONFLIST).read_text(encoding="utf-8")


def has_one_address_per_family(fleet: Fleet, node: str, pod: RuntimePod) -> None:
    """Of its node's ranges, and the pod sees what the runtime reports."""
    networks = fleet.data["podnet"]["hosts"][node]["podnet_pod_cidrs"]
    addresses = [ipaddress.ip_address(text) for text in pod.addresses()]
    assert len(addresses) == len(networks) == 2
    for address, network in zip(addresses, networks, strict=True):
        assert address in ipaddress.ip_network(network)
    lines = pod.run("ip", "-o", "addr", "show", "dev", "eth0", "scope", "global").splitlines()
    assert {ipaddress.ip_interface(line.split()[3]).ip for line in lines if line} == set(addresses)
    mtu = json.loads(rendered(fleet, node))["plugins"][0]["mtu"]
    assert f" mtu {mtu} " in pod.run("ip", "-o", "link", "show", "dev", "eth0")


def infra_and_app_share(pod: RuntimePod, kinds: frozenset[str]) -> None:
    """These namespaces and no others; interfaces, addresses and MACs."""
    infra, app = pod.namespaces("sandbox"), pod.namespaces("app")
    assert {kind for kind in app if infra[kind] == app[kind]} == kinds
    for what in ("link", "addr"):
        listed = pod.run("ip", "-o", what)
        assert "eth0" in listed
        assert pod.run_in_sandbox("ip", "-o", what) == listed


def reaches_without_nat(source: RuntimePod, target: RuntimePod, family: int) -> None:
    """``family``: place in the list of addresses. The target sees the source's own address."""
    own, peer = (pod.addresses()[family] for pod in (source, target))
    source.run("ping", "-A", "-c", "3", "-W", "3", peer)
    seen = ipaddress.ip_address(source.run("wget", "-qO-", url(peer)).strip().strip("[]"))
    # The web server listens on both families at once and sees IPv4 clients as ::ffff:…
    assert str(getattr(seen, "ipv4_mapped", None) or seen) == own

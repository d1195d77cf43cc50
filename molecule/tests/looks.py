# SPDX-License-Identifier: GPL-3.0-or-later
"""What the tests ask nodes, in words of the kernel's own tools."""

from __future__ import annotations

import json
import re

from testinfra.host import Host

Hosts = dict[str, Host]
NETNS = "/run/podnet/netns/client"


def address(host: Host, family: int) -> str:
    """The address that the pod sees on its own eth0."""
    text = host.check_output(f"nsenter --net={NETNS} ip -j -{family} addr show eth0 scope global")
    return str(json.loads(text)[0]["addr_info"][0]["local"])


def route(host: Host, destination: str) -> str:
    return str(host.check_output(f"ip -o route get {destination}"))


def pings(host: Host, target: str, family: int) -> bool:
    """Whether the pod of a node reaches an address."""
    command = f"nsenter --net={NETNS} ping -{family} -n -c 2 -W 3 {target}"
    return bool(host.run(command).rc == 0)


def sent_and_received(host: Host, meter: str) -> tuple[int, int]:
    """What a ping of tasks/start_meters.yml counted."""
    text = host.file(f"/run/meter-{meter}").content_string
    found = re.search(r"(\d+) packets transmitted, (\d+) received", text)
    assert found, text[-500:]
    return int(found[1]), int(found[2])
